//! Input tensor → probabilities. The one file that names `tract`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;

use crate::{
    error::Error,
    manifest::{Layout, Manifest, ManifestError, OutputKind},
    prediction::Probabilities,
    preprocess::InputTensor,
};

/// A model ready to run, with what its manifest says of it.
pub struct Classifier {
    manifest: Manifest,
    plan: Arc<TypedRunnableModel>,
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
    #[error("{path} has SHA-256 {actual}, the manifest says {expected}: run model/export.py again")]
    Hash {
        /// Path of the ONNX file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        actual: String,
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
    /// A [`ModelError`] that names the file and what is wrong with it.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let manifest = Manifest::read(dir)?;
        let path = dir.join(&manifest.file);
        let (hash, plan) = thread::scope(|scope| {
            let hash = scope.spawn(|| check_hash(&path, &manifest.sha256));
            let plan = plan(&path, &manifest);
            (hash.join(), plan)
        });
        // A file with the wrong hash may fail to parse in any way: the hash is the better answer.
        match hash {
            Ok(checked) => checked?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        let plan = plan.map_err(|error| ModelError::Graph {
            path,
            reason: format!("{error:#}"),
        })?;
        Ok(Self { manifest, plan })
    }

    /// What the model expects and what its outputs mean.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Runs the model on one image. Takes tens of milliseconds of one CPU.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where the input has another shape than the manifest's, or the model gives
    /// numbers that are no probabilities.
    pub fn classify(&self, input: &InputTensor) -> Result<Probabilities, Error> {
        let outputs = self
            .run(input)
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

fn plan(path: &Path, manifest: &Manifest) -> TractResult<Arc<TypedRunnableModel>> {
    let (width, height) = (
        manifest.input.width as usize,
        manifest.input.height as usize,
    );
    let shape = match manifest.input.layout {
        Layout::Nhwc => [1, height, width, 3],
        Layout::Nchw => [1, 3, height, width],
    };
    let model = tract_onnx::onnx()
        .model_for_path(path)?
        .with_input_names([&manifest.input.name])?
        .with_outputs_by_name([&manifest.output.name])?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?;
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
