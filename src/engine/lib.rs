//! Runs convolutional networks on x86 CPUs, as an operator inside tract.
//!
//! # Why an operator inside tract
//!
//! Every model runs through tract: it parses, types and checks the ONNX file, and it runs the plan. tract's own
//! kernels reach a third of a core's peak on a ResNet-50. So this crate replaces the nodes of a graph it knows by one
//! operator with kernels of its own ([`op`]). A graph with an operator that this crate does not know is left to tract,
//! and callers use one interface for both.
//!
//! # From a graph to outputs
//!
//! ```text
//! TypedModel ─ graph::read ─▶ Network ─ fuse, pull_strides ─▶ Network ─ lower, pack ─▶ Program + weights
//!   ─ file::write ─▶ compiled file ─ file::open ─▶ Runnable ─ op::model ─▶ TypedModel with one operator
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`graph`] | recognises layers in tract's graph |
//! | [`network`] | the layers, and two graph passes that change no output: `fuse`, `pull_strides` |
//! | [`validate`] | checks that shapes and weights fit each other |
//! | [`lower`] | chooses algorithms, and gives each feature map a place in the arena |
//! | [`pack`] | packs weights in the order in which the micro-kernels read them |
//! | [`program`] | the operations that result |
//! | [`file`](mod@file) | keeps a program and its weights in a compiled file |
//! | [`kernel`] | verifies and runs programs; the only module with unsafe code |
//! | [`isa`] | the CPU's instruction sets |
//! | [`op`], [`threads`] | the operator of tract, and its number of threads |
//!
//! # Glossary
//!
//! - **Tensor**: an array of f32 at the edge of the engine, NHWC or NCHW; in a network, also the output of a layer.
//! - **Feature map**: a tensor in the arena, in channel blocks.
//! - **Channel block**: 16 channels whose values are contiguous, one in each **lane** (the layout nChw16c).
//! - **Halo**: zeros stored around a feature map, which hold the **padding** of the layers that read it.
//! - **Stride**: the distance between two windows in pixels, or between two values in memory in floats. The stride
//!   between two rows in memory is the **leading dimension**.
//! - **Filter**: the weights of a convolution: output channels × input channels × rows × columns.
//! - **Layer**: a node of a network. **Operation**: an entry of a program.
//! - **Residual**: a feature map that is added to the output of an operation.
//! - **Epilogue**: what follows the sum of an operation: residual, then **clamp** (ReLU, ReLU6), then store.
//! - **Arena**: the memory of all feature maps of a run. Feature maps that are not **live** at the same time share it.
//! - **Workspace**: memory of one thread, for transformed tiles.
//! - **Packing**: reordering weights so that the micro-kernel reads them one after the other. A **panel** is two
//!   channel blocks of packed weights, interleaved.
//! - **Segment**: a run of contiguous input floats of a window.
//! - **Tile**: the outputs that one call of the micro-kernel computes; in Winograd's algorithm, 4×4 or 2×2 outputs.
//! - **Micro-kernel**: the inner loop of a convolution. Its **accumulators** are sums in registers.
//! - **Prefetch distance**: how far ahead of their use weights are prefetched.
//! - **Transform**: in Winograd's algorithm, from the pixels of a tile to **positions** and back. The products are
//!   independent matrix products, one for each position.
//! - **Validation** checks a network before it is lowered, **verification** a program before it runs.
//! - **Plan**: how an operation is cut into work items.
//! - **Work item**: a part of an operation that one thread computes. The **barrier** is where all threads wait before
//!   the next operation.
//! - **ISA**: instruction set architecture: AVX-512, AVX2, or what every CPU has.

#![deny(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod file;
mod fuse;
pub mod graph;
pub mod isa;
#[allow(
    unsafe_code,
    reason = "SIMD intrinsics, threads that write to one arena, and mapped files"
)]
pub mod kernel;
pub mod lower;
pub mod network;
pub mod op;
pub mod pack;
pub mod program;
mod strides;
pub mod threads;
pub mod validate;

#[cfg(test)]
mod fixtures;

use tract_onnx::prelude::TypedModel;

use crate::{
    graph::GraphError,
    isa::Isa,
    kernel::{PackedWeights, ProgramError, Runnable},
    program::Program,
    validate::NetworkError,
};

/// Why a model cannot be compiled or prepared. None of these is worth a retry.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not know the graph. The message is a noun phrase that names the node.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The graph is not consistent.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The program cannot run on this CPU, or is not sound.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Compiles a graph to a program and its packed weights.
///
/// # Errors
///
/// [`EngineError::Graph`] and [`EngineError::Network`].
pub fn compile(model: &TypedModel) -> Result<(Program, Vec<f32>), EngineError> {
    let mut network = graph::read(model)?;
    network.fuse();
    network.pull_strides();
    Ok(lower::lower(&network)?)
}

/// Compiles a graph, and prepares it to run on this CPU.
///
/// # Errors
///
/// An [`EngineError`].
pub fn prepare(model: &TypedModel, isa: Isa) -> Result<Runnable, EngineError> {
    let (program, weights) = compile(model)?;
    Ok(Runnable::new(program, PackedWeights::owned(&weights), isa)?)
}
