//! `model.json`: the input that the ONNX file beside it expects, and the meaning of its output.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::{Label, Reference, Thresholds, UNKNOWN};

/// File name of the manifest inside MODEL_DIR.
pub const MANIFEST: &str = "model.json";

/// The manifest as `model/export.py` writes it, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Manifest {
    /// Name of the ONNX file, beside the manifest.
    pub file: PathBuf,
    /// SHA-256 of the ONNX file, lower-case hexadecimal.
    pub sha256: String,
    /// Class labels in the order of the model's output.
    pub labels: Arc<[Label]>,
    /// The model's one input.
    pub input: Input,
    /// The model's one output.
    pub output: Output,
    /// How pixels become the values of the input tensor.
    pub preprocess: Preprocess,
    /// TensorFlow's most probable classes for the photo of `classify --self-test`; empty in a manifest that
    /// is older than the self-test.
    pub self_test: BTreeMap<Label, f32>,
    /// Below which probability a photo counts as UNKNOWN.
    pub thresholds: Thresholds,
    /// Scientific names, for exports.
    pub taxa: BTreeMap<Label, String>,
    /// The answers for the validation photos; absent if the model was exported without any.
    pub reference: Option<Reference>,
}

/// The model's one input: float32, one image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Input {
    /// Name of the ONNX input.
    pub name: String,
    /// Order of the axes.
    pub layout: Layout,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Order of the axes of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Layout {
    /// Batch, height, width, channel: TensorFlow's.
    #[serde(rename = "NHWC")]
    Nhwc,
    /// Batch, channel, height, width: PyTorch's.
    #[serde(rename = "NCHW")]
    Nchw,
}

/// The model's one output: float32, one value for each label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Output {
    /// Name of the ONNX output.
    pub name: String,
    /// Meaning of the values.
    pub kind: OutputKind,
}

/// Meaning of the output's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// Probabilities, whose sum is 1.
    Probabilities,
    /// Logits, which softmax converts to probabilities.
    Logits,
}

/// How the pixels of an RGB image become the values of the input tensor: resize, reorder the channels, then `(pixel * scale - mean) / std` for each channel.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Preprocess {
    /// Filter of the resize to the input's width and height. The aspect ratio is not preserved.
    pub resize: Resize,
    /// Order of the channels in the tensor.
    pub color: Color,
    /// Factor for pixel values 0–255.
    pub scale: f32,
    /// Subtracted after scaling, in the tensor's channel order.
    pub mean: [f32; 3],
    /// Divisor after that, in the tensor's channel order.
    pub std: [f32; 3],
}

/// Resize filter, with the name, formula and antialiasing of Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Catmull-Rom cubic, a = −0.5.
    Bicubic,
    /// Triangle.
    Bilinear,
}

/// Order of the channels in the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Color {
    /// Red first.
    Rgb,
    /// Blue first: Caffe's.
    Bgr,
}

/// Why the manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("MODEL_DIR must be a folder that model/export.py wrote: cannot read {path}")]
    Read {
        /// Path of the manifest.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a valid manifest.
    #[error("{path} is not a model manifest")]
    Parse {
        /// Path of the manifest.
        path: PathBuf,
        /// The error in it.
        source: serde_json::Error,
    },
}

impl Manifest {
    /// Reads and checks `model.json` in `dir`.
    ///
    /// # Errors
    ///
    /// If the file is missing, not JSON, or has an invalid value.
    pub fn read(dir: &Path) -> Result<Self, ManifestError> {
        let path = dir.join(MANIFEST);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(source) => return Err(ManifestError::Read { path, source }),
        };
        serde_json::from_slice(&json).map_err(|source| ManifestError::Parse { path, source })
    }

    /// ModelVersion of a prediction record: the first 12 digits of the hash.
    pub fn model_version(&self) -> &str {
        &self.sha256[..12]
    }
}

