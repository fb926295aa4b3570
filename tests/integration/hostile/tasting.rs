//! Takes bytes through the function's own code, up to the model.

use std::collections::BTreeMap;

use moth_classifier::{classifier::Classifier, config::ComputeConfig, photo::Limits};
use moth_engine::isa::Isa;

use crate::support::photo::COLOR_MODEL;

/// The number of photos, and of rejections by their first words.
#[derive(Default, Debug)]
pub(super) struct Tally {
    pub(super) photos: usize,
    pub(super) rejections: BTreeMap<String, usize>,
    panics: usize,
}

pub(super) struct Taster(Classifier);

impl Taster {
    pub(super) fn new() -> Self {
        let classifier = Classifier::load(&ComputeConfig {
            model_dir: COLOR_MODEL.1.into(),
            unknown_below: None,
            limits: Limits {
                bytes: 1 << 20,
                pixels: 4_000_000,
            },
            isa: Isa::detect(),
            cpus: 1,
        });
        Self(classifier.unwrap())
    }

    /// Adds a file to `tally`. Its pixels must be numbers from 0 to 1.
    pub(super) fn taste(&self, bytes: &[u8], tally: &mut Tally) {
        match self.0.input(bytes) {
            Ok(tensor) => {
                let mut values = tensor.values.iter();
                assert!(values.all(|value| (0.0..=1.0).contains(value)));
                tally.photos += 1;
            }
            Err(rejection) => {
                let reason = rejection.to_string();
                tally.panics += usize::from(reason.ends_with("panicked"));
                let words: Vec<&str> = reason.split([':', ' ']).take(4).collect();
                *tally.rejections.entry(words.join(" ")).or_default() += 1;
            }
        }
    }
}
