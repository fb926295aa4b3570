//! Graphs of random nodes, after each graph pass and on each instruction set, against an interpreter in double
//! precision.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod additions;
mod generator;
mod interpreter;

use std::sync::Arc;

use generator::{Builder, graphs};
use interpreter::outputs;
use moth_engine::{
    activation::{Activation, Curve},
    graph::{Graph, Node, Op, Reduction, Shape},
    isa::Isa,
    passes::{self, PASSES},
    plan::plan,
    program::TensorLayout,
    runtime::{PackedWeights, Runnable},
    steps::Step,
};
use proptest::prelude::*;

fn run(graph: &Graph, input: &[f32], isa: Isa, threads: usize) -> Vec<f32> {
    let (program, weights) = plan(graph).unwrap();
    let runnable = Runnable::new(program, PackedWeights::owned(&weights), isa).unwrap();
    let length = runnable.program().outputs[0].iter().product();
    // The second run uses the memory of the first, with all that is in it.
    let mut both = [(); 2].map(|()| {
        let mut output = vec![f32::NAN; length];
        runnable.run(&[input], &mut [&mut output], threads);
        output
    });
    assert_eq!(both[0], both[1]);
    std::mem::take(&mut both[0])
}

/// The largest absolute error, relative to the largest value.
fn relative_error(ours: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(ours.len(), exact.len());
    let largest = exact
        .iter()
        .fold(1e-3, |largest: f64, value| largest.max(value.abs()));
    let errors = std::iter::zip(ours, exact).map(|(ours, exact)| (f64::from(*ours) - exact).abs());
    errors.fold(0.0, |largest: f64, value| {
        assert!(!value.is_nan());
        largest.max(value)
    }) / largest
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn graph_passes_change_no_output((mut graph, input) in graphs()) {
        let mut before = outputs(&graph, &input);
        // Twice: the second time, passes meet what others of them made.
        for pass in PASSES.iter().chain(PASSES) {
            (pass.run)(&mut graph);
            graph.validate().unwrap();
            let after = outputs(&graph, &input);
            prop_assert_eq!(after.len(), before.len());
            if !pass.rounds {
                prop_assert_eq!(&after, &before, "{}", pass.name);
            }
            let error = std::iter::zip(&after, &before).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
            let error = error.fold(0.0, f64::max);
            prop_assert!(error < 1e-5, "{}: {}", pass.name, error);
            before = after;
        }
    }

    #[test]
    fn kernels_agree_with_the_interpreter((mut graph, input) in graphs(), threads in 1..4usize) {
        let exact = outputs(&graph, &input);
        let here = || Isa::ALL.into_iter().filter(|isa| isa.is_here());
        for isa in here() {
            let error = relative_error(&run(&graph, &input, isa, threads), &exact);
            prop_assert!(error < 2e-4, "{}: {}", isa, error);
        }
        passes::run(&mut graph);
        for isa in here() {
            let one = run(&graph, &input, isa, 1);
            let error = relative_error(&one, &exact);
            prop_assert!(error < 2e-4, "{}, after the passes: {}", isa, error);
            prop_assert_eq!(&run(&graph, &input, isa, threads), &one, "{}, {} threads", isa, threads);
        }
    }
}

/// A feature map of this size is expanded in several bands of rows, also by one thread.
#[test]
fn an_expansion_in_bands_agrees_with_the_interpreter() {
    let shape = Shape {
        channels: 16,
        height: 100,
        width: 90,
    };
    for stride in [1, 2] {
        let mut builder = Builder::new(6, TensorLayout::Nchw, shape);
        let expanded = builder.convolution(0, 40, [1, 1], 1, [0, 0]).unwrap();
        let swish = Activation::Curve(Curve::Swish);
        let expanded = builder.activate(expanded, swish);
        let filtered = builder.any_convolution(expanded, None, [5, 5], stride, [2, 2]);
        let filtered = builder.activate(filtered.unwrap(), swish);
        let Shape { height, width, .. } = builder.graph.shape(filtered);
        builder
            .graph
            .outputs
            .push((filtered, vec![1, 40, height, width]));
        let input = builder.random.floats(16 * 100 * 90);
        let exact = outputs(&builder.graph, &input);
        passes::run(&mut builder.graph);
        let (program, _) = plan(&builder.graph).unwrap();
        assert!(matches!(program.steps[1], Step::ExpandedDepthwise(_)));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            let one = run(&builder.graph, &input, isa, 1);
            assert!(relative_error(&one, &exact) < 1e-5);
            for threads in [2, 3] {
                assert_eq!(run(&builder.graph, &input, isa, threads), one);
            }
        }
    }
}

