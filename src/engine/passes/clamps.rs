//! Merges a clamp of a clamp into one.

use crate::{
    activation::Activation,
    graph::{Graph, Op},
};

pub(super) fn run(graph: &mut Graph) {
    super::rewrite(graph, |graph, node, readers| {
        let Op::Activate(outer) = graph.nodes[node].op else {
            return None;
        };
        let input = graph.nodes[node].inputs[0];
        let Op::Activate(inner) = graph.nodes[input].op else {
            return None;
        };
        let merged = compose(inner, outer)?;
        if readers[input] != 1 {
            return None;
        }
        graph.nodes[input].op = Op::Activate(merged);
        Some(input)
    });
}

/// The clamp that is `inner`, then `outer`. `None` if one of them is a curve.
fn compose(inner: Activation, outer: Activation) -> Option<Activation> {
    if inner.curve().is_some() || outer.curve().is_some() {
        return None;
    }
    let [low, high] = outer.bounds();
    let [low, high] = inner.bounds().map(|bound| bound.max(low).min(high));
    Some(Activation::Clamp {
        low: (low > f32::NEG_INFINITY).then_some(low),
        high: (high < f32::INFINITY).then_some(high),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        activation::Curve,
        fixtures::{graph, input},
    };

    fn clamp(low: Option<f32>, high: Option<f32>) -> Activation {
        Activation::Clamp { low, high }
    }

    #[test]
    fn a_maximum_and_a_minimum_become_one_clamp() {
        let low = Op::Activate(clamp(Some(0.0), None));
        let high = Op::Activate(clamp(None, Some(6.0)));
        let mut graph = graph([(input(), &[]), (low, &[0]), (high, &[1])], 8);
        run(&mut graph);
        assert_eq!(graph.nodes.len(), 2);
        let both = clamp(Some(0.0), Some(6.0));
        assert_eq!(graph.nodes[1].op, Op::Activate(both));
    }

    #[test]
    fn composed_bounds_give_what_both_clamps_give() {
        let bounds = [None, Some(-1.0), Some(0.0), Some(2.0)];
        let all = || {
            bounds
                .into_iter()
                .flat_map(|low| bounds.map(move |high| clamp(low, high)))
                .filter(|clamp| clamp.is_valid())
        };
        let apply = |x: f32, clamp: Activation| x.max(clamp.bounds()[0]).min(clamp.bounds()[1]);
        for inner in all() {
            for outer in all() {
                let composed = compose(inner, outer).unwrap();
                for x in [-9.0, -0.5, 0.0, 0.5, 9.0] {
                    assert_eq!(apply(x, composed), apply(apply(x, inner), outer));
                }
            }
        }
        assert_eq!(
            compose(Activation::Curve(Curve::Swish), Activation::RELU),
            None
        );
    }
}
