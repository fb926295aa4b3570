//! Reads the table, and finds all its faults.

use std::collections::HashMap;

use chrono::TimeDelta;
use csv::{ReaderBuilder, StringRecord, Trim};

use super::{
    Deployment, DeploymentsError, Fault, MAX_BYTES,
    column::{
        self, CAMERA, CLOCK_OFFSET, COLUMNS, END, ID, LATITUDE, LONGITUDE, START, STATION,
        TIME_ZONE,
    },
    fault::{MAX_FAULTS, shortened},
    whole_seconds,
};
use crate::photo::Position;

/// A deployment and its line.
type Row = (u64, Deployment);

/// Reads all rows.
pub(super) fn rows(csv: &[u8]) -> Result<Vec<Deployment>, DeploymentsError> {
    if csv.len() > MAX_BYTES {
        return Err(DeploymentsError::TooLarge { bytes: csv.len() });
    }
    let text = std::str::from_utf8(csv).map_err(|error| {
        let valid = &csv[..error.valid_up_to()];
        DeploymentsError::NotUtf8 {
            line: 1 + valid.iter().filter(|&&byte| byte == b'\n').count(),
        }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = lines(text)?.into_iter();
    let Some((header_line, header)) = lines.next() else {
        return Err(DeploymentsError::Empty);
    };
    if let (1, Some(separator)) = (header.len(), header[0].chars().find(|c| ";\t".contains(*c))) {
        return Err(DeploymentsError::Separator { separator });
    }
    let mut faults = Vec::new();
    let columns = columns(header_line, &header, &mut faults);
    let is_header_valid = faults.is_empty();
    let mut rows = Vec::new();
    for (line, record) in lines {
        let Some(cells) = cells(line, &record, &columns, &mut faults) else {
            continue;
        };
        if is_header_valid {
            match deployment(line, cells) {
                Ok(deployment) => rows.push((line, deployment)),
                Err(fault) => faults.push(fault),
            }
        }
    }
    check_ids(&rows, &mut faults);
    check_overlaps(&rows, &mut faults);
    match faults.is_empty() {
        true => Ok(rows.into_iter().map(|(_, deployment)| deployment).collect()),
        false => Err(invalid(faults)),
    }
}

/// The lines that have a cell with text, with their numbers. Spreadsheets write rows of empty cells.
fn lines(text: &str) -> Result<Vec<(u64, StringRecord)>, DeploymentsError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| DeploymentsError::Csv(error.to_string()))?;
        if record.iter().any(|cell| !cell.is_empty()) {
            let line = record.position().map_or(0, csv::Position::line);
            lines.push((line, record));
        }
    }
    Ok(lines)
}

fn invalid(mut faults: Vec<Fault>) -> DeploymentsError {
    faults.sort_by_key(Fault::line);
    let more = faults.len().saturating_sub(MAX_FAULTS);
    faults.truncate(MAX_FAULTS);
    DeploymentsError::Invalid { faults, more }
}

/// The index into [`COLUMNS`] of each column of the table. `None` for one that is not to be read.
fn columns(line: u64, header: &StringRecord, faults: &mut Vec<Fault>) -> Vec<Option<usize>> {
    let mut columns = Vec::with_capacity(header.len());
    for name in header {
        let index = COLUMNS.iter().position(|column| column.name == name);
        columns.push(match index {
            Some(index) if columns.contains(&Some(index)) => {
                let column = COLUMNS[index].name;
                faults.push(Fault::RepeatedColumn { line, column });
                None
            }
            Some(index) => Some(index),
            None => {
                let column = shortened(name);
                faults.push(Fault::UnknownColumn { line, column });
                None
            }
        });
    }
    for (index, column) in COLUMNS.iter().enumerate() {
        if column.required && !columns.contains(&Some(index)) {
            let column = column.name;
            faults.push(Fault::MissingColumn { line, column });
        }
    }
    columns
}

