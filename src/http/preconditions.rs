//! Preconditions of a change, `If-Match` and `If-None-Match`, and the `ETag` that they name: RFC 9110, sections 8.8.3 and 13.1.

use std::fmt::Display;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::problem::Problem;

/// The state in which a resource must be, so that a request changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Any state.
    None,
    /// It exists: `If-Match: *`.
    Exists,
    /// It has this entity tag, written here without its quotes: `If-Match: "TAG"`.
    Tag(String),
    /// It does not exist: `If-None-Match: *`.
    Absent,
}

impl Precondition {
    /// The precondition in `headers`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let matches = single(headers, &header::IF_MATCH)?;
        let none_matches = single(headers, &header::IF_NONE_MATCH)?;
        match (matches, none_matches) {
            (None, None) => Ok(Self::None),
            (Some("*"), None) => Ok(Self::Exists),
            (Some(tag), None) => {
                let quoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                // Some clients leave out the quotes.
                Ok(Self::Tag(quoted.unwrap_or(tag).to_owned()))
            }
            (None, Some("*")) => Ok(Self::Absent),
            (None, Some(_)) => Err(Problem::malformed(
                "the header If-None-Match is not *: send If-Match with an ETag, or If-None-Match: *",
            )),
            (Some(_), Some(_)) => Err(Problem::malformed(
                "the request has both If-Match and If-None-Match: send one of them",
            )),
        }
    }
}

/// The value of the header `name`, which a request may have once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(Problem::malformed(format!(
                "the header {name} is not ASCII: send the ETag of the last response"
            ))),
        },
        (Some(_), Some(_)) => Err(Problem::malformed(format!(
            "the request has two {name} headers: send one"
        ))),
    }
}

/// The header value of the entity tag `tag`, which consists of digits and ASCII letters.
#[expect(
    clippy::expect_used,
    reason = "ASCII letters, digits and quotes are a header value"
)]
pub(super) fn etag(tag: impl Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{tag}\"")).expect("an entity tag is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(HeaderName, &'static str)]) -> Result<Precondition, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        Precondition::of(&headers)
    }

    #[test]
    fn a_request_has_one_precondition() {
        let (matches, none_matches) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(of(&[]).unwrap(), Precondition::None);
        assert_eq!(
            of(&[(matches.clone(), " * ")]).unwrap(),
            Precondition::Exists
        );
        for tag in ["\"12\"", "12"] {
            let tag = of(&[(matches.clone(), tag)]).unwrap();
            assert_eq!(tag, Precondition::Tag("12".to_owned()));
        }
        assert_eq!(
            of(&[(none_matches.clone(), "*")]).unwrap(),
            Precondition::Absent
        );
        for bad in [
            vec![(none_matches.clone(), "\"12\"")],
            vec![(none_matches, "*"), (matches.clone(), "*")],
            vec![(matches.clone(), "1"), (matches, "2")],
        ] {
            assert!(of(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_entity_tag_is_quoted() {
        assert_eq!(etag(3), "\"3\"");
    }
}
