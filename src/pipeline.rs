//! The way of one object: fetch → decode → classify → commit.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{NaiveDate, Utc};
use chrono_tz::Tz;
use tracing::info;
use uuid::Uuid;

use crate::{
    bucket::Bucket,
    classifier::Classifier,
    config::Limits,
    error::{Error, Rejection},
    ledger::{Ledger, Written},
    object::{Content, ObjectCreated, ObjectVersion},
    outcome::Report,
    prediction::{Prediction, Probabilities},
    preprocess,
    retry::Deadline,
};

/// Everything that stays the same from one object to the next.
pub struct Pipeline {
    /// Where objects are read.
    pub bucket: Bucket,
    /// What says which class they show.
    pub classifier: Arc<Classifier>,
    /// Where they are counted.
    pub ledger: Ledger,
    /// Whose days are counted.
    pub time_zone: Tz,
    /// How large an object and its picture may be.
    pub limits: Limits,
}

impl Pipeline {
    /// Brings one object to its outcome and logs it.
    ///
    /// # Errors
    ///
    /// A retryable [`Error`]; what is wrong with the object itself is an outcome.
    pub async fn process(
        &self,
        created: &ObjectCreated,
        deadline: Deadline,
    ) -> Result<Report, Error> {
        let mut timings = Timings::default();
        let report = self.outcome(created, deadline, &mut timings).await?;
        log(&created.object.bucket, &report, &timings);
        Ok(report)
    }

    async fn outcome(
        &self,
        created: &ObjectCreated,
        deadline: Deadline,
        timings: &mut Timings,
    ) -> Result<Report, Error> {
        let object = &created.object;
        let sequencer = created.sequencer.as_deref().unwrap_or_default();
        let mut id = object.id(Content::Announced { sequencer });
        if object.is_identified()
            && let Some(entry) = self.ledger.lookup(id, deadline).await?
        {
            return Ok(Report::duplicate(object, entry));
        }

        let started = Instant::now();
        let fetched = match self.bucket.fetch(object, deadline).await {
            Ok(fetched) => fetched,
            Err(Error::Rejected(rejection)) => {
                return self.reject(object, id, None, &rejection, deadline).await;
            }
            Err(error) => return Err(error),
        };
        timings.fetch = Some(started.elapsed());
        if !object.is_identified() {
            id = object.id(fetched.content());
            if let Some(entry) = self.ledger.lookup(id, deadline).await? {
                return Ok(Report::duplicate(object, entry));
            }
        }

        let captured = fetched.last_modified.with_timezone(&self.time_zone);
        let probabilities = match self.classify(fetched.body, timings).await {
            Ok(probabilities) => probabilities,
            Err(Error::Rejected(rejection)) => {
                let day = Some(captured.date_naive());
                return self.reject(object, id, day, &rejection, deadline).await;
            }
            Err(error) => return Err(error),
        };
        let prediction = Prediction {
            created: created.clone(),
            id,
            probabilities,
            model_version: self.classifier.manifest().model_version().to_owned(),
            captured,
            predicted_at: Utc::now(),
        };

        let started = Instant::now();
        let written = self.ledger.commit(&prediction, deadline).await?;
        timings.commit = Some(started.elapsed());
        Ok(match written {
            Written::Now(count) => Report::recorded(&prediction, count),
            Written::Before(entry) => Report::duplicate(object, entry),
        })
    }

    async fn classify(
        &self,
        body: Result<Vec<u8>, Rejection>,
        timings: &mut Timings,
    ) -> Result<Probabilities, Error> {
        let bytes = body?;
        let (classifier, limits) = (Arc::clone(&self.classifier), self.limits);
        let compute = move || classify(&classifier, &bytes, limits);
        let classified = tokio::task::spawn_blocking(compute)
            .await
            .map_err(Error::Aborted)??;
        timings.decode = Some(classified.decode);
        timings.inference = Some(classified.inference);
        Ok(classified.probabilities)
    }

    async fn reject(
        &self,
        object: &ObjectVersion,
        id: Uuid,
        day: Option<NaiveDate>,
        rejection: &Rejection,
        deadline: Deadline,
    ) -> Result<Report, Error> {
        Ok(
            match self
                .ledger
                .reject(object, id, day, rejection, deadline)
                .await?
            {
                Written::Now(()) => Report::rejected(object, day, rejection),
                Written::Before(entry) => Report::duplicate(object, entry),
            },
        )
    }
}

/// What the model says of one picture, and how long it took.
#[derive(Debug)]
pub struct Classified {
    /// What the model says.
    pub probabilities: Probabilities,
    /// Decoding, resizing and scaling.
    pub decode: Duration,
    /// Running the model.
    pub inference: Duration,
}

/// Bytes → probabilities: the part that needs a CPU and no network.
///
/// # Errors
///
/// [`Error::Rejected`] where the bytes are no picture for us, [`Error::Model`] where the model fails.
pub fn classify(
    classifier: &Classifier,
    bytes: &[u8],
    limits: Limits,
) -> Result<Classified, Error> {
    let started = Instant::now();
    let picture = preprocess::decode(bytes, limits)?;
    let manifest = classifier.manifest();
    let input = preprocess::tensor(&picture, &manifest.input, &manifest.preprocess);
    drop(picture);
    let decode = started.elapsed();

    let started = Instant::now();
    let probabilities = classifier.classify(&input)?;
    Ok(Classified {
        probabilities,
        decode,
        inference: started.elapsed(),
    })
}

/// How long each step took; `None` where it was not reached.
#[derive(Debug, Default)]
struct Timings {
    fetch: Option<Duration>,
    decode: Option<Duration>,
    inference: Option<Duration>,
    commit: Option<Duration>,
}

/// One line for each image. The JSON format escapes the key.
fn log(bucket: &str, report: &Report, timings: &Timings) {
    // Tenths of a millisecond are all a reader needs.
    let ms = |duration: Option<Duration>| {
        duration.map(|duration| (duration.as_secs_f64() * 10_000.0).round() / 10.0)
    };
    info!(
        outcome = report.outcome.as_str(),
        bucket,
        key = report.key,
        version = report.version_id,
        class = report.class_name,
        probability = report.probability,
        date = report.date,
        count = report.count,
        reason = report.reason,
        fetch_ms = ms(timings.fetch),
        decode_ms = ms(timings.decode),
        inference_ms = ms(timings.inference),
        commit_ms = ms(timings.commit),
        "image"
    );
}
