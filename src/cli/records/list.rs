//! `records`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser};
use serde_json::json;

use super::{
    block_on,
    span::{ByArgument, DayArguments, FilterArguments, check_counted},
};
use crate::{
    cli::{
        table::{Column, Table},
        tables::{Opened, TableArguments, deadline},
    },
    error::chain,
    object::ObjectId,
    records::{
        By, Cursor, Deleted, HistoryEntry, MAX_PAGE, MAX_REJECTIONS, Order, Page, Query, Record,
        Rejected, Rejections,
    },
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Show these records with their history, instead of a list
    #[arg(value_name = "ID")]
    ids: Vec<ObjectId>,
    #[command(flatten)]
    tables: TableArguments,
    #[command(flatten)]
    days: DayArguments,
    #[command(flatten)]
    by: ByArgument,
    #[command(flatten)]
    filter: FilterArguments,
    /// newest and oldest by time; leastCertain for the queue of records that wait for review, of the last year unless
    /// --from or --to is given
    #[arg(long, default_value = "newest", value_parser = order_parser())]
    order: Order,
    /// Highest number of records
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on where an earlier list with the same options ended
    #[arg(long)]
    cursor: Option<Cursor>,
    /// List rejected photos instead, by the date of their upload
    #[arg(long, conflicts_with_all = [
        "ids", "cursor", "by", "order", "class", "station", "review", "min_probability", "max_probability", "model",
    ])]
    rejected: bool,
    /// List the records that `restore` can bring back instead. Reads the whole ledger
    #[arg(long, conflicts_with_all = [
        "ids", "cursor", "by", "from", "to", "order", "class", "station", "review", "min_probability", "max_probability",
        "model", "limit", "rejected", "only_ids",
    ])]
    deleted: bool,
    /// Print one JSON object a line; the last has the next cursor
    #[arg(long)]
    json: bool,
    /// Print the ids alone, for another command
    #[arg(long = "ids", conflicts_with_all = ["json", "rejected"])]
    only_ids: bool,
}

fn order_parser() -> impl TypedValueParser<Value = Order> {
    PossibleValuesParser::new(["newest", "oldest", "leastCertain"])
        .try_map(|text| text.parse::<Order>())
}

pub(in crate::cli) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    block_on(async {
        let opened = arguments.tables.open().await?;
        if arguments.rejected {
            return rejected(arguments, &opened).await;
        }
        if arguments.deleted {
            return deleted(arguments, &opened).await;
        }
        match arguments.ids.as_slice() {
            [] => list(arguments, &opened).await,
            ids => details(arguments, &opened, ids).await,
        }
    })
}

