//! The model's answers for its validation photos. Drift is the difference of later answers from these.

use serde::Deserialize;

/// Number of confidence bins.
pub const BINS: usize = 10;

/// The confidence bin of a photo whose most probable label has this `probability`: 0 for a probability under 0.1,
/// 9 for one from 0.9 on.
pub fn confidence_bin(probability: f32) -> usize {
    let bin = (f64::from(probability) * BINS as f64) as usize;
    bin.min(BINS - 1)
}

/// The model's answers for the validation photos, as `model/export.py --validation` counts them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Reference {
    /// Number of photos in each [`confidence_bin`].
    pub bins: [u64; BINS],
    /// Number of photos under the thresholds of the manifest.
    pub unknown: u64,
}

/// Why a reference is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidReference {
    /// The bins are empty, or their sum exceeds 64 bits.
    #[error("the bins {0:?} of reference do not add up to a number of photos above 0")]
    Bins([u64; BINS]),
    /// More photos are unknown than there are in the bins.
    #[error("reference has {unknown} unknown photos, but only {photos} photos in its bins")]
    Unknown {
        /// Photos that are unknown.
        unknown: u64,
        /// Photos in the bins.
        photos: u64,
    },
}

#[derive(Deserialize)]
struct Unchecked {
    bins: [u64; BINS],
    unknown: u64,
}

impl TryFrom<Unchecked> for Reference {
    type Error = InvalidReference;

    fn try_from(Unchecked { bins, unknown }: Unchecked) -> Result<Self, InvalidReference> {
        let sum = bins.iter().try_fold(0u64, |sum, &bin| sum.checked_add(bin));
        let Some(photos @ 1..) = sum else {
            return Err(InvalidReference::Bins(bins));
        };
        if unknown > photos {
            return Err(InvalidReference::Unknown { unknown, photos });
        }
        Ok(Self { bins, unknown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bin_is_under_a_tenth_and_the_last_from_nine_tenths_on() {
        for (probability, bin) in [
            (0.0, 0),
            (0.099, 0),
            (0.125, 1),
            (0.5, 5),
            (0.899, 8),
            (0.901, 9),
            (1.0, 9),
        ] {
            assert_eq!(confidence_bin(probability), bin, "{probability}");
        }
    }
}
