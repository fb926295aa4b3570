//! When the model does not know what a photo shows.

use std::collections::BTreeMap;

use super::{Label, Probabilities};

/// Class of a photo whose most probable label is not probable enough.
pub const UNKNOWN: &str = "UNKNOWN";
/// Class that a reviewer gives to a photo that shows no moth.
pub const NOT_A_MOTH: &str = "NOT_A_MOTH";

/// The least probability with which a photo counts in the class of its most probable label.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thresholds {
    /// For labels without a threshold of their own. 0: every photo counts.
    pub all: f32,
    /// By label.
    pub by_label: BTreeMap<Label, f32>,
}

impl Thresholds {
    /// The same threshold for every label.
    pub fn same(all: f32) -> Self {
        Self {
            all,
            by_label: BTreeMap::new(),
        }
    }

    /// The class in which a photo with these probabilities counts: its most probable label, or [`UNKNOWN`].
    pub fn class(&self, probabilities: &Probabilities) -> Label {
        let (label, probability) = probabilities.top();
        let threshold = self.by_label.get(label).copied().unwrap_or(self.all);
        match probability < threshold {
            true => Label::unknown(),
            false => label.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        Label::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn a_photo_under_the_threshold_of_its_label_is_unknown() {
        let labels: std::sync::Arc<[Label]> = [label("AAW"), label("FAW")].into();
        let class = |thresholds: &Thresholds, faw: f32| {
            let probabilities = Probabilities::new(labels.clone(), vec![1.0 - faw, faw]);
            thresholds.class(&probabilities.unwrap()).to_string()
        };
        let thresholds = Thresholds {
            all: 0.75,
            by_label: BTreeMap::from([(label("FAW"), 0.875)]),
        };
        assert_eq!(class(&thresholds, 0.875), "FAW");
        assert_eq!(class(&thresholds, 0.86), UNKNOWN);
        assert_eq!(class(&thresholds, 0.25), "AAW");
        assert_eq!(class(&thresholds, 0.26), UNKNOWN);
        assert_eq!(class(&Thresholds::default(), 0.5), "AAW");
        assert_eq!(class(&Thresholds::same(1.0), 1.0), "FAW");
    }
}
