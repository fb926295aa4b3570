//! Why a table of deployments is refused.

use std::fmt;

use super::{MAX_BYTES, column::Kind};

/// Most faults in one error.
pub(super) const MAX_FAULTS: usize = 20;

/// Why a table of deployments is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeploymentsError {
    /// It is too long for one item in DynamoDB.
    #[error(
        "the deployments table has {bytes} bytes with all its columns, and may have {MAX_BYTES}: remove deployments \
         that no photo belongs to, or shorten comments"
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// It is not text.
    #[error(
        "the deployments table is not UTF-8 in line {line}: save it as \"CSV UTF-8 (comma delimited)\""
    )]
    NotUtf8 {
        /// The line, from 1.
        line: usize,
    },
    /// It has other separators.
    #[error(
        "the columns of the deployments table are separated by {separator:?}: save it with commas between them"
    )]
    Separator {
        /// What is between the columns.
        separator: char,
    },
    /// It is not CSV.
    #[error("the deployments table is not CSV: {0}")]
    Csv(
        /// The reader's error.
        String,
    ),
    /// It has no line.
    #[error(
        "the deployments table is empty: its first line must have the names of the columns, such as deploymentID"
    )]
    Empty,
    /// Header or cells are invalid.
    #[error("the deployments table is invalid:{}", List { faults, more: *more })]
    Invalid {
        /// The first faults, in the order of the lines.
        faults: Vec<Fault>,
        /// Number of other faults.
        more: usize,
    },
}

/// What is wrong with a header, a cell or a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A column that is not one of the table.
    #[error(
        "line {line}: {column:?} is no column of deployments.csv of Camtrap DP 1.0.2, nor timeZone or \
         clockOffsetSeconds: correct or remove it"
    )]
    UnknownColumn {
        /// Line of the header.
        line: u64,
        /// The name.
        column: String,
    },
    /// A column that occurs twice.
    #[error("line {line}: the column {column} occurs twice: remove one")]
    RepeatedColumn {
        /// Line of the header.
        line: u64,
        /// The name.
        column: &'static str,
    },
    /// A required column that is absent.
    #[error("line {line}: the column {column} is missing, and every deployment needs it")]
    MissingColumn {
        /// Line of the header.
        line: u64,
        /// The name.
        column: &'static str,
    },
    /// A row with fewer or more cells than the header.
    #[error("line {line}: the row has {cells} cells, and the header has {columns}")]
    CellCount {
        /// The line.
        line: u64,
        /// Cells of the row.
        cells: usize,
        /// Cells of the header.
        columns: usize,
    },
    /// A required cell that is empty.
    #[error("line {line}, {column}: it is empty, and must be {allowed}")]
    Missing {
        /// The line.
        line: u64,
        /// The column.
        column: &'static str,
        /// What the cell may be.
        allowed: String,
    },
    /// A cell with another value than its column may have.
    #[error("line {line}, {column}: {value:?} is not {allowed}")]
    Value {
        /// The line.
        line: u64,
        /// The column.
        column: &'static str,
        /// The cell, shortened.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// An id that another row has.
    #[error(
        "line {line}, deploymentID: {id:?} is also in line {other_line}: each id must be unique"
    )]
    RepeatedId {
        /// The line.
        line: u64,
        /// The id.
        id: String,
        /// The earlier line.
        other_line: u64,
    },
    /// An end before the start.
    #[error(
        "line {line}, deploymentEnd: {end} is before {start}, and must not be before deploymentStart"
    )]
    EndBeforeStart {
        /// The line.
        line: u64,
        /// deploymentStart.
        start: String,
        /// deploymentEnd.
        end: String,
    },
    /// Two deployments of a camera at once.
    #[error(
        "line {line}, deploymentStart: {start} is before {other_end}, the end of {other_id:?} in line {other_line}: \
         two deployments of the same station and camera must not overlap"
    )]
    Overlap {
        /// The line of the later one.
        line: u64,
        /// Its deploymentStart.
        start: String,
        /// The line of the earlier one.
        other_line: u64,
        /// Its deploymentID.
        other_id: String,
        /// Its deploymentEnd.
        other_end: String,
    },
}

impl Fault {
    /// The cell of `column` has a `value` that its `kind` does not allow.
    pub(super) fn value(line: u64, column: &'static str, kind: Kind, value: &str) -> Self {
        let allowed = kind.to_string();
        match value.is_empty() {
            true => Self::Missing {
                line,
                column,
                allowed,
            },
            false => Self::Value {
                line,
                column,
                value: shortened(value),
                allowed,
            },
        }
    }

    /// The line in which the fault is.
    pub fn line(&self) -> u64 {
        match self {
            Self::UnknownColumn { line, .. }
            | Self::RepeatedColumn { line, .. }
            | Self::MissingColumn { line, .. }
            | Self::CellCount { line, .. }
            | Self::Missing { line, .. }
            | Self::Value { line, .. }
            | Self::RepeatedId { line, .. }
            | Self::EndBeforeStart { line, .. }
            | Self::Overlap { line, .. } => *line,
        }
    }
}

/// The first 60 characters.
pub(super) fn shortened(text: &str) -> String {
    const MAX: usize = 60;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Faults, one on a line.
struct List<'a> {
    faults: &'a [Fault],
    more: usize,
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in self.faults {
            write!(f, "\n  {fault}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
