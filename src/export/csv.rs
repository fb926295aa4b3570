//! The table of records as CSV (RFC 4180), for spreadsheets and statistics.

use std::io::{self, Write};

use ::csv::{Terminator, Writer, WriterBuilder};

use super::{Taxa, inert};
use crate::{ledger::item, object::VersionId, records::Record};

const COLUMNS: [&str; 27] = [
    "id",
    "class_name",
    "predicted_class_name",
    "scientific_name",
    "probability",
    "review_status",
    "reviewed_by",
    "reviewed_at",
    "captured_at",
    "capture_source",
    "capture_doubt",
    "night",
    "date",
    "count",
    "station",
    "camera",
    "latitude",
    "longitude",
    "model_version",
    "predicted_at",
    "uploaded_at",
    "bucket",
    "key",
    "version_id",
    "width",
    "height",
    "sha256",
];

/// Writes one row for each record, in UTF-8 with CRLF. `class_name` is the effective class, and `scientific_name` its
/// name in `taxa`, empty if it has none.
///
/// A text that an uploader or a reviewer chose gets a leading `'` if a spreadsheet would take it for a formula.
#[derive(Debug)]
pub struct CsvExport<W: Write> {
    out: Writer<W>,
    taxa: Taxa,
    records: u64,
}

impl<W: Write> CsvExport<W> {
    /// Writes the header to `out`.
    ///
    /// # Errors
    ///
    /// If `out` fails.
    pub fn new(out: W, taxa: Taxa) -> io::Result<Self> {
        let mut out = WriterBuilder::new()
            .terminator(Terminator::CRLF)
            .from_writer(out);
        out.write_record(COLUMNS)?;
        Ok(Self {
            out,
            taxa,
            records: 0,
        })
    }

    /// Writes one record.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        self.out.write_record(cells(record, &self.taxa))?;
        self.records += 1;
        Ok(())
    }

    /// Writes what is in the buffer. Returns the number of records.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(mut self) -> io::Result<u64> {
        self.out.flush()?;
        Ok(self.records)
    }
}

fn cells(record: &Record, taxa: &Taxa) -> [String; COLUMNS.len()] {
    let class = record.effective_class();
    let review = record.review.as_ref();
    let captured = record.captured;
    let object = &record.object;
    [
        record.id.to_string(),
        text(Some(class.as_str())),
        text(Some(record.predicted.as_str())),
        text(taxa.get(class).map(String::as_str)),
        record.probability.to_string(),
        value(review.map(|review| review.status)),
        text(review.map(|review| review.by.as_str())),
        value(review.map(|review| item::timestamp(review.at))),
        value(captured.map(|captured| captured.at.to_rfc3339())),
        value(captured.map(|captured| captured.source)),
        value(captured.and_then(|captured| captured.doubt)),
        value(record.night()),
        record.date.to_string(),
        record.count.to_string(),
        text(record.station.as_deref()),
        text(record.camera.as_deref()),
        value(record.position.map(|position| position.latitude)),
        value(record.position.map(|position| position.longitude)),
        text(Some(&record.model_version)),
        item::timestamp(record.predicted_at),
        record.uploaded().format("%Y-%m-%dT%H:%M:%S").to_string(),
        text(Some(&object.bucket)),
        text(Some(&object.key)),
        text(object.version.as_ref().map(VersionId::as_str)),
        value(record.file.map(|file| file.width)),
        value(record.file.map(|file| file.height)),
        value(record.file.map(|file| hex::encode(file.sha256))),
    ]
}

/// A cell with text that somebody chose.
fn text(text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| inert(text).into_owned())
}

/// A cell with a number, a time or a word of this program.
fn value(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixtures::{record, reviewed, taxa};

    fn export(records: &[Record]) -> String {
        let mut out = Vec::new();
        let mut export = CsvExport::new(&mut out, taxa()).unwrap();
        for record in records {
            export.write(record).unwrap();
        }
        assert_eq!(export.finish().unwrap(), records.len() as u64);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_a_row() {
        let csv = export(&[reviewed(record(1), "AAW", "Ada")]);
        let (header, row) = csv.split_once("\r\n").unwrap();
        assert_eq!(header, COLUMNS.join(","));
        assert_eq!(
            row,
            "00000000-0000-0000-0000-000000000001,AAW,FAW,Spodoptera exempta,0.97,relabelled,Ada,\
             2026-05-03T09:00:00.000Z,2026-05-01T23:58:00+01:00,exif,,2026-05-01,2026-05-02,1,field-2,cam-7,-6.4541,3.5,\
             0123456789ab,2026-05-02T10:00:01.500Z,2026-05-02T11:00:00,moths,field-2/cam-7/IMG_0001.jpg,v.1,4000,3000,\
             abababababababababababababababababababababababababababababababab\r\n"
        );
    }

    #[test]
    fn what_is_absent_is_empty() {
        let mut old = record(1);
        old.captured = None;
        old.station = None;
        old.camera = None;
        old.position = None;
        old.file = None;
        old.object.version = None;
        let csv = export(&[old]);
        let row = csv.lines().nth(1).unwrap();
        assert_eq!(
            row,
            "00000000-0000-0000-0000-000000000001,FAW,FAW,Spodoptera frugiperda,0.97,,,,,,,,2026-05-02,1,,,,,\
             0123456789ab,2026-05-02T10:00:01.500Z,2026-05-02T11:00:00,moths,field-2/cam-7/IMG_0001.jpg,,,,"
        );
    }

    #[test]
    fn texts_are_no_formulas_and_are_quoted() {
        let mut hostile = reviewed(record(1), "=1+1", "@Ada");
        hostile.station = Some("-2".into());
        hostile.camera = Some("\tcam".into());
        hostile.object.key = "=HYPERLINK(\"http://evil\",\"a,b\")\r\n.jpg".into();
        let csv = export(&[hostile]);
        let mut rows = ::csv::Reader::from_reader(csv.as_bytes());
        let row = rows.records().next().unwrap().unwrap();
        let cell = |name| &row[COLUMNS.iter().position(|column| *column == name).unwrap()];
        assert_eq!(cell("class_name"), "'=1+1");
        assert_eq!(cell("reviewed_by"), "'@Ada");
        assert_eq!(cell("station"), "'-2");
        assert_eq!(cell("camera"), "'\tcam");
        assert_eq!(cell("key"), "'=HYPERLINK(\"http://evil\",\"a,b\")\r\n.jpg");
        assert_eq!(cell("latitude"), "-6.4541");
    }
}
