//! The columns of the table, what their cells may be, and how a row is written.

use std::fmt;

use chrono::{DateTime, FixedOffset, Timelike};
use chrono_tz::Tz;

/// Longest station, camera or id, in bytes. The record of a photo has no longer names.
const MAX_NAME: usize = 100;
/// Most seconds by which a clock may be wrong: 31 years.
const MAX_CLOCK_OFFSET: i64 = 1_000_000_000;

/// A column.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// What the cells of a column may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// A name of up to 100 bytes.
    Name,
    /// A number in this range.
    Number(f64, f64),
    /// An integer in this range.
    Integer(i64, i64),
    /// A time with offset.
    Time,
    /// `true` or `false`, in the spellings of Table Schema.
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A time zone.
    Zone,
}

/// The columns of Camtrap DP 1.0.2 in its order, then two of this program.
pub(super) const COLUMNS: [Column; 26] = [
    required("deploymentID", Kind::Name),
    required("locationID", Kind::Name),
    optional("locationName", Kind::Text),
    required("latitude", Kind::Number(-90.0, 90.0)),
    required("longitude", Kind::Number(-180.0, 180.0)),
    optional("coordinateUncertainty", Kind::Integer(1, i64::MAX)),
    required("deploymentStart", Kind::Time),
    required("deploymentEnd", Kind::Time),
    optional("setupBy", Kind::Text),
    optional("cameraID", Kind::Name),
    optional("cameraModel", Kind::Text),
    optional("cameraDelay", Kind::Integer(0, i64::MAX)),
    optional("cameraHeight", Kind::Number(0.0, f64::MAX)),
    optional("cameraDepth", Kind::Number(0.0, f64::MAX)),
    optional("cameraTilt", Kind::Integer(-90, 90)),
    optional("cameraHeading", Kind::Integer(0, 360)),
    optional("detectionDistance", Kind::Number(0.0, f64::MAX)),
    optional("timestampIssues", Kind::Boolean),
    optional("baitUse", Kind::Boolean),
    optional("featureType", Kind::Word(&FEATURE_TYPES)),
    optional("habitat", Kind::Text),
    optional("deploymentGroups", Kind::Text),
    optional("deploymentTags", Kind::Text),
    optional("deploymentComments", Kind::Text),
    optional("timeZone", Kind::Zone),
    optional(
        "clockOffsetSeconds",
        Kind::Integer(-MAX_CLOCK_OFFSET, MAX_CLOCK_OFFSET),
    ),
];

/// Number of Camtrap DP's own columns, which come first.
pub(super) const CAMTRAP_COLUMNS: usize = 24;

/// Indices into [`COLUMNS`].
pub(super) const ID: usize = 0;
pub(super) const STATION: usize = 1;
pub(super) const LATITUDE: usize = 3;
pub(super) const LONGITUDE: usize = 4;
pub(super) const START: usize = 6;
pub(super) const END: usize = 7;
pub(super) const CAMERA: usize = 9;
pub(super) const TIME_ZONE: usize = 24;
pub(super) const CLOCK_OFFSET: usize = 25;

const FEATURE_TYPES: [&str; 13] = [
    "roadPaved",
    "roadDirt",
    "trailHiking",
    "trailGame",
    "roadUnderpass",
    "roadOverpass",
    "roadBridge",
    "culvert",
    "burrow",
    "nestSite",
    "carcass",
    "waterSource",
    "fruitingTree",
];

const fn required(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        required: true,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        required: false,
    }
}

impl Kind {
    /// Whether a cell may have this text, which is not empty.
    pub(super) fn allows(self, text: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Name => name(text).is_some(),
            Self::Number(min, max) => {
                number(text).is_some_and(|number| (min..=max).contains(&number))
            }
            Self::Integer(min, max) => {
                integer(text).is_some_and(|integer| (min..=max).contains(&integer))
            }
            Self::Time => time(text).is_some(),
            Self::Boolean => matches!(
                text,
                "true" | "True" | "TRUE" | "1" | "false" | "False" | "FALSE" | "0"
            ),
            Self::Word(words) => words.contains(&text),
            Self::Zone => zone(text).is_some(),
        }
    }
}

/// What is allowed, as the end of "… is not".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Text => write!(f, "a text"),
            Self::Name => write!(
                f,
                "a name of up to {MAX_NAME} bytes without control characters"
            ),
            Self::Number(min, f64::MAX) => write!(f, "a number from {min} up"),
            Self::Number(min, max) => write!(f, "a number from {min} to {max}"),
            Self::Integer(min, i64::MAX) => write!(f, "an integer from {min} up"),
            Self::Integer(min, max) => write!(f, "an integer from {min} to {max}"),
            Self::Time => write!(
                f,
                "a time with offset such as 2026-05-01T18:00:00+01:00 or 2026-05-01T17:00:00Z"
            ),
            Self::Boolean => write!(f, "true or false"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
            Self::Zone => write!(f, "the IANA name of a time zone such as Africa/Lagos"),
        }
    }
}

pub(super) fn name(text: &str) -> Option<String> {
    let is_name = (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    is_name.then(|| text.to_owned())
}

pub(super) fn number(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number)
}

pub(super) fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

pub(super) fn zone(text: &str) -> Option<Tz> {
    text.parse().ok()
}

/// A time in Camtrap DP's format `%Y-%m-%dT%H:%M:%S%z`, where `Z` is also an offset.
pub(super) fn time(text: &str) -> Option<DateTime<FixedOffset>> {
    // chrono would read years of any length.
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let parse = |text: &str| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%z").ok();
    let at = match text.strip_suffix('Z') {
        Some(utc) => parse(&format!("{utc}+0000")),
        None => parse(text),
    };
    at.filter(|at| at.nanosecond() == 0)
}
