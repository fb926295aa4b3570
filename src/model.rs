//! The model: input tensor → probabilities.
//!
//! Only this file and `model/onnx.rs` use `tract`. The model always runs through
//! `tract`, also where the engine does the work: the engine ([`moth_engine`]) is an operator inside a
//! `tract` plan. So every model takes the same path, and `tract` runs each model that the engine does not
//! support.

mod label;
mod manifest;
mod onnx;
mod probabilities;
mod reference;
mod thresholds;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use moth_engine::{
    EngineError,
    file::{self, FileError},
    isa::Isa,
    op,
    threads::with_threads,
};
use tract_onnx::prelude::*;

use crate::error::chain;
pub use label::{Label, LabelError};
pub use manifest::{
    Color, Input, Layout, MANIFEST, Manifest, ManifestError, Output, OutputKind, Preprocess, Resize,
};
pub use onnx::check_hash;
pub(crate) use probabilities::decimal;
pub use probabilities::{Probabilities, ProbabilitiesError};
pub use reference::{BINS, InvalidReference, Reference, confidence_bin};
pub use thresholds::{NOT_A_MOTH, Thresholds, UNKNOWN};

/// File name of the compiled model inside MODEL_DIR.
pub const COMPILED: &str = "model.compiled";

/// A model ready to run, with its manifest.
pub struct Model {
    manifest: Manifest,
    plan: Arc<TypedRunnableModel>,
    backend: Backend,
    threads: TractThreads,
}

/// The code that runs a model.
#[derive(Debug)]
pub enum Backend {
    /// The engine, from the compiled file.
    Compiled(Isa),
    /// The engine, from the ONNX file, because of this error in the compiled file.
    Engine(Isa, FileError),
    /// `tract`'s own operators, because the engine does not support this part of the model.
    Tract(String),
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compiled(isa) => write!(f, "compiled, {isa}"),
            Self::Engine(isa, error) => {
                write!(
                    f,
                    "{isa}, compiled from the ONNX file at each start ({COMPILED}: {error})"
                )
            }
            Self::Tract(unsupported) => {
                write!(
                    f,
                    "stock tract, because the engine does not support {unsupported}"
                )
            }
        }
    }
}

/// One image as the model's input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputTensor {
    /// Four axes in the manifest's layout. The batch size is 1.
    pub shape: [usize; 4],
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The manifest is missing or invalid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The ONNX file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the ONNX file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The ONNX file is not the one that the manifest describes.
    #[error(
        "{path} has SHA-256 {actual}, the manifest says {expected}: copy both again, or run model/export.py again"
    )]
    Hash {
        /// Path of the ONNX file.
        path: PathBuf,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the file.
        actual: String,
    },
    /// The compiled file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Path of the compiled file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The ONNX file does not parse, does not match the manifest, or cannot be run.
    #[error("{path} is not a model that can be run: {reason}")]
    Graph {
        /// Path of the ONNX file.
        path: PathBuf,
        /// `tract`'s error, or the difference to the manifest.
        reason: String,
    },
}

impl ModelError {
    /// The engine supports the graph of `path` and cannot run it: a defect of the model or of the engine.
    fn engine(path: &Path, error: &EngineError) -> Self {
        Self::Graph {
            path: path.to_owned(),
            reason: chain(error),
        }
    }
}

/// Why one run of a model gave no probabilities.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `tract` or the engine failed.
    #[error("{0}")]
    Run(String),
    /// The output is not probabilities.
    #[error(transparent)]
    Output(#[from] ProbabilitiesError),
}

