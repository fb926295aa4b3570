//! Folds affine functions of channels into the nodes around them: a batch norm after a convolution, one before a
//! convolution without padding, the normalisation of an input, and one affine function after another.

use std::sync::Arc;

use crate::{
    activation::Activation,
    graph::{Affine, Convolution, Graph, NodeId, Op, Padding},
};

pub(super) fn run(graph: &mut Graph) {
    super::rewrite(graph, |graph, node, readers| match graph.nodes[node].op {
        Op::Affine(..) => fold_back(graph, node, readers),
        Op::Convolution(_) => {
            fold_forward(graph, node, readers);
            None
        }
        _ => None,
    });
}

/// Folds an affine node into the node before it, and returns that.
fn fold_back(graph: &mut Graph, node: NodeId, readers: &[usize]) -> Option<NodeId> {
    let input = graph.nodes[node].inputs[0];
    let Op::Affine(affine, activation) = graph.nodes[node].op.clone() else {
        return None;
    };
    if readers[input] != 1 {
        return None;
    }
    match &mut graph.nodes[input].op {
        Op::Convolution(convolution)
            if convolution.residual_stride.is_none()
                && convolution.activation == Activation::NONE =>
        {
            convolution.fold_output(&affine);
            convolution.activation = activation;
            Some(input)
        }
        Op::Affine(first, own @ Activation::NONE) => {
            *first = first.then(&affine);
            *own = activation;
            Some(input)
        }
        Op::Input { affine: own, .. } if activation == Activation::NONE => {
            *own = Some(match own {
                Some(first) => first.then(&affine),
                None => affine,
            });
            Some(input)
        }
        _ => None,
    }
}

/// Folds the affine node that a convolution reads into the convolution.
fn fold_forward(graph: &mut Graph, node: NodeId, readers: &[usize]) {
    let input = graph.nodes[node].inputs[0];
    let Op::Affine(affine, Activation::NONE) = graph.nodes[input].op.clone() else {
        return;
    };
    let before = graph.nodes[input].inputs[0];
    let Op::Convolution(convolution) = &mut graph.nodes[node].op else {
        return;
    };
    // In the padding, the convolution reads zeros and not the shift.
    let is_exact =
        convolution.padding == Padding::default() || affine.shift.iter().all(|&shift| shift == 0.0);
    if is_exact && readers[input] == 1 && !convolution.has_gate {
        convolution.fold_input(&affine);
        graph.nodes[node].inputs[0] = before;
    }
}

impl Affine {
    /// This function, then `next`.
    fn then(&self, next: &Self) -> Self {
        let channels = 0..self.scale.len();
        let shift = |c: usize| {
            let shift = f64::from(self.shift[c]) * f64::from(next.scale[c]);
            (shift + f64::from(next.shift[c])) as f32
        };
        Self {
            scale: channels
                .clone()
                .map(|c| self.scale[c] * next.scale[c])
                .collect(),
            shift: channels.map(shift).collect(),
        }
    }
}

impl Convolution {
    /// Folds `affine`, applied to the output, into weights and biases.
    fn fold_output(&mut self, affine: &Affine) {
        let per_channel = self.weights.len() / self.bias.len();
        let weights = self.weights.chunks_exact(per_channel).enumerate();
        self.weights = weights
            .flat_map(|(c, weights)| weights.iter().map(move |weight| (c, weight)))
            .map(|(c, weight)| weight * affine.scale[c])
            .collect();
        let bias = |(c, &bias): (usize, &f32)| {
            let scaled = f64::from(bias) * f64::from(affine.scale[c]);
            (scaled + f64::from(affine.shift[c])) as f32
        };
        self.bias = self.bias.iter().enumerate().map(bias).collect();
    }

