//! The model's output as probabilities.

use std::sync::Arc;

use super::Label;

/// One probability for each label: each from 0 to 1, with the sum 1 within rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    labels: Arc<[Label]>,
    values: Vec<f32>,
}

/// Why a model's output is not probabilities.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ProbabilitiesError {
    /// The number of values differs from the number of labels.
    #[error("{values} outputs for {labels} labels")]
    Length {
        /// Number of outputs.
        values: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A value is outside 0 to 1, or the sum is not 1.
    #[error("outputs {0:?} are not probabilities")]
    Values(Vec<f32>),
}

impl Probabilities {
    /// Checks `values`, in the order of `labels`.
    ///
    /// # Errors
    ///
    /// If `values` are not one probability for each label.
    pub fn new(labels: Arc<[Label]>, values: Vec<f32>) -> Result<Self, ProbabilitiesError> {
        if labels.is_empty() || values.len() != labels.len() {
            return Err(ProbabilitiesError::Length {
                values: values.len(),
                labels: labels.len(),
            });
        }
        // Rounding may put a probability a few ulps outside the range. NaN fails every comparison.
        let in_range = values
            .iter()
            .all(|value| (-1e-6..=1.0 + 1e-6).contains(value));
        let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
        if !in_range || (sum - 1.0).abs() > 1e-3 {
            return Err(ProbabilitiesError::Values(values));
        }
        let values = values
            .into_iter()
            .map(|value| value.clamp(0.0, 1.0))
            .collect();
        Ok(Self { labels, values })
    }

    /// Softmax of `logits`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_logits(labels: Arc<[Label]>, logits: &[f32]) -> Result<Self, ProbabilitiesError> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = logits
            .iter()
            .map(|&logit| f64::from(logit - max).exp())
            .collect();
        let sum: f64 = powers.iter().sum();
        Self::new(
            labels,
            powers.iter().map(|power| (power / sum) as f32).collect(),
        )
    }

    /// Labels and probabilities in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&Label, f32)> {
        self.labels.iter().zip(self.values.iter().copied())
    }

    /// The most probable class; of equal ones the first, like NumPy's argmax.
    pub fn top(&self) -> (&Label, f32) {
        let first = (&self.labels[0], self.values[0]);
        self.iter()
            .skip(1)
            .fold(first, |top, next| if next.1 > top.1 { next } else { top })
    }

    /// The `n` most probable classes in descending order.
    pub fn top_n(&self, n: usize) -> Vec<(&Label, f32)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(n);
        all
    }
}

/// The number with the digits of `probability`, as in 0.97 for the f32 next to it: the form in JSON.
pub(crate) fn decimal(probability: f32) -> f64 {
    let digits = probability.to_string();
    digits.parse().unwrap_or(f64::from(probability))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Arc<[Label]> {
        names
            .iter()
            .map(|name| Label::try_from((*name).to_owned()).unwrap())
            .collect()
    }

    #[test]
    fn the_top_class_is_the_first_of_equals() {
        let probabilities =
            Probabilities::new(labels(&["A", "B", "C"]), vec![0.2, 0.4, 0.4]).unwrap();
        assert_eq!(probabilities.top().0.as_str(), "B");
        let top_2: Vec<_> = probabilities
            .top_n(2)
            .iter()
            .map(|(l, _)| l.as_str())
            .collect();
        assert_eq!(top_2, ["B", "C"]);
    }

    #[test]
    fn values_that_are_not_probabilities_are_refused() {
        for values in [
            vec![0.5, 0.4],
            vec![f32::NAN, 1.0],
            vec![1.5, -0.5],
            vec![1.0],
        ] {
            assert!(Probabilities::new(labels(&["A", "B"]), values).is_err());
        }
    }

    #[test]
    fn softmax_survives_large_logits() {
        let probabilities =
            Probabilities::from_logits(labels(&["A", "B"]), &[1000.0, 1000.0]).unwrap();
        assert_eq!(probabilities.top(), (&labels(&["A"])[0], 0.5));
        assert!(Probabilities::from_logits(labels(&["A", "B"]), &[f32::NAN, 0.0]).is_err());
    }
}