impl Model {
    /// Loads the model in the folder `dir` and checks hash, input, output and labels against its manifest.
    /// A run may use up to `cpus` threads, and no wider instructions than `isa`.
    ///
    /// # Errors
    ///
    /// A [`ModelError`] that names the file. A compiled file that is missing, damaged or made from another
    /// model is not an error: the ONNX file is used instead.
    pub fn load(dir: &Path, isa: Isa, cpus: usize) -> Result<Self, ModelError> {
        let manifest = Manifest::read(dir)?;
        let path = dir.join(&manifest.file);
        let graph = |error: TractError| ModelError::Graph {
            path: path.clone(),
            reason: format!("{error:#}"),
        };
        let (model, backend) = match file::open(&dir.join(COMPILED), &manifest.sha256, isa) {
            Ok(runnable) => (op::model(runnable), Backend::Compiled(isa)),
            Err(unusable) => {
                let model = onnx::read(&path, &manifest)?;
                match moth_engine::prepare(&model, isa) {
                    Ok(runnable) => (op::model(runnable), Backend::Engine(isa, unusable)),
                    Err(EngineError::Import(unsupported)) => (
                        model.into_optimized(),
                        Backend::Tract(unsupported.to_string()),
                    ),
                    Err(error) => return Err(ModelError::engine(&path, &error)),
                }
            }
        };
        let threads = match backend {
            Backend::Tract(_) => TractThreads::new(cpus),
            Backend::Compiled(_) | Backend::Engine(..) => TractThreads::new(1),
        };
        let plan = model.and_then(|model| onnx::plan(model, &manifest));
        Ok(Self {
            plan: plan.map_err(graph)?,
            manifest,
            backend,
            threads,
        })
    }

    /// The code that runs the model.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The model's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Runs the model on one image with `threads` threads. A ResNet-50 takes tens of milliseconds on one.
    ///
    /// # Errors
    ///
    /// If the shape of `input` is not the manifest's, or the output is not probabilities.
    pub fn run(&self, input: &InputTensor, threads: usize) -> Result<Probabilities, RunError> {
        let outputs = self
            .threads
            .scope(threads, || with_threads(threads, || self.outputs(input)))
            .map_err(|error| RunError::Run(format!("{error:#}")))?;
        let labels = Arc::clone(&self.manifest.labels);
        Ok(match self.manifest.output.kind {
            OutputKind::Probabilities => Probabilities::new(labels, outputs)?,
            OutputKind::Logits => Probabilities::from_logits(labels, &outputs)?,
        })
    }

    fn outputs(&self, input: &InputTensor) -> TractResult<Vec<f32>> {
        let tensor = Tensor::from_shape(&input.shape, &input.values)?;
        let outputs = self.plan.run(tvec!(tensor.into_tvalue()))?;
        Ok(outputs[0].view().as_slice::<f32>()?.to_vec())
    }
}

/// Threads of `tract`'s own operators. The engine has its own ([`with_threads`]).
enum TractThreads {
    One,
    /// A pool of as many threads as there are CPUs. Concurrent runs share it.
    Pool(multithread::Executor),
}

impl TractThreads {
    fn new(cpus: usize) -> Self {
        match cpus {
            0 | 1 => Self::One,
            _ => Self::Pool(multithread::Executor::multithread(cpus)),
        }
    }

    /// Runs `work` with the pool if it may have more than one thread, else without.
    fn scope<T>(&self, threads: usize, work: impl FnOnce() -> T) -> T {
        let Self::Pool(pool) = self else {
            return work();
        };
        // Set for one thread too: `tract` does not restore its thread-local when `work` panics.
        let executor = match threads {
            0 | 1 => multithread::Executor::SingleThread,
            _ => pool.clone(),
        };
        multithread::multithread_tract_scope(executor, work)
    }
}

/// Result of [`compile`].
#[derive(Debug)]
pub enum Compilation {
    /// The compiled file that [`Model::load`] uses.
    Written {
        /// Its path.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// No file: the engine does not support this part of the model. `tract` runs the model.
    Unsupported(String),
}

/// Compiles the model in the folder `dir` into a file beside it.
///
/// # Errors
///
/// A [`ModelError`] if the model cannot be run at all, or the file cannot be written.
pub fn compile(dir: &Path) -> Result<Compilation, ModelError> {
    let manifest = Manifest::read(dir)?;
    let onnx = dir.join(&manifest.file);
    let model = onnx::read(&onnx, &manifest)?;
    let (program, weights) = match moth_engine::compile(&model) {
        Ok(compiled) => compiled,
        Err(EngineError::Import(unsupported)) => {
            return Ok(Compilation::Unsupported(unsupported.to_string()));
        }
        Err(error) => return Err(ModelError::engine(&onnx, &error)),
    };
    let path = dir.join(COMPILED);
    let written = file::write(&path, &manifest.sha256, &program, &weights)
        .and_then(|()| Ok(path.metadata()?.len()));
    match written {
        Ok(bytes) => Ok(Compilation::Written { path, bytes }),
        Err(source) => Err(ModelError::Write { path, source }),
    }
}
