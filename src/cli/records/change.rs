//! `review`, `delete` and `restore`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{block_on, model, span::label};
use crate::{
    cli::tables::{Opened, TableArguments, deadline},
    error::chain,
    model::{Label, MANIFEST},
    object::{Escaped, ObjectId},
    records::{Author, Change, Note, ReviewVerdict},
};

#[derive(Args)]
pub(in crate::cli) struct Changed {
    /// Ids of the records: a UUID, or a class, a hyphen and a UUID
    #[arg(required = true, value_name = "ID")]
    ids: Vec<ObjectId>,
    #[command(flatten)]
    tables: TableArguments,
    /// Who changes the records [default: the user's name in USER]
    #[arg(long, value_name = "NAME")]
    by: Option<Author>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    note: Option<Note>,
    /// Only if the record has this revision, which `records ID` shows. Needed to change what somebody else reviewed
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Review {
    #[command(flatten)]
    changed: Changed,
    #[command(flatten)]
    verdict: VerdictArguments,
    /// Accept a class that the model in MODEL_DIR does not have
    #[arg(long, requires = "class")]
    new_class: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct VerdictArguments {
    /// The model is right
    #[arg(long)]
    confirm: bool,
    /// It is this class
    #[arg(long, value_name = "CLASS", value_parser = label)]
    class: Option<Label>,
    /// Nobody can tell
    #[arg(long)]
    unknown: bool,
    /// It is no moth: the class NOT_A_MOTH
    #[arg(long)]
    not_a_moth: bool,
    /// Take the review back
    #[arg(long)]
    withdraw: bool,
}

pub(in crate::cli) fn review(arguments: &Review) -> anyhow::Result<ExitCode> {
    let VerdictArguments {
        confirm,
        class,
        unknown,
        not_a_moth: is_no_moth,
        withdraw: _,
    } = &arguments.verdict;
    let change = match class {
        Some(class) => {
            if !arguments.new_class {
                check_class(class)?;
            }
            Change::Review(ReviewVerdict::Relabel(class.clone()))
        }
        None if *confirm => Change::Review(ReviewVerdict::Confirm),
        None if *unknown => Change::Review(ReviewVerdict::Unknown),
        None if *is_no_moth => Change::Review(ReviewVerdict::Relabel(Label::not_a_moth())),
        None => Change::Withdraw,
    };
    run(&arguments.changed, &change)
}

pub(in crate::cli) fn delete(changed: &Changed) -> anyhow::Result<ExitCode> {
    run(changed, &Change::Delete)
}

pub(in crate::cli) fn restore(changed: &Changed) -> anyhow::Result<ExitCode> {
    run(changed, &Change::Restore)
}

/// Fails if `class` looks like a misspelt class: the model does not have it.
fn check_class(class: &Label) -> anyhow::Result<()> {
    if *class == Label::unknown() || *class == Label::not_a_moth() {
        return Ok(());
    }
    let manifest = model::manifest()?.with_context(|| {
        format!(
            "cannot check the class {class} without {MANIFEST}: set MODEL_DIR to the folder of the model, or add \
             --new-class"
        )
    })?;
    if manifest.labels.contains(class) {
        return Ok(());
    }
    let labels: Vec<&str> = manifest.labels.iter().map(Label::as_str).collect();
    anyhow::bail!(
        "the model has no class {class}, but {}: check the spelling, or add --new-class",
        labels.join(", ")
    )
}

/// Who runs the command: the name in `given`, otherwise in USER.
pub(super) fn author(given: Option<&Author>) -> anyhow::Result<Author> {
    match given {
        Some(by) => Ok(by.clone()),
        None => std::env::var("USER")
            .ok()
            .and_then(|user| user.parse().ok())
            .context("say who you are with --by"),
    }
}

/// Changes each record. A change that fails does not keep the others from being made.
fn run(arguments: &Changed, change: &Change) -> anyhow::Result<ExitCode> {
    let by = author(arguments.by.as_ref())?;
    block_on(async {
        let opened = arguments.tables.open().await?;
        let mut code = ExitCode::SUCCESS;
        for &id in &arguments.ids {
            if !one(arguments, &opened, id, change, &by).await? {
                code = ExitCode::FAILURE;
            }
        }
        Ok(code)
    })
}

/// Changes one record, and says what became of it. Returns whether it was changed.
async fn one(
    arguments: &Changed,
    opened: &Opened,
    id: ObjectId,
    change: &Change,
    by: &Author,
) -> io::Result<bool> {
    let note = arguments.note.as_ref();
    let changed = opened
        .ledger
        .change(id, change, by, note, arguments.revision, deadline());
    let result = changed.await;
    let mut stdout = io::stdout().lock();
    match &result {
        Ok(record) if arguments.json => {
            let json = json!({"id": id.to_string(), "changed": true, "record": record});
            writeln!(stdout, "{json}")?;
        }
        Ok(record) => {
            let said = match (change, &record.review) {
                (Change::Delete, _) => {
                    "deleted; `restore` brings it back within 30 days".to_owned()
                }
                (Change::Restore, _) => format!("restored as {}", record.effective_class()),
                (Change::Withdraw, _) => format!("not reviewed, {} again", record.class),
                (Change::Review(_), Some(review)) => format!("{} {}", review.status, review.class),
                (Change::Review(_), None) => String::new(),
            };
            writeln!(stdout, "{id}  {said}  ({})", Escaped(&record.object.key))?;
        }
        Err(error) if arguments.json => {
            let json = json!({"id": id.to_string(), "changed": false, "reason": chain(error)});
            writeln!(stdout, "{json}")?;
        }
        Err(error) => eprintln!("error: {}", chain(error)),
    }
    Ok(result.is_ok())
}
