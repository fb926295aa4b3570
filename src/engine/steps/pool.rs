//! Pooling over windows.

use std::ops::Range;

use super::{
    Kind, Work, rows,
    verify::{Checked, MAX_SIZE, Verifier, ensure, same_blocks},
};
use crate::{
    activation::Activation,
    graph::{self, NodeId, Padding, Reduction},
    kernels::{Kernels, pooling::PoolRow},
    plan::Planner,
    program::{BLOCK, FeatureMap},
    runtime::{Context, Fault},
};
use serde::{Deserialize, Serialize};

/// Maximum or mean of each window. Windows end where the input ends: what is outside does not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// How a window is reduced.
    pub reduction: Reduction,
    /// Feature map that is read.
    pub input: FeatureMap,
    /// Rows and columns of the halo above and to the left that count as values, and those below and to the right.
    pub zeros: [[usize; 2]; 2],
    /// Feature map that is written.
    pub output: FeatureMap,
    /// Kernel size: rows and columns.
    pub kernel: [usize; 2],
    /// Stride: rows and columns between two windows.
    pub stride: [usize; 2],
    /// Rows above and columns to the left of the zeros in which windows begin.
    pub outside: [usize; 2],
}

impl Pool {
    pub(super) fn plan(planner: &Planner, node: NodeId, pool: &graph::Pool) -> Self {
        let Padding { before, after } = pool.zeros;
        Self {
            reduction: pool.reduction,
            input: planner.input_map(node, 0),
            zeros: [before, after],
            output: planner.feature_map(node),
            kernel: pool.kernel,
            stride: pool.stride,
            outside: pool.outside.before,
        }
    }

    /// Rows or columns that count: the input and the zeros around it.
    fn len(&self, axis: usize) -> usize {
        let [before, after] = self.zeros;
        before[axis] + [self.input.height, self.input.width][axis] + after[axis]
    }

    /// Rows or columns of a window that count, from the first zero on. Empty if the window is outside.
    fn window(&self, axis: usize, output: usize) -> Range<usize> {
        let start = output * self.stride[axis];
        let end = (start + self.kernel[axis]).saturating_sub(self.outside[axis]);
        start.saturating_sub(self.outside[axis])..end.min(self.len(axis))
    }
}

impl Kind for Pool {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        let (input, output) = (&self.input, &self.output);
        verifier.read_blocks("input", input)?;
        verifier.write_blocks("output", output)?;
        same_blocks("input", input, output)?;
        let sizes = [
            self.kernel,
            self.stride,
            self.outside,
            self.zeros[0],
            self.zeros[1],
        ];
        let is_small = sizes.as_flattened().iter().all(|&size| size < MAX_SIZE);
        let is_positive = [self.kernel, self.stride]
            .as_flattened()
            .iter()
            .all(|&size| size > 0);
        ensure(is_small && is_positive, "kernel", Fault::WindowRange)?;
        let halo = input.halo;
        let [before, after] = self.zeros;
        ensure(
            before[0] <= halo.top
                && before[1] <= halo.left
                && after[0] <= halo.bottom
                && after[1] <= halo.right,
            "zeros",
            Fault::WindowOutside,
        )?;
        // The ends of windows grow with the output, so the first and the last decide for all.
        let has_values = |axis: usize, outputs: usize| {
            [0, outputs - 1]
                .into_iter()
                .all(|output| !self.window(axis, output).is_empty())
        };
        ensure(
            has_values(0, output.height) && has_values(1, output.width),
            "outside",
            Fault::WindowOutside,
        )
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Work for Pool {
    fn items(&self, _phase: usize, _threads: usize) -> usize {
        rows::count(&self.output)
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, _workspace: *mut f32) {
        let (input, output) = (&self.input, &self.output);
        let [block, y] = rows::block_and_row(output, item);
        let window_rows = self.window(0, y);
        let [top, left] =
            [0, 1].map(|axis| [input.halo.top, input.halo.left][axis] - self.zeros[0][axis]);
        let row = input.offset
            + block * input.block_stride()
            + (top + window_rows.start) * input.row_stride()
            + left * BLOCK;
        let compute = |first_output: *mut f32| {
            let mut x = 0;
            while x < output.width {
                let columns = self.window(1, x);
                // Windows that are not cut off have the same size, and are computed at once.
                let is_whole = |x: usize| self.window(1, x).len() == self.kernel[1];
                let pixels = (x..output.width)
                    .take_while(|&x| is_whole(x))
                    .count()
                    .max(1);
                // SAFETY: Verified: the windows are inside the input and the zeros around it, which are in its halo.
                // Disjoint: the output's row belongs to this work item. Instructions: the CPU has them.
                unsafe {
                    (context.kernels().pool)(&PoolRow {
                        input: context.at(row + columns.start * BLOCK),
                        kernel: [window_rows.len(), columns.len()],
                        row_stride: input.row_stride(),
                        stride: self.stride[1] * BLOCK,
                        reduction: self.reduction,
                        output: first_output.add(x * BLOCK),
                        pixels,
                    });
                }
                x += pixels;
            }
        };
        // SAFETY: Verified: the output is in the arena. Disjoint: its row belongs to this work item.
        unsafe { rows::write(context, output, [block, y], Activation::NONE, compute) };
    }
}
