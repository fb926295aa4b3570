//! Graph passes: rewrites that leave the outputs as they are and save work.

mod clamps;
mod curves;
mod epilogues;
mod fold;
mod gates;
mod parts;
mod strides;

use std::mem;

use crate::graph::{Graph, NodeId, Op};

/// A graph pass.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// Its name.
    pub name: &'static str,
    /// Whether it may change outputs by rounding. The others change no bit.
    pub rounds: bool,
    /// Rewrites a valid graph.
    pub run: fn(&mut Graph),
}

/// All passes, in the order in which they run. Each leaves a valid graph that computes the same outputs. `fold` rounds
/// weights, `curves` replaces x · sigmoid(x) by x ÷ (1 + exp(−x)), and `gates` multiplies in another order.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "clamps",
        rounds: false,
        run: clamps::run,
    },
    Pass {
        name: "curves",
        rounds: true,
        run: curves::run,
    },
    Pass {
        name: "fold",
        rounds: true,
        run: fold::run,
    },
    Pass {
        name: "epilogues",
        rounds: false,
        run: epilogues::run,
    },
    Pass {
        name: "gates",
        rounds: true,
        run: gates::run,
    },
    Pass {
        name: "strides",
        rounds: false,
        run: strides::run,
    },
    Pass {
        name: "parts",
        rounds: false,
        run: parts::run,
    },
];

/// Runs all passes.
pub fn run(graph: &mut Graph) {
    for pass in PASSES {
        (pass.run)(graph);
    }
}

/// The pass `parts`, which planning relies on.
pub(crate) fn separate_parts(graph: &mut Graph) {
    parts::run(graph);
}

/// Visits all nodes in order. `rule` gets the graph, the number of a node, and how often each tensor is read. If it
/// returns a tensor, that takes the place of the node's; the node itself is dropped. Nodes that nothing reads any more
/// are dropped too.
fn rewrite(graph: &mut Graph, rule: impl Fn(&mut Graph, NodeId, &[usize]) -> Option<NodeId>) {
    let mut readers = graph.readers();
    // The node that produces each tensor after the rewrite.
    let mut producer: Vec<NodeId> = (0..graph.nodes.len()).collect();
    for node in 0..graph.nodes.len() {
        for input in &mut graph.nodes[node].inputs {
            *input = producer[*input];
        }
        if let Some(replacement) = rule(graph, node, &readers) {
            producer[node] = replacement;
            // `node` was one reader of its replacement.
            readers[replacement] += readers[node];
            readers[replacement] -= 1;
        }
    }
    for (output, _) in &mut graph.outputs {
        *output = producer[*output];
    }
    sweep(graph);
}

/// Drops nodes whose tensor neither a node nor an output reads, and renumbers the others. Inputs of the network stay.
fn sweep(graph: &mut Graph) {
    let mut is_read = vec![false; graph.nodes.len()];
    for (output, _) in &graph.outputs {
        is_read[*output] = true;
    }
    for node in (0..graph.nodes.len()).rev() {
        is_read[node] |= matches!(graph.nodes[node].op, Op::Input { .. });
        if is_read[node] {
            for &input in &graph.nodes[node].inputs {
                is_read[input] = true;
            }
        }
    }
    // Unread tensors keep a number that no node has, so that a use of one cannot go unnoticed.
    let mut number = vec![NodeId::MAX; graph.nodes.len()];
    let mut kept = Vec::new();
    for (node, mut description) in mem::take(&mut graph.nodes).into_iter().enumerate() {
        if is_read[node] {
            for input in &mut description.inputs {
                *input = number[*input];
            }
            number[node] = kept.len();
            kept.push(description);
        }
    }
    graph.nodes = kept;
    for (output, _) in &mut graph.outputs {
        *output = number[*output];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        activation::Activation,
        fixtures::{convolution, graph, input, shape},
        program::TensorLayout,
    };

    #[test]
    fn nodes_that_nothing_reads_are_dropped() {
        let mut graph = graph(
            [
                (input(), &[]),
                (convolution(1), &[0]),
                (convolution(1), &[0]),
            ],
            8,
        );
        sweep(&mut graph);
        assert_eq!(graph.nodes.len(), 2);
        assert_eq!(graph.outputs, [(1, vec![1, 16, 8, 8])]);
        assert_eq!(graph.shape(1), shape(8));
    }

    #[test]
    fn an_input_of_the_network_stays_unread() {
        let second = Op::Input {
            index: 1,
            layout: TensorLayout::Nchw,
            affine: None,
        };
        let nodes = [(input(), &[][..]), (second, &[]), (convolution(1), &[1])];
        let mut graph = graph(nodes, 8);
        super::run(&mut graph);
        graph.validate().unwrap();
        assert_eq!(graph.nodes.len(), 3);
    }

    #[test]
    fn readers_of_a_dropped_node_read_its_replacement() {
        let copy = || Op::Activate(Activation::NONE);
        let mut graph = graph(
            [
                (input(), &[]),
                (copy(), &[0]),
                (copy(), &[1]),
                (convolution(1), &[2]),
            ],
            8,
        );
        rewrite(&mut graph, |graph, node, _| match graph.nodes[node].op {
            Op::Activate(_) => Some(graph.nodes[node].inputs[0]),
            _ => None,
        });
        assert_eq!(graph.nodes.len(), 2);
        assert_eq!(graph.nodes[1].inputs, [0]);
    }
}
