//! Exports of records for other programs: a table, a Camtrap DP package, and training data.
//!
//! Each export takes one record at a time and needs memory that does not grow with the number of records.

mod camtrap_dp;
mod csv;
#[cfg(test)]
mod fixtures;
mod run;
mod training;

use std::{borrow::Cow, collections::BTreeMap};

pub use self::{
    camtrap_dp::{
        CamtrapCounts, CamtrapDp, CamtrapError, CaptureMethod, LicenceName, LicenceNameError,
        Licences, Metadata, Place, SamplingDesign, Unplaced,
    },
    csv::CsvExport,
    run::{Export, ExportDaysError, ExportError, Format, MAX_YEARS, Progress, Written, spans},
    training::{TrainingCounts, TrainingExport},
};
use crate::model::{Label, NOT_A_MOTH, UNKNOWN};

/// Scientific names of classes: `taxa` of the model's manifest.
pub type Taxa = BTreeMap<Label, String>;

/// What a class says about the photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It shows a moth of the class.
    Moth,
    /// It shows no moth.
    NotAMoth,
    /// Nobody can tell.
    Unknown,
}

impl Kind {
    fn of(class: &Label) -> Self {
        match class.as_str() {
            UNKNOWN => Self::Unknown,
            NOT_A_MOTH => Self::NotAMoth,
            _ => Self::Moth,
        }
    }
}

/// `text` as a cell that a spreadsheet does not take for a formula: with `'` before a character that begins one.
fn inert(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(inert(formula), format!("'{formula}"));
        }
        for text in ["", "field-2", " =1", "a=1", "'=1"] {
            assert_eq!(inert(text), text);
        }
    }
}
