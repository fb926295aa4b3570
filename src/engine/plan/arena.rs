//! The arena: feature maps share memory if they are not live at the same time.

use super::layout::Wholes;
use crate::{
    graph::{Graph, NodeId},
    program::{BLOCK, FeatureMap},
};

/// Gives each feature map that is no part of another the lowest offset that is free as long as it is live, and returns
/// the arena's length in floats. A feature map is live from the first node that writes it, or a part of it, to the last
/// that reads one of them. An expansion's feature map gets no offset, because it is never complete in memory.
pub(super) fn assign_offsets(
    graph: &Graph,
    wholes: &Wholes,
    depthwise_of: &[Option<NodeId>],
    maps: &mut [FeatureMap],
) -> usize {
    let last_readers = last_readers(graph, &wholes.root, depthwise_of);
    let mut has_place = vec![false; maps.len()];
    let mut live: Vec<NodeId> = Vec::new();
    let mut arena_len = 0;
    for (node, depthwise) in depthwise_of.iter().enumerate() {
        let root = wholes.root[node];
        live.retain(|&other| last_readers[other] >= node);
        if has_place[root] || depthwise.is_some() {
            continue;
        }
        has_place[root] = true;
        live.sort_by_key(|&other| maps[other].offset);
        let len = aligned_len(&maps[root]);
        let mut offset = 0;
        for &other in &live {
            let other = &maps[other];
            if offset + len <= other.offset {
                break;
            }
            offset = other.offset + aligned_len(other);
        }
        maps[root].offset = offset;
        arena_len = arena_len.max(offset + len);
        live.push(root);
    }
    arena_len
}

/// The last node that reads each feature map or a part of it, by its root. An output is read after all nodes, and a
/// tensor that nothing reads is live during the node that produces it. An expansion is computed, and reads, during its
/// depthwise convolution.
fn last_readers(graph: &Graph, root: &[NodeId], depthwise_of: &[Option<NodeId>]) -> Vec<usize> {
    let nodes = graph.nodes.len();
    let mut last_readers: Vec<usize> = (0..nodes).collect();
    for (reader, node) in graph.nodes.iter().enumerate() {
        for &input in &node.inputs {
            let of = &mut last_readers[root[input]];
            *of = (*of).max(depthwise_of[reader].unwrap_or(reader));
        }
    }
    for (output, _) in &graph.outputs {
        last_readers[root[*output]] = nodes;
    }
    last_readers
}

/// Length in floats up to the next cache line, on which each feature map begins.
fn aligned_len(feature_map: &FeatureMap) -> usize {
    feature_map.len().next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use crate::{
        fixtures::{convolution, graph, input},
        graph::{Op, Shape},
        program::FeatureMap,
        steps::Step,
    };

    /// The feature maps that convolutions write.
    fn outputs(steps: &[Step]) -> Vec<FeatureMap> {
        let direct = steps.iter().filter_map(|step| match step {
            Step::Direct(direct) => Some(direct.output),
            _ => None,
        });
        direct.collect()
    }

    #[test]
    fn a_feature_map_takes_the_place_of_one_that_is_no_longer_read() {
        let chain = [
            (input(), &[][..]),
            (convolution(1), &[0]),
            (convolution(1), &[1]),
            (convolution(1), &[2]),
        ];
        let (program, _) = plan(&graph(chain, 2)).unwrap();
        let len = 4 * 16;
        assert_eq!(program.arena_len, 2 * len);
        let offsets: Vec<usize> = outputs(&program.steps)
            .iter()
            .map(|map| map.offset)
            .collect();
        assert_eq!(offsets, [len, 0, len]);
    }

    #[test]
    fn an_output_is_live_to_the_end() {
        let chain = [
            (input(), &[][..]),
            (convolution(1), &[0]),
            (convolution(1), &[1]),
        ];
        let mut graph = graph(chain, 2);
        graph.outputs.push((1, vec![1, 16, 2, 2]));
        let (program, _) = plan(&graph).unwrap();
        let maps = outputs(&program.steps);
        assert_ne!(maps[0].offset, maps[1].offset);
    }

    #[test]
    fn parts_of_a_concatenation_are_written_to_their_place() {
        let mut graph = graph(
            [
                (input(), &[]),
                (convolution(1), &[0]),
                (convolution(1), &[0]),
            ],
            2,
        );
        let whole = Shape {
            channels: 32,
            ..graph.shape(0)
        };
        let concat = graph.push(Op::Concat, &[2, 1], whole);
        graph.outputs = vec![(concat, vec![1, 32, 2, 2])];
        let (program, _) = plan(&graph).unwrap();
        let maps = outputs(&program.steps);
        assert_eq!(maps[0].offset, maps[1].offset + maps[1].len());
        // Load, two convolutions, store.
        assert_eq!(program.steps.len(), 4);
    }
}
