//! The arena: feature maps share memory if they are not live at the same time.

use crate::{
    network::{Network, TensorId},
    program::{BLOCK, FeatureMap},
};

/// Gives each feature map the lowest offset that is free as long as it is live, and returns the arena's length in
/// floats. A feature map is live from the layer that produces it to the last layer that reads it.
pub(super) fn assign_offsets(network: &Network, feature_maps: &mut [FeatureMap]) -> usize {
    let last_readers = last_readers(network);
    let mut live: Vec<TensorId> = Vec::new();
    let mut arena_len = 0;
    for tensor in 0..feature_maps.len() {
        live.retain(|&other| last_readers[other] >= tensor);
        live.sort_by_key(|&other| feature_maps[other].offset);
        let len = aligned_len(&feature_maps[tensor]);
        let mut offset = 0;
        for &other in &live {
            let other = &feature_maps[other];
            if offset + len <= other.offset {
                break;
            }
            offset = other.offset + aligned_len(other);
        }
        feature_maps[tensor].offset = offset;
        arena_len = arena_len.max(offset + len);
        live.push(tensor);
    }
    arena_len
}

/// The last layer that reads each tensor. An output is read after all layers, and a tensor that nothing reads is live
/// during the layer that produces it.
fn last_readers(network: &Network) -> Vec<usize> {
    let layers = network.layers.len();
    let mut last_readers: Vec<usize> = (0..layers).collect();
    for (reader, (layer, _)) in network.layers.iter().enumerate() {
        for tensor in layer.inputs() {
            last_readers[tensor] = reader;
        }
    }
    for (tensor, _) in &network.outputs {
        last_readers[*tensor] = layers;
    }
    last_readers
}

/// Length in floats up to the next cache line, on which each feature map begins.
fn aligned_len(feature_map: &FeatureMap) -> usize {
    feature_map.len().next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{convolution, input, network},
        program::Halo,
    };

    const MAP: FeatureMap = FeatureMap {
        offset: 0,
        blocks: 1,
        lanes: BLOCK,
        height: 2,
        width: 2,
        halo: Halo {
            top: 0,
            left: 0,
            bottom: 0,
            right: 0,
        },
    };

    #[test]
    fn a_feature_map_takes_the_place_of_one_that_is_no_longer_read() {
        let chain = [
            input(),
            convolution(0, 1),
            convolution(1, 1),
            convolution(2, 1),
        ];
        let network = network(chain, 2);
        let mut maps = [MAP; 4];
        let len = MAP.len();
        assert_eq!(assign_offsets(&network, &mut maps), 2 * len);
        assert_eq!(maps.map(|map| map.offset), [0, len, 0, len]);
    }

    #[test]
    fn an_output_is_live_to_the_end() {
        let mut network = network([input(), convolution(0, 1), convolution(1, 1)], 2);
        network.outputs.push((0, vec![1, 16, 2, 2]));
        let mut maps = [MAP; 3];
        assert_eq!(assign_offsets(&network, &mut maps), 3 * MAP.len());
    }

    #[test]
    fn offsets_are_on_cache_lines() {
        let network = network([input(), convolution(0, 1)], 2);
        let narrow = FeatureMap { lanes: 3, ..MAP };
        let mut maps = [narrow, MAP];
        assert_eq!(assign_offsets(&network, &mut maps), BLOCK + MAP.len());
        assert_eq!(maps[1].offset, BLOCK);
    }
}