/// Which value of a manifest is invalid.
#[derive(Debug, thiserror::Error)]
enum InvalidManifest {
    #[error("file is {0:?}, not the name of a file beside the manifest")]
    File(PathBuf),
    #[error("sha256 is {0:?}, not 64 lower-case hexadecimal digits")]
    Sha256(String),
    #[error("labels is empty")]
    NoLabels,
    #[error("label {0} is the class of photos that the model does not know")]
    ReservedLabel(Label),
    #[error("threshold {0} is not a probability")]
    Threshold(f32),
    #[error("{0} has a threshold or a scientific name, but is no label")]
    UnknownLabel(Label),
    #[error("label {0} occurs twice")]
    RepeatedLabel(Label),
    #[error("input is {width}×{height}, not 1 to 4096")]
    Size { width: u32, height: u32 },
    #[error("scale, mean or std is not finite")]
    NotFinite,
    #[error("std has a zero")]
    ZeroStd,
}

#[derive(Deserialize)]
struct Unchecked {
    file: PathBuf,
    sha256: String,
    labels: Vec<Label>,
    input: Input,
    output: Output,
    preprocess: Preprocess,
    #[serde(default)]
    self_test: BTreeMap<Label, f32>,
    #[serde(default)]
    threshold: f32,
    #[serde(default)]
    thresholds: BTreeMap<Label, f32>,
    #[serde(default)]
    taxa: BTreeMap<Label, String>,
    reference: Option<Reference>,
}

impl TryFrom<Unchecked> for Manifest {
    type Error = InvalidManifest;

    fn try_from(unchecked: Unchecked) -> Result<Self, InvalidManifest> {
        let Unchecked {
            file,
            sha256,
            labels,
            input,
            output,
            preprocess,
            self_test,
            threshold,
            thresholds,
            taxa,
            reference,
        } = unchecked;
        if file.file_name() != Some(file.as_os_str()) {
            return Err(InvalidManifest::File(file));
        }
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if sha256.len() != 64 || !sha256.bytes().all(is_hex) {
            return Err(InvalidManifest::Sha256(sha256));
        }
        if labels.is_empty() {
            return Err(InvalidManifest::NoLabels);
        }
        let mut seen = HashSet::new();
        if let Some(label) = labels.iter().find(|label| !seen.insert(*label)) {
            return Err(InvalidManifest::RepeatedLabel(label.clone()));
        }
        if let Some(label) = labels.iter().find(|label| label.as_str() == UNKNOWN) {
            return Err(InvalidManifest::ReservedLabel(label.clone()));
        }
        let mut named = thresholds.keys().chain(taxa.keys());
        if let Some(label) = named.find(|label| !seen.contains(label)) {
            return Err(InvalidManifest::UnknownLabel(label.clone()));
        }
        let is_probability = |value: &&f32| (0.0..=1.0).contains(*value);
        if let Some(&invalid) = thresholds
            .values()
            .chain([&threshold])
            .find(|value| !is_probability(value))
        {
            return Err(InvalidManifest::Threshold(invalid));
        }
        // 4096 × 4096 × 3 floats are 200 MB: a larger input is a mistake.
        if !(1..=4096).contains(&input.width) || !(1..=4096).contains(&input.height) {
            return Err(InvalidManifest::Size {
                width: input.width,
                height: input.height,
            });
        }
        let Preprocess {
            scale, mean, std, ..
        } = &preprocess;
        if !scale.is_finite() || !mean.iter().chain(std).all(|n| n.is_finite()) {
            return Err(InvalidManifest::NotFinite);
        }
        if std.contains(&0.0) {
            return Err(InvalidManifest::ZeroStd);
        }
        Ok(Self {
            file,
            sha256,
            labels: labels.into(),
            input,
            output,
            preprocess,
            self_test,
            thresholds: Thresholds {
                all: threshold,
                by_label: thresholds,
            },
            taxa,
            reference,
        })
    }
}

#[cfg(test)]
mod tests;
