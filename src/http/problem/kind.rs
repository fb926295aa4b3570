//! The kinds of problems: status, title and advice of each.

use axum::http::{HeaderValue, StatusCode};
use strum::{EnumIter, EnumString, IntoStaticStr};

/// What kind of problem it is. The text form is the last part of the problem's `type`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, EnumString, IntoStaticStr, strum::Display,
)]
#[strum(serialize_all = "kebab-case")]
pub(in crate::http) enum Kind {
    /// A body or parameter cannot be read.
    Malformed,
    /// No credentials, or unknown ones.
    Unauthorized,
    /// The role is too small, or the station is another.
    Forbidden,
    /// Nothing is at this address.
    NotFound,
    /// The server has no tables or no bucket.
    NotConfigured,
    /// The address has other methods.
    MethodNotAllowed,
    /// The response has none of the accepted media types.
    NotAcceptable,
    /// The body did not arrive in time.
    SlowBody,
    /// Somebody else changed the record.
    Conflict,
    /// The record was deleted.
    Deleted,
    /// `If-Match` names another revision.
    RevisionMismatch,
    /// The content type of the body is none that this address reads.
    UnsupportedMediaType,
    /// [`Rejection::Empty`](crate::photo::Rejection::Empty).
    Empty,
    /// [`Rejection::TooManyBytes`](crate::photo::Rejection::TooManyBytes), or a body over the limit of its address.
    TooManyBytes,
    /// [`Rejection::TooManyPixels`](crate::photo::Rejection::TooManyPixels).
    TooManyPixels,
    /// [`Rejection::NotAPhoto`](crate::photo::Rejection::NotAPhoto).
    NotAPhoto,
    /// [`Rejection::Unsupported`](crate::photo::Rejection::Unsupported).
    Unsupported,
    /// [`Rejection::Truncated`](crate::photo::Rejection::Truncated).
    Truncated,
    /// [`Rejection::Damaged`](crate::photo::Rejection::Damaged).
    Damaged,
    /// [`Rejection::Gone`](crate::photo::Rejection::Gone).
    Gone,
    /// The request is well-formed, and cannot be done with these data.
    NotPossible,
    /// The queue of photos, or the memory for bodies, is full.
    Busy,
    /// The caller sends too many requests.
    TooManyRequests,
    /// A model cannot be loaded.
    BadModel,
    /// A defect, or damaged data.
    Internal,
    /// A table or the bucket refuses.
    Unavailable,
    /// The models are being loaded.
    Starting,
    /// The process is about to end.
    Draining,
    /// The time is up.
    Deadline,
}

impl Kind {
    /// HTTP status.
    pub(in crate::http) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NotConfigured => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Deleted | Self::Gone => StatusCode::GONE,
            Self::RevisionMismatch => StatusCode::PRECONDITION_FAILED,
            Self::TooManyBytes => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType | Self::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Empty
            | Self::TooManyPixels
            | Self::NotAPhoto
            | Self::Truncated
            | Self::Damaged
            | Self::NotPossible
            | Self::BadModel => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy | Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::Starting | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// One sentence for every problem of this kind.
    pub(in crate::http) fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Unauthorized => "Sign in, or send an API key",
            Self::Forbidden => "Your role does not allow this",
            Self::NotFound => "There is nothing here",
            Self::NotConfigured => "This server does not have what the request needs",
            Self::MethodNotAllowed => "This address does not have that method",
            Self::NotAcceptable => "The response does not exist in an accepted media type",
            Self::SlowBody => "The body did not arrive in time",
            Self::Conflict => "Somebody else changed the record",
            Self::Deleted => "The record was deleted",
            Self::RevisionMismatch => "The record has another revision",
            Self::UnsupportedMediaType => "This content type is not supported",
            Self::Empty => "The photo has no bytes",
            Self::TooManyBytes => "The body is too large",
            Self::TooManyPixels => "The photo has too many pixels",
            Self::NotAPhoto => "The body is not a photo",
            Self::Unsupported => "This photo format is not supported",
            Self::Truncated => "The photo is cut off",
            Self::Damaged => "The photo is damaged",
            Self::Gone => "The photo is gone",
            Self::NotPossible => "This cannot be done",
            Self::Busy => "The server is busy",
            Self::TooManyRequests => "You send too many requests",
            Self::BadModel => "The model cannot be used",
            Self::Internal => "The server failed",
            Self::Unavailable => "A service behind the server is unavailable",
            Self::Starting => "The server is starting",
            Self::Draining => "The server is stopping",
            Self::Deadline => "The time is up",
        }
    }

    /// What the caller should do.
    pub(in crate::http) fn advice(self) -> &'static str {
        match self {
            Self::Malformed => "Correct what `detail` names. /docs describes every request.",
            Self::Unauthorized => {
                "Send `Authorization: Bearer KEY`. An administrator makes a key with `moth-classifier api-key`."
            }
            Self::Forbidden => "Ask an administrator for the role that `detail` names.",
            Self::NotFound => "Look up the address at /docs, or list records to find their ids.",
            Self::NotConfigured => {
                "Ask the operator to start the server with tables and bucket, or use another server."
            }
            Self::MethodNotAllowed => "Use a method of the header `Allow`.",
            Self::NotAcceptable => "Send `Accept: application/json`, or no `Accept`.",
            Self::SlowBody => "Send the photo again. On a bad link, upload it through /v1/uploads.",
            Self::Conflict => {
                "Read the record again, and decide again with the revision in its `ETag` as `If-Match`."
            }
            Self::Deleted => {
                "An administrator can restore it within 30 days: POST /v1/records/{id}/restore."
            }
            Self::RevisionMismatch => {
                "Read the record again, and decide again with its new `ETag`."
            }
            Self::UnsupportedMediaType => {
                "Send a photo as image/jpeg, image/png or image/webp, a form as multipart/form-data, or JSON as application/json."
            }
            Self::Empty | Self::Truncated => "Send the photo again.",
            Self::TooManyBytes => "Send a smaller photo, or upload it through /v1/uploads.",
            Self::TooManyPixels => "Send a smaller photo.",
            Self::NotAPhoto => "Send JPEG, PNG or WebP.",
            Self::Unsupported => "Convert the photo to JPEG.",
            Self::Damaged => "Copy the photo from the camera again, and send it again.",
            Self::Gone => "The object version was deleted. Upload the photo again.",
            Self::NotPossible => "Correct what `detail` names.",
            Self::Busy | Self::TooManyRequests => {
                "Wait the seconds of `Retry-After`, and send the request again."
            }
            Self::BadModel => {
                "Export the model again. The server goes on with the models that it has."
            }
            Self::Internal => "Report the request id to the operator.",
            Self::Unavailable | Self::Starting | Self::Draining => {
                "Wait the seconds of `Retry-After`, and send the request again."
            }
            Self::Deadline => {
                "Send the request again. A change may have been made: read the record first."
            }
        }
    }

    /// The problem's `type`, a reference that this server resolves.
    pub(super) fn uri(self) -> String {
        format!("/problems/{self}")
    }

    /// Seconds after which a repeat may succeed.
    pub(super) fn retry_after(self) -> Option<HeaderValue> {
        matches!(
            self,
            Self::Busy | Self::Unavailable | Self::Starting | Self::Draining
        )
        .then(|| HeaderValue::from_static("1"))
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn every_kind_is_an_error_with_a_title_and_advice() {
        for kind in Kind::iter() {
            assert!(kind.status().as_u16() >= 400, "{kind}");
            assert!(
                !kind.title().ends_with('.') && kind.advice().ends_with('.'),
                "{kind}"
            );
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }
}
