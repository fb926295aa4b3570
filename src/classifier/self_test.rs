//! The self-test: the model's answer for a built-in photo against the answer in its manifest.

use super::{Classifier, Verdict};
use crate::{
    error::Error,
    model::{Label, MANIFEST, Probabilities},
    photo::Rejection,
};

/// A drawing of a moth, 400×300 pixels. `model/export.py` records TensorFlow's answer for it.
const PHOTO: &[u8] = include_bytes!("../../test_images/good/aaw.jpg");
/// Largest accepted difference to TensorFlow's probabilities. JPEG decoders differ by one or two levels of
/// 255, which changes the probabilities of the shipped model by 0.001.
pub const TOLERANCE: f32 = 0.02;

/// The model's answer for the built-in photo.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTest {
    /// The most probable label.
    pub label: Label,
    /// Its probability.
    pub probability: f32,
    /// The largest difference of a probability from the manifest's value.
    pub difference: f32,
}

impl SelfTest {
    /// Whether the answer is the one in the manifest.
    pub fn passed(&self) -> bool {
        self.difference <= TOLERANCE
    }
}

/// Why a self-test has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The manifest has no answer to compare with.
    #[error("{MANIFEST} has no self_test: run model/export.py again")]
    NotRecorded,
    /// The built-in photo is over the limits.
    #[error("the built-in photo is rejected: {0}")]
    Rejected(Rejection),
    /// The model failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Classifier {
    /// Classifies the built-in photo.
    ///
    /// # Errors
    ///
    /// If there is no answer, or none to compare with.
    pub fn self_test(&self) -> Result<SelfTest, SelfTestError> {
        let recorded = &self.model().manifest().self_test;
        if recorded.is_empty() {
            return Err(SelfTestError::NotRecorded);
        }
        let probabilities = match self.classify(PHOTO)? {
            Verdict::Classified(classified) => classified.probabilities,
            Verdict::Rejected(rejection) => return Err(SelfTestError::Rejected(rejection)),
        };
        let differences = recorded.iter().map(|(label, &recorded)| {
            match probability_of(&probabilities, label) {
                Some(probability) => (recorded - probability).abs(),
                // A class that the model does not have is the largest difference.
                None => 1.0,
            }
        });
        let (label, probability) = probabilities.top();
        Ok(SelfTest {
            label: label.clone(),
            probability,
            difference: differences.fold(0.0, f32::max),
        })
    }
}

fn probability_of(probabilities: &Probabilities, class: &Label) -> Option<f32> {
    let mut all = probabilities.iter();
    let (_, probability) = all.find(|(label, _)| *label == class)?;
    Some(probability)
}
