//! Planning: a graph becomes a program. Feature maps get a halo and a place in the arena, convolutions an algorithm, and
//! weights are packed.

mod arena;
mod expansions;
mod layout;
pub(crate) mod tuning;

use crate::{
    graph::{Convolution, Graph, GraphError, NodeId, Op, Shape},
    program::{BLOCK, FeatureMap, Program, TensorLayout, Window},
    steps::{Step, Store},
};

/// Plans a graph: returns its program and its packed weights.
///
/// # Errors
///
/// A [`GraphError`] if the graph is not valid.
pub fn plan(graph: &Graph) -> Result<(Program, Vec<f32>), GraphError> {
    let mut graph = graph.clone();
    graph.validate()?;
    // The parts of concatenations need memory of their own, also if no other pass ran.
    crate::passes::separate_parts(&mut graph);
    graph.validate()?;
    Ok(Planner::new(&graph).run())
}

/// What is known of a graph while its steps are planned.
pub(crate) struct Planner<'a> {
    pub(crate) graph: &'a Graph,
    /// By node.
    feature_maps: Vec<FeatureMap>,
    /// By node: the depthwise convolution into which a 1×1 convolution is fused.
    depthwise_of: Vec<Option<NodeId>>,
    /// Length of the arena in floats.
    arena_len: usize,
    weights: Vec<f32>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph) -> Self {
        let depthwise_of = expansions::depthwise_of(graph);
        let (feature_maps, arena_len) = layout::feature_maps(graph, &depthwise_of);
        Self {
            graph,
            feature_maps,
            depthwise_of,
            arena_len,
            weights: Vec::new(),
        }
    }

    fn run(mut self) -> (Program, Vec<f32>) {
        let mut steps = Vec::new();
        let mut inputs = Vec::new();
        for (node, description) in self.graph.nodes.iter().enumerate() {
            if let Op::Input { index, layout, .. } = description.op {
                inputs.push((index, input_shape(description.shape, layout)));
            }
            steps.extend(Step::plan(&mut self, node));
        }
        // Validation found the indices to be 0, 1, 2 and so on.
        inputs.sort();
        let mut outputs = Vec::new();
        for (output, (node, shape)) in self.graph.outputs.iter().enumerate() {
            outputs.push(shape.clone());
            steps.push(Step::Store(Store {
                input: self.feature_maps[*node],
                channels: self.graph.shape(*node).channels,
                output,
            }));
        }
        let program = Program {
            inputs: inputs.into_iter().map(|(_, shape)| shape).collect(),
            outputs,
            steps,
            arena_len: self.arena_len,
            weights_len: self.weights.len(),
        };
        (program, self.weights)
    }

    /// The feature map that a node writes.
    pub(crate) fn feature_map(&self, node: NodeId) -> FeatureMap {
        self.feature_maps[node]
    }

    /// The feature map that a node reads as its input number `slot`.
    pub(crate) fn input_map(&self, node: NodeId, slot: usize) -> FeatureMap {
        self.feature_maps[self.graph.nodes[node].inputs[slot]]
    }

    /// The depthwise convolution into which the 1×1 convolution `node` is fused.
    pub(crate) fn depthwise_of(&self, node: NodeId) -> Option<NodeId> {
        self.depthwise_of[node]
    }

    /// The 1×1 convolution that is fused into the depthwise convolution `node`.
    pub(crate) fn expansion_of(&self, node: NodeId) -> Option<(NodeId, &'a Convolution)> {
        let input = self.graph.nodes[node].inputs[0];
        match &self.graph.nodes[input].op {
            Op::Convolution(of) if self.depthwise_of[input] == Some(node) => Some((input, of)),
            _ => None,
        }
    }

    /// The windows of a convolution over its input.
    pub(crate) fn window(&self, node: NodeId, convolution: &Convolution) -> Window {
        let halo = self.input_map(node, 0).halo;
        let [top, left] = convolution.padding.before;
        Window {
            kernel: convolution.kernel,
            stride: convolution.stride,
            // The halo is at least as wide as the padding.
            origin: [halo.top - top, halo.left - left],
        }
    }

    /// Rows and columns of an output tile, for a convolution that is computed by Winograd's algorithm.
    pub(crate) fn winograd_tile(&self, node: NodeId) -> Option<usize> {
        winograd_tile(self.graph, &self.feature_maps, node)
    }

    /// Adds `values` to the weights, then zeros up to `len` values, and returns their offset, which is that of a cache
    /// line.
    ///
    /// # Panics
    ///
    /// If there are more than `len` values.
    pub(crate) fn push_weights(&mut self, values: &[f32], len: usize) -> usize {
        assert!(values.len() <= len, "weights are not cut off");
        let offset = self.weights.len().next_multiple_of(BLOCK);
        self.weights.resize(offset, 0.0);
        self.weights.extend_from_slice(values);
        self.weights.resize(offset + len, 0.0);
        offset
    }
}

/// Rows and columns of an output tile, for a convolution that is computed by Winograd's algorithm.
fn winograd_tile(graph: &Graph, feature_maps: &[FeatureMap], node: NodeId) -> Option<usize> {
    let description = &graph.nodes[node];
    match &description.op {
        Op::Convolution(convolution)
            if convolution.kernel == [3, 3]
                && convolution.stride == [1, 1]
                && !convolution.is_depthwise
                && convolution.residual_stride.is_none()
                && feature_maps[description.inputs[0]].lanes == BLOCK =>
        {
            tuning::winograd_tile(description.shape)
        }
        _ => None,
    }
}

fn input_shape(shape: Shape, layout: TensorLayout) -> Vec<usize> {
    match layout {
        TensorLayout::Nhwc => vec![1, shape.height, shape.width, shape.channels],
        TensorLayout::Nchw => vec![1, shape.channels, shape.height, shape.width],
    }
}

#[cfg(test)]
mod tests;
