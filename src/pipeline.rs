//! The data path of one event: look up → fetch → decode → classify → commit.
//!
//! 1. Photos that the ledger knows are skipped. An event without a version id does not determine the
//!    `ObjectId`, so its photo is looked up after the fetch.
//! 2. The other photos are fetched and classified concurrently. Downloads run ahead of the CPUs.
//! 3. The predictions are committed in groups of one day, class and night, one transaction for each group.
//!
//! A defect of one photo never affects another: each photo has a result of its own.

mod current_deployments;
mod members;
mod results;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use futures_util::{StreamExt, future::join_all, stream};
use tracing::{Instrument, info_span};

use crate::{
    aws::{Bucket, Deadline, Fetched, Read},
    capture::{Capture, Evidence},
    classifier::{Classified, Classifier, Verdict},
    config::RecordConfig,
    error::Error,
    ledger::{Entry, Ledger, MAX_GROUP, MAX_LOOKUP, Written},
    model::Label,
    object::{Escaped, ObjectCreated, ObjectId, ObjectVersion, VersionId},
    outcome::{Outcome, Processed, Timings},
    photo::Rejection,
    prediction::Prediction,
};
use current_deployments::CurrentDeployments;
use members::{Committed, Member, groups_of};
use results::Results;

/// What the function keeps between events.
pub(crate) struct Pipeline {
    bucket: Bucket,
    classifier: Arc<Classifier>,
    ledger: Ledger,
    deployments: CurrentDeployments,
    record: RecordConfig,
}

/// Results of one event.
pub(crate) struct Run {
    /// One for each object of the event, in its order.
    pub photos: Vec<Processed>,
    /// Number of commit attempts that lost to another writer.
    pub conflicts: u64,
}

impl Pipeline {
    /// Reads photos from `bucket` and counts them in `ledger`, with records as `record` says.
    pub(crate) fn new(
        bucket: Bucket,
        classifier: Arc<Classifier>,
        ledger: Ledger,
        record: RecordConfig,
    ) -> Self {
        Self {
            bucket,
            classifier,
            ledger,
            deployments: CurrentDeployments::default(),
            record,
        }
    }

    /// Processes every object of `created`, until `deadline`.
    pub(crate) async fn run(&self, created: &[ObjectCreated], deadline: Deadline) -> Run {
        let mut run = Run {
            photos: Vec::with_capacity(created.len()),
            conflicts: 0,
        };
        for batch in created.chunks(MAX_LOOKUP) {
            let mut results = Results::new(batch);
            run.conflicts += self.run_batch(batch, &mut results, deadline).await;
            run.photos.extend(results.finish());
        }
        run
    }

    /// Processes at most [`MAX_LOOKUP`] objects. Returns the number of conflicts.
    async fn run_batch(
        &self,
        batch: &[ObjectCreated],
        results: &mut Results<'_>,
        deadline: Deadline,
    ) -> u64 {
        let unknown = self.look_up(batch, results, deadline).await;
        let until = deadline.before_commit();
        let mut examined = stream::iter(unknown)
            .map(|index| async move { (index, self.examine(&batch[index], until).await) })
            .buffer_unordered(self.classifier.cpus().photos_in_progress());
        let mut groups: BTreeMap<Group, Vec<Member>> = BTreeMap::new();
        while let Some((index, (progress, step))) = examined.next().await {
            match step {
                Ok(Step::Ended(outcome)) => results.set(index, progress, Ok(outcome)),
                Ok(Step::Predicted(prediction)) => {
                    if results.claim_commit(prediction.id, index) {
                        let night = prediction.capture.night;
                        let group = (prediction.date(), prediction.class().clone(), night);
                        groups.entry(group).or_default().push(Member {
                            index,
                            prediction,
                            timings: progress.timings,
                        });
                    }
                }
                Err(error) => results.set(index, progress, Err(Arc::new(error))),
            }
        }

        let commits = groups
            .into_values()
            .map(|members| self.commit(members, deadline));
        let commits = join_all(commits).await;
        let mut conflicts = 0;
        for (members, lost) in commits {
            conflicts += lost;
            for (index, progress, result) in members {
                results.set(index, progress, result);
            }
        }
        conflicts
    }

