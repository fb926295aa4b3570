//! `classify PATH…`

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    process::ExitCode,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use serde::Serialize;

use super::{
    Classify, config,
    files::{self, File},
    table::{Column, Table},
};
use crate::{
    classifier::Classifier,
    config::Limits,
    error::{Rejection, chain},
    prediction::Probabilities,
    predictor::Predictor,
};

/// What `--json` prints of one file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    path: &'a str,
    class_name: Option<&'a str>,
    probability: Option<f32>,
    probabilities: Option<BTreeMap<&'a str, f32>>,
    reason: Option<&'a str>,
}

/// A file's probabilities, or why it has none.
type Answer = Result<Probabilities, String>;

pub(super) fn run(arguments: &Classify) -> anyhow::Result<ExitCode> {
    let config = config()?;
    let files = files::find(&arguments.paths)?;
    let predictor = Predictor::new(
        Classifier::load(&config.model_dir, config.isa)?,
        config.limits,
        config.cpus,
    );
    let paths: Vec<String> = files
        .iter()
        .map(|file| file.path.to_string_lossy().into_owned())
        .collect();
    let table = match arguments.json {
        true => None,
        false => Some(Table::new(columns(&paths, &predictor), files.len())?),
    };

    let mut failed = 0;
    in_order(&files, &predictor, config.limits, |index, answer, ms| {
        let path = paths[index].as_str();
        failed += usize::from(answer.is_err());
        match &table {
            Some(table) => row(table, path, &answer, ms),
            None => line(path, &answer),
        }
    })?;
    if let Some(table) = table {
        table.finish();
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Classifies `files` on all CPUs and hands each answer, with its milliseconds, to `show`, in order.
fn in_order(
    files: &[File],
    predictor: &Predictor,
    limits: Limits,
    mut show: impl FnMut(usize, Answer, f64) -> io::Result<()>,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let threads = predictor.cpus().min(files.len());
    // One answer waits for each thread, so that none runs far ahead of a slow reader.
    let (sender, answers) = mpsc::sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((index, file)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    files.get(index).map(|file| (index, file))
                } {
                    let started = Instant::now();
                    let answer = classify(file, predictor, limits);
                    let ms = started.elapsed().as_secs_f64() * 1000.0;
                    if sender.send((index, answer, ms)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut shown = 0;
        for (index, answer, ms) in answers {
            early.insert(index, (answer, ms));
            while let Some((answer, ms)) = early.remove(&shown) {
                show(shown, answer, ms)?;
                shown += 1;
            }
        }
        Ok(())
    })
}

fn classify(file: &File, predictor: &Predictor, limits: Limits) -> Answer {
    let text = |error: &(dyn std::error::Error + 'static)| chain(error);
    let bytes = fs::metadata(&file.path)
        .map_err(|error| text(&error))?
        .len();
    if bytes > limits.bytes {
        return Err(Rejection::TooManyBytes {
            bytes,
            limit: limits.bytes,
        }
        .to_string());
    }
    let bytes = fs::read(&file.path).map_err(|error| text(&error))?;
    let predicted = predictor.predict(&bytes).map_err(|error| text(&error))?;
    Ok(predicted.probabilities)
}

fn columns(paths: &[String], predictor: &Predictor) -> Vec<Column> {
    let labels = predictor
        .manifest()
        .labels
        .iter()
        .map(|label| label.as_str());
    vec![
        Column::names("file", paths.iter().map(String::as_str)),
        Column::names("class", labels),
        Column::right("probability", 0),
        Column::right("ms", 6),
        Column::left("reason", 0),
    ]
}

fn row(table: &Table, path: &str, answer: &Answer, ms: f64) -> io::Result<()> {
    let ms = format!("{ms:.1}");
    match answer {
        Ok(probabilities) => {
            let (label, probability) = probabilities.top();
            table.row(&[path, label.as_str(), &format!("{probability:.3}"), &ms, ""])
        }
        Err(reason) => table.row(&[path, "–", "–", &ms, reason]),
    }
}

fn line(path: &str, answer: &Answer) -> io::Result<()> {
    let line = match answer {
        Ok(probabilities) => {
            let (label, probability) = probabilities.top();
            let all = probabilities
                .iter()
                .map(|(label, value)| (label.as_str(), value));
            Line {
                path,
                class_name: Some(label.as_str()),
                probability: Some(probability),
                probabilities: Some(all.collect()),
                reason: None,
            }
        }
        Err(reason) => Line {
            path,
            class_name: None,
            probability: None,
            probabilities: None,
            reason: Some(reason),
        },
    };
    let mut line = serde_json::to_string(&line)?;
    line.push('\n');
    io::stdout().write_all(line.as_bytes())
}
