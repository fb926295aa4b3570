//! Query parameters and path segments, with their errors as problems.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};
use crate::object::ObjectId;

/// The query parameters of a request. An unknown one is an error that names it.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => {
                let text = error.body_text();
                let reason = text.strip_prefix("Failed to deserialize query string: ");
                Err(Problem::malformed(format!(
                    "the parameters cannot be read: {}",
                    reason.unwrap_or(&text)
                )))
            }
        }
    }
}

/// Reads the id of a record in a path.
pub(super) fn record_id(text: &str) -> Result<ObjectId, Problem> {
    text.parse().map_err(|error: crate::object::ObjectIdError| {
        Problem::new(Kind::NotFound, error.to_string())
    })
}
