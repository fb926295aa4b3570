//! How often reviewers agree with the model.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use utoipa::ToSchema;

use super::deltas::confusion_pair;
use crate::{error::Error, ledger::item::Item};

/// 97.5 % quantile of the normal distribution: a two-sided interval of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// What reviewers say about the records of a model version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Confusion {
    /// Numbers of reviewed records, by the model's class and by the reviewer's.
    pub reviewed: BTreeMap<String, BTreeMap<String, u64>>,
    /// For each of the model's classes, the share of reviewed records with which the reviewer agreed.
    pub precision: BTreeMap<String, Share>,
    /// The same for all classes.
    pub agreement: Option<Share>,
}

/// A share with its Wilson interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Number of records in the part.
    pub part: u64,
    /// Number of all records, at least 1.
    pub whole: u64,
    /// Their ratio, 0 to 1.
    pub share: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Share {
    /// `part` of `whole`; `None` of nothing.
    ///
    /// <https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval>
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        if whole == 0 {
            return None;
        }
        let n = whole as f64;
        let share = part as f64 / n;
        let z2 = Z * Z;
        let center = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let root = (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
        let half = Z / (1.0 + z2 / n) * root;
        Some(Self {
            part,
            whole,
            share,
            low: (center - half).max(0.0),
            high: (center + half).min(1.0),
        })
    }
}

/// Reads the confusion item with this `key`.
pub(super) fn confusion(key: &str, item: Option<&Item>) -> Result<Confusion, Error> {
    let mut confusion = Confusion::default();
    let (mut agreed, mut all) = (0_u64, 0_u64);
    for (attribute, value) in item.into_iter().flatten() {
        let Some((model, human)) = confusion_pair(attribute) else {
            continue;
        };
        let number = number(value).ok_or_else(|| Error::LedgerItem {
            key: format!("{key} ({attribute})"),
            attribute: "number",
        })?;
        if number == 0 {
            continue;
        }
        all = number.saturating_add(all);
        if model == human {
            agreed = number.saturating_add(agreed);
        }
        let row = confusion.reviewed.entry(model.to_string()).or_default();
        row.insert(human.to_string(), number);
    }
    for (model, row) in &confusion.reviewed {
        let agreed = row.get(model).copied().unwrap_or(0);
        if let Some(share) = Share::of(agreed, sum(row.values())) {
            confusion.precision.insert(model.clone(), share);
        }
    }
    confusion.agreement = Share::of(agreed, all);
    Ok(confusion)
}

/// A damaged item may say more than fits.
fn sum<'a>(numbers: impl Iterator<Item = &'a u64>) -> u64 {
    numbers.fold(0, |sum, number| sum.saturating_add(*number))
}

fn number(value: &AttributeValue) -> Option<u64> {
    value.as_n().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_wilson_interval() {
        // By R: binom::binom.confint(8, 10, methods = "wilson"): 0.4901625, 0.9433178.
        let share = Share::of(8, 10).unwrap();
        assert!((share.low - 0.490_162_5).abs() < 1e-6, "{share:?}");
        assert!((share.high - 0.943_317_8).abs() < 1e-6, "{share:?}");
        let all = Share::of(5, 5).unwrap();
        assert!(all.low > 0.5 && all.high == 1.0);
        assert_eq!(Share::of(0, 0), None);
    }

    #[test]
    fn a_confusion_item_is_summed_up() {
        let n = |n: u32| AttributeValue::N(n.to_string());
        let item = Item::from([
            (
                "LedgerKey".into(),
                AttributeValue::S("confusion/0123456789ab".into()),
            ),
            ("Changes".into(), n(9)),
            ("FAW>FAW".into(), n(8)),
            ("FAW>AAW".into(), n(2)),
            ("AAW>AAW".into(), n(0)),
        ]);
        let confusion = confusion("confusion/…", Some(&item)).unwrap();
        assert_eq!(confusion.agreement.unwrap().part, 8);
        assert_eq!(confusion.precision["FAW"].whole, 10);
        assert_eq!(confusion.precision.len(), 1);
        assert_eq!(
            super::confusion("confusion/…", None).unwrap(),
            Confusion::default()
        );
    }
}
