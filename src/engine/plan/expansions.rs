//! Expansions: 1×1 convolutions that are fused into the depthwise convolution that reads them.

use crate::graph::{Graph, NodeId, Op};

/// By node: the depthwise convolution that is the only reader of a 1×1 convolution.
pub(super) fn depthwise_of(graph: &Graph) -> Vec<Option<NodeId>> {
    let mut readers = vec![Vec::new(); graph.nodes.len()];
    for (reader, node) in graph.nodes.iter().enumerate() {
        for &input in &node.inputs {
            readers[input].push(reader);
        }
    }
    let is_depthwise = |node: NodeId| match &graph.nodes[node].op {
        Op::Convolution(convolution) => convolution.is_depthwise,
        _ => false,
    };
    let is_expansion = |node: NodeId| match &graph.nodes[node].op {
        Op::Convolution(convolution) => {
            let reads_one = convolution.residual_stride.is_none() && !convolution.has_gate;
            convolution.is_pointwise() && reads_one && !graph.is_output(node)
        }
        _ => false,
    };
    let of = |node: NodeId| match readers[node][..] {
        [reader] if is_expansion(node) && is_depthwise(reader) => Some(reader),
        _ => None,
    };
    (0..graph.nodes.len()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{convolution, graph, input};

    fn depthwise() -> Op {
        let mut op = convolution(1);
        if let Op::Convolution(convolution) = &mut op {
            convolution.is_depthwise = true;
            convolution.weights = vec![0.5; 16].into();
        }
        op
    }

    #[test]
    fn an_expansion_is_read_by_one_depthwise_convolution_alone() {
        let nodes = || {
            [
                (input(), &[][..]),
                (convolution(1), &[0]),
                (depthwise(), &[1]),
            ]
        };
        let mut read_once = graph(nodes(), 4);
        assert_eq!(depthwise_of(&read_once), [None, Some(2), None]);
        read_once.outputs.push((1, vec![1, 16, 4, 4]));
        assert_eq!(depthwise_of(&read_once), [None; 3]);

        let [first, second, third] = nodes();
        let read_twice = graph([first, second, third, (depthwise(), &[1])], 4);
        assert_eq!(depthwise_of(&read_twice), [None; 4]);
    }
}
