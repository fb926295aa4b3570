//! ONNX file → `tract` plan, checked against the manifest.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
    thread,
};

use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;

use super::{Layout, Manifest, ModelError};

/// Checks that the file at `path` has this SHA-256. The file is read in pieces of 256 KiB.
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
        let digest = hasher.finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
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

/// Reads the graph of an ONNX file whose hash is the manifest's. Hash and graph are read at the same time.
pub(super) fn read(path: &Path, manifest: &Manifest) -> Result<TypedModel, ModelError> {
    let (hash, model) = thread::scope(|scope| {
        let hash = scope.spawn(|| check_hash(path, &manifest.sha256));
        let model = parse(path, manifest);
        (hash.join(), model)
    });
    // A file with the wrong hash may fail to parse in any way: the hash is the better error.
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

/// The plan that runs `model`. Fails if its input or output is not the one in the manifest.
pub(super) fn plan(model: TypedModel, manifest: &Manifest) -> TractResult<Arc<TypedRunnableModel>> {
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
