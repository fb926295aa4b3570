//! Whether a program is sound: what the unsafe code relies on.

use crate::program::{BLOCK, Plane, Program, Residual, Step, Window};

/// No picture or model has more of anything; sums of products of these fit in 64 bits.
const MOST: usize = 1 << 16;

/// # Errors
///
/// Names the step and what it would reach for.
pub(super) fn check(program: &Program, weights: usize) -> Result<(), String> {
    if program.arena > 1 << 32 || program.weights != weights {
        return Err("its memory has another size than it says".into());
    }
    for (number, step) in program.steps.iter().enumerate() {
        Check { program }
            .step(step)
            .map_err(|reason| format!("step {number}: {reason}"))?;
    }
    Ok(())
}

type Checked = Result<(), String>;

fn ensure(holds: bool, reason: &str) -> Checked {
    if holds { Ok(()) } else { Err(reason.into()) }
}

struct Check<'a> {
    program: &'a Program,
}

impl Check<'_> {
    fn step(&self, step: &Step) -> Checked {
        match step {
            Step::Load {
                input,
                channels,
                output,
                ..
            } => {
                self.plane(output)?;
                ensure(
                    *channels <= output.blocks * output.lanes,
                    "an input of more channels",
                )?;
                let length = self.program.inputs.get(*input).map(|shape| length(shape));
                let expected = Some(channels * output.height * output.width);
                ensure(length == expected, "an input of another size")
            }
            Step::Convolution(step) => {
                let (input, output) = (&step.input, &step.output);
                self.writes(output, &[input], step.residual.as_ref())?;
                ensure(output.lanes == BLOCK, "an output of other lanes")?;
                ensure(
                    input.lanes == BLOCK || input.blocks == 1,
                    "an input of narrow blocks",
                )?;
                fits(input, output, &step.window)?;
                let (segments, length) = step.segments();
                let channels = output.blocks * BLOCK;
                self.weights(step.weights, segments.len() * length * channels)?;
                self.weights(step.bias, channels)
            }
            Step::Winograd(step) => {
                let (input, output) = (&step.input, &step.output);
                self.writes(output, &[input], None)?;
                ensure(
                    input.lanes == BLOCK && output.lanes == BLOCK,
                    "planes of other lanes",
                )?;
                ensure(matches!(step.tile, 2 | 4), "tiles of another size")?;
                ensure(step.together > 0, "no tiles")?;
                let [rows, columns] = step.tiles();
                // As if the tiles were whole, and windows lay on them.
                let tiles = Plane {
                    height: rows,
                    width: columns,
                    ..*output
                };
                let window = Window {
                    kernel: [step.tile + 2; 2],
                    stride: [step.tile; 2],
                    origin: step.origin,
                };
                fits(input, &tiles, &window)?;
                let channels = output.blocks * BLOCK;
                self.weights(
                    step.weights,
                    step.places() * input.blocks * BLOCK * channels,
                )?;
                self.weights(step.bias, channels)
            }
            Step::MaxPool {
                input,
                output,
                window,
                ..
            } => {
                self.writes(output, &[input], None)?;
                plain(input, output)?;
                fits(input, output, window)
            }
            Step::Mean { input, output } => {
                self.writes(output, &[input], None)?;
                plain(input, output)?;
                ensure(
                    [output.height, output.width] == [1, 1],
                    "a mean of many pixels",
                )
            }
            Step::Add {
                input,
                residual,
                output,
                ..
            } => {
                self.writes(output, &[input], Some(residual))?;
                plain(input, output)?;
                ensure(
                    [input.height, input.width] == [output.height, output.width],
                    "a sum of other sizes",
                )
            }
            Step::Softmax {
                input,
                channels,
                output,
            } => {
                self.writes(output, &[input], None)?;
                let is_pixel = |plane: &Plane| plane.block() == BLOCK && plane.lanes == BLOCK;
                ensure(
                    is_pixel(input) && is_pixel(output),
                    "a softmax of many pixels",
                )?;
                ensure(
                    *channels <= input.blocks.min(output.blocks) * BLOCK,
                    "a softmax of more channels",
                )
            }
            Step::Store {
                input,
                channels,
                output,
            } => {
                self.plane(input)?;
                ensure(
                    *channels <= input.blocks * input.lanes,
                    "an output of more channels",
                )?;
                let length = self.program.outputs.get(*output).map(|shape| length(shape));
                let expected = Some(channels * input.height * input.width);
                ensure(length == expected, "an output of another size")
            }
        }
    }

    fn plane(&self, plane: &Plane) -> Checked {
        let Plane { halo, .. } = plane;
        let sizes = [
            plane.blocks,
            plane.lanes,
            plane.height,
            plane.width,
            halo.top,
            halo.left,
            halo.bottom,
            halo.right,
        ];
        ensure(
            sizes.iter().all(|&size| size < MOST) && plane.lanes <= BLOCK,
            "a plane out of all proportion",
        )?;
        ensure(
            plane.blocks > 0 && plane.lanes > 0 && plane.height > 0 && plane.width > 0,
            "an empty plane",
        )?;
        let end = (plane.blocks as u128) * (plane.rows() as u128) * (plane.row() as u128)
            + plane.offset as u128;
        ensure(
            end <= self.program.arena as u128,
            "a plane outside the arena",
        )
    }

    /// The output may be written while the others are read.
    fn writes(&self, output: &Plane, inputs: &[&Plane], residual: Option<&Residual>) -> Checked {
        self.plane(output)?;
        let residuals = residual.iter().map(|residual| &residual.plane);
        for plane in inputs.iter().copied().chain(residuals) {
            self.plane(plane)?;
            let apart = plane.offset + plane.len() <= output.offset
                || output.offset + output.len() <= plane.offset;
            ensure(apart, "an output where an input is")?;
        }
        let Some(Residual { plane, stride }) = residual else {
            return Ok(());
        };
        ensure(plane.lanes == BLOCK, "a residual of other lanes")?;
        ensure(
            plane.blocks == output.blocks,
            "a residual of other channels",
        )?;
        ensure(
            *stride < MOST
                && (output.height - 1) * stride < plane.height
                && (output.width - 1) * stride < plane.width,
            "a residual that is too small",
        )
    }

    fn weights(&self, start: usize, length: usize) -> Checked {
        let end = start.checked_add(length);
        ensure(
            end.is_some_and(|end| end <= self.program.weights),
            "weights that are not there",
        )
    }
}

/// Both have 16 lanes and as many blocks.
fn plain(input: &Plane, output: &Plane) -> Checked {
    ensure(
        input.lanes == BLOCK && output.lanes == BLOCK && input.blocks == output.blocks,
        "planes of other channels",
    )
}

/// Every window of the output lies on the input.
fn fits(input: &Plane, output: &Plane, window: &Window) -> Checked {
    let sizes = [window.kernel, window.stride, window.origin];
    ensure(
        sizes.as_flattened().iter().all(|&size| size < MOST)
            && [window.kernel, window.stride]
                .as_flattened()
                .iter()
                .all(|&size| size > 0),
        "a window out of all proportion",
    )?;
    let last = |axis: usize, outputs: usize| {
        window.origin[axis] + (outputs - 1) * window.stride[axis] + window.kernel[axis]
    };
    let columns = input.row() / input.lanes;
    ensure(
        last(0, output.height) <= input.rows() && last(1, output.width) <= columns,
        "a window beyond its plane",
    )
}

fn length(shape: &[usize]) -> usize {
    shape
        .iter()
        .fold(1, |length, &axis| length.saturating_mul(axis))
}
