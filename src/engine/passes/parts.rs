//! Gives each part of a concatenation memory of its own, so that its node can write into the whole.
//!
//! A tensor can be a part of one concatenation only, once, and it must be written by a node that writes channel blocks.
//! Elsewhere a copy becomes the part.

use crate::{
    activation::Activation,
    graph::{Graph, Node, NodeId, Op},
};

pub(super) fn run(graph: &mut Graph) {
    let mut is_part = vec![false; graph.nodes.len()];
    let mut node = 0;
    while node < graph.nodes.len() {
        if graph.nodes[node].op == Op::Concat {
            for part in 0..graph.nodes[node].inputs.len() {
                let tensor = graph.nodes[node].inputs[part];
                let is_input = matches!(graph.nodes[tensor].op, Op::Input { .. });
                if is_part[tensor] || is_input {
                    insert_copy(graph, node, part);
                    is_part.insert(node, true);
                    node += 1;
                } else {
                    is_part[tensor] = true;
                }
            }
        }
        node += 1;
    }
}

/// Inserts a copy of the input `part` of a node before the node, and lets the node read the copy.
fn insert_copy(graph: &mut Graph, node: NodeId, part: usize) {
    let tensor = graph.nodes[node].inputs[part];
    let moved = |id: NodeId| if id >= node { id + 1 } else { id };
    for later in &mut graph.nodes[node..] {
        for input in &mut later.inputs {
            *input = moved(*input);
        }
    }
    for (output, _) in &mut graph.outputs {
        *output = moved(*output);
    }
    graph.nodes[node].inputs[part] = node;
    let copy = Node {
        op: Op::Activate(Activation::NONE),
        inputs: vec![tensor],
        shape: graph.shape(tensor),
    };
    graph.nodes.insert(node, copy);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{convolution, graph, input},
        graph::Shape,
    };

    #[test]
    fn a_tensor_that_is_a_part_twice_or_an_input_is_copied() {
        let mut graph = graph([(input(), &[]), (convolution(1), &[0])], 8);
        let shape = |channels| Shape {
            channels,
            ..graph.shape(0)
        };
        let (two, three) = (shape(32), shape(48));
        graph.push(Op::Concat, &[1, 0], two);
        graph.push(Op::Concat, &[2, 1], three);
        graph.outputs = vec![(3, vec![1, 48, 8, 8])];
        run(&mut graph);
        graph.validate().unwrap();

        let concats: Vec<&Node> = graph
            .nodes
            .iter()
            .filter(|node| node.op == Op::Concat)
            .collect();
        let copy = Op::Activate(Activation::NONE);
        assert_eq!(graph.nodes[concats[0].inputs[1]].op, copy);
        assert_eq!(graph.nodes[concats[1].inputs[1]].op, copy);
        assert_eq!(graph.nodes[concats[1].inputs[1]].inputs, [1]);
        assert_eq!(graph.outputs[0].0, graph.nodes.len() - 1);
        let before = graph.clone();
        run(&mut graph);
        assert_eq!(graph, before);
    }
}