/// The gate is also read with padding, and what it multiplies is an input of few channels.
#[test]
fn a_gate_may_have_a_halo_and_multiply_an_input() {
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let pixel = Shape {
        height: 1,
        width: 1,
        ..shape
    };
    let mut builder = Builder::new(7, TensorLayout::Nhwc, shape);
    let gate = builder
        .graph
        .push(Op::GlobalPool(Reduction::Mean), &[0], pixel);
    let product = builder.graph.push(Op::Multiply, &[0, gate], shape);
    let projected = builder.convolution(product, 5, [1, 1], 1, [0, 0]).unwrap();
    let padded = builder.convolution(gate, 5, [3, 3], 1, [1, 1]).unwrap();
    let whole = builder.graph.shape(projected);
    let last = builder
        .graph
        .push(Op::Multiply, &[projected, padded], whole);
    builder.graph.outputs.push((last, vec![1, 5, 8, 8]));
    let input = builder.random.floats(3 * 8 * 8);
    let exact = outputs(&builder.graph, &input);
    passes::run(&mut builder.graph);
    let is_gated = |node: &Node| matches!(&node.op, Op::Convolution(of) if of.has_gate);
    assert!(builder.graph.nodes.iter().any(is_gated));
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
        assert!(relative_error(&run(&builder.graph, &input, isa, 2), &exact) < 1e-5);
    }
}

/// Winograd's algorithm loses some bits. The test shows how many, beside a direct convolution.
#[test]
fn the_error_of_winograds_algorithm_is_small() {
    // Tiles of 4×4, and of 2×2.
    for size in [56, 14] {
        let [winograd, direct] = relative_errors(size);
        println!(
            "{size}×{size}: relative error {winograd:.1e}, of a direct convolution {direct:.1e}"
        );
        assert!(winograd < 1e-5 && direct < 2e-6);
    }
}

/// Relative errors of Winograd's algorithm and of a direct convolution, for 64 channels and `size` × `size` pixels.
fn relative_errors(size: usize) -> [f64; 2] {
    let shape = Shape {
        channels: 64,
        height: size,
        width: size,
    };
    let mut builder = Builder::new(5, TensorLayout::Nchw, shape);
    let convolution = builder.convolution(0, 64, [3, 3], 1, [1, 1]).unwrap();
    let graph_outputs = &mut builder.graph.outputs;
    graph_outputs.push((convolution, vec![1, 64, size, size]));
    let values = builder.random.floats(64 * size * size);
    let exact = outputs(&builder.graph, &values);
    let winograd = relative_error(&run(&builder.graph, &values, Isa::detect(), 1), &exact);

    // Planning computes a convolution with a residual directly. The input is the residual, and a weight of −1 at the
    // middle of each channel's own filter takes it away again.
    let node = &mut builder.graph.nodes[convolution];
    node.inputs.push(0);
    let Op::Convolution(of) = &mut node.op else {
        unreachable!("the node is a convolution")
    };
    of.residual_stride = Some(1);
    let mut less: Vec<f32> = of.weights.to_vec();
    for channel in 0..64 {
        less[(channel * 64 + channel) * 9 + 4] -= 1.0;
    }
    of.weights = Arc::from(less);
    let direct = relative_error(&run(&builder.graph, &values, Isa::detect(), 1), &exact);
    [winograd, direct]
}