    /// Sets the results of the photos that the ledger knows, and returns the positions of the others.
    async fn look_up(
        &self,
        batch: &[ObjectCreated],
        results: &mut Results<'_>,
        deadline: Deadline,
    ) -> Vec<usize> {
        let mut unknown = Vec::new();
        let mut identified = Vec::new();
        for (index, created) in batch.iter().enumerate() {
            match created.id.version() {
                None => unknown.push(index),
                Some(id) if results.claim(id, index) => identified.push((index, id)),
                Some(_) => {} // a repeat of an earlier object
            }
        }
        let ids: Vec<ObjectId> = identified.iter().map(|&(_, id)| id).collect();
        let mut known = match self.ledger.lookup(&ids, deadline).await {
            Ok(known) => known,
            Err(error) => {
                let error = Arc::new(error);
                for (index, _) in identified {
                    let progress = Progress::new(&batch[index]);
                    results.set(index, progress, Err(Arc::clone(&error)));
                }
                return unknown;
            }
        };
        for (index, id) in identified {
            match known.remove(&id) {
                Some(entry) => {
                    let outcome = entry.map(Outcome::Duplicate).map_err(Arc::new);
                    results.set(index, Progress::new(&batch[index]), outcome);
                }
                None => unknown.push(index),
            }
        }
        unknown.sort_unstable();
        unknown
    }

    /// Fetches and classifies one photo, until `deadline`.
    async fn examine(
        &self,
        created: &ObjectCreated,
        deadline: Deadline,
    ) -> (Progress, Result<Step, Error>) {
        let span = info_span!(
            "photo",
            key = %Escaped(&created.object.key),
            version = created.object.version.as_ref().map(VersionId::as_str),
        );
        let mut progress = Progress::new(created);
        let step = self.step(created, deadline, &mut progress).instrument(span);
        let step = match deadline.bound("classify the photo", step).await {
            Ok(step) => step,
            Err(expired) => Err(expired),
        };
        (progress, step)
    }

    async fn step(
        &self,
        created: &ObjectCreated,
        deadline: Deadline,
        progress: &mut Progress,
    ) -> Result<Step, Error> {
        let started = Instant::now();
        let fetched = self.bucket.fetch(&created.object, deadline).await?;
        if let Fetched::Object(..) | Fetched::TooLarge { .. } = fetched {
            progress.timings.fetch = Some(started.elapsed());
        }
        let (read, photo) = match fetched {
            Fetched::Object(read, bytes) if read.object.is_folder_marker(bytes.len() as u64) => {
                progress.object = read.object;
                return Ok(Step::Ended(Outcome::Folder));
            }
            Fetched::Object(read, bytes) => (read, Ok(bytes)),
            Fetched::TooLarge { read, bytes, limit } => {
                (read, Err(Rejection::TooManyBytes { bytes, limit }))
            }
            Fetched::Archived => return Ok(Step::Ended(Outcome::Archived)),
            Fetched::Gone => {
                let id = created.id.unread();
                let rejected = self.reject(&created.object, id, None, Rejection::Gone, deadline);
                return Ok(Step::Ended(rejected.await?));
            }
        };
        progress.object = read.object.clone();
        if created.id.version().is_none()
            && let Some(entry) = self.known(read.id, deadline).await?
        {
            return Ok(Step::Ended(Outcome::Duplicate(entry)));
        }

        let uploaded = read
            .last_modified
            .with_timezone(&self.record.capture.time_zone);
        let verdict = match photo {
            Ok(bytes) => self.classifier.classify_in_turn(bytes).await?,
            Err(rejection) => Verdict::Rejected(rejection),
        };
        let classified = match verdict {
            Verdict::Classified(classified) => classified,
            Verdict::Rejected(rejection) => {
                let day = Some(uploaded.date_naive());
                let rejected = self.reject(&read.object, read.id, day, rejection, deadline);
                return Ok(Step::Ended(rejected.await?));
            }
        };
        progress.timings.decode = Some(classified.decode);
        progress.timings.inference = Some(classified.inference);
        let deployments = self.deployments.get(&self.ledger, deadline).await?;
        let capture = self.record.capture.read(
            Evidence {
                metadata: &read.metadata,
                exif: &classified.exif,
                key: &read.object.key,
                last_modified: read.last_modified,
            },
            deployments.as_ref().as_ref(),
        );
        let prediction = self.predict(created, read, classified, uploaded, capture);
        Ok(Step::Predicted(Box::new(prediction)))
    }

