//! Items of the tables.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The value of a string attribute.
pub(crate) fn string(item: &Item, attribute: &str) -> String {
    match &item[attribute] {
        AttributeValue::S(value) => value.clone(),
        other => panic!("{attribute} is {other:?}"),
    }
}

/// The value of a number attribute.
pub(crate) fn number(item: &Item, attribute: &str) -> f64 {
    match &item[attribute] {
        AttributeValue::N(value) => value.parse().unwrap(),
        other => panic!("{attribute} is {other:?}"),
    }
}
