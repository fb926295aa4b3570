//! One valid graph, and a change for every error.

use super::*;
use crate::{
    activation::Curve,
    fixtures::{affine, convolution, graph, input, shape},
    graph::Reduction,
    program::TensorLayout,
};

fn refused(change: impl FnOnce(&mut Graph)) -> GraphError {
    let mut graph = graph(
        [
            (input(), &[]),
            (convolution(1), &[0]),
            (convolution(1), &[1]),
        ],
        8,
    );
    graph.validate().unwrap();
    change(&mut graph);
    graph.validate().unwrap_err()
}

/// A convolution with one field changed.
fn changed(change: impl FnOnce(&mut Convolution)) -> impl FnOnce(&mut Graph) {
    |graph| match &mut graph.nodes[1].op {
        Op::Convolution(convolution) => change(convolution),
        op => panic!("{op:?}"),
    }
}

#[test]
fn nodes_read_earlier_tensors_only() {
    let error = refused(|graph| graph.nodes[1].inputs = vec![2]);
    assert_eq!(error, GraphError::Order { node: 1, tensor: 2 });
    let error = refused(|graph| graph.outputs[0].0 = 3);
    let expected = GraphError::UnknownOutput {
        output: 0,
        tensor: 3,
    };
    assert_eq!(error, expected);
}

