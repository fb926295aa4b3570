//! Runs programs.
//!
//! The unsafe code of the engine, here, in [`steps`](crate::steps) and in [`kernels`](crate::kernels), relies on these
//! invariants; its SAFETY comments name them.
//!
//! 1. **Verified.** A [`Runnable`] holds only a program that every step's `verify` accepted. Every address that follows
//!    from a step and a work item is inside the arena, the workspace, the weights, or an input or output tensor, and no
//!    step writes a feature map that overlaps one it reads.
//! 2. **Disjoint.** The work items of a phase write disjoint addresses, and read none that another work item of the
//!    phase writes. `run.rs` gives each work item to one thread, so threads may share the arena.
//! 3. **Ordered.** All threads finish a phase before any thread starts the next: `barrier.rs` makes them wait. A thread
//!    that panics breaks the barrier, and the others panic too.
//! 4. **Instructions.** [`Runnable::new`] refuses an instruction set that the CPU does not have ([`Isa::is_here`]).
//!
//! [`Isa::is_here`]: crate::isa::Isa::is_here

mod barrier;
mod context;
mod memory;
mod profile;
mod program_error;
mod run;
mod runnable;
mod sync;

pub(crate) use self::context::Context;
pub use self::{
    memory::{ALIGNMENT, AlignedFloats, MappedFile, PackedWeights},
    profile::{Profile, StepTime},
    program_error::{Fault, ProgramError},
    runnable::Runnable,
};
