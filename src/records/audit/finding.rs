//! What an audit finds.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{
    ledger::item::Item,
    model::Label,
    object::ObjectId,
    records::{Record, drift::Histogram},
};
use chrono::NaiveDate;

/// Something that is wrong in the tables.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// An item cannot be read.
    Damaged {
        /// Why.
        reason: String,
    },
    /// A record has no COUNTED object.
    NoObject {
        /// The record.
        record: Box<Record>,
        /// The status of the object, if there is one.
        status: Option<String>,
    },
    /// A COUNTED object has no record.
    NoRecord {
        /// The photo.
        id: ObjectId,
        /// The date on which it was counted.
        date: NaiveDate,
        /// Its class.
        class: Label,
        /// Its ordinal.
        count: u64,
    },
    /// Record and object differ.
    Differs {
        /// The photo.
        id: ObjectId,
        /// In what.
        attribute: &'static str,
    },
    /// The ordinals of a date and class have gaps or repeats.
    Ordinals {
        /// Key of the counter.
        key: String,
        /// Ordinals up to the last that no photo has.
        missing: Vec<u64>,
        /// Ordinals that several photos have.
        repeated: Vec<u64>,
    },
    /// `Issued` is lower than the highest ordinal, so that ordinals would be issued again.
    Issued {
        /// Key of the counter.
        key: String,
        /// The counter, if there is one.
        counter: Option<Item>,
        /// What it says.
        issued: u64,
        /// The highest ordinal.
        highest: u64,
    },
    /// A number of records is wrong: `Live` of a date or night, or a pair of a confusion item.
    Number {
        /// Key of the item.
        key: String,
        /// The attribute.
        attribute: String,
        /// The item, if there is one.
        counter: Option<Item>,
        /// What it says.
        says: i64,
        /// The number of records.
        records: i64,
    },
    /// The bins of a counter do not sum up to `Issued`.
    Bins {
        /// Key of the counter.
        key: String,
        /// The counter.
        counter: Item,
        /// Sum of its bins.
        sum: u64,
        /// `Issued`.
        issued: u64,
        /// The right bins by model version; `None` if the probability of a deleted record is forgotten.
        right: Option<Vec<(String, Histogram)>>,
    },
    /// Revision is not the number of history items.
    History {
        /// The photo.
        id: ObjectId,
        /// Its revision.
        revision: u64,
        /// The number of history items.
        entries: u64,
    },
    /// A record of an older version of this program has no night.
    NoNight {
        /// The record.
        record: Box<Record>,
    },
    /// A reviewed record still waits for review.
    StillWaiting {
        /// The record.
        record: Box<Record>,
    },
    /// A class is not in the list of classes.
    Unlisted {
        /// The class.
        class: Label,
    },
    /// A rejection of an older version of this program is in no list.
    UnlistedRejection {
        /// The photo.
        id: ObjectId,
        /// The object item.
        object: Item,
    },
}

/// What became of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Repair {
    /// It is mended.
    Mended,
    /// It changed since it was found.
    Changed,
    /// It cannot be mended: what is missing is in neither table.
    Impossible,
}

impl Finding {
    /// The kind, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "damaged",
            Self::NoObject { .. } => "noObject",
            Self::NoRecord { .. } => "noRecord",
            Self::Differs { .. } => "differs",
            Self::Ordinals { .. } => "ordinals",
            Self::Issued { .. } => "issued",
            Self::Number { .. } => "number",
            Self::Bins { .. } => "bins",
            Self::History { .. } => "history",
            Self::NoNight { .. } => "noNight",
            Self::StillWaiting { .. } => "stillWaiting",
            Self::Unlisted { .. } => "unlisted",
            Self::UnlistedRejection { .. } => "unlistedRejection",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[u64]| {
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            numbers.join(", ")
        };
        match self {
            Self::Damaged { reason } => f.write_str(reason),
            Self::NoObject { record, status } => match status {
                None => write!(f, "the record {} has no object item", record.id),
                Some(status) => write!(f, "the object of the record {} is {status}", record.id),
            },
            Self::NoRecord {
                id,
                date,
                class,
                count,
            } => write!(f, "{id}, {class} number {count} of {date}, has no record"),
            Self::Differs { id, attribute } => {
                write!(f, "record and object item of {id} differ in {attribute}")
            }
            Self::Ordinals {
                key,
                missing,
                repeated,
            } => {
                write!(f, "{key}: ")?;
                if !missing.is_empty() {
                    write!(f, "no photo has the ordinals {}", list(missing))?;
                }
                if !missing.is_empty() && !repeated.is_empty() {
                    f.write_str("; ")?;
                }
                if !repeated.is_empty() {
                    write!(f, "several photos have the ordinals {}", list(repeated))?;
                }
                Ok(())
            }
            Self::Issued {
                key,
                issued,
                highest,
                ..
            } => write!(
                f,
                "{key}: Issued is {issued}, and the highest ordinal is {highest}"
            ),
            Self::Number {
                key,
                attribute,
                says,
                records,
                ..
            } => write!(
                f,
                "{key}: {attribute} is {says}, and there are {records} records"
            ),
            Self::Bins {
                key, sum, issued, ..
            } => write!(f, "{key}: the bins sum up to {sum}, and Issued is {issued}"),
            Self::History {
                id,
                revision,
                entries,
            } => write!(
                f,
                "{id} has revision {revision} and {entries} history items"
            ),
            Self::NoNight { record } => write!(f, "the record {} has no night", record.id),
            Self::StillWaiting { record } => {
                write!(
                    f,
                    "the record {} is reviewed and waits for review",
                    record.id
                )
            }
            Self::Unlisted { class } => {
                write!(f, "the class {class} is not in the list of classes")
            }
            Self::UnlistedRejection { id, .. } => {
                write!(
                    f,
                    "the rejected photo {id} is not in the list of rejections"
                )
            }
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            kind: &'a str,
            finding: String,
        }
        Json {
            kind: self.kind(),
            finding: self.to_string(),
        }
        .serialize(serializer)
    }
}
