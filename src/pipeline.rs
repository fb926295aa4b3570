//! The way of the objects of one event: look up → fetch → decode → classify → commit.
//!
//! Known objects are skipped. Of the others some are fetched and classified at a time: downloads run
//! ahead while the CPUs there are decode and classify. What was predicted is committed by day and
//! class, in one transaction each.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{NaiveDate, Utc};
use chrono_tz::Tz;
use futures_util::{StreamExt, future::join_all, stream};
use tokio::sync::Semaphore;
use tracing::info;
use uuid::Uuid;

use crate::{
    bucket::Bucket,
    error::{Error, Rejection},
    ledger::{Entry, Ledger, MAX_GROUP, MAX_LOOKUP, Written},
    metrics::{self, Metrics, Timings},
    object::{Content, Escaped, ObjectCreated, ObjectVersion},
    outcome::Report,
    prediction::{Label, Prediction},
    predictor::{Predicted, Predictor},
    retry::Deadline,
};

/// Objects in hand beyond those that are on a CPU: enough that no CPU waits for a download of some
/// tens of milliseconds. Each may hold MAX_IMAGE_BYTES.
const AHEAD: usize = 3;

/// Everything that stays the same from one event to the next.
pub struct Pipeline {
    bucket: Bucket,
    predictor: Arc<Predictor>,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    time_zone: Tz,
    /// A permit for each CPU: more pictures at once would take memory and gain nothing.
    cpu: Arc<Semaphore>,
}

/// An object's outcome, or why it has none yet. Objects that failed together share the reason.
pub type Ended = Result<Report, Arc<Error>>;

/// How far an object came without a commit.
enum Step {
    /// It has its outcome.
    Ended(Report),
    /// It is to be counted.
    Predicted(Box<Prediction>),
}

impl Pipeline {
    /// Reads objects from `bucket` and counts them in `ledger`, by the days of `time_zone`.
    pub fn new(
        bucket: Bucket,
        predictor: Predictor,
        ledger: Ledger,
        metrics: Arc<Metrics>,
        time_zone: Tz,
    ) -> Self {
        let cpu = Arc::new(Semaphore::new(predictor.cpus()));
        Self {
            bucket,
            predictor: Arc::new(predictor),
            ledger,
            metrics,
            time_zone,
            cpu,
        }
    }

    /// Brings every object to its outcome and logs it. Gives what became of each, in order: one that
    /// fails does not keep the others from theirs.
    ///
    /// An error is retryable; what is wrong with the object itself is an outcome.
    pub async fn run(&self, objects: &[ObjectCreated], deadline: Deadline) -> Vec<Ended> {
        let mut ended = Vec::with_capacity(objects.len());
        for batch in objects.chunks(MAX_LOOKUP) {
            ended.extend(self.run_batch(batch, deadline).await);
        }
        ended
    }

    /// As [`run`](Self::run), for [`MAX_LOOKUP`] objects at most.
    async fn run_batch(&self, batch: &[ObjectCreated], deadline: Deadline) -> Vec<Ended> {
        let mut results = Results::new(batch);
        let mut known = self.known(batch, deadline).await;
        let mut seen = HashSet::new();
        let mut unknown = Vec::new();
        for (index, created) in batch.iter().enumerate() {
            let Some(id) = announced(created) else {
                unknown.push(index);
                continue;
            };
            match &mut known {
                _ if !seen.insert(id) => results.repeats.push((index, id)),
                Err(error) => results.end(index, Some(id), Err(Arc::clone(error))),
                Ok(known) => match known.remove(&id) {
                    Some(Ok(entry)) => {
                        let report = Report::duplicate(&created.object, entry);
                        self.log(&created.object.bucket, &report, &Timings::default());
                        results.end(index, Some(id), Ok(report));
                    }
                    Some(Err(error)) => results.end(index, Some(id), Err(Arc::new(error))),
                    None => unknown.push(index),
                },
            }
        }

        let cut = deadline.before_commit();
        let mut steps = stream::iter(unknown)
            .map(|index| async move { (index, self.examine(&batch[index], cut).await) })
            .buffer_unordered(self.predictor.cpus() + AHEAD);
        let mut groups: BTreeMap<(NaiveDate, Label), Vec<Member>> = BTreeMap::new();
        let mut grouped = HashSet::new();
        while let Some((index, (step, timings))) = steps.next().await {
            let bucket = &batch[index].object.bucket;
            match step {
                Ok(Step::Predicted(prediction)) if !grouped.insert(prediction.id) => {
                    results.repeats.push((index, prediction.id));
                }
                Ok(Step::Predicted(prediction)) => {
                    let key = (prediction.date(), prediction.class().clone());
                    let member = Member {
                        index,
                        prediction,
                        timings,
                    };
                    groups.entry(key).or_default().push(member);
                }
                Ok(Step::Ended(report)) => {
                    self.log(bucket, &report, &timings);
                    results.end(index, announced(&batch[index]), Ok(report));
                }
                Err(error) => results.end(index, announced(&batch[index]), Err(Arc::new(error))),
            }
        }

        let groups = groups
            .into_values()
            .map(|group| self.commit(group, deadline));
        for (member, ended) in join_all(groups).await.into_iter().flatten() {
            results.end(member.index, Some(member.prediction.id), ended);
        }
        results.in_order()
    }

