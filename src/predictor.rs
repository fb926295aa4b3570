//! Bytes → probabilities: the part that needs a CPU and no network.

use std::time::{Duration, Instant};

use crate::{
    classifier::Classifier, config::Limits, error::Error, manifest::Manifest,
    prediction::Probabilities, preprocess,
};

/// A model, and the limits of what it is shown.
pub struct Predictor {
    classifier: Classifier,
    limits: Limits,
}

/// What the model says of one picture, and how long it took.
#[derive(Debug)]
pub struct Predicted {
    /// What the model says.
    pub probabilities: Probabilities,
    /// Decoding, resizing and scaling.
    pub decode: Duration,
    /// Running the model.
    pub inference: Duration,
}

impl Predictor {
    /// Shows `classifier` pictures within `limits`.
    pub fn new(classifier: Classifier, limits: Limits) -> Self {
        Self { classifier, limits }
    }

    /// What the model expects and what its outputs mean.
    pub fn manifest(&self) -> &Manifest {
        self.classifier.manifest()
    }

    /// Classifies an encoded picture. Takes hundreds of milliseconds of one CPU.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] where the bytes are no picture for us, [`Error::Model`] where the model fails.
    pub fn predict(&self, bytes: &[u8]) -> Result<Predicted, Error> {
        let started = Instant::now();
        let picture = preprocess::decode(bytes, self.limits)?;
        let manifest = self.manifest();
        let input = preprocess::tensor(&picture, &manifest.input, &manifest.preprocess);
        drop(picture);
        let decode = started.elapsed();

        let started = Instant::now();
        let probabilities = self.classifier.classify(&input)?;
        Ok(Predicted {
            probabilities,
            decode,
            inference: started.elapsed(),
        })
    }
}
