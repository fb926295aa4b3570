//! `counts`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use super::{
    block_on,
    span::{ByArgument, DayArguments, check_counted, label},
};
use crate::{
    cli::tables::{TableArguments, deadline},
    model::Label,
    object::Escaped,
    records::DayCounts,
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    tables: TableArguments,
    #[command(flatten)]
    days: DayArguments,
    #[command(flatten)]
    by: ByArgument,
    /// Only this class; a reviewer's class counts before the model's
    #[arg(long, value_parser = label)]
    class: Option<Label>,
    /// Only this station. Its records are read one by one
    #[arg(long)]
    station: Option<String>,
    /// Print one JSON object a line, for each day
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    block_on(async {
        let opened = arguments.tables.open().await?;
        let span = arguments.days.span(arguments.by.by, &opened)?;
        let mut days = match &arguments.station {
            Some(station) => {
                let ledger = &opened.ledger;
                ledger.counts_of_station(span, station, deadline).await?
            }
            None => opened.ledger.counts(span, deadline()).await?,
        };
        if let Some(only) = &arguments.class {
            check_counted(only, &opened).await?;
            for day in &mut days {
                day.classes.retain(|class, _| class == only);
            }
        }
        match arguments.json {
            true => lines(&days, &span.by().to_string())?,
            false => chart(&days)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn lines(days: &[DayCounts], by: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for day in days {
        let classes: BTreeMap<&str, u64> = day
            .classes
            .iter()
            .map(|(class, number)| (class.as_str(), *number))
            .collect();
        let line = json!({by: day.day, "total": day.total(), "classes": classes});
        writeln!(stdout, "{line}")?;
    }
    Ok(())
}

/// The marks of classes in a bar, in alphabetical order of the classes. They differ without colour too.
const MARKS: [char; 6] = ['█', '▒', '▓', '░', '▚', '◆'];
/// Width of the longest bar, in characters.
const WIDTH: u64 = 50;

/// Prints one bar for each day, with one mark for each class.
fn chart(days: &[DayCounts]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let classes: BTreeSet<&Label> = days.iter().flat_map(|day| day.classes.keys()).collect();
    let marks: BTreeMap<&Label, char> =
        classes.into_iter().zip(MARKS.into_iter().cycle()).collect();
    let most = days.iter().map(DayCounts::total).max().unwrap_or(0);
    for (class, mark) in &marks {
        write!(stdout, "{mark} {}  ", Escaped(class.as_str()))?;
    }
    if !marks.is_empty() {
        writeln!(stdout)?;
    }
    for day in days {
        let numbers = day
            .classes
            .iter()
            .map(|(class, number)| format!("{} {number}", Escaped(class.as_str())));
        let numbers: Vec<String> = numbers.collect();
        let line = format!(
            "{}  {:>5}  {:width$}  {}",
            day.day,
            day.total(),
            bar(day, &marks, most),
            numbers.join(", "),
            width = WIDTH as usize
        );
        writeln!(stdout, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The bar of a day, on a scale on which `most` records are [`WIDTH`] characters. The ends of the marks are rounded, so
/// that the length of the bar is right, whatever the number of classes.
fn bar(day: &DayCounts, marks: &BTreeMap<&Label, char>, most: u64) -> String {
    let mut bar = String::new();
    let (mut sum, mut drawn) = (0_u64, 0);
    for (class, number) in &day.classes {
        sum = number.saturating_add(sum);
        // `most` is the number of records of a day that has some.
        let end = u128::from(sum) * u128::from(WIDTH);
        let end = end.div_ceil(u128::from(most.max(1))) as u64;
        let mark = marks.get(class).copied().unwrap_or('?');
        bar.extend((drawn..end).map(|_| mark));
        drawn = drawn.max(end);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_the_length_of_its_number() {
        let label = |text: &str| Label::try_from(text.to_owned()).unwrap();
        let (aaw, faw) = (label("AAW"), label("FAW"));
        let marks = BTreeMap::from([(&aaw, 'a'), (&faw, 'f')]);
        let of = |classes: &[(&Label, u64)]| {
            let classes = classes.iter().map(|(class, n)| ((*class).clone(), *n));
            let day = DayCounts {
                day: "2026-05-01".parse().unwrap(),
                classes: classes.collect(),
            };
            bar(&day, &marks, 100)
        };
        assert_eq!(
            of(&[(&aaw, 50), (&faw, 50)]),
            "a".repeat(25) + &"f".repeat(25)
        );
        assert_eq!(of(&[(&faw, 1)]), "f");
        assert_eq!(of(&[]), "");
    }
}
