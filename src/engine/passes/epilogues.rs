//! Fuses a sum and an activation into the node before them, as its residual and its activation.

use crate::{
    activation::Activation,
    graph::{Graph, NodeId, Op},
};

/// A sum becomes the residual of a convolution if nothing else reads the convolution and the other summand is
/// produced before it. An activation becomes that of the node before it if nothing else reads that node.
pub(super) fn run(graph: &mut Graph) {
    super::rewrite(graph, |graph, node, readers| {
        let inputs = graph.nodes[node].inputs.clone();
        match (&graph.nodes[node].op, &inputs[..]) {
            (&Op::Add(activation), &[a, b]) => {
                fuse_sum(graph, [a.min(b), a.max(b)], activation, readers)
            }
            (&Op::Activate(activation), &[input]) if readers[input] == 1 => {
                let own = graph.nodes[input].op.activation_mut()?;
                if *own != Activation::NONE {
                    return None;
                }
                *own = activation;
                Some(input)
            }
            _ => None,
        }
    });
}

fn fuse_sum(
    graph: &mut Graph,
    [first, last]: [NodeId; 2],
    activation: Activation,
    readers: &[usize],
) -> Option<NodeId> {
    let node = &mut graph.nodes[last];
    let Op::Convolution(convolution) = &mut node.op else {
        return None;
    };
    let is_free = convolution.residual_stride.is_none()
        && convolution.activation == Activation::NONE
        && !convolution.is_depthwise
        && !convolution.has_gate
        && first != last
        && readers[last] == 1;
    if !is_free {
        return None;
    }
    convolution.residual_stride = Some(1);
    convolution.activation = activation;
    node.inputs.push(first);
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{convolution, graph, input};

    const RELU: Activation = Activation::RELU;

    #[test]
    fn a_sum_and_its_activation_become_the_epilogue_of_the_convolution() {
        let mut graph = graph(
            [
                (input(), &[]),
                (convolution(1), &[0]),
                (Op::Add(Activation::NONE), &[1, 0]),
                (Op::Activate(RELU), &[2]),
            ],
            8,
        );
        run(&mut graph);

        let [_, node] = &graph.nodes[..] else {
            panic!("{graph:?}");
        };
        let Op::Convolution(convolution) = &node.op else {
            panic!("{node:?}");
        };
        assert_eq!(node.inputs, [0, 0]);
        assert_eq!(convolution.residual_stride, Some(1));
        assert_eq!(convolution.activation, RELU);
        assert_eq!(graph.outputs[0].0, 1);
    }

    #[test]
    fn a_convolution_with_a_second_reader_is_left_alone() {
        let mut graph = graph(
            [
                (input(), &[]),
                (convolution(1), &[0]),
                (Op::Add(RELU), &[0, 1]),
            ],
            8,
        );
        graph.outputs.push((1, vec![1, 16, 8, 8]));
        let before = graph.clone();
        run(&mut graph);
        assert_eq!(graph, before);
    }

    #[test]
    fn a_second_activation_stays_a_node() {
        let mut graph = graph(
            [
                (input(), &[]),
                (convolution(1), &[0]),
                (Op::Activate(RELU), &[1]),
                (
                    Op::Activate(Activation::Curve(crate::activation::Curve::Swish)),
                    &[2],
                ),
            ],
            8,
        );
        run(&mut graph);
        assert_eq!(graph.nodes.len(), 3);
        assert!(matches!(graph.nodes[2].op, Op::Activate(_)));
        assert_eq!(graph.nodes[2].inputs, [1]);
    }
}
