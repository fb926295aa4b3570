//! The classification of one photo: computed or cached, and its JSON.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{Api, cache::PhotoHash, models::NamedModel, problem::Problem};
use crate::{
    classifier::{Classified, Verdict},
    error::Error,
    model::{Label, decimal},
    photo::{Rejection, format_name},
};

/// Number of predictions in a response without `top`.
pub(super) const DEFAULT_TOP: u64 = 5;

/// What a model says about a photo.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Classification {
    /// The most probable class, or UNKNOWN if it is under the model's threshold.
    #[schema(example = "FAW")]
    class_name: String,
    /// Probability of the most probable class, 0 to 1.
    #[schema(minimum = 0, maximum = 1, example = 0.97312)]
    probability: f64,
    /// Whether the probability is under the model's threshold.
    unknown: bool,
    /// The most probable classes, the most probable first.
    predictions: Vec<Prediction>,
    /// The model.
    model: ModelName,
    /// The photo.
    photo: Photo,
}

/// A class with its probability.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Prediction {
    /// The class.
    #[schema(example = "FAW")]
    class_name: String,
    /// Its probability, 0 to 1.
    #[schema(minimum = 0, maximum = 1, example = 0.97312)]
    probability: f64,
}

/// Which model it was.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ModelName {
    /// Name of the model's folder.
    #[schema(example = "model")]
    name: String,
    /// First 12 digits of the SHA-256 of the ONNX file.
    #[schema(example = "d53b8b1f68a1")]
    version: String,
}

/// What the photo's file is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Photo {
    /// jpeg, png or webp, by the first bytes.
    #[schema(example = "jpeg")]
    format: &'static str,
    /// Columns of the upright photo.
    #[schema(example = 4000)]
    width: u32,
    /// Rows of the upright photo.
    #[schema(example = 3000)]
    height: u32,
    /// Length in bytes.
    #[schema(example = 3_145_728)]
    bytes: u64,
    /// SHA-256 of the bytes, hexadecimal.
    sha256: String,
}

/// A result, and what it cost.
pub(super) struct ClassifiedPhoto {
    model: Arc<NamedModel>,
    format: &'static str,
    result: Arc<Classified>,
    pub(super) timing: Timing,
}

/// What a result cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timing {
    /// Whether the result was in the cache.
    pub(super) is_hit: bool,
    /// Time in the queue and on the way to the CPU.
    pub(super) wait: Duration,
    /// Time to decode, resize, normalize and hash.
    pub(super) decode: Duration,
    /// Time to run the model.
    pub(super) inference: Duration,
}

impl Timing {
    /// The header `Server-Timing`: milliseconds.
    pub(super) fn header(&self) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        match self.is_hit {
            true => "cache;desc=hit".to_owned(),
            false => format!(
                "wait;dur={:.1}, decode;dur={:.1}, inference;dur={:.1}",
                ms(self.wait),
                ms(self.decode),
                ms(self.inference)
            ),
        }
    }
}

impl ClassifiedPhoto {
    pub(super) fn model_name(&self) -> &str {
        &self.model.name
    }

    pub(super) fn class(&self) -> &Label {
        &self.result.class
    }

    /// The JSON of this result, with the `top` most probable classes.
    pub(super) fn classification(&self, top: usize) -> Classification {
        let Classified {
            probabilities,
            class,
            file,
            ..
        } = &*self.result;
        let (_, probability) = probabilities.top();
        let predictions = probabilities.top_n(top).into_iter();
        Classification {
            class_name: class.to_string(),
            probability: decimal(probability),
            unknown: *class == Label::unknown(),
            predictions: predictions
                .map(|(label, probability)| Prediction {
                    class_name: label.to_string(),
                    probability: decimal(probability),
                })
                .collect(),
            model: ModelName {
                name: self.model.name.clone(),
                version: self.model.manifest().model_version().to_owned(),
            },
            photo: Photo {
                format: self.format,
                width: file.width,
                height: file.height,
                bytes: file.bytes,
                sha256: hex::encode(file.sha256),
            },
        }
    }
}

impl Api {
    /// Classifies a photo, or finds its result in the cache.
    pub(super) async fn compute<B>(
        &self,
        model: Arc<NamedModel>,
        photo: B,
    ) -> Result<ClassifiedPhoto, Problem>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let result = self.compute_uncounted(model, photo).await;
        match &result {
            Ok(computed) => self.metrics.classified(computed),
            Err(problem) => self.metrics.rejected(problem.kind()),
        }
        result
    }

    async fn compute_uncounted<B>(
        &self,
        model: Arc<NamedModel>,
        photo: B,
    ) -> Result<ClassifiedPhoto, Problem>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let limit = model.classifier.limits().bytes;
        let bytes = photo.as_ref().len() as u64;
        if bytes > limit {
            return Err(too_large(bytes, limit));
        }
        let (photo, hash) = hashed(photo).await?;
        let format = match format_name(photo.as_ref()) {
            Ok(format) => format,
            Err(rejection) => return Err(Problem::from(&rejection)),
        };
        if let Some(result) = model.results.get(&hash) {
            let timing = Timing {
                is_hit: true,
                ..Timing::default()
            };
            return Ok(ClassifiedPhoto {
                model,
                format,
                result,
                timing,
            });
        }
        let started = Instant::now();
        let classified = match model.classifier.classify_in_turn(photo).await? {
            Verdict::Classified(classified) => Arc::new(classified),
            Verdict::Rejected(rejection) => return Err(Problem::from(&rejection)),
        };
        let computing = classified.decode + classified.inference;
        let timing = Timing {
            is_hit: false,
            wait: started.elapsed().saturating_sub(computing),
            decode: classified.decode,
            inference: classified.inference,
        };
        model.results.put(hash, Arc::clone(&classified));
        Ok(ClassifiedPhoto {
            model,
            format,
            result: classified,
            timing,
        })
    }
}

/// The way out for a photo that is too large for a request.
pub(super) const UPLOAD: &str = "upload it through POST /v1/uploads";

/// A photo of `bytes` bytes is over `limit`, also in the bucket.
pub(super) fn too_large(bytes: u64, limit: u64) -> Problem {
    Problem::from(&Rejection::TooManyBytes { bytes, limit }).with("limit", limit)
}

/// The photo with its SHA-256. Large photos take tens of milliseconds, so a thread of its own computes it.
async fn hashed<B>(photo: B) -> Result<(B, PhotoHash), Error>
where
    B: AsRef<[u8]> + Send + 'static,
{
    let hash = move || {
        let hash = Sha256::digest(photo.as_ref()).into();
        (photo, hash)
    };
    tokio::task::spawn_blocking(hash)
        .await
        .map_err(|error| Error::Aborted(error.into()))
}
