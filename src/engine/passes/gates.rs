//! Fuses the scaling of channels, as in squeeze-and-excite, into the 1×1 convolution that reads the scaled feature map.
//!
//! The convolution multiplies its weights by the factors instead of the feature map. There are fewer weights than
//! values if the output has more pixels than channels.

use crate::{
    graph::{Graph, NodeId, Op},
    plan::tuning::PIXELS_PER_CHUNK,
};

pub(super) fn run(graph: &mut Graph) {
    super::rewrite(graph, |graph, node, readers| {
        let product = *graph.nodes[node].inputs.first()?;
        if readers[product] == 1 && pays(graph, node) {
            let [input, gate] = graph.nodes[product].inputs[..] else {
                return None;
            };
            if graph.nodes[product].op == Op::Multiply && graph.shape(gate).pixels() == 1 {
                fuse(graph, node, input, gate);
            }
        }
        None
    });
}

/// Whether a node is a 1×1 convolution for which scaling the weights, once for each chunk of pixels, costs less than
/// scaling the input.
fn pays(graph: &Graph, node: NodeId) -> bool {
    let shape = graph.shape(node);
    match &graph.nodes[node].op {
        Op::Convolution(of) => {
            let chunk = shape.pixels().min(PIXELS_PER_CHUNK);
            of.is_pointwise() && !of.has_gate && chunk > shape.channels
        }
        _ => false,
    }
}

fn fuse(graph: &mut Graph, node: NodeId, input: NodeId, gate: NodeId) {
    let node = &mut graph.nodes[node];
    if let Op::Convolution(of) = &mut node.op {
        of.has_gate = true;
        node.inputs[0] = input;
        node.inputs.push(gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{convolution, graph, input, shape},
        graph::{Reduction, Shape},
    };

    fn gated(size: usize) -> Graph {
        let mut graph = graph([(input(), &[])], size);
        let pixel = Shape {
            height: 1,
            width: 1,
            ..shape(size)
        };
        let gate = graph.push(Op::GlobalPool(Reduction::Mean), &[0], pixel);
        let product = graph.push(Op::Multiply, &[0, gate], shape(size));
        let last = graph.push(convolution(1), &[product], shape(size));
        graph.outputs = vec![(last, vec![1, 16, size, size])];
        graph
    }

    #[test]
    fn a_product_with_a_gate_becomes_that_of_the_weights() {
        let mut graph = gated(8);
        run(&mut graph);
        graph.validate().unwrap();
        let [_, _, node] = &graph.nodes[..] else {
            panic!("{graph:?}");
        };
        assert!(matches!(&node.op, Op::Convolution(of) if of.has_gate));
        assert_eq!(node.inputs, [0, 1]);
    }

    #[test]
    fn a_small_feature_map_is_multiplied_itself() {
        // 9 pixels and 16 channels.
        let mut graph = gated(3);
        let before = graph.clone();
        run(&mut graph);
        assert_eq!(graph, before);
    }
}
