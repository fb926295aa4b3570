//! Activations: what a layer does to each value of its output.

use serde::{Deserialize, Deserializer, Serialize};

/// A function of one value. It is the last part of a layer's epilogue.
///
/// Clamps are computed in the registers of a kernel. The other functions run over the output once more, while it is
/// in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Activation {
    /// The value held between two bounds: the identity, ReLU, ReLU6.
    Clamp {
        /// Lower bound, 0 for ReLU. `None` is −∞.
        #[serde(deserialize_with = "present")]
        low: Option<f32>,
        /// Upper bound, 6 for ReLU6. `None` is ∞.
        #[serde(deserialize_with = "present")]
        high: Option<f32>,
    },
    /// A function without parameters.
    Curve(Curve),
}

/// A smooth or piecewise function of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Curve {
    /// 1 ÷ (1 + exp(−x)).
    Sigmoid,
    /// x · sigmoid(x), also called SiLU.
    Swish,
    /// min(max(x + 3, 0), 6) ÷ 6.
    HardSigmoid,
    /// x · hard-sigmoid(x).
    HardSwish,
}

impl Curve {
    /// All curves.
    pub const ALL: [Self; 4] = [
        Self::Sigmoid,
        Self::Swish,
        Self::HardSigmoid,
        Self::HardSwish,
    ];
}

impl Activation {
    /// The identity.
    pub const NONE: Self = Self::Clamp {
        low: None,
        high: None,
    };
    /// max(x, 0).
    pub const RELU: Self = Self::Clamp {
        low: Some(0.0),
        high: None,
    };

    /// The bounds of a clamp; −∞ and ∞ for a curve.
    pub fn bounds(self) -> [f32; 2] {
        match self {
            Self::Clamp { low, high } => [
                low.unwrap_or(f32::NEG_INFINITY),
                high.unwrap_or(f32::INFINITY),
            ],
            Self::Curve(_) => [f32::NEG_INFINITY, f32::INFINITY],
        }
    }

    /// The curve, if it is one.
    pub fn curve(self) -> Option<Curve> {
        match self {
            Self::Clamp { .. } => None,
            Self::Curve(curve) => Some(curve),
        }
    }

    /// Whether the function has a result for every number: no bound is NaN, and the lower is not above the upper.
    pub(crate) fn is_valid(self) -> bool {
        let [low, high] = self.bounds();
        // A comparison with NaN is false.
        low <= high
    }
}

/// Deserializes an optional field that must be there. serde takes a missing one as `None` otherwise, and a program
/// would silently lose its residual or its activation.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clamp_in_json_has_both_bounds() {
        for activation in [Activation::RELU, Activation::Curve(Curve::Swish)] {
            let json = serde_json::to_string(&activation).unwrap();
            assert_eq!(
                serde_json::from_str::<Activation>(&json).unwrap(),
                activation
            );
        }
        let error = serde_json::from_str::<Activation>(r#"{"Clamp": {"high": null}}"#).unwrap_err();
        assert!(error.to_string().contains("missing field"), "{error}");
    }

    #[test]
    fn bounds_are_in_order_and_numbers() {
        let clamp = |low, high| Activation::Clamp { low, high };
        assert!(Activation::NONE.is_valid() && clamp(Some(1.0), Some(1.0)).is_valid());
        assert!(!clamp(Some(1.0), Some(0.0)).is_valid());
        assert!(!clamp(Some(f32::NAN), None).is_valid());
    }
}
