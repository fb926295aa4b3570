//! The inner loops. Each is generic over a `Vector` and instantiated for every instruction set by
//! `kernels!`, which fills one table of functions per set.
//!
//! A new instruction set is a file with a vector and a `kernels!` invocation, and an arm in `Kernels::of`. A new loop
//! is a function, a field of `Kernels`, and in `kernels!` a line `wrap!` and an entry of `KERNELS`.

pub(crate) mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod convolution;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
mod peak;
pub(crate) mod pooling;
mod portable;
pub(crate) mod transform;
mod vector;

use self::{
    convolution::{MicroKernel, TileKind},
    depthwise::DepthwiseRows,
    elementwise::{AddRow, AffineRow, MultiplyRow, ScaleRows},
    pooling::{GlobalPool, PoolRow},
    transform::Transform,
};
use crate::{activation::Curve, isa::Isa};

/// The loops of one instruction set.
///
/// The functions are unsafe: the CPU has the instruction set, and each loop's own documentation says which addresses
/// have to be valid.
pub(crate) struct Kernels {
    /// The instruction set.
    pub(crate) isa: Isa,
    /// Most pixels of a convolution's tile.
    pub(crate) max_pixels: usize,
    /// Most panels, of 16 output channels, of a convolution's tile.
    pub(crate) max_panels: usize,
    /// The micro-kernel for a kind of tile. `None` if there is none.
    pub(crate) micro_kernel: fn(&TileKind) -> Option<MicroKernel>,
    /// Transforms for output tiles of 2×2 and of 4×4 pixels.
    pub(crate) transform_2: unsafe fn(&Transform),
    pub(crate) transform_4: unsafe fn(&Transform),
    pub(crate) depthwise: unsafe fn(&DepthwiseRows),
    pub(crate) pool: unsafe fn(&PoolRow),
    pub(crate) global_pool: unsafe fn(&GlobalPool),
    pub(crate) affine: unsafe fn(&AffineRow),
    pub(crate) add: unsafe fn(&AddRow),
    pub(crate) multiply: unsafe fn(&MultiplyRow),
    pub(crate) scale: unsafe fn(&ScaleRows),
    /// Applies a curve to a multiple of 16 floats in place.
    pub(crate) curve: unsafe fn(Curve, *mut f32, usize),
    /// Multiplies and adds in registers a number of times, and returns the floating-point operations of one time.
    pub(crate) peak: unsafe fn(u64) -> u64,
}

impl Kernels {
    /// The loops of an instruction set. They may only be called if the CPU has it.
    pub(crate) fn of(isa: Isa) -> &'static Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::KERNELS,
            // On other architectures, `Runnable::new` refuses all but the portable set.
            _ => &portable::KERNELS,
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
    rounds * unsafe { (Kernels::of(isa).peak)(rounds) }
}

/// Instantiates every loop for a vector, and fills the table `KERNELS`.
///
/// `panels` has numbers of panels, the vectors in them, and which kinds of tiles they have: see [`convolution::select`].
macro_rules! kernels {
    (
        isa: $isa:expr,
        vector: $vector:ty,
        attribute: #[$attribute:meta],
        max_pixels: $max_pixels:literal,
        max_panels: $max_panels:literal,
        pixels: $pixels:tt,
        panels: [$(($kinds:ident, $panels:literal, $vectors:literal)),*],
    ) => {
        use super::{activation, depthwise, elementwise, peak, pooling, transform};

        /// Wrappers that give each loop the instructions of the set. Each has the safety requirements of its loop.
        macro_rules! wrap {
            ($name:ident($argument:ty), $inner:path) => {
                #[$attribute]
                unsafe fn $name(argument: $argument) {
                    // SAFETY: the caller ensures what the loop requires.
                    unsafe { $inner(argument) }
                }
            };
        }
        wrap!(transform_2(&transform::Transform), transform::transform::<$vector, transform::F2x3>);
        wrap!(transform_4(&transform::Transform), transform::transform::<$vector, transform::F4x3>);
        wrap!(depthwise(&depthwise::DepthwiseRows), depthwise::depthwise::<$vector>);
        wrap!(pool(&pooling::PoolRow), pooling::pool::<$vector>);
        wrap!(global_pool(&pooling::GlobalPool), pooling::global_pool::<$vector>);
        wrap!(affine(&elementwise::AffineRow), elementwise::affine::<$vector>);
        wrap!(add(&elementwise::AddRow), elementwise::add::<$vector>);
        wrap!(multiply(&elementwise::MultiplyRow), elementwise::multiply::<$vector>);
        wrap!(scale(&elementwise::ScaleRows), elementwise::scale::<$vector>);

        #[$attribute]
        unsafe fn curve(curve: crate::activation::Curve, values: *mut f32, len: usize) {
            // SAFETY: the caller ensures what the loop requires.
            unsafe { activation::curve::<$vector>(curve, values, len) }
        }

        #[$attribute]
        unsafe fn peak(rounds: u64) -> u64 {
            // SAFETY: the caller ensures that the CPU has the instructions.
            unsafe { peak::peak::<$vector>(rounds) }
        }

        #[$attribute]
        unsafe fn tile<
            const P: usize,
            const PANELS: usize,
            const B: usize,
            const S: usize,
            const LEN: usize,
            const W: usize,
        >(
            tile: &convolution::Tile,
        ) {
            // SAFETY: the caller ensures what the loop requires.
            unsafe { convolution::tile::<$vector, P, PANELS, B, S, LEN, W>(tile) }
        }

        fn micro_kernel(kind: &convolution::TileKind) -> Option<convolution::MicroKernel> {
            match kind.panels {
                $($panels => convolution::select!($kinds, tile, kind, $pixels, $panels, $vectors),)*
                _ => None,
            }
        }

        pub(super) static KERNELS: Kernels = Kernels {
            isa: $isa,
            max_pixels: $max_pixels,
            max_panels: $max_panels,
            micro_kernel,
            transform_2,
            transform_4,
            depthwise,
            pool,
            global_pool,
            affine,
            add,
            multiply,
            scale,
            curve,
            peak,
        };
    };
}
use kernels;
