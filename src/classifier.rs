//! Input tensor → probabilities. The one file of this crate that names `tract`; the engine that runs inside of it is
//! the crate [`moth_engine`].

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use moth_engine::{
    file::{self, FileError},
    isa::Isa,
    op,
    threads::with_threads,
};
use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;

use crate::{
    error::Error,
    manifest::{Layout, Manifest, ManifestError, OutputKind},
    prediction::Probabilities,
    preprocess::InputTensor,
};

/// What `compile` writes into the model's folder.
pub const COMPILED: &str = "model.compiled";

/// A model ready to run, with what its manifest says of it.
pub struct Classifier {
    manifest: Manifest,
    plan: Arc<TypedRunnableModel>,
    way: Way,
}

/// How a model is run.
#[derive(Debug)]
pub enum Way {
    /// By the engine, from the compiled file.
    Compiled(Isa),
    /// By the engine, from the ONNX file, and why not from the compiled one.
    Engine(Isa, FileError),
    /// By tract, and what of the model the engine does not know.
    Tract(String),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compiled(isa) => write!(f, "compiled, {isa}"),
            Self::Engine(isa, error) => {
                write!(
                    f,
                    "{isa}, made of the ONNX file at each start ({COMPILED}: {error})"
                )
            }
            Self::Tract(unknown) => write!(f, "stock tract, as the engine does not know {unknown}"),
        }
    }
}

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The manifest is missing or wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The ONNX file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the ONNX file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The ONNX file is not the one the manifest was written for.
    #[error(
        "{path} has SHA-256 {actual}, the manifest says {expected}: copy both again, or run model/export.py again"
    )]
    Hash {
        /// Path of the ONNX file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        actual: String,
    },
    /// The compiled file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The ONNX file does not parse, or does not fit the manifest.
    #[error("{path} is not a model that can be run: {reason}")]
    Graph {
        /// Path of the ONNX file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

impl Classifier {
    /// Loads the model in `dir` and checks it against its manifest: hash, input, output, labels.
    ///
    /// # Errors
    ///
    /// A [`ModelError`] that names the file and what is wrong with it. A compiled file that is missing, damaged, or of
    /// another model is no error: the ONNX file is used.
    pub fn load(dir: &Path, isa: Isa) -> Result<Self, ModelError> {
        let manifest = Manifest::read(dir)?;
        let path = dir.join(&manifest.file);
        let graph = |error: TractError| ModelError::Graph {
            path: path.clone(),
            reason: format!("{error:#}"),
        };
        let why = match file::open(&dir.join(COMPILED), &manifest.sha256, isa) {
            Ok(runnable) => {
                let plan = op::model(runnable).and_then(|model| plan(model, &manifest));
                let (plan, way) = (plan.map_err(graph)?, Way::Compiled(isa));
                return Ok(Self {
                    manifest,
                    plan,
                    way,
                });
            }
            Err(error) => error,
        };
        let model = checked(&path, &manifest)?;
        let (model, way) = match moth_engine::prepare(&model, isa) {
            Ok(runnable) => (op::model(runnable), Way::Engine(isa, why)),
            Err(unknown) => (model.into_optimized(), Way::Tract(unknown.to_string())),
        };
        let plan = model.and_then(|model| plan(model, &manifest));
        let plan = plan.map_err(graph)?;
        Ok(Self {
            manifest,
            plan,
            way,
        })
    }

    /// How the model is run.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// What the model expects and what its outputs mean.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Runs the model on one image, with so many threads. Takes tens of milliseconds of one CPU.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where the input has another shape than the manifest's, or the model gives
    /// numbers that are no probabilities.
    pub fn classify(&self, input: &InputTensor, threads: usize) -> Result<Probabilities, Error> {
        let outputs = with_threads(threads, || self.run(input))
            .map_err(|error| Error::Model(format!("{error:#}")))?;
        let labels = Arc::clone(&self.manifest.labels);
        match self.manifest.output.kind {
            OutputKind::Probabilities => Probabilities::new(labels, outputs),
            OutputKind::Logits => Probabilities::from_logits(labels, &outputs),
        }
        .map_err(|error| Error::Model(error.to_string()))
    }

    fn run(&self, input: &InputTensor) -> TractResult<Vec<f32>> {
        let tensor = Tensor::from_shape(&input.shape, &input.values)?;
        let outputs = self.plan.run(tvec!(tensor.into_tvalue()))?;
        Ok(outputs[0].view().as_slice::<f32>()?.to_vec())
    }
}

/// Checks that the file at `path` has this SHA-256, without holding it in memory.
///
/// # Errors
///
/// [`ModelError::Read`] and [`ModelError::Hash`].
pub fn check_hash(path: &Path, expected: &str) -> Result<(), ModelError> {
    let hash = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        Ok(hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    };
    let actual = hash().map_err(|source| ModelError::Read {
        path: path.into(),
        source,
    })?;
    if actual == expected {
        Ok(())
    } else {
        Err(ModelError::Hash {
            path: path.into(),
            expected: expected.into(),
            actual,
        })
    }
}

/// What became of [`compile`].
#[derive(Debug)]
pub enum Compiled {
    /// A file of so many bytes, which [`Classifier::load`] uses.
    Written(PathBuf, u64),
    /// Nothing, as the engine does not know this of the model. It runs on tract all the same.
    Unknown(String),
}

/// Compiles the model in `dir` into a file beside it.
///
/// # Errors
///
/// A [`ModelError`] where the model cannot be run at all, or the file not be written.
pub fn compile(dir: &Path) -> Result<Compiled, ModelError> {
    let manifest = Manifest::read(dir)?;
    let model = checked(&dir.join(&manifest.file), &manifest)?;
    let (program, weights) = match moth_engine::compile(&model) {
        Ok(compiled) => compiled,
        Err(unknown) => return Ok(Compiled::Unknown(unknown.to_string())),
    };
    let path = dir.join(COMPILED);
    let written = file::write(&path, &manifest.sha256, &program, &weights)
        .and_then(|()| Ok(path.metadata()?.len()));
    match written {
        Ok(bytes) => Ok(Compiled::Written(path, bytes)),
        Err(source) => Err(ModelError::Write { path, source }),
    }
}

/// The graph of an ONNX file, and that the file is the manifest's.
fn checked(path: &Path, manifest: &Manifest) -> Result<TypedModel, ModelError> {
    let (hash, model) = thread::scope(|scope| {
        let hash = scope.spawn(|| check_hash(path, &manifest.sha256));
        let model = parse(path, manifest);
        (hash.join(), model)
    });
    // A file with the wrong hash may fail to parse in any way: the hash is the better answer.
    match hash {
        Ok(checked) => checked?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    model.map_err(|error| ModelError::Graph {
        path: path.into(),
        reason: format!("{error:#}"),
    })
}

fn parse(path: &Path, manifest: &Manifest) -> TractResult<TypedModel> {
    tract_onnx::onnx()
        .model_for_path(path)?
        .with_input_names([&manifest.input.name])?
        .with_outputs_by_name([&manifest.output.name])?
        .with_input_fact(0, f32::fact(input_shape(manifest)).into())?
        .into_typed()
}

fn input_shape(manifest: &Manifest) -> [usize; 4] {
    let (width, height) = (
        manifest.input.width as usize,
        manifest.input.height as usize,
    );
    match manifest.input.layout {
        Layout::Nhwc => [1, height, width, 3],
        Layout::Nchw => [1, 3, height, width],
    }
}

/// What runs `model`, which takes and gives what the manifest says.
fn plan(model: TypedModel, manifest: &Manifest) -> TractResult<Arc<TypedRunnableModel>> {
    let input = model.input_fact(0)?;
    if input.shape.as_concrete() != Some(&input_shape(manifest)) {
        let shape = &input.shape;
        return Err(TractError::msg(format!(
            "its input has the shape {shape:?}, not that of the manifest"
        )));
    }
    let output = model.output_fact(0)?;
    let classes = manifest.labels.len();
    if output.datum_type != f32::datum_type() {
        return Err(TractError::msg(format!(
            "its output is {:?}, not f32",
            output.datum_type
        )));
    }
    if output.shape.as_concrete() != Some(&[1, classes]) {
        let shape = &output.shape;
        return Err(TractError::msg(format!(
            "its output has the shape {shape:?}, the manifest has {classes} labels"
        )));
    }
    model.into_runnable()
}
