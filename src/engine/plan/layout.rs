//! The layout of feature maps: lanes, halos, and which are a part of another.

use super::{arena, winograd_tile};
use crate::{
    graph::{Graph, NodeId, Op, Padding},
    program::{BLOCK, FeatureMap, Halo},
};

/// The feature map of each node, and the length of the arena in floats.
pub(super) fn feature_maps(
    graph: &Graph,
    depthwise_of: &[Option<NodeId>],
) -> (Vec<FeatureMap>, usize) {
    let mut maps: Vec<FeatureMap> = (0..graph.nodes.len())
        .map(|node| without_halo(graph, node))
        .collect();
    let wholes = Wholes::of(graph);
    assign_halos(graph, &wholes, &mut maps);
    let arena_len = arena::assign_offsets(graph, &wholes, depthwise_of, &mut maps);
    // A part is a view of its whole. A whole comes after its parts and may be a part itself: from the end on, each
    // whole has its place before its parts.
    for node in (0..graph.nodes.len()).rev() {
        if let Some((whole, first)) = wholes.parent[node] {
            maps[node] = maps[whole].view(first, maps[node].blocks);
        }
    }
    (maps, arena_len)
}

/// The feature map of a node, with neither halo nor place.
fn without_halo(graph: &Graph, node: NodeId) -> FeatureMap {
    let shape = graph.shape(node);
    let is_input = matches!(graph.nodes[node].op, Op::Input { .. });
    // A channel block would be mostly empty. Only the direct convolution reads fewer lanes.
    let is_narrow = is_input
        && shape.channels <= BLOCK / 2
        && !graph.is_output(node)
        && graph.nodes.iter().all(|reader| match &reader.op {
            Op::Convolution(of) if !of.is_depthwise && !of.has_gate => {
                !reader.inputs[1..].contains(&node)
            }
            _ => !reader.inputs.contains(&node),
        });
    let lanes = if is_narrow { shape.channels } else { BLOCK };
    FeatureMap {
        offset: 0,
        blocks: shape.channels.div_ceil(lanes),
        lanes,
        height: shape.height,
        width: shape.width,
        halo: Halo::default(),
    }
}

/// Which feature maps are parts of a concatenation.
pub(super) struct Wholes {
    /// By node: the concatenation of which the node's feature map is a part, and the part's first block.
    parent: Vec<Option<(NodeId, usize)>>,
    /// By node: the feature map that is no part, and contains the node's.
    pub(super) root: Vec<NodeId>,
}

impl Wholes {
    fn of(graph: &Graph) -> Self {
        let mut parent = vec![None; graph.nodes.len()];
        for (node, description) in graph.nodes.iter().enumerate() {
            if description.op == Op::Concat {
                let mut first = 0;
                for &part in &description.inputs {
                    // The pass `parts` gave each part one whole.
                    parent[part] = Some((node, first));
                    first += graph.shape(part).channels.div_ceil(BLOCK);
                }
            }
        }
        let mut root: Vec<NodeId> = (0..graph.nodes.len()).collect();
        for node in (0..graph.nodes.len()).rev() {
            if let Some((whole, _)) = parent[node] {
                root[node] = root[whole];
            }
        }
        Self { parent, root }
    }
}

/// Gives each feature map a halo as wide as windows reach beyond it. Parts have the halo of their whole.
fn assign_halos(graph: &Graph, wholes: &Wholes, maps: &mut [FeatureMap]) {
    let mut halos = vec![Halo::default(); maps.len()];
    for (node, description) in graph.nodes.iter().enumerate() {
        let (padding, end) = match &description.op {
            Op::Convolution(convolution) => {
                // Winograd's algorithm also reads the input of outputs that only fill up the last tile.
                let tile = winograd_tile(graph, maps, node).unwrap_or(1);
                let end = |axis: usize, outputs: usize| {
                    (outputs.next_multiple_of(tile) - 1) * convolution.stride[axis]
                        + convolution.kernel[axis]
                };
                let shape = description.shape;
                (
                    convolution.padding,
                    [end(0, shape.height), end(1, shape.width)],
                )
            }
            Op::Pool(pool) => {
                let Padding { before, after } = pool.zeros;
                let input = graph.shape(description.inputs[0]);
                let end = [
                    before[0] + input.height + after[0],
                    before[1] + input.width + after[1],
                ];
                (pool.zeros, end)
            }
            _ => continue,
        };
        let input = description.inputs[0];
        let FeatureMap { height, width, .. } = maps[input];
        // 0 if the last window ends before the feature map does.
        let [below, right] = [(0, height), (1, width)]
            .map(|(axis, size)| end[axis].saturating_sub(padding.before[axis] + size));
        let halo = &mut halos[wholes.root[input]];
        *halo = Halo {
            top: halo.top.max(padding.before[0]),
            left: halo.left.max(padding.before[1]),
            bottom: halo.bottom.max(below),
            right: halo.right.max(right),
        };
    }
    for (node, map) in maps.iter_mut().enumerate() {
        map.halo = halos[wholes.root[node]];
    }
}