/// The cells of one row, in the order of [`COLUMNS`]. `None` if one has a fault.
fn cells(
    line: u64,
    record: &StringRecord,
    columns: &[Option<usize>],
    faults: &mut Vec<Fault>,
) -> Option<[String; COLUMNS.len()]> {
    if record.len() != columns.len() {
        faults.push(Fault::CellCount {
            line,
            cells: record.len(),
            columns: columns.len(),
        });
        return None;
    }
    let before = faults.len();
    let mut cells = [const { String::new() }; COLUMNS.len()];
    for (index, cell) in columns.iter().zip(record) {
        // The fault of a column that is not to be read is in the header.
        let Some(index) = *index else { continue };
        let column = &COLUMNS[index];
        let is_allowed = match cell.is_empty() {
            true => !column.required,
            false => column.kind.allows(cell),
        };
        if !is_allowed {
            faults.push(Fault::value(line, column.name, column.kind, cell));
        }
        cells[index] = cell.to_owned();
    }
    (faults.len() == before).then_some(cells)
}

/// The deployment in one row.
fn deployment(line: u64, cells: [String; COLUMNS.len()]) -> Result<Deployment, Fault> {
    let row = Cells {
        line,
        cells: &cells,
    };
    let start = row.required(START, column::time)?;
    let end = row.required(END, column::time)?;
    if end < start {
        return Err(Fault::EndBeforeStart {
            line,
            start: whole_seconds(start),
            end: whole_seconds(end),
        });
    }
    let offset = |text: &str| TimeDelta::try_seconds(column::integer(text)?);
    Ok(Deployment {
        id: row.required(ID, column::name)?,
        station: row.required(STATION, column::name)?,
        camera: row.optional(CAMERA, column::name)?,
        position: Position {
            latitude: row.required(LATITUDE, column::number)?,
            longitude: row.required(LONGITUDE, column::number)?,
        },
        start,
        end,
        time_zone: row.optional(TIME_ZONE, column::zone)?,
        clock_offset: row.optional(CLOCK_OFFSET, offset)?.unwrap_or_default(),
        cells,
    })
}

/// Cells of one row.
struct Cells<'a> {
    line: u64,
    cells: &'a [String],
}

impl Cells<'_> {
    fn required<T>(&self, index: usize, parse: impl Fn(&str) -> Option<T>) -> Result<T, Fault> {
        let (cell, column) = (&self.cells[index], &COLUMNS[index]);
        parse(cell).ok_or_else(|| Fault::value(self.line, column.name, column.kind, cell))
    }

    fn optional<T>(
        &self,
        index: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        match self.cells[index].is_empty() {
            true => Ok(None),
            false => self.required(index, parse).map(Some),
        }
    }
}

fn check_ids(rows: &[Row], faults: &mut Vec<Fault>) {
    let mut lines = HashMap::new();
    for (line, row) in rows {
        if let Some(&other_line) = lines.get(&row.id) {
            faults.push(Fault::RepeatedId {
                line: *line,
                id: row.id.clone(),
                other_line,
            });
        } else {
            lines.insert(&row.id, *line);
        }
    }
}

/// Deployments of one station and camera may touch, but not overlap. A deployment for all cameras may overlap with one
/// that names a camera.
fn check_overlaps(rows: &[Row], faults: &mut Vec<Fault>) {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|(_, row)| (&row.station, &row.camera, row.start));
    // The deployment of the station and camera that ends last so far.
    let mut last: Option<&Row> = None;
    for this @ (line, row) in sorted {
        let same =
            last.filter(|(_, last)| last.station == row.station && last.camera == row.camera);
        let Some(before @ (other_line, other)) = same else {
            last = Some(this);
            continue;
        };
        if row.start < other.end {
            faults.push(Fault::Overlap {
                line: *line,
                start: whole_seconds(row.start),
                other_line: *other_line,
                other_id: other.id.clone(),
                other_end: whole_seconds(other.end),
            });
        }
        last = Some(if row.end > other.end { this } else { before });
    }
}
