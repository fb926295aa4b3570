//! A CSV file that waits for its turn in the zip.

use std::{
    fs::File,
    io::{self, Seek, Write},
};

use csv::{Terminator, Writer, WriterBuilder};

/// A CSV file in the folder for temporary files, which the system removes when it is closed.
#[derive(Debug)]
pub(super) struct Spool {
    out: Writer<File>,
    rows: u64,
}

impl Spool {
    pub(super) fn new(columns: &[&str]) -> io::Result<Self> {
        let mut out = writer(tempfile::tempfile()?);
        out.write_record(columns)?;
        Ok(Self { out, rows: 0 })
    }

    pub(super) fn push(&mut self, cells: impl IntoIterator<Item: AsRef<[u8]>>) -> io::Result<()> {
        self.out.write_record(cells)?;
        self.rows += 1;
        Ok(())
    }

    /// Number of rows, without the header.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The file from its start, and its length.
    pub(super) fn into_file(self) -> io::Result<(File, u64)> {
        let mut file = self.out.into_inner().map_err(|error| error.into_error())?;
        let bytes = file.stream_position()?;
        file.rewind()?;
        Ok((file, bytes))
    }
}

/// RFC 4180.
pub(super) fn writer<W: Write>(out: W) -> Writer<W> {
    WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(out)
}
