//! Columns of the metadata database as Rust values. A column that does not parse is [`StoreError::Damaged`].

use chrono::{DateTime, Utc};
use rusqlite::Row;
use serde::de::DeserializeOwned;

use crate::error::StoreError;

/// Reads a column of JSON. `of` names the row in the error.
pub(crate) fn json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
    of: &str,
) -> Result<T, StoreError> {
    parse_json(&row.get::<_, String>(column)?, column, of)
}

/// Reads a column of JSON that may be NULL.
pub(crate) fn optional_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
    of: &str,
) -> Result<Option<T>, StoreError> {
    row.get::<_, Option<String>>(column)?
        .map(|text| parse_json(&text, column, of))
        .transpose()
}

fn parse_json<T: DeserializeOwned>(text: &str, column: &str, of: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(StoreError::unparsable(format!(
        "column {column} of {of} does not parse"
    )))
}

/// Reads a column of seconds since the Unix epoch.
pub(crate) fn time(row: &Row<'_>, column: &str, of: &str) -> Result<DateTime<Utc>, StoreError> {
    let seconds: i64 = row.get(column)?;
    DateTime::from_timestamp(seconds, 0).ok_or_else(|| {
        StoreError::damaged(format!(
            "column {column} of {of} is {seconds}, which is no time"
        ))
    })
}
