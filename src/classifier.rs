//! The classifier: photo bytes → probabilities and class. This is the CPU-bound stage of the pipeline.

mod self_test;

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::{
    config::ComputeConfig,
    cpus::Cpus,
    error::Error,
    model::{InputTensor, Label, Manifest, Model, ModelError, Probabilities, Thresholds},
    photo::{self, Encoded, Exif, Limits, Properties, Rejection, Thumbnail, sniff},
    prediction::PhotoFile,
};

pub use self_test::{SelfTest, SelfTestError, TOLERANCE as SELF_TEST_TOLERANCE};

/// A model, its thresholds, the limits on its photos, and the CPUs on which it runs.
pub struct Classifier {
    model: Model,
    thresholds: Thresholds,
    limits: Limits,
    cpus: Arc<Cpus>,
}

/// What the classifier says about a photo.
#[derive(Debug)]
pub enum Verdict {
    /// The model gave probabilities.
    Classified(Classified),
    /// The bytes are not a photo that this function can classify.
    Rejected(Rejection),
}

/// The model's output for one photo, with the time of each stage.
#[derive(Debug)]
pub struct Classified {
    /// The model's output.
    pub probabilities: Probabilities,
    /// The class in which the photo counts: the most probable label, or [`UNKNOWN`](crate::model::UNKNOWN).
    pub class: Label,
    /// The photo's file.
    pub file: PhotoFile,
    /// EXIF of the file.
    pub exif: Exif,
    /// Time to decode, resize, normalize and hash.
    pub decode: Duration,
    /// Time to run the model.
    pub inference: Duration,
}

impl Classified {
    /// The most probable label, if the photo counts as UNKNOWN.
    pub fn predicted_class(&self) -> Option<&Label> {
        let (label, _) = self.probabilities.top();
        (self.class != *label).then_some(label)
    }
}

impl Classifier {
    /// Loads the model of `config`.
    ///
    /// # Errors
    ///
    /// If the model is missing or invalid.
    pub fn load(config: &ComputeConfig) -> Result<Self, ModelError> {
        let cpus = Cpus::new(config.cpus, config.limits.pixels);
        Self::load_on(config, Arc::new(cpus))
    }

    /// Loads the model of `config`, which shares `cpus` with other models.
    ///
    /// # Errors
    ///
    /// If the model is missing or invalid.
    pub(crate) fn load_on(config: &ComputeConfig, cpus: Arc<Cpus>) -> Result<Self, ModelError> {
        let model = Model::load(&config.model_dir, config.isa, config.cpus)?;
        let thresholds = match config.unknown_below {
            Some(threshold) => Thresholds::same(threshold),
            None => model.manifest().thresholds.clone(),
        };
        Ok(Self {
            model,
            thresholds,
            limits: config.limits,
            cpus,
        })
    }

    /// The CPUs on which it runs.
    pub(crate) fn cpus(&self) -> &Cpus {
        &self.cpus
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The thresholds that it applies: UNKNOWN_BELOW, or the model's.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Upper limits on the size of a photo.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Classifies a photo on another thread, once a CPU is free.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the model fails, [`Error::Aborted`] if the thread panics.
    pub async fn classify_in_turn(
        self: &Arc<Self>,
        bytes: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Verdict, Error> {
        self.in_turn(move |classifier| classifier.classify(bytes.as_ref()))
            .await?
    }

    /// Makes the thumbnail of a photo on another thread, once a CPU is free.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`] if the thread panics.
    pub(crate) async fn thumbnail_in_turn(
        self: &Arc<Self>,
        bytes: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Result<Vec<u8>, Rejection>, Error> {
        self.in_turn(move |classifier| classifier.thumbnail(bytes.as_ref()))
            .await
    }

    /// Runs `work` on another thread, once a CPU is free.
    async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let classifier = Arc::clone(self);
        // The log line of a panic in a decoder names the photo by this span.
        let span = tracing::Span::current();
        let compute = move || span.in_scope(|| work(&classifier));
        self.cpus.run(compute).await
    }

    fn thumbnail(&self, bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
        catch_panic(bytes, || {
            let thumbnail = Thumbnail::open(bytes, self.limits)?;
            let _reserved = self.cpus.reserve_pixels(thumbnail.pixels());
            thumbnail.jpeg()
        })
    }

    /// Classifies a photo. Blocks this thread for tens of milliseconds; inference uses the photo's share of the CPUs.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the model fails.
    pub fn classify(&self, bytes: &[u8]) -> Result<Verdict, Error> {
        let computation = self.cpus.start();
        let started = Instant::now();
        let (input, properties) = match self.prepare(bytes) {
            Ok(prepared) => prepared,
            Err(rejection) => return Ok(Verdict::Rejected(rejection)),
        };
        let Properties {
            width,
            height,
            exif,
        } = properties;
        let file = PhotoFile {
            width,
            height,
            bytes: bytes.len() as u64,
            sha256: Sha256::digest(bytes).into(),
        };
        let decode = started.elapsed();

        let started = Instant::now();
        let probabilities = self.model.run(&input, computation.threads());
        let probabilities = probabilities.map_err(|error| Error::Model(error.to_string()))?;
        let inference = started.elapsed();
        Ok(Verdict::Classified(Classified {
            class: self.thresholds.class(&probabilities),
            probabilities,
            file,
            exif,
            decode,
            inference,
        }))
    }

    /// Decodes a photo and converts it to the model's input tensor.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] if the bytes are no photo that this function can classify. A panic inside a decoder
    /// is caught and counts as damage.
    pub fn input(&self, bytes: &[u8]) -> Result<InputTensor, Rejection> {
        let (input, _) = self.prepare(bytes)?;
        Ok(input)
    }

    fn prepare(&self, bytes: &[u8]) -> Result<(InputTensor, Properties), Rejection> {
        let Manifest {
            input, preprocess, ..
        } = self.model.manifest();
        let (image, properties, _reserved) = catch_panic(bytes, || {
            let encoded = Encoded::open(bytes, self.limits)?;
            let reserved = self.cpus.reserve_pixels(encoded.pixels());
            let properties = encoded.properties();
            Ok((encoded.decode(input)?, properties, reserved))
        })?;
        Ok((photo::tensor(&image, input, preprocess), properties))
    }
}

/// Runs `decode` on `bytes`. A panic in it means that the file is damaged. The panic hook has logged it.
fn catch_panic<T>(
    bytes: &[u8],
    decode: impl FnOnce() -> Result<T, Rejection>,
) -> Result<T, Rejection> {
    // Unwind safety: all that `decode` builds is dropped by the unwinding, and the pixel budget is
    // returned by its guard.
    panic::catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(Rejection::Damaged {
            format: sniff(bytes)?,
            reason: "the decoder panicked".into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_rejection_and_returns_its_pixels() {
        let cpus = Cpus::new(1, 10);
        let png = b"\x89PNG\r\n\x1a\n";
        for _ in 0..3 {
            let rejection = catch_panic::<()>(png, || {
                let _reserved = cpus.reserve_pixels(10);
                panic!("as a decoder would")
            });
            assert_eq!(
                rejection.unwrap_err().to_string(),
                "the PNG file is damaged: the decoder panicked"
            );
        }
    }
}
