//! Chooses the code for an instruction set. The only module that calls code of a particular instruction set.
//!
//! [`Runnable::new`](super::Runnable::new) refuses an instruction set that the CPU does not have. On other
//! architectures than x86-64 the CPU has only [`Isa::Portable`], so there the last arm of each `match` is that one.

#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use super::{
    micro_kernel::MicroKernel,
    pooling::PoolingRow,
    portable,
    transform::{Algorithm, Transform},
};
use crate::{isa::Isa, program::PANEL};

/// Most pixels of a tile.
pub(super) fn max_pixels(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::MAX_PIXELS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::MAX_PIXELS,
        _ => portable::MAX_PIXELS,
    }
}

/// Channel blocks that a tile has at most.
pub(super) fn max_blocks(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => PANEL,
        Isa::Avx2 | Isa::Portable => 1,
    }
}

/// The tiles of two rows of `width` pixels, for widths at which the tiles of one row would leave registers unused.
/// Empty for all others.
pub(super) fn pair_tiles(isa: Isa, width: usize) -> &'static [usize] {
    match (isa, width) {
        (Isa::Avx512, 7) => &[14],
        (Isa::Avx2, 7) => &[5, 5, 4],
        (Isa::Avx2, 14) => &[6, 6, 6, 6, 4],
        _ => &[],
    }
}

/// Stride between two vectors of a tile's channels, in floats, in a feature map with this stride between blocks.
pub(super) fn vector_stride(isa: Isa, block_stride: usize) -> usize {
    match isa {
        // Two vectors make one block.
        Isa::Avx2 => 8,
        Isa::Avx512 | Isa::Portable => block_stride,
    }
}

/// The micro-kernel for a tile of `pixels` pixels, `in_first_row` of them in the first row, and `blocks` channel
/// blocks. `stride` is the stride between the inputs of two pixels, in floats.
///
/// # Panics
///
/// If there is no such micro-kernel.
pub(super) fn micro_kernel(
    isa: Isa,
    pixels: usize,
    in_first_row: usize,
    blocks: usize,
    stride: usize,
) -> MicroKernel {
    assert!(
        (1..=max_blocks(isa)).contains(&blocks),
        "a tile has 1 to {} channel blocks, not {blocks}",
        max_blocks(isa)
    );
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::micro_kernel(pixels, in_first_row, blocks, stride),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::micro_kernel(pixels, in_first_row, stride),
        _ => portable::micro_kernel(pixels, in_first_row),
    }
}

/// Computes a row of a pooling.
///
/// # Safety
///
/// The caller ensures what [`pooling::pool`](super::pooling::pool) requires, and that the CPU has `isa`.
pub(super) unsafe fn pool(isa: Isa, row: &PoolingRow) {
    // SAFETY: the caller ensures the addresses and that the CPU has `isa`.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::pool(row),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::pool(row),
            _ => portable::pool(row),
        }
    }
}

/// Transforms a tile of Winograd's algorithm.
///
/// # Safety
///
/// The caller ensures what [`transform::transform`](super::transform::transform) requires, and that the CPU has `isa`.
pub(super) unsafe fn transform<F: Algorithm>(isa: Isa, arguments: &Transform) {
    // SAFETY: the caller ensures the addresses and that the CPU has `isa`.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::transform::<F>(arguments),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::transform::<F>(arguments),
            _ => portable::transform::<F>(arguments),
        }
    }
}

/// Multiplies and adds in registers, and returns the number of floating-point operations. For benchmarks: one thread
/// reaches the peak of a core.
///
/// # Panics
///
/// If the CPU does not have `isa`.
pub fn multiply_and_add(isa: Isa, rounds: u64) -> u64 {
    assert!(isa.is_here(), "this CPU has no {isa}");
    // SAFETY: the CPU has the instructions, as asserted.
    let operations = unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::peak(rounds),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::peak(rounds),
            _ => portable::peak(rounds),
        }
    };
    rounds * operations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "no micro-kernel for 6 pixels, 3 in the first row")]
    #[cfg(target_arch = "x86_64")]
    fn a_tile_over_two_rows_is_not_taken_for_one_cut_elsewhere() {
        micro_kernel(Isa::Avx2, 6, 3, 1, 16);
    }

    #[test]
    #[should_panic(expected = "no micro-kernel for 13 pixels, 7 in the first row")]
    #[cfg(target_arch = "x86_64")]
    fn a_tile_of_two_rows_is_not_taken_for_a_larger_one() {
        micro_kernel(Isa::Avx512, 13, 7, 2, 16);
    }

    #[test]
    #[should_panic(expected = "no portable micro-kernel for 3 pixels")]
    fn a_tile_that_is_too_wide_is_not_cut_off() {
        micro_kernel(Isa::Portable, 3, 3, 1, 16);
    }

    #[test]
    #[should_panic(expected = "1 to 1 channel blocks, not 2")]
    fn a_tile_with_too_many_blocks_is_not_cut_off() {
        micro_kernel(Isa::Portable, 1, 1, 2, 16);
    }
}
