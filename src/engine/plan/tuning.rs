//! Constants of the plan, and the measurements behind them. A new CPU may want others: `cargo bench --bench layers`
//! shows what they do.
//!
//! Groups, chunks and phases were measured with a prototype of these loops on an AMD EPYC of the Zen 3 generation, with
//! AVX2 and a ResNet-50; the other constants of Winograd's algorithm on an Intel Xeon of the Sapphire Rapids generation.

use crate::graph::Shape;

/// Segments of 16 floats in a group of a sum: 512 floats of each window, and 32 KiB of weights of a panel, the size of
/// an L1 cache. Groups of 256 floats: 1 % slower for the whole model.
pub(crate) const SEGMENTS_PER_GROUP: usize = 32;

/// Output pixels of a chunk of a direct convolution: with 512 input channels, their input takes 768 KiB and the panel
/// in use reads it from the L2 cache.
pub(crate) const PIXELS_PER_CHUNK: usize = 384;

/// Most weights of a convolution, in floats, that all threads read if that shares the work more evenly: 512 KiB. With
/// two threads, 4 to 8 % faster for MobileNetV2, EfficientNet-B0 and Lite0 on an AMD EPYC of the Zen 4 generation.
pub(crate) const FEW_WEIGHTS: usize = 128 << 10;

/// Target size of a band of a channel block of an expansion, in floats, without the rows that windows share with the next
/// band: 128 KiB. On an AMD EPYC of the Zen 4 generation, whose L2 cache has 1 MiB, sizes from 64 KiB to 2 MiB were within 3 %
/// of each other for four networks; a smaller cache wants smaller bands.
pub(crate) const BAND: usize = 32 << 10;

/// Work items of each thread, at least, so that all threads finish at about the same time.
pub(crate) const ITEMS_PER_THREAD: usize = 4;

/// Fewest tiles for Winograd's algorithm. With fewer, its larger weights cost more memory traffic than its products
/// save.
const MIN_WINOGRAD_TILES: usize = 40;

/// Most tiles in one work item of Winograd's algorithm. More tiles reuse the weights more often, but the workspace
/// has to stay in a core's L2 cache.
pub(crate) const MAX_WINOGRAD_TILES: usize = 98;

/// Most tiles of a step that several threads compute in phases. With more, each thread's share is large enough to pay
/// for reading all weights. At most [`MAX_WINOGRAD_TILES`].
pub(crate) const MAX_PHASED_TILES: usize = 64;

const _: () = assert!(MAX_PHASED_TILES <= MAX_WINOGRAD_TILES);

/// Rows and columns of an output tile of Winograd's algorithm for this output. `None` if a direct convolution is
/// faster.
pub(super) fn winograd_tile(output: Shape) -> Option<usize> {
    let tiles = |size| output.height.div_ceil(size) * output.width.div_ceil(size);
    [4, 2]
        .into_iter()
        .find(|&size| tiles(size) >= MIN_WINOGRAD_TILES)
}
