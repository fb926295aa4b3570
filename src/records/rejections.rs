//! The photos that were refused.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{
    Span,
    read::{Fetched, Partition},
    state::time,
};
use crate::{
    aws::Deadline,
    error::Error,
    ledger::{Ledger, REJECTIONS, item},
    object::{ObjectVersion, VersionId},
};

/// Highest number of rejections in a list.
pub const MAX_REJECTIONS: usize = 1000;

/// A photo that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The object version.
    pub object: ObjectVersion,
    /// The reason in the ledger.
    pub reason: String,
    /// The date of the upload, in TIME_ZONE; of the rejection, if the object could not be read.
    pub date: NaiveDate,
    /// When it was rejected.
    pub at: DateTime<Utc>,
}

/// Some rejected photos.
#[derive(Debug, Default)]
pub struct Rejections {
    /// The photos.
    pub photos: Vec<Rejected>,
    /// Items that cannot be read: [`Error::LedgerItem`].
    pub damaged: Vec<Error>,
}

/// A photo that was refused.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Rejection)]
pub(crate) struct RejectedJson<'a> {
    /// Bucket of the photo.
    bucket: &'a str,
    /// Object key of the photo.
    key: &'a str,
    /// Version id of the photo.
    version_id: Option<&'a str>,
    /// Why, and what to do.
    #[schema(example = "not a photo: send JPEG, PNG or WebP")]
    reason: &'a str,
    /// Date of the upload in TIME_ZONE; of the rejection, if the object could not be read.
    date: NaiveDate,
    /// When it was refused.
    #[schema(format = DateTime)]
    rejected_at: String,
}

impl Serialize for Rejected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RejectedJson {
            bucket: &self.object.bucket,
            key: &self.object.key,
            version_id: self.object.version.as_ref().map(VersionId::as_str),
            reason: &self.reason,
            date: self.date,
            rejected_at: item::timestamp(self.at),
        }
        .serialize(serializer)
    }
}

impl Ledger {
    /// The photos of the dates of `span` that were rejected, the latest first; at most `limit` and [`MAX_REJECTIONS`].
    ///
    /// # Errors
    ///
    /// If the table cannot be read before `deadline`.
    pub async fn rejections(
        &self,
        span: Span,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Rejections, Error> {
        let limit = limit.min(MAX_REJECTIONS);
        let mut rejections = Rejections::default();
        for date in span.days().into_iter().rev() {
            let mut start = None;
            loop {
                let left = limit - rejections.photos.len();
                if left == 0 {
                    return Ok(rejections);
                }
                let partition = Partition {
                    table: &self.ledger,
                    index: Some(REJECTIONS),
                    key: (REJECTIONS.partition_key, date.to_string()),
                    after: None,
                    start: start.take(),
                    forward: false,
                    limit: left as i32,
                };
                let Fetched { items, next } = self.fetch(&partition, deadline).await?;
                for item in &items {
                    match read(item, date) {
                        Ok(rejected) => rejections.photos.push(rejected),
                        Err(damaged) => rejections.damaged.push(damaged),
                    }
                }
                match next {
                    Some(next) => start = Some(next),
                    None => break,
                }
            }
        }
        Ok(rejections)
    }
}

fn read(item: &item::Item, date: NaiveDate) -> Result<Rejected, Error> {
    Ok(Rejected {
        object: ObjectVersion {
            bucket: item::text(item, "Bucket")?,
            key: item::text(item, "ObjectKey")?,
            version: match item.contains_key("VersionId") {
                true => VersionId::new(item::text(item, "VersionId")?),
                false => None,
            },
        },
        reason: item::text(item, "Reason")?,
        date,
        at: time(item, "CommittedAt")?,
    })
}
