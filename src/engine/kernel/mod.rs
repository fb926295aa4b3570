//! Runs programs. The only module with unsafe code.
//!
//! The unsafe code relies on these invariants; its SAFETY comments name them.
//!
//! 1. **Verified.** A [`Runnable`] holds only a program that `verify.rs` accepted. Every address that follows from an
//!    operation and a work item is inside the arena, the workspace, the weights, or an input or output tensor, and no
//!    operation writes a feature map that overlaps one it reads.
//! 2. **Disjoint.** The work items of an operation write disjoint addresses, and read none that another work item of
//!    the operation writes. `run.rs` gives each work item to one thread, so threads may share the arena.
//! 3. **Ordered.** All threads finish an operation before any thread starts the next: `barrier.rs` makes them wait. A
//!    thread that panics breaks the barrier, and the others panic too.
//! 4. **Instructions.** [`Runnable::new`] refuses an instruction set that the CPU does not have ([`Isa::is_here`]).
//!    Only `dispatch.rs` calls code of a particular instruction set.
//!
//! Dependencies go one way: [`Runnable`] → `run` → the operations (`direct`, `winograd`, `memory_bound`) → `dispatch`
//! → an instruction set (`avx512`, `avx2`, `portable`) → the generic loops (`micro_kernel`, `transform`, `pooling`,
//! `peak`) → `vector`.
//!
//! [`Isa::is_here`]: crate::isa::Isa::is_here

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod barrier;
mod context;
mod direct;
mod dispatch;
mod memory;
mod memory_bound;
mod micro_kernel;
mod peak;
mod plan;
mod pooling;
mod portable;
mod program_error;
mod run;
mod runnable;
mod transform;
mod vector;
mod verify;
mod winograd;

pub use dispatch::multiply_and_add;
pub use memory::{ALIGNMENT, AlignedFloats, MappedFile, PackedWeights};
pub use program_error::{Fault, ProgramError};
pub use runnable::Runnable;
