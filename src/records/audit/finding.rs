//! What an audit finds.

use std::{collections::BTreeMap, fmt};

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
pub(crate) enum Finding {
    /// An item cannot be read.
    Damaged {
        /// The key of the item, and what cannot be read.
        reason: String,
    },
    /// A record has no COUNTED object.
    NoObject {
        /// The record.
        record: RecordKey,
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
        /// The attribute in which they differ.
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
        /// Whether photos have all ordinals in between. Otherwise the highest one may be damaged itself.
        is_row: bool,
    },
    /// Numbers of records are wrong: `Live` of a date or night, or pairs of a confusion item.
    Numbers {
        /// Key of the item.
        key: String,
        /// The item, if there is one.
        counter: Option<Item>,
        /// What is wrong, by attribute.
        wrong: BTreeMap<String, Wrong>,
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
        record: RecordKey,
    },
    /// A reviewed record still waits for review.
    StillWaiting {
        /// The record.
        record: RecordKey,
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

/// What a counter says, and the number of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) says: i64,
    pub(crate) records: i64,
}

/// Key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordKey {
    pub(crate) date: NaiveDate,
    pub(crate) class: Label,
    pub(crate) id: ObjectId,
}

impl RecordKey {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            date: record.date,
            class: record.class.clone(),
            id: record.id,
        }
    }
}

/// What became of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Repair {
    /// It is mended.
    Mended,
    /// It changed since it was found.
    Changed,
    /// It cannot be mended: what is missing is in neither table.
    Impossible,
}

impl Finding {
    /// The kind, in one word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "damaged",
            Self::NoObject { .. } => "noObject",
            Self::NoRecord { .. } => "noRecord",
            Self::Differs { .. } => "differs",
            Self::Ordinals { .. } => "ordinals",
            Self::Issued { .. } => "issued",
            Self::Numbers { .. } => "numbers",
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
            Self::Numbers { key, wrong, .. } => {
                write!(f, "{key}:")?;
                for (place, (attribute, Wrong { says, records })) in wrong.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma} {attribute} is {says} instead of {records}")?;
                }
                Ok(())
            }
            Self::Bins {
                key, sum, issued, ..
            } if sum == issued => {
                write!(f, "{key}: the bins are not those of the records")
            }
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
