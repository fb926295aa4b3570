use super::*;
use crate::{
    activation::Activation,
    fixtures::{affine, convolution, graph, input},
    graph::Padding,
    program::Halo,
};

#[test]
fn an_invalid_graph_is_refused_instead_of_cut_to_size() {
    let mut graph = graph([(input(), &[]), (convolution(1), &[0])], 8);
    let Op::Convolution(convolution) = &mut graph.nodes[1].op else {
        unreachable!("the second node is a convolution")
    };
    convolution.bias = vec![1.0; 40].into();
    assert!(matches!(
        plan(&graph),
        Err(GraphError::Parameters { what: "biases", .. })
    ));
}

#[test]
fn padding_becomes_the_halo_and_few_channels_stay_narrow() {
    let shape = |channels| Shape {
        channels,
        height: 8,
        width: 8,
    };
    let mut graph = Graph::default();
    let op = Op::Input {
        index: 0,
        layout: TensorLayout::Nhwc,
        affine: None,
    };
    graph.push(op, &[], shape(3));
    let op = Op::Convolution(Convolution {
        weights: vec![0.0; 16 * 3 * 5 * 5].into(),
        bias: vec![1.0; 16].into(),
        is_depthwise: false,
        kernel: [5, 5],
        stride: [1, 1],
        padding: Padding {
            before: [2, 1],
            after: [2, 3],
        },
        residual_stride: None,
        has_gate: false,
        activation: Activation::RELU,
    });
    graph.push(op, &[0], shape(16));
    graph.outputs.push((1, vec![1, 16, 8, 8]));
    let (program, weights) = plan(&graph).unwrap();
    let [_, Step::Direct(direct), _] = &program.steps[..] else {
        panic!("{program:?}");
    };
    assert_eq!((direct.input.lanes, direct.output.lanes), (3, BLOCK));
    let halo = Halo {
        top: 2,
        left: 1,
        bottom: 2,
        right: 3,
    };
    assert_eq!(direct.input.halo, halo);
    assert_eq!(direct.window.origin, [0, 0]);
    assert_eq!(weights[direct.bias..], [1.0; 16]);
    assert_eq!(program.inputs, [[1, 8, 8, 3]]);
}

#[test]
fn tiles_of_winograds_algorithm_follow_the_size() {
    let three = |size| {
        let mut op = convolution(1);
        if let Op::Convolution(convolution) = &mut op {
            convolution.kernel = [3, 3];
            convolution.weights = vec![0.0; 16 * 16 * 9].into();
            convolution.padding.before = [1, 1];
            convolution.padding.after = [1, 1];
        }
        graph([(input(), &[]), (op, &[0])], size)
    };
    for (size, tile) in [(28, Some(4)), (14, Some(2)), (7, None)] {
        let (program, _) = plan(&three(size)).unwrap();
        let found = match &program.steps[1] {
            Step::Winograd(winograd) => Some(winograd.output_tile),
            _ => None,
        };
        assert_eq!(found, tile, "{size}×{size}");
    }
}

#[test]
fn a_normalised_input_is_loaded_with_its_scales_and_shifts() {
    let mut op = input();
    let Op::Input {
        affine: function, ..
    } = &mut op
    else {
        unreachable!("the fixture is an input")
    };
    *function = Some(affine(2.0, 3.0));
    let (program, weights) = plan(&graph([(op, &[])], 2)).unwrap();
    let Step::Load(load) = &program.steps[0] else {
        panic!("{program:?}");
    };
    let [scale, shift] = load.affine.unwrap();
    assert_eq!((weights[scale], weights[shift]), (2.0, 3.0));
}