    /// The prediction for a classified photo.
    fn predict(
        &self,
        created: &ObjectCreated,
        read: Read,
        classified: Classified,
        uploaded: DateTime<Tz>,
        capture: Capture,
    ) -> Prediction {
        let manifest = self.classifier.model().manifest();
        let Classified {
            probabilities,
            class,
            file,
            ..
        } = classified;
        let (label, probability) = probabilities.top();
        Prediction {
            waits_for_review: class != *label || probability < self.record.review_below,
            capture,
            created: ObjectCreated {
                object: read.object,
                ..created.clone()
            },
            id: read.id,
            class,
            probabilities,
            model_version: manifest.model_version().to_owned(),
            uploaded,
            file,
            predicted_at: Utc::now(),
        }
    }

    async fn known(&self, id: ObjectId, deadline: Deadline) -> Result<Option<Entry>, Error> {
        let mut known = self.ledger.lookup(&[id], deadline).await?;
        known.remove(&id).transpose()
    }

    async fn reject(
        &self,
        object: &ObjectVersion,
        id: ObjectId,
        date: Option<NaiveDate>,
        rejection: Rejection,
        deadline: Deadline,
    ) -> Result<Outcome, Error> {
        let written = self
            .ledger
            .reject(object, id, date, &rejection, deadline)
            .await?;
        Ok(match written {
            Written::Now(()) => Outcome::Rejected { rejection, date },
            Written::Before(entry) => Outcome::Duplicate(entry),
        })
    }

    /// Commits the predictions of one day, class and night. Returns their results and the number of conflicts.
    async fn commit(&self, members: Vec<Member>, deadline: Deadline) -> (Vec<Committed>, u64) {
        let mut results = Vec::with_capacity(members.len());
        let mut conflicts = 0;
        // One transaction after the other: concurrent ones would compete for the counter.
        for group in groups_of(members, MAX_GROUP) {
            let started = Instant::now();
            let predictions: Vec<&Prediction> =
                group.iter().map(|member| &*member.prediction).collect();
            let mut committed = self.ledger.commit(&predictions, deadline).await;
            let elapsed = started.elapsed();
            conflicts += committed.conflicts;
            for member in group {
                let result = committed.take(member.prediction.id);
                results.push(member.committed(result, elapsed));
            }
        }
        (results, conflicts)
    }
}

/// Day, class and night of a transaction.
type Group = (NaiveDate, Label, NaiveDate);

/// How far a photo has come.
struct Progress {
    /// The object version: the event's, and after the fetch the one that was read.
    object: ObjectVersion,
    timings: Timings,
}

impl Progress {
    fn new(created: &ObjectCreated) -> Self {
        Self {
            object: created.object.clone(),
            timings: Timings::default(),
        }
    }
}

/// Result of the work on a photo before the commit.
enum Step {
    /// The photo has its outcome.
    Ended(Outcome),
    /// The photo is to be counted.
    Predicted(Box<Prediction>),
}
