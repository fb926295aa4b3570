//! Tables that grow a row at a time, with a progress bar below them on a terminal.

use std::io::{self, IsTerminal, Write};

use console::{Alignment, measure_text_width, pad_str};
use indicatif::{ProgressBar, ProgressStyle};

use crate::object::Escaped;

/// A column: its head, and the width its cells are padded to.
pub(super) struct Column {
    head: &'static str,
    width: usize,
    align: Align,
}

#[derive(Clone, Copy, PartialEq)]
enum Align {
    Left,
    Right,
    /// Left, and a cell wider than the column loses its beginning.
    Name,
}

/// The widest a file name is shown; a longer one loses its beginning.
const MAX_NAME: usize = 60;

impl Column {
    pub(super) fn left(head: &'static str, width: usize) -> Self {
        Self {
            head,
            width: width.max(head.len()),
            align: Align::Left,
        }
    }

    pub(super) fn right(head: &'static str, width: usize) -> Self {
        Self {
            align: Align::Right,
            ..Self::left(head, width)
        }
    }

    /// A column for names such as `names`; if there are none yet, for any.
    pub(super) fn names<'a>(head: &'static str, names: impl Iterator<Item = &'a str>) -> Self {
        let width = names
            .map(|name| measure_text_width(&Escaped(name).to_string()))
            .max();
        Self {
            align: Align::Name,
            ..Self::left(head, width.unwrap_or(MAX_NAME).min(MAX_NAME))
        }
    }
}

/// A table on standard output.
pub(super) struct Table {
    columns: Vec<Column>,
    bar: ProgressBar,
}

impl Table {
    /// A table whose rows are `total` in the end.
    pub(super) fn new(columns: Vec<Column>, total: usize) -> io::Result<Self> {
        let table = Self {
            columns,
            bar: progress(total),
        };
        let heads: Vec<&str> = table.columns.iter().map(|column| column.head).collect();
        table.write(&heads)?;
        Ok(table)
    }

    /// Adds a row and moves the progress bar on.
    pub(super) fn row(&self, cells: &[&str]) -> io::Result<()> {
        self.write(cells)?;
        self.advance();
        Ok(())
    }

    /// Moves the progress bar on.
    pub(super) fn advance(&self) {
        self.bar.inc(1);
    }

    /// Takes the progress bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Adds a row.
    pub(super) fn write(&self, cells: &[&str]) -> io::Result<()> {
        let cells: Vec<String> = self
            .columns
            .iter()
            .zip(cells)
            .map(|(column, cell)| pad(column, cell))
            .collect();
        let line = cells.join("  ");
        self.bar
            .suspend(|| writeln!(io::stdout(), "{}", line.trim_end()))
    }
}

/// A progress bar on standard error, unless that or standard output goes elsewhere than a terminal.
fn progress(total: usize) -> ProgressBar {
    if !io::stdout().is_terminal() && !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {per_sec}  {eta} left");
    let bar = ProgressBar::new(total as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn pad(column: &Column, cell: &str) -> String {
    let mut cell = Escaped(cell).to_string();
    if column.align == Align::Name {
        cell = shorten(&cell, column.width);
    }
    let alignment = match column.align {
        Align::Right => Alignment::Right,
        Align::Left | Align::Name => Alignment::Left,
    };
    pad_str(&cell, column.width, alignment, None).into_owned()
}

/// `text`, or its end after `…` where it is wider than `width`.
fn shorten(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_owned();
    }
    let mut ends = text.char_indices().map(|(start, _)| &text[start..]);
    let end = ends.find(|end| measure_text_width(end) < width);
    format!("…{}", end.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_beginning() {
        assert_eq!(shorten("farm/field/moth.jpg", 9), "…moth.jpg");
        assert_eq!(shorten("moth.jpg", 9), "moth.jpg");
        assert_eq!(shorten("蛾蛾蛾.jpg", 8), "…蛾.jpg");
    }

    #[test]
    fn cells_are_padded_by_what_a_terminal_shows() {
        assert_eq!(pad(&Column::left("class", 7), "蛾"), "蛾     ");
        assert_eq!(pad(&Column::right("ms", 5), "12"), "   12");
        assert_eq!(pad(&Column::left("class", 5), "a\n"), "a\\u{a}");
    }
}
