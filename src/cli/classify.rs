//! `classify PATH…`

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::{
    Classify,
    files::{self, File},
    table::{Column, Table},
};
use crate::{
    classifier::{Classified, Classifier, Verdict},
    config::ComputeConfig,
    error::chain,
    model::{Label, Thresholds, UNKNOWN},
    photo::Rejection,
};

/// The JSON line of one file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    path: &'a str,
    class_name: Option<&'a str>,
    predicted_class_name: Option<&'a str>,
    probability: Option<f32>,
    probabilities: Option<BTreeMap<&'a str, f32>>,
    reason: Option<&'a str>,
}

/// A file's class, or why it has none.
type Answer = Result<Classified, String>;

pub(super) fn run(arguments: &Classify) -> anyhow::Result<ExitCode> {
    let config = ComputeConfig::read(|name| std::env::var_os(name))?;
    let files = files::find(&arguments.paths)?;
    let classifier = Arc::new(Classifier::load(&config)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(classify(arguments, &files, &classifier))
}

/// Classifies `files` and shows the answers in the order of the files.
async fn classify(
    arguments: &Classify,
    files: &[File],
    classifier: &Arc<Classifier>,
) -> anyhow::Result<ExitCode> {
    let paths: Vec<String> = files
        .iter()
        .map(|file| file.path.to_string_lossy().into_owned())
        .collect();
    let table = match arguments.json {
        true => None,
        false => {
            let columns = columns(&paths, classifier);
            Some(Table::new(columns, files.len())?)
        }
    };
    let answers = stream::iter(files.iter().enumerate())
        .map(|(index, file)| async move { (index, classify_file(classifier, file).await) })
        .buffer_unordered(classifier.cpus().photos_in_progress());
    let mut answers = std::pin::pin!(answers);
    let mut failed = 0;
    // Answers that wait for that of an earlier file, by position.
    let mut early = BTreeMap::new();
    let mut shown = 0;
    while let Some((index, answer)) = answers.next().await {
        early.insert(index, answer);
        while let Some(answer) = early.remove(&shown) {
            failed += usize::from(answer.is_err());
            match &table {
                Some(table) => print_row(table, &paths[shown], &answer)?,
                None => print_json(&paths[shown], &answer)?,
            }
            shown += 1;
        }
    }
    if let Some(table) = table {
        table.finish();
    }
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

async fn classify_file(classifier: &Arc<Classifier>, file: &File) -> Answer {
    let read = async {
        let bytes = tokio::fs::metadata(&file.path).await?.len();
        let limit = classifier.limits().bytes;
        if bytes > limit {
            return Ok(Err(Rejection::TooManyBytes { bytes, limit }));
        }
        io::Result::Ok(Ok(tokio::fs::read(&file.path).await?))
    };
    let bytes = read.await.map_err(|error| chain(&error))?;
    let bytes = bytes.map_err(|rejection| rejection.to_string())?;
    match classifier.classify_in_turn(bytes).await {
        Ok(Verdict::Classified(classified)) => Ok(classified),
        Ok(Verdict::Rejected(rejection)) => Err(rejection.to_string()),
        Err(error) => Err(chain(&error)),
    }
}

fn columns(paths: &[String], classifier: &Classifier) -> Vec<Column> {
    let labels = &classifier.model().manifest().labels;
    let mut classes: Vec<String> = labels.iter().map(ToString::to_string).collect();
    if *classifier.thresholds() != Thresholds::default() {
        classes.extend(labels.iter().map(unknown));
    }
    vec![
        Column::names("file", paths.iter().map(String::as_str)),
        Column::names("class", classes.iter().map(String::as_str)),
        Column::right("probability", 0),
        Column::right("ms", 6),
        Column::left("reason", 0),
    ]
}

fn print_row(table: &Table, path: &str, answer: &Answer) -> io::Result<()> {
    match answer {
        Ok(classified) => {
            let (_, probability) = classified.probabilities.top();
            let class = match classified.predicted_class() {
                Some(label) => unknown(label),
                None => classified.class.to_string(),
            };
            let time = classified.decode + classified.inference;
            let ms = format!("{:.1}", time.as_secs_f64() * 1000.0);
            table.row(&[path, &class, &format!("{probability:.3}"), &ms, ""])
        }
        Err(reason) => table.row(&[path, "–", "–", "–", reason]),
    }
}

/// The class of a photo that is UNKNOWN, with its likeliest label.
fn unknown(label: &Label) -> String {
    format!("{UNKNOWN} ({label})")
}

fn print_json(path: &str, answer: &Answer) -> io::Result<()> {
    let line = match answer {
        Ok(classified) => {
            let (_, probability) = classified.probabilities.top();
            let all = classified
                .probabilities
                .iter()
                .map(|(label, value)| (label.as_str(), value));
            Line {
                path,
                class_name: Some(classified.class.as_str()),
                predicted_class_name: classified.predicted_class().map(Label::as_str),
                probability: Some(probability),
                probabilities: Some(all.collect()),
                reason: None,
            }
        }
        Err(reason) => Line {
            path,
            class_name: None,
            predicted_class_name: None,
            probability: None,
            probabilities: None,
            reason: Some(reason),
        },
    };
    let mut line = serde_json::to_string(&line)?;
    line.push('\n');
    io::stdout().write_all(line.as_bytes())
}
