//! What a change does to the counters.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{AttributeValue, TransactWriteItem, Update},
};

use super::Record;
use crate::{
    ledger::{LEDGER_KEY, Ledger, item},
    model::Label,
};

/// Key of the item that compares model and reviewers, for one model version.
pub(super) fn confusion_key(model_version: &str) -> String {
    format!("confusion/{model_version}")
}

/// The attribute of a confusion item that counts records of the model's class `model` and the reviewer's class `human`:
/// `FAW>AAW`.
pub(super) fn confusion_attribute(model: &Label, human: &Label) -> String {
    // A label may have a `>`.
    let escaped = |label: &Label| label.as_str().replace('%', "%25").replace('>', "%3E");
    format!("{}>{}", escaped(model), escaped(human))
}

/// The model's class and the reviewer's class of an attribute that [`confusion_attribute`] made.
pub(super) fn confusion_pair(attribute: &str) -> Option<(Label, Label)> {
    let (model, human) = attribute.split_once('>')?;
    let label = |text: &str| {
        let text = text.replace("%3E", ">").replace("%25", "%");
        Label::try_from(text).ok()
    };
    Some((label(model)?, label(human)?))
}

/// Differences of counters, by ledger key and attribute. A difference of 0 is not written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deltas(BTreeMap<(String, String), i64>);

impl Deltas {
    /// The difference between the tables with `after` instead of `before`.
    pub(super) fn between(before: Option<&Record>, after: Option<&Record>) -> Self {
        let mut deltas = Self::default();
        for (record, number) in [(before, -1), (after, 1)] {
            if let Some(record) = record {
                deltas.count(record, number);
            }
        }
        deltas.0.retain(|_, number| *number != 0);
        deltas
    }

    /// Counts `record` as `number` records.
    pub(super) fn count(&mut self, record: &Record, number: i64) {
        let class = record.effective_class();
        self.add(item::counter_key(record.date, class), LIVE, number);
        if let Some(night) = record.night() {
            self.add(item::night_key(night, class), LIVE, number);
        }
        if let Some(review) = &record.review {
            let key = confusion_key(&record.model_version);
            let attribute = confusion_attribute(&record.class, &review.class);
            self.add(key, &attribute, number);
        }
    }

    fn add(&mut self, key: String, attribute: &str, number: i64) {
        *self.0.entry((key, attribute.to_owned())).or_default() += number;
    }

    /// The updates of a transaction, one for each item. Each also adds 1 to `Changes`, which tells an audit that the
    /// counter moved while it read.
    pub(super) fn updates(&self, ledger: &Ledger) -> Result<Vec<TransactWriteItem>, BuildError> {
        let mut by_key: BTreeMap<&str, Vec<(&str, i64)>> = BTreeMap::new();
        for ((key, attribute), number) in &self.0 {
            by_key.entry(key).or_default().push((attribute, *number));
        }
        let updates = by_key.into_iter().map(|(key, numbers)| {
            let mut update = Update::builder()
                .table_name(&ledger.ledger)
                .key(LEDGER_KEY, AttributeValue::S(key.to_owned()))
                .expression_attribute_values(":one", item::number(1));
            let mut add = "ADD Changes :one".to_owned();
            for (place, (attribute, number)) in numbers.into_iter().enumerate() {
                add += &format!(", #a{place} :a{place}");
                update = update
                    .expression_attribute_names(format!("#a{place}"), attribute)
                    .expression_attribute_values(format!(":a{place}"), item::number(number));
            }
            let update = update.update_expression(add).build()?;
            Ok(TransactWriteItem::builder().update(update).build())
        });
        updates.collect()
    }

    /// The counters themselves, by key.
    pub(super) fn into_counters(self) -> HashMap<String, BTreeMap<String, i64>> {
        let mut counters: HashMap<String, BTreeMap<String, i64>> = HashMap::new();
        for ((key, attribute), number) in self.0 {
            counters.entry(key).or_default().insert(attribute, number);
        }
        counters
    }
}

/// Number of changes of a counter.
pub(super) const CHANGES: &str = "Changes";
/// Number of records with an effective class.
pub(super) const LIVE: &str = "Live";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_classes_is_read_as_it_is_written() {
        let label = |text: &str| Label::try_from(text.to_owned()).unwrap();
        for (model, human) in [("FAW", "AAW"), ("a>b", "%3E"), ("UNKNOWN", "50%>")] {
            let pair = (label(model), label(human));
            let attribute = confusion_attribute(&pair.0, &pair.1);
            assert_eq!(confusion_pair(&attribute), Some(pair), "{attribute}");
        }
        assert_eq!(confusion_pair("LedgerKey"), None);
    }
}
