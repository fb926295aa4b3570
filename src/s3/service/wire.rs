//! Values of the store as s3s and HTTP write them, and the reverse.

use std::time::SystemTime;

use axum::http::{Extensions, HeaderValue};
use chrono::{DateTime, Utc};
use s3s::dto::{ETag, Owner, Timestamp, TimestampFormat};
use s3s::{S3Error, S3Result};

use crate::error::StoreError;
use crate::store::notification::Caller;
use crate::store::version::VersionId;

/// `server` adds a [`Caller`] to every request, so this is a fault of this crate.
#[derive(Debug, thiserror::Error)]
#[error("the client's address and the request id are missing")]
struct NoCaller;

/// The client and the id of a request.
pub(crate) fn caller(extensions: &Extensions) -> S3Result<Caller> {
    let caller = extensions.get::<Caller>().cloned();
    caller.ok_or_else(|| S3Error::internal_error(NoCaller))
}

/// Parses the version id in a request.
pub(crate) fn version_id(text: Option<&str>) -> Result<Option<VersionId>, StoreError> {
    text.map(VersionId::parse).transpose()
}

pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from(SystemTime::from(time))
}

/// A time as `Last-Modified` shows it.
pub(crate) fn http_date(time: DateTime<Utc>) -> S3Result<HeaderValue> {
    let mut date = Vec::new();
    timestamp(time)
        .format(TimestampFormat::HttpDate, &mut date)
        .map_err(S3Error::internal_error)?;
    HeaderValue::from_bytes(&date).map_err(S3Error::internal_error)
}

/// S3's ETags are strong validators.
pub(crate) fn strong_etag(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// A size in bytes, which s3s writes as a signed number.
pub(crate) fn size(bytes: u64) -> S3Result<i64> {
    i64::try_from(bytes).map_err(S3Error::internal_error)
}

/// The owner of every bucket, object and upload.
pub(crate) fn owner() -> Owner {
    Owner {
        display_name: Some("local".to_owned()),
        id: Some("local".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Extensions;
    use chrono::DateTime;
    use s3s::S3ErrorCode;

    use super::{caller, http_date, size};

    #[test]
    fn http_dates_are_written_as_rfc_9110_has_them() {
        let date = http_date(DateTime::from_timestamp(1_445_412_480, 0).unwrap());
        assert_eq!(date.unwrap(), "Wed, 21 Oct 2015 07:28:00 GMT");
    }

    #[test]
    fn impossible_values_are_internal_errors() {
        let no_caller = caller(&Extensions::new()).unwrap_err();
        assert_eq!(no_caller.code(), &S3ErrorCode::InternalError);
        let too_large = size(u64::MAX).unwrap_err();
        assert_eq!(too_large.code(), &S3ErrorCode::InternalError);
    }
}