    /// Folds `affine`, applied to the input, into weights and biases.
    fn fold_input(&mut self, affine: &Affine) {
        let taps = self.kernel[0] * self.kernel[1];
        let per_output = self.weights.len() / self.bias.len();
        // The input channel of a weight.
        let channel = |weight: usize| match self.is_depthwise {
            true => weight / taps,
            false => weight % per_output / taps,
        };
        let mut bias: Vec<f64> = self.bias.iter().map(|&bias| f64::from(bias)).collect();
        let mut weights = Vec::with_capacity(self.weights.len());
        for (n, weight) in self.weights.iter().enumerate() {
            bias[n / per_output] += f64::from(*weight) * f64::from(affine.shift[channel(n)]);
            weights.push(weight * affine.scale[channel(n)]);
        }
        self.weights = weights.into();
        self.bias = bias
            .into_iter()
            .map(|bias| bias as f32)
            .collect::<Arc<[f32]>>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{affine, convolution, graph, input};

    fn affine_node(scale: f32, shift: f32) -> Op {
        Op::Affine(affine(scale, shift), Activation::NONE)
    }

    fn only_convolution(graph: &Graph) -> &Convolution {
        match &graph.nodes[..] {
            [_, node] => match &node.op {
                Op::Convolution(convolution) => convolution,
                op => panic!("{op:?}"),
            },
            nodes => panic!("{nodes:?}"),
        }
    }

    #[test]
    fn an_affine_node_after_a_convolution_changes_its_weights_and_bias() {
        let mut graph = graph(
            [
                (input(), &[]),
                (convolution(1), &[0]),
                (Op::Affine(affine(2.0, 3.0), Activation::RELU), &[1]),
            ],
            8,
        );
        run(&mut graph);
        let folded = only_convolution(&graph);
        // Weights of 0.5, and a bias of 0.25.
        assert_eq!((folded.weights[0], folded.bias[0]), (1.0, 3.5));
        assert_eq!(folded.activation, Activation::RELU);
    }

    #[test]
    fn an_affine_node_before_a_convolution_is_folded_if_there_is_no_padding() {
        let nodes = || {
            let activate = Op::Activate(Activation::RELU);
            [
                (input(), &[][..]),
                (activate, &[0]),
                (affine_node(2.0, 1.0), &[1]),
                (convolution(1), &[2]),
            ]
        };
        let mut exact = graph(nodes(), 8);
        run(&mut exact);
        assert_eq!(exact.nodes.len(), 3);
        let Op::Convolution(folded) = &exact.nodes[2].op else {
            panic!("{exact:?}");
        };
        assert_eq!(
            (folded.weights[0], folded.bias[0]),
            (1.0, 0.25 + 16.0 * 0.5)
        );

        let mut padded = graph(nodes(), 8);
        let Op::Convolution(convolution) = &mut padded.nodes[3].op else {
            unreachable!("the last node is a convolution")
        };
        convolution.padding.before = [1, 0];
        run(&mut padded);
        assert_eq!(padded.nodes.len(), 4);
    }

    #[test]
    fn a_chain_at_the_input_becomes_its_normalisation() {
        let mut graph = graph(
            [
                (input(), &[]),
                (affine_node(0.5, 0.0), &[0]),
                (affine_node(4.0, -1.0), &[1]),
                (Op::Activate(Activation::RELU), &[2]),
            ],
            8,
        );
        run(&mut graph);
        assert_eq!(graph.nodes.len(), 2);
        let Op::Input {
            affine: Some(folded),
            ..
        } = &graph.nodes[0].op
        else {
            panic!("{graph:?}");
        };
        assert_eq!((folded.scale[0], folded.shift[0]), (2.0, -1.0));
    }

    #[test]
    fn a_tensor_with_a_second_reader_is_left_alone() {
        let mut graph = graph(
            [
                (input(), &[]),
                (convolution(1), &[0]),
                (affine_node(2.0, 3.0), &[1]),
            ],
            8,
        );
        graph.outputs.push((1, vec![1, 16, 8, 8]));
        let before = graph.clone();
        run(&mut graph);
        assert_eq!(graph, before);
    }
}