    /// What the ledger has of those objects whose event tells their id.
    async fn known(
        &self,
        batch: &[ObjectCreated],
        deadline: Deadline,
    ) -> Result<HashMap<Uuid, Result<Entry, Error>>, Arc<Error>> {
        let ids: HashSet<Uuid> = batch.iter().filter_map(announced).collect();
        let ids = Vec::from_iter(ids);
        self.ledger.lookup(&ids, deadline).await.map_err(Arc::new)
    }

    /// Fetches and classifies one object, until `deadline`.
    async fn examine(
        &self,
        created: &ObjectCreated,
        deadline: Deadline,
    ) -> (Result<Step, Error>, Timings) {
        let mut timings = Timings::default();
        let step = self.step(created, deadline, &mut timings);
        let step = deadline.bound("classify the picture", step).await;
        (step.and_then(|step| step), timings)
    }

    async fn step(
        &self,
        created: &ObjectCreated,
        deadline: Deadline,
        timings: &mut Timings,
    ) -> Result<Step, Error> {
        let object = &created.object;
        let started = Instant::now();
        let fetched = match self.bucket.fetch(object, deadline).await {
            Ok(fetched) => fetched,
            // Not for good: once it is restored it may come again.
            Err(Error::Rejected(rejection @ Rejection::Archived)) => {
                self.metrics.rejected(rejection.kind());
                return Ok(Step::Ended(Report::rejected(object, None, &rejection)));
            }
            Err(Error::Rejected(rejection)) => {
                let sequencer = created.sequencer.as_deref().unwrap_or_default();
                let id = object.id(Content::Announced { sequencer });
                return self.reject(object, id, None, &rejection, deadline).await;
            }
            Err(error) => return Err(error),
        };
        timings.fetch = Some(started.elapsed());
        let object = object.as_read(fetched.version.as_ref());
        if let Ok(bytes) = &fetched.body
            && object.is_folder_marker(bytes.len() as u64)
        {
            return Ok(Step::Ended(Report::folder(&object)));
        }
        let id = object.id(fetched.content());
        if announced(created).is_none()
            && let Some(entry) = self.ledger.lookup(&[id], deadline).await?.remove(&id)
        {
            return Ok(Step::Ended(Report::duplicate(&object, entry?)));
        }

        let captured = fetched.last_modified.with_timezone(&self.time_zone);
        let predicted = match self.predict(fetched.body).await {
            Ok(predicted) => predicted,
            Err(Error::Rejected(rejection)) => {
                let day = Some(captured.date_naive());
                return self.reject(&object, id, day, &rejection, deadline).await;
            }
            Err(error) => return Err(error),
        };
        timings.decode = Some(predicted.decode);
        timings.inference = Some(predicted.inference);
        Ok(Step::Predicted(Box::new(Prediction {
            created: ObjectCreated {
                object,
                ..created.clone()
            },
            id,
            probabilities: predicted.probabilities,
            model_version: self.predictor.manifest().model_version().to_owned(),
            captured,
            predicted_at: Utc::now(),
        })))
    }

