//! Query parameters and path segments, with their errors as problems.

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};

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

/// The one parameter of a path.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(error) => Err(Problem::malformed(format!(
                "the path cannot be read: {}",
                error.body_text()
            ))),
        }
    }
}

/// Reads a whole number, also one that is written with a fraction of zero, as in `3.0`: JSON does not tell them apart.
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    // Programs in other languages have no larger ones.
    let is_small = |number: &u64| i64::try_from(*number).is_ok();
    let whole = number.as_u64().filter(is_small).or_else(|| {
        let value = number.as_f64()?;
        // Each whole number up to 2⁵³ is a float.
        let is_whole = !number.is_u64()
            && value.fract() == 0.0
            && (0.0..=9_007_199_254_740_992.0).contains(&value);
        is_whole.then_some(value as u64)
    });
    whole.ok_or_else(|| D::Error::custom(format!("{number} is not a whole number from 0 on")))
}

/// [`whole`], or nothing.
pub(super) fn whole_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Whole(#[serde(deserialize_with = "whole")] u64);
    let number = Option::<Whole>::deserialize(deserializer)?;
    Ok(number.map(|Whole(number)| number))
}

/// Reads the id of a record in a path.
pub(super) fn record_id(text: &str) -> Result<ObjectId, Problem> {
    text.parse().map_err(|error: crate::object::ObjectIdError| {
        Problem::new(Kind::NotFound, error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_have_a_fraction_of_zero() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Body {
            #[serde(deserialize_with = "whole")]
            bytes: u64,
            #[serde(default, deserialize_with = "whole_or_none")]
            top: Option<u64>,
        }
        let read = |json: &str| serde_json::from_str::<Body>(json);
        let body = read(r#"{"bytes": 7.0, "top": null}"#).unwrap();
        assert_eq!((body.bytes, body.top), (7, None));
        assert_eq!(
            read(r#"{"bytes": 9223372036854775807, "top": 2}"#)
                .unwrap()
                .top,
            Some(2)
        );
        for bad in [
            "-1",
            "1.5",
            "9223372036854775808",
            "1e300",
            "\"1\"",
            "null",
            "-0.5",
        ] {
            assert!(read(&format!(r#"{{"bytes": {bad}}}"#)).is_err(), "{bad}");
        }
    }
}
