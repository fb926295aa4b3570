//! Runs convolutional networks on x86 CPUs, as an operator inside tract.
//!
//! # Why an operator inside tract
//!
//! Every model runs through tract: it parses, types and checks the ONNX file, and it runs the plan. tract's own
//! kernels take twice as long on a ResNet-50 (`benches/README.md`). So this crate replaces the nodes of a graph it knows by one
//! operator with kernels of its own ([`op`]). For a graph with an operator that this crate does not know, [`prepare`] returns
//! [`EngineError::Import`], and the caller runs the graph on tract, through the same interface.
//!
//! # From a model to outputs
//!
//! ```text
//! TypedModel ─ import ─▶ Graph ─ passes ─▶ Graph ─ plan, pack ─▶ Program + weights
//!   ─ file::write ─▶ compiled file ─ file::open ─▶ Runnable ─ op::model ─▶ TypedModel with one operator
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`import`] | recognises tract's graph as a [`Graph`](graph::Graph), by a table of operators |
//! | [`graph`] | operations over tensors, and the checks that their shapes and weights fit each other |
//! | [`activation`] | the functions of one value that end an operation |
//! | [`passes`] | rewrites that save work and leave the outputs as they are |
//! | [`plan`](mod@plan) | gives each feature map a layout and a place in the arena, and chooses algorithms (`winograd_tile`) |
//! | [`program`], [`steps`] | the result: steps over feature maps. One file per kind of step |
//! | `pack` | packs weights in the order in which the micro-kernels read them |
//! | [`file`](mod@file) | keeps a program and its weights in a compiled file |
//! | [`kernels`] | the inner loops, as a table for each instruction set |
//! | [`runtime`] | verifies and runs programs |
//! | [`isa`] | the CPU's instruction sets |
//! | [`op`], [`threads`] | the operator of tract, and its number of threads |
//!
//! `docs/engine.md` of the repository adds a kind of layer as an example.
//!
//! ```
//! use moth_engine::{activation::Activation, graph::{Graph, Op, Shape}, isa::Isa, plan::plan};
//! use moth_engine::{program::TensorLayout, runtime::{PackedWeights, Runnable}};
//!
//! // A network of one layer: ReLU of two channels of one pixel.
//! let mut graph = Graph::default();
//! let shape = Shape { channels: 2, height: 1, width: 1 };
//! let input = graph.push(Op::Input { index: 0, layout: TensorLayout::Nchw, affine: None }, &[], shape);
//! let relu = graph.push(Op::Activate(Activation::RELU), &[input], shape);
//! graph.outputs = vec![(relu, vec![1, 2])];
//!
//! let (program, weights) = plan(&graph)?;
//! let runnable = Runnable::new(program, PackedWeights::owned(&weights), Isa::detect())?;
//! let mut output = [0.0; 2];
//! runnable.run(&[&[-1.0, 2.0]], &mut [&mut output], 1);
//! assert_eq!(output, [0.0, 2.0]);
//! # Ok::<(), moth_engine::EngineError>(())
//! ```
//!
//! # Glossary
//!
//! - **Tensor**: an array of f32 at the edge of the engine, NHWC or NCHW; in a graph, also the output of a node.
//! - **Feature map**: a tensor in the arena, in channel blocks.
//! - **Channel block**: 16 channels whose values are contiguous, one in each **lane** (the layout nChw16c).
//! - **Halo**: zeros stored around a feature map, which hold the **padding** of the nodes that read it.
//! - **Stride**: the distance between two windows in pixels, or between two values in memory in floats. The stride
//!   between two rows in memory is the **leading dimension**.
//! - **Filter**: the weights of a convolution: output channels × input channels × rows × columns.
//! - **Node**: an operation of a graph. **Step**: an entry of a program.
//! - **Padding channel**: a lane of the last channel block without a channel of the tensor.
//! - **Residual**: a feature map that is added to the output of a convolution.
//! - **Epilogue**: what follows the sum of a convolution: residual, then activation, then store.
//! - **Activation**: a function of one value: a **clamp** (ReLU, ReLU6), or a **curve** (sigmoid, swish).
//! - **Gate**: a tensor with a factor for each input channel of a convolution, as in squeeze-and-excite.
//! - **Expansion**: a 1×1 convolution that is fused into the depthwise convolution that reads it, **band** by band of
//!   rows.
//! - **Arena**: the memory of all feature maps of a run. Feature maps that are not **live** at the same time share it.
//! - **Part**: a feature map that is some channel blocks of another, the **whole**, as in a concatenation.
//! - **Workspace**: memory of one thread, for transformed tiles, scaled weights and expanded rows.
//! - **Packing**: reordering weights so that the micro-kernel reads them one after the other. A **panel** has the packed
//!   weights of 16 output channels.
//! - **Segment**: a run of contiguous input floats of a window. A **group** of segments is a part of a sum.
//! - **Chunk**: the output pixels of a work item of a direct convolution. A **split** is a share of its panels.
//! - **Tile**: the outputs that one call of the micro-kernel computes; in Winograd's algorithm, 4×4 or 2×2 outputs.
//! - **Micro-kernel**: the inner loop of a convolution. Its **accumulators** are sums in registers.
//! - **Transform**: in Winograd's algorithm, from the pixels of a tile to **positions** and back. The products are
//!   independent matrix products, one for each position.
//! - **Validation** checks a graph before it is planned, **verification** a program before it runs.
//! - **Preparation**: what is computed once for a step and a CPU: its micro-kernels, and its work items.
//! - **Work item**: a part of a step that one thread computes. The **barrier** is where all threads wait before the next
//!   step, or the next **phase** of a step.
//! - **ISA**: instruction set architecture: AVX-512, AVX2, or what every CPU has.

#![deny(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod activation;
pub mod file;
pub mod graph;
pub mod import;
pub mod isa;
#[allow(unsafe_code, reason = "SIMD intrinsics")]
pub mod kernels;
pub mod op;
mod pack;
pub mod passes;
pub mod plan;
pub mod program;
#[allow(
    unsafe_code,
    reason = "threads that write to one arena, and mapped files"
)]
pub mod runtime;
#[allow(unsafe_code, reason = "work items compute addresses in the arena")]
pub mod steps;
pub mod threads;

#[cfg(test)]
mod fixtures;

use tract_onnx::prelude::TypedModel;

use crate::{
    graph::GraphError,
    import::ImportError,
    isa::Isa,
    program::Program,
    runtime::{PackedWeights, ProgramError, Runnable},
    steps::verify::verify,
};

/// Why a model cannot be compiled or prepared. None of these is worth a retry.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not know the model. The message is a noun phrase that names the node.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The graph is not consistent.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The program cannot run on this CPU, or is not sound.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Compiles a model to a program and its packed weights.
///
/// # Errors
///
/// An [`EngineError`]. [`EngineError::Program`] is a defect of planning: the compiled file would be refused.
pub fn compile(model: &TypedModel) -> Result<(Program, Vec<f32>), EngineError> {
    let mut graph = import::import(model)?;
    graph.validate()?;
    passes::run(&mut graph);
    let (program, weights) = plan::plan(&graph)?;
    verify(&program, weights.len())?;
    Ok((program, weights))
}

/// Compiles a model, and prepares it to run on this CPU.
///
/// # Errors
///
/// An [`EngineError`].
pub fn prepare(model: &TypedModel, isa: Isa) -> Result<Runnable, EngineError> {
    let (program, weights) = compile(model)?;
    Ok(Runnable::new(program, PackedWeights::owned(&weights), isa)?)
}
