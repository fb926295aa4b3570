//! Runs a convolutional network faster than tract does, inside of tract.
//!
//! tract parses the ONNX file, types and checks it. What follows is ours:
//!
//! ```text
//! TypedModel ─ graph::read ─▶ Network ─ fuse, pull_strides ─▶ Network ─ lower, pack ─▶ Program + weights
//!   ─ file::write ─▶ bytes ─ file::open ─▶ Runnable ─ run ─▶ floats
//! ```
//!
//! [`graph`] recognises layers; a graph with anything else in it stays tract's. [`network`] fuses what follows a
//! convolution into it and moves strides to where less is computed, which changes no output. [`lower`] gives each
//! picture a place in the arena, and [`pack`] the weights the order in which the kernels read them. [`kernel`] runs
//! it, with the widest instructions of the CPU ([`isa`]), and is the one folder with unsafe code. [`op`] puts it
//! back into tract as an operator, and [`file`] keeps it ready to run.

pub mod file;
pub mod graph;
pub mod isa;
pub mod kernel;
pub mod lower;
pub mod network;
pub mod op;
pub mod pack;
pub mod program;

use tract_onnx::prelude::TypedModel;

use crate::{
    kernel::{Floats, Runnable, Weights},
    program::Program,
};

/// The program of a graph, and its weights.
///
/// # Errors
///
/// Names an operator that the engine does not know.
pub fn compile(model: &TypedModel) -> Result<(Program, Vec<f32>), String> {
    let mut network = graph::read(model)?;
    network.fuse();
    network.pull_strides();
    Ok(lower::lower(&network))
}

/// The program of a graph, ready to run on this CPU.
///
/// # Errors
///
/// Names an operator that the engine does not know.
pub fn prepare(model: &TypedModel, isa: isa::Isa) -> Result<Runnable, String> {
    let (program, weights) = compile(model)?;
    let mut floats = Floats::zeroed(weights.len());
    floats.as_mut_slice().copy_from_slice(&weights);
    Runnable::new(program, Weights::Owned(floats), isa)
}
