//! Moves strides to earlier convolutions, which then compute less.
//!
//! If all readers of a tensor are 1×1 convolutions with stride s and without padding, they read only every s-th row and
//! column. The convolution before them computes just these pixels if its own stride, and the stride of its residual,
//! are multiplied by s; its windows there are the same, and so are the outputs, to the bit. The readers then have
//! stride 1. Keras's ResNets have such a stride at the head of each stage, and would throw away three quarters of the
//! previous stage's last tensor.

use crate::graph::{Convolution, Graph, Node, NodeId, Op};

pub(super) fn run(graph: &mut Graph) {
    // From the end: a stride may move on to the convolution before.
    for node in (0..graph.nodes.len()).rev() {
        let Some(stride) = common_stride(graph, node) else {
            continue;
        };
        let Node { op, shape, .. } = &mut graph.nodes[node];
        let Op::Convolution(convolution) = op else {
            continue;
        };
        convolution.stride = convolution.stride.map(|own| own * stride);
        if let Some(residual) = &mut convolution.residual_stride {
            *residual *= stride;
        }
        shape.height = shape.height.div_ceil(stride);
        shape.width = shape.width.div_ceil(stride);
        for reader in &mut graph.nodes {
            if let Op::Convolution(Convolution { stride, .. }) = &mut reader.op
                && reader.inputs[0] == node
            {
                *stride = [1, 1];
            }
        }
    }
}

/// The stride at which all readers of a tensor sample it, if it is above 1 and the same for all.
fn common_stride(graph: &Graph, node: NodeId) -> Option<usize> {
    if graph.is_output(node) {
        return None;
    }
    let mut common = None;
    for reader in &graph.nodes {
        if reader.inputs.contains(&node) {
            let stride = pointwise_stride(reader, node)?;
            if *common.get_or_insert(stride) != stride {
                return None;
            }
        }
    }
    common.filter(|&stride| stride > 1)
}

/// The stride of a 1×1 convolution without padding that reads `tensor` as its input, and not as its residual.
fn pointwise_stride(reader: &Node, tensor: NodeId) -> Option<usize> {
    match &reader.op {
        Op::Convolution(convolution)
            if convolution.is_pointwise()
                && convolution.stride[0] == convolution.stride[1]
                && !reader.inputs[1..].contains(&tensor) =>
        {
            Some(convolution.stride[0])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{convolution, graph, input, shape},
        graph::Reduction,
    };

    fn stride(graph: &Graph, node: NodeId) -> [usize; 2] {
        match &graph.nodes[node].op {
            Op::Convolution(convolution) => convolution.stride,
            op => panic!("{op:?}"),
        }
    }

    /// A convolution with the input as its residual, and its readers.
    fn stage<const N: usize>(readers: [Op; N]) -> Graph {
        let mut graph = graph([(input(), &[]), (convolution(1), &[0, 0])], 7);
        let Op::Convolution(first) = &mut graph.nodes[1].op else {
            unreachable!("the second node is a convolution")
        };
        first.residual_stride = Some(1);
        graph.outputs.clear();
        for op in readers {
            let node = graph.push(op, &[1], shape(4));
            graph.outputs.push((node, vec![1, 16, 4, 4]));
        }
        graph
    }

    #[test]
    fn the_stride_of_all_readers_moves_into_the_convolution_and_its_residual() {
        let mut graph = stage([convolution(2), convolution(2)]);
        run(&mut graph);
        assert_eq!(
            [1, 2, 3].map(|node| stride(&graph, node)),
            [[2, 2], [1, 1], [1, 1]]
        );
        assert_eq!(graph.shape(1), shape(4));
        let Op::Convolution(first) = &graph.nodes[1].op else {
            unreachable!("the second node is a convolution")
        };
        assert_eq!(first.residual_stride, Some(2));
    }

    #[test]
    fn a_reader_of_all_pixels_keeps_the_stride_where_it_is() {
        for readers in [
            [convolution(2), convolution(1)],
            [convolution(2), convolution(3)],
            [convolution(2), Op::GlobalPool(Reduction::Mean)],
        ] {
            let mut graph = stage(readers);
            let before = graph.clone();
            run(&mut graph);
            assert_eq!(graph, before);
        }
    }

    #[test]
    fn an_output_of_the_network_keeps_all_its_pixels() {
        let mut graph = stage([convolution(2)]);
        graph.outputs.push((1, vec![1, 16, 7, 7]));
        let before = graph.clone();
        run(&mut graph);
        assert_eq!(graph, before);
    }
}