#[test]
fn every_operation_has_its_number_of_inputs() {
    for (op, inputs) in [
        (convolution(1), vec![]),
        (convolution(1), vec![0, 0]),
        (Op::Add(Activation::NONE), vec![0]),
        (Op::Multiply, vec![0, 0, 0]),
        (Op::Concat, vec![]),
        (input(), vec![0]),
    ] {
        let (name, actual) = (op.name(), inputs.len());
        let error = refused(|graph| {
            graph.nodes[1].op = op;
            graph.nodes[1].inputs = inputs;
        });
        let expected = GraphError::Arity {
            node: 1,
            op: name,
            actual,
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn a_convolution_has_one_bias_for_each_channel_and_all_its_weights() {
    // Otherwise planning would cut off biases that do not fit the last block, and fill up missing ones with zeros.
    for len in [15, 17, 32] {
        let error = refused(changed(|convolution| {
            convolution.bias = vec![1.0; len].into()
        }));
        let expected = GraphError::Parameters {
            node: 1,
            op: "convolution",
            what: "biases",
            actual: len,
            expected: 16,
        };
        assert_eq!(error, expected);
    }
    let error = refused(changed(|convolution| convolution.is_depthwise = true));
    assert!(
        matches!(
            error,
            GraphError::Parameters {
                what: "weights",
                expected: 16,
                ..
            }
        ),
        "{error}"
    );
    let error = refused(|graph| {
        let mut short = affine(1.0, 0.0);
        short.shift = vec![0.0].into();
        graph.nodes[1].op = Op::Affine(short, Activation::NONE);
    });
    assert!(
        matches!(error, GraphError::Parameters { what: "shifts", .. }),
        "{error}"
    );
}

#[test]
fn windows_stay_within_the_padded_input() {
    for stride in [[1, 2], [0, 1]] {
        let error = refused(changed(|convolution| convolution.stride = stride));
        assert_eq!(error, GraphError::Window { node: 1 });
    }
}

#[test]
fn every_window_of_a_pooling_has_a_value() {
    let pool = |outside: usize, kernel: usize| {
        let around = Padding {
            before: [outside; 2],
            after: [outside; 2],
        };
        refused(|graph| {
            graph.nodes[1].op = Op::Pool(Pool {
                reduction: Reduction::Mean,
                kernel: [kernel; 2],
                stride: [1, 1],
                zeros: Padding::default(),
                outside: around,
            });
        })
    };
    // The first window ends before the first value: its mean would be 0 ÷ 0.
    assert_eq!(pool(2, 2), GraphError::Window { node: 1 });
}

#[test]
fn shapes_follow_from_the_inputs() {
    let error = refused(|graph| graph.nodes[1].shape.height = 0);
    assert_eq!(error, GraphError::Empty { node: 1 });
    for op in [Op::Softmax, Op::GlobalPool(Reduction::Max)] {
        let name = op.name();
        let error = refused(|graph| graph.nodes[2].op = op);
        assert_eq!(error, GraphError::Shape { node: 2, op: name });
    }
    let error = refused(|graph| {
        graph.nodes[1].inputs.push(0);
        changed(|convolution| convolution.residual_stride = Some(2))(graph);
    });
    assert!(
        matches!(error, GraphError::Shape { node: 1, .. }),
        "{error}"
    );
    let error = refused(|graph| graph.outputs[0].1 = vec![1, 16, 8]);
    assert!(
        matches!(error, GraphError::OutputShape { len: 1024, .. }),
        "{error}"
    );
}

#[test]
fn parts_of_a_concatenation_have_whole_blocks_except_the_last() {
    let of = |channels| Shape {
        channels,
        ..shape(8)
    };
    let mut graph = Graph::default();
    for (index, channels) in [(0, 20), (1, 16)] {
        let op = Op::Input {
            index,
            layout: TensorLayout::Nchw,
            affine: None,
        };
        graph.push(op, &[], of(channels));
    }
    graph.push(Op::Concat, &[1, 0], of(36));
    graph.validate().unwrap();
    graph.nodes[2].inputs = vec![0, 1];
    let expected = GraphError::Part {
        node: 2,
        channels: 20,
    };
    assert_eq!(graph.validate(), Err(expected));
}

#[test]
fn inputs_are_numbered_from_zero_without_a_gap() {
    // Otherwise the shape of input 2 would become the shape of input 1.
    let mut graph = graph([(input(), &[])], 8);
    let second = Op::Input {
        index: 2,
        layout: TensorLayout::Nchw,
        affine: None,
    };
    graph.push(second, &[], shape(8));
    assert_eq!(graph.validate(), Err(GraphError::Inputs(vec![0, 2])));
}

#[test]
fn sizes_are_those_of_a_model() {
    for padding in [1 << 16, 1 << 31, usize::MAX - 1] {
        let mut graph = graph([(input(), &[]), (convolution(1), &[0])], 8);
        if let Op::Convolution(convolution) = &mut graph.nodes[1].op {
            convolution.padding.before[1] = padding;
        }
        assert_eq!(graph.validate(), Err(GraphError::Large { node: 1 }));
    }
    let mut graph = graph([(input(), &[])], 8);
    graph.outputs[0].1 = vec![1 << 33, 1 << 33];
    assert!(matches!(
        graph.validate(),
        Err(GraphError::OutputShape { .. })
    ));
}

#[test]
fn a_depthwise_convolution_has_no_residual() {
    let mut graph = graph([(input(), &[]), (convolution(1), &[0])], 8);
    if let Op::Convolution(convolution) = &mut graph.nodes[1].op {
        convolution.is_depthwise = true;
        convolution.weights = vec![0.5; 16].into();
    }
    graph.validate().unwrap();
    if let Op::Convolution(convolution) = &mut graph.nodes[1].op {
        convolution.residual_stride = Some(1);
    }
    graph.nodes[1].inputs.push(0);
    assert!(graph.validate().is_err());
}

#[test]
fn a_clamp_has_bounds_in_order() {
    for (low, high) in [(Some(1.0), Some(0.0)), (Some(f32::NAN), None)] {
        let activation = Activation::Clamp { low, high };
        let error = refused(|graph| graph.nodes[2].op = Op::Activate(activation));
        assert_eq!(error, GraphError::Activation { node: 2 });
    }
    let curve = Op::Activate(Activation::Curve(Curve::Swish));
    let mut graph = graph([(input(), &[]), (curve, &[0])], 8);
    graph.validate().unwrap();
    graph.nodes[1].inputs = vec![1];
    assert!(graph.validate().is_err());
}
