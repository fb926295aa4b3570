//! `Range` headers that s3s refuses and S3 does not.
//!
//! S3 ignores a range that is malformed, and several ranges at once: it answers with the whole object. s3s answers
//! 400 or 416 to them, and 400 to numbers beyond 63 bits. Most clients sign the header, so it can be changed only
//! after the signature is checked: there a route takes such a request over, and hands it on to a service that
//! checks no signature.

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{Extensions, Method};
use s3s::dto::Range;
use s3s::route::S3Route;
use s3s::service::S3Service;
use s3s::{Body, HttpRequest, S3Error, S3Request, S3Response, S3Result, s3_error};

/// Takes the reads whose `Range` s3s would refuse.
pub(super) struct RangeRoute {
    /// Answers whoever asks: what it gets was checked.
    pub(super) unauthenticated: S3Service,
}

#[async_trait::async_trait]
impl S3Route for RangeRoute {
    fn is_match(&self, method: &Method, _: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        let header = single(headers);
        let understood = header.and_then(understand);
        let parsed = header.and_then(|header| Range::parse(header).ok());
        matches!(*method, Method::GET | Method::HEAD)
            && headers.contains_key(RANGE)
            && (understood.is_none() || parsed != understood)
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let mut headers = request.headers;
        match single(&headers).and_then(understand) {
            Some(range) => {
                let range = HeaderValue::from_str(&range.to_header_string())
                    .map_err(S3Error::internal_error)?;
                headers.insert(RANGE, range);
            }
            None => drop(headers.remove(RANGE)),
        }
        headers.remove(AUTHORIZATION);
        let mut read = HttpRequest::new(request.input);
        *read.method_mut() = request.method;
        *read.uri_mut() = without_signature(&request.uri)?;
        *read.headers_mut() = headers;
        *read.extensions_mut() = request.extensions;
        let answer = self.unauthenticated.call(read).await;
        let (parts, body) = answer
            .map_err(|error| S3Error::with_source(s3s::S3ErrorCode::InternalError, error.into()))?
            .into_parts();
        let mut answer = S3Response::new(body);
        answer.status = Some(parts.status);
        answer.headers = parts.headers;
        Ok(answer)
    }
}

/// The `Range` header, where there is one and it is text.
fn single(headers: &HeaderMap) -> Option<&str> {
    let mut ranges = headers.get_all(RANGE).iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None) => range.to_str().ok(),
        _ => None,
    }
}

/// The one range that `header` asks for; `None` where it is malformed or asks for several (RFC 9110, 14.1.1).
fn understand(header: &str) -> Option<Range> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    Some(match (first, last) {
        ("", length) => Range::Suffix {
            length: number(length)?,
        },
        (first, "") => Range::Int {
            first: number(first)?,
            last: None,
        },
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            Range::Int {
                first,
                last: Some(last),
            }
        }
    })
}

/// Digits as a number, or the largest that s3s takes: no object has so many bytes.
fn number(digits: &str) -> Option<u64> {
    const LARGEST: u64 = i64::MAX as u64;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(
        digits
            .parse()
            .map_or(LARGEST, |number: u64| number.min(LARGEST)),
    )
}

/// The URI without the parameters of a presigned one, which would be checked again.
fn without_signature(uri: &Uri) -> S3Result<Uri> {
    let kept: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            !name.starts_with("X-Amz-")
                && !["AWSAccessKeyId", "Signature", "Expires"].contains(&name)
        })
        .collect();
    let path_and_query = format!("{}?{}", uri.path(), kept.join("&"));
    let path_and_query: PathAndQuery = path_and_query
        .parse()
        .map_err(|error| s3_error!(error, InvalidURI, "the URI is not valid"))?;
    Ok(Uri::from(path_and_query))
}

#[cfg(test)]
mod tests {
    use s3s::dto::Range;

    use super::{understand, without_signature};

    #[test]
    fn malformed_and_several_ranges_are_none() {
        let int = |first, last| Some(Range::Int { first, last });
        for (header, range) in [
            ("bytes=0-4", int(0, Some(4))),
            ("bytes=4-", int(4, None)),
            (
                "bytes=4-99999999999999999999",
                int(4, Some(i64::MAX as u64)),
            ),
            ("bytes=99999999999999999999-", int(i64::MAX as u64, None)),
            ("bytes=-3", Some(Range::Suffix { length: 3 })),
            ("bytes=0-1,3-4", None),
            ("bytes=4-2", None),
            ("bytes=-", None),
            ("bytes=4", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("bytes=1-2-3", None),
            ("seconds=1-2", None),
            ("", None),
        ] {
            assert_eq!(understand(header), range, "{header}");
        }
    }

    #[test]
    fn a_presigned_uri_loses_its_signature_only() {
        let uri = "/moths/a%20b?versionId=null&X-Amz-Date=1&x-id=GetObject&X-Amz-Signature=2";
        let uri = without_signature(&uri.parse().unwrap()).unwrap();
        assert_eq!(uri, "/moths/a%20b?versionId=null&x-id=GetObject");
    }
}
