//! Tables that are printed row by row, with a progress bar below them on a terminal.

use std::io::{self, IsTerminal, Write};

use console::{Alignment, measure_text_width, pad_str};
use indicatif::{ProgressBar, ProgressStyle};

use crate::object::Escaped;

/// A column: its heading, and the width to which its cells are padded.
pub(super) struct Column {
    head: &'static str,
    width: usize,
    align: Align,
}

#[derive(Clone, Copy, PartialEq)]
enum Align {
    Left,
    Right,
    /// Left, and the beginning of a cell that is too wide is cut off.
    Name,
}

/// Maximum width of a file name. The beginning of a longer one is cut off.
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

    /// A column as wide as the widest of `names`; of the maximum width if they are not known yet.
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
    /// A table that will have `total` rows; 0 if nobody knows. Prints the headings.
    pub(super) fn new(columns: Vec<Column>, total: usize) -> io::Result<Self> {
        let table = Self {
            columns,
            bar: progress(total),
        };
        let heads: Vec<&str> = table.columns.iter().map(|column| column.head).collect();
        table.write(&heads)?;
        Ok(table)
    }

    /// Prints a row and advances the progress bar.
    pub(super) fn row(&self, cells: &[&str]) -> io::Result<()> {
        self.write(cells)?;
        self.advance();
        Ok(())
    }

    /// Advances the progress bar.
    pub(super) fn advance(&self) {
        self.bar.inc(1);
    }

    /// Removes the progress bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints a row.
    pub(super) fn write(&self, cells: &[&str]) -> io::Result<()> {
        assert_eq!(cells.len(), self.columns.len(), "one cell for each column");
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

/// A progress bar on standard error; hidden without `total`, and if neither standard output nor standard error is a
/// terminal.
pub(super) fn progress(total: usize) -> ProgressBar {
    if total == 0 || !io::stdout().is_terminal() && !io::stderr().is_terminal() {
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
