//! Recognises curves that are written as several nodes: hard-sigmoid, swish and hard-swish.

use crate::{
    activation::{Activation, Curve},
    graph::{Affine, Graph, NodeId, Op},
};

pub(super) fn run(graph: &mut Graph) {
    super::rewrite(graph, |graph, node, _| {
        if let Some(input) = hard_sigmoid(graph, node) {
            become_curve(graph, node, input, Curve::HardSigmoid);
        } else if let Some((input, curve)) = gated_by_itself(graph, node) {
            become_curve(graph, node, input, curve);
        }
        None
    });
}

fn become_curve(graph: &mut Graph, node: NodeId, input: NodeId, curve: Curve) {
    let node = &mut graph.nodes[node];
    node.op = Op::Activate(Activation::Curve(curve));
    node.inputs = vec![input];
}

/// The x of min(max(x + 3, 0), 6) ÷ 6.
fn hard_sigmoid(graph: &Graph, node: NodeId) -> Option<NodeId> {
    const RELU6: Activation = Activation::Clamp {
        low: Some(0.0),
        high: Some(6.0),
    };
    let is = |affine: &Affine, scale: f32, shift: f32| {
        affine.scale.iter().all(|&value| value == scale)
            && affine.shift.iter().all(|&value| value == shift)
    };
    let (Op::Affine(outer, Activation::NONE), [clamp]) = parts(graph, node) else {
        return None;
    };
    let (Op::Activate(RELU6), [inner]) = parts(graph, *clamp) else {
        return None;
    };
    let (Op::Affine(inner, Activation::NONE), [x]) = parts(graph, *inner) else {
        return None;
    };
    (is(outer, 1.0 / 6.0, 0.0) && is(inner, 1.0, 3.0)).then_some(*x)
}

/// The x of x · sigmoid(x) or x · hard-sigmoid(x), and which of them it is.
fn gated_by_itself(graph: &Graph, node: NodeId) -> Option<(NodeId, Curve)> {
    let (Op::Multiply, &[a, b]) = parts(graph, node) else {
        return None;
    };
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let (Op::Activate(Activation::Curve(curve)), [input]) = parts(graph, gate) else {
            return None;
        };
        let gated = match curve {
            Curve::Sigmoid => Curve::Swish,
            Curve::HardSigmoid => Curve::HardSwish,
            _ => return None,
        };
        (*input == x).then_some((x, gated))
    })
}

fn parts(graph: &Graph, node: NodeId) -> (&Op, &[NodeId]) {
    (&graph.nodes[node].op, &graph.nodes[node].inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{affine, graph, input};

    fn hard_sigmoid_nodes(scale: f32) -> Graph {
        let clamp = Activation::Clamp {
            low: Some(0.0),
            high: Some(6.0),
        };
        graph(
            [
                (input(), &[]),
                (Op::Affine(affine(1.0, 3.0), Activation::NONE), &[0]),
                (Op::Activate(clamp), &[1]),
                (Op::Affine(affine(scale, 0.0), Activation::NONE), &[2]),
                (Op::Multiply, &[3, 0]),
            ],
            8,
        )
    }

    #[test]
    fn a_hard_swish_of_four_nodes_becomes_one() {
        let mut graph = hard_sigmoid_nodes(1.0 / 6.0);
        run(&mut graph);
        assert_eq!(graph.nodes.len(), 2);
        let hard_swish = Op::Activate(Activation::Curve(Curve::HardSwish));
        assert_eq!(graph.nodes[1].op, hard_swish);
        assert_eq!(graph.nodes[1].inputs, [0]);
    }

    #[test]
    fn another_slope_is_no_hard_sigmoid() {
        let mut graph = hard_sigmoid_nodes(0.2);
        let before = graph.clone();
        run(&mut graph);
        assert_eq!(graph, before);
    }

    #[test]
    fn a_product_with_the_sigmoid_of_another_tensor_is_no_swish() {
        let sigmoid = || Op::Activate(Activation::Curve(Curve::Sigmoid));
        let swish = |gate| {
            [
                (input(), &[][..]),
                (sigmoid(), &[0]),
                (sigmoid(), &[1]),
                (Op::Multiply, gate),
            ]
        };
        let mut other = graph(swish(&[0, 2]), 8);
        run(&mut other);
        assert_eq!(other.nodes.len(), 4);
        let mut own = graph(swish(&[1, 0]), 8);
        run(&mut own);
        assert_eq!(own.nodes.len(), 2);
    }
}
