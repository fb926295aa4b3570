use super::*;
use crate::fixtures::{convolution, input, network};

#[test]
fn an_invalid_network_is_refused_instead_of_cut_to_size() {
    let mut network = network([input(), convolution(0, 1)], 8);
    let Layer::Convolution { bias, .. } = &mut network.layers[1].0 else {
        unreachable!("the second layer is a convolution")
    };
    *bias = vec![1.0; 40].into();
    assert!(matches!(
        lower(&network),
        Err(NetworkError::Parameters { what: "biases", .. })
    ));
}

#[test]
fn padding_becomes_the_halo_and_few_channels_stay_narrow() {
    let shape = |channels| Shape {
        channels,
        height: 8,
        width: 8,
    };
    let mut network = Network::default();
    let layout = TensorLayout::Nhwc;
    network.push(Layer::Input { index: 0, layout }, shape(3));
    let layer = Layer::Convolution {
        input: 0,
        weights: vec![0.0; 16 * 3 * 5 * 5].into(),
        bias: vec![1.0; 16].into(),
        kernel: [5, 5],
        stride: [1, 1],
        padding: Padding {
            before: [2, 1],
            after: [2, 3],
        },
        residual: None,
        clamp: Clamp::RELU,
    };
    network.push(layer, shape(16));
    network.outputs.push((1, vec![1, 16, 8, 8]));
    let (program, weights) = lower(&network).unwrap();
    let [_, Operation::Direct(convolution), _] = &program.operations[..] else {
        panic!("{program:?}");
    };
    assert_eq!(
        (convolution.input.lanes, convolution.output.lanes),
        (3, BLOCK)
    );
    let halo = Halo {
        top: 2,
        left: 1,
        bottom: 2,
        right: 3,
    };
    assert_eq!(convolution.input.halo, halo);
    assert_eq!(convolution.window.origin, [0, 0]);
    assert_eq!(weights[convolution.bias_offset..], [1.0; 16]);
    assert_eq!(program.inputs, [[1, 8, 8, 3]]);
}

#[test]
fn tiles_of_winograds_algorithm_follow_the_size() {
    let three = |size| {
        let mut layer = convolution(0, 1);
        if let Layer::Convolution {
            kernel,
            weights,
            padding,
            ..
        } = &mut layer
        {
            *kernel = [3, 3];
            *weights = vec![0.0; 16 * 16 * 9].into();
            (padding.before, padding.after) = ([1, 1], [1, 1]);
        }
        network([input(), layer], size)
    };
    for (size, tile) in [(28, Some(4)), (14, Some(2)), (7, None)] {
        let (program, _) = lower(&three(size)).unwrap();
        let found = match &program.operations[1] {
            Operation::Winograd(convolution) => Some(convolution.output_tile),
            _ => None,
        };
        assert_eq!(found, tile, "{size}×{size}");
    }
}