    async fn predict(&self, body: Result<Vec<u8>, Rejection>) -> Result<Predicted, Error> {
        let bytes = body?;
        // The semaphore is never closed.
        let permit = Arc::clone(&self.cpu).acquire_owned().await.ok();
        let predictor = Arc::clone(&self.predictor);
        let compute = move || {
            // Kept to the end of the work, even where nobody waits for it any more.
            let _permit = permit;
            predictor.predict(&bytes)
        };
        tokio::task::spawn_blocking(compute)
            .await
            .map_err(Error::Aborted)?
    }

    async fn reject(
        &self,
        object: &ObjectVersion,
        id: Uuid,
        day: Option<NaiveDate>,
        rejection: &Rejection,
        deadline: Deadline,
    ) -> Result<Step, Error> {
        let written = self
            .ledger
            .reject(object, id, day, rejection, deadline)
            .await?;
        Ok(Step::Ended(match written {
            Written::Now(()) => {
                self.metrics.rejected(rejection.kind());
                Report::rejected(object, day, rejection)
            }
            Written::Before(entry) => Report::duplicate(object, entry),
        }))
    }

    /// Commits the predictions of one day and class and logs them.
    async fn commit(&self, group: Vec<Member>, deadline: Deadline) -> Vec<(Member, Ended)> {
        let mut ended = Vec::with_capacity(group.len());
        let mut written = Vec::with_capacity(group.len());
        for chunk in group.chunks(MAX_GROUP) {
            let started = Instant::now();
            let predictions: Vec<&Prediction> =
                chunk.iter().map(|member| &*member.prediction).collect();
            let committed = self.ledger.commit(&predictions, deadline).await;
            self.metrics.conflicts(committed.conflicts);
            let elapsed = started.elapsed();
            written.extend(committed.ended.into_iter().map(|ended| (ended, elapsed)));
        }
        for (mut member, (written, elapsed)) in group.into_iter().zip(written) {
            member.timings.commit = Some(elapsed);
            let report = written.map(|written| match written {
                Written::Now(count) => Report::recorded(&member.prediction, count),
                Written::Before(entry) => {
                    Report::duplicate(&member.prediction.created.object, entry)
                }
            });
            if let Ok(report) = &report {
                self.log(
                    &member.prediction.created.object.bucket,
                    report,
                    &member.timings,
                );
            }
            ended.push((member, report));
        }
        ended
    }

    /// One line for each image. JSON escapes no more of a key than it must, and a terminal obeys more.
    fn log(&self, bucket: &str, report: &Report, timings: &Timings) {
        let today = Utc::now().with_timezone(&self.time_zone).date_naive();
        self.metrics.ended(report, timings, &today.to_string());
        let ms = |duration: Option<Duration>| duration.map(metrics::ms);
        info!(
            outcome = report.outcome.as_str(),
            bucket,
            key = %Escaped(&report.key),
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
}

/// The id of an object, where the event alone tells it.
fn announced(created: &ObjectCreated) -> Option<Uuid> {
    let content = Content::Announced { sequencer: "" };
    created
        .object
        .is_identified()
        .then(|| created.object.id(content))
}

/// A prediction on its way to a commit.
struct Member {
    /// Position in the batch.
    index: usize,
    prediction: Box<Prediction>,
    timings: Timings,
}

/// What became of the objects of a batch.
struct Results {
    ended: Vec<Option<Ended>>,
    by_id: HashMap<Uuid, Ended>,
    /// Objects that the batch has more than once: position and id.
    repeats: Vec<(usize, Uuid)>,
}

impl Results {
    fn new(batch: &[ObjectCreated]) -> Self {
        Self {
            ended: vec![None; batch.len()],
            by_id: HashMap::new(),
            repeats: Vec::new(),
        }
    }

    fn end(&mut self, index: usize, id: Option<Uuid>, ended: Ended) {
        if let Some(id) = id {
            self.by_id.insert(id, ended.clone());
        }
        self.ended[index] = Some(ended);
    }

    fn in_order(mut self) -> Vec<Ended> {
        for (index, id) in self.repeats {
            let first = self.by_id.get(&id).cloned();
            self.ended[index] = first.map(|first| first.map(|report| report.again()));
        }
        // Each object of the batch ended or repeats one that did.
        self.ended.into_iter().flatten().collect()
    }
}