/// Lists records, as many pages as the limit needs.
async fn list(arguments: &Arguments, opened: &Opened) -> anyhow::Result<ExitCode> {
    let span = match arguments.order {
        Order::LeastCertain => arguments.days.long_span(arguments.by.by, opened)?,
        Order::Newest | Order::Oldest => arguments.days.span(arguments.by.by, opened)?,
    };
    if let Some(class) = arguments.filter.class() {
        check_counted(class, opened).await?;
    }
    let query = Query {
        span,
        filter: arguments.filter.filter(),
        order: arguments.order,
    };
    let mut left = usize::try_from(arguments.limit)?;
    let mut cursor = arguments.cursor.clone();
    let mut table = None;
    let mut damaged = 0;
    loop {
        let limit = left.min(MAX_PAGE);
        let page = opened
            .ledger
            .records(&query, limit, cursor, deadline())
            .await?;
        left -= page.records.len();
        damaged += page.damaged.len();
        show_page(arguments, &page, &mut table)?;
        cursor = page.next;
        if cursor.is_none() || left == 0 {
            break;
        }
    }
    let next = cursor.map(|cursor| cursor.to_string());
    if arguments.json {
        writeln!(io::stdout(), "{}", json!({"nextCursor": next}))?;
    } else if arguments.only_ids {
        // Another program reads them.
    } else if table.is_none() {
        let (from, to) = (query.span.from(), query.span.to());
        let found = match query.order {
            Order::LeastCertain => "No record waits for review",
            Order::Newest | Order::Oldest => "No such record",
        };
        writeln!(
            io::stdout(),
            "{found} from {from} to {to}. Other days: --from, --to, or --by date for dates of upload."
        )?;
    } else if next.is_some() {
        writeln!(io::stdout(), "\nThere are more: raise --limit.")?;
    }
    Ok(match damaged {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn show_page(arguments: &Arguments, page: &Page, table: &mut Option<Table>) -> anyhow::Result<()> {
    for error in &page.damaged {
        eprintln!("error: {}", chain(error));
    }
    for record in &page.records {
        if arguments.only_ids {
            writeln!(io::stdout(), "{}", record.id)?;
            continue;
        }
        if arguments.json {
            writeln!(io::stdout(), "{}", serde_json::to_string(record)?)?;
            continue;
        }
        let table = match table {
            Some(table) => table,
            None => table.insert(Table::new(columns(), 0)?),
        };
        table.write(&row(record).each_ref().map(String::as_str))?;
    }
    Ok(())
}

fn columns() -> Vec<Column> {
    vec![
        Column::left("captured", "2026-05-01 23:58".len()),
        Column::left("night", "2026-05-01".len()),
        Column::left("class", "UNKNOWN".len()),
        Column::right("probability", 0),
        Column::left("review", "relabelled".len()),
        Column::left("station", 12),
        Column::left("id", 36),
        Column::left("key", 0),
    ]
}

fn row(record: &Record) -> [String; 8] {
    let captured = record.captured.map(|captured| captured.at.naive_local());
    let time = captured.unwrap_or_else(|| record.uploaded());
    let review = match &record.review {
        Some(review) => review.status.to_string(),
        None if record.waits_for_review => "waiting".to_owned(),
        None => String::new(),
    };
    [
        time.format("%Y-%m-%d %H:%M").to_string(),
        record
            .night()
            .map_or(String::new(), |night| night.to_string()),
        record.effective_class().to_string(),
        format!("{:.3}", record.probability),
        review,
        record.station.clone().unwrap_or_default(),
        record.id.to_string(),
        record.object.key.clone(),
    ]
}

/// Shows records with their history.
async fn details(
    arguments: &Arguments,
    opened: &Opened,
    ids: &[ObjectId],
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for &id in ids {
        let history = opened.ledger.history(id, deadline()).await;
        let record = opened.ledger.record(id, deadline()).await;
        match (record, history) {
            (Ok(record), Ok(history)) => show_details(arguments, &record, &history)?,
            (Err(error), history) => {
                code = ExitCode::FAILURE;
                eprintln!("error: {}", chain(&error));
                for entry in history.iter().flatten() {
                    show_entry(arguments, entry)?;
                }
            }
            (_, Err(error)) => {
                code = ExitCode::FAILURE;
                eprintln!("error: {}", chain(&error));
            }
        }
    }
    Ok(code)
}

fn show_details(
    arguments: &Arguments,
    record: &Record,
    history: &[HistoryEntry],
) -> anyhow::Result<()> {
    let mut json = serde_json::to_value(record)?;
    if arguments.json {
        json["history"] = serde_json::to_value(history)?;
        writeln!(io::stdout(), "{json}")?;
        return Ok(());
    }
    let members = json.as_object().into_iter().flatten();
    for (name, value) in members.filter(|(_, value)| !value.is_null()) {
        let text = value.as_str().map_or_else(
            || value.to_string(),
            |text| crate::object::Escaped(text).to_string(),
        );
        writeln!(io::stdout(), "{name:20} {text}")?;
    }
    for entry in history {
        show_entry(arguments, entry)?;
    }
    writeln!(io::stdout())?;
    Ok(())
}

fn show_entry(arguments: &Arguments, entry: &HistoryEntry) -> anyhow::Result<()> {
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(entry)?)?;
        return Ok(());
    }
    let escaped = |text: &str| crate::object::Escaped(text).to_string();
    writeln!(
        io::stdout(),
        "{:>4}  {}  {} {} by {}{}",
        entry.revision,
        entry.at.format("%Y-%m-%d %H:%M:%S"),
        entry.kind,
        entry.class,
        escaped(&entry.by),
        entry
            .note
            .as_deref()
            .map_or(String::new(), |note| format!(": {}", escaped(note))),
    )?;
    Ok(())
}

/// Lists rejected photos.
async fn rejected(arguments: &Arguments, opened: &Opened) -> anyhow::Result<ExitCode> {
    let span = arguments.days.span(By::Date, opened)?;
    let limit = usize::try_from(arguments.limit)?;
    let Rejections { photos, damaged } = opened.ledger.rejections(span, limit, deadline()).await?;
    for error in &damaged {
        eprintln!("error: {}", chain(error));
    }
    let mut stdout = io::stdout().lock();
    if arguments.json {
        for rejected in &photos {
            writeln!(stdout, "{}", serde_json::to_string(rejected)?)?;
        }
    } else if photos.is_empty() {
        writeln!(
            stdout,
            "No rejected photo from {} to {}.",
            span.from(),
            span.to()
        )?;
    } else {
        drop(stdout);
        show_rejected(&photos, limit)?;
    }
    Ok(match damaged.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn show_rejected(photos: &[Rejected], limit: usize) -> io::Result<()> {
    let keys = photos.iter().map(|rejected| rejected.object.key.as_str());
    let columns = vec![
        Column::left("date", "2026-05-01".len()),
        Column::names("key", keys),
        Column::left("reason", 0),
    ];
    let table = Table::new(columns, 0)?;
    for Rejected {
        object,
        reason,
        date,
        ..
    } in photos
    {
        table.row(&[&date.to_string(), &object.key, reason])?;
    }
    if photos.len() == limit.min(MAX_REJECTIONS) {
        writeln!(
            io::stdout(),
            "\nThere may be more: choose earlier days with --to, or --limit up to {MAX_REJECTIONS}."
        )?;
    }
    Ok(())
}

/// Lists deleted records.
async fn deleted(arguments: &Arguments, opened: &Opened) -> anyhow::Result<ExitCode> {
    let all = opened.ledger.deleted_records(deadline).await?;
    if arguments.json {
        for Deleted { record, at } in &all {
            let mut json = serde_json::to_value(record)?;
            json["deletedAt"] = json!(at);
            writeln!(io::stdout(), "{json}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        writeln!(io::stdout(), "No record was deleted in the last 30 days.")?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = vec![
        Column::left("deleted (UTC)", "2026-05-01 23:58".len()),
        Column::left("class", "UNKNOWN".len()),
        Column::left("id", 36),
        Column::left("key", 0),
    ];
    let table = Table::new(columns, 0)?;
    for Deleted { record, at } in &all {
        table.row(&[
            &at.format("%Y-%m-%d %H:%M").to_string(),
            record.effective_class().as_str(),
            &record.id.to_string(),
            &record.object.key,
        ])?;
    }
    Ok(ExitCode::SUCCESS)
}
