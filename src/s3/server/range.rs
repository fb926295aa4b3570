//! `Range` headers that s3s refuses but S3 accepts.
//!
//! S3 ignores a malformed range and a list of ranges: it responds with the whole object. s3s responds with 400 or
//! 416 to both, and with 400 to numbers of more than 63 bits. Most clients sign the header, so it can be changed only
//! after s3s has verified the signature. At that point [`RangeRoute`] takes the request, changes the header, and
//! passes the request to a second service, which verifies no signature.

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{Extensions, Method};
use s3s::dto::Range;
use s3s::route::S3Route;
use s3s::service::S3Service;
use s3s::{Body, HttpRequest, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

/// Serves the reads whose `Range` header s3s would refuse.
pub(crate) struct RangeRoute {
    /// Verifies no signature. It gets only requests whose signature was verified.
    pub(crate) unauthenticated: S3Service,
}

#[async_trait::async_trait]
impl S3Route for RangeRoute {
    fn is_match(&self, method: &Method, _: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        matches!(*method, Method::GET | Method::HEAD)
            && headers.contains_key(RANGE)
            && match single_range(headers) {
                None => true,
                // s3s refuses what it cannot parse.
                Some((header, range)) => Range::parse(header).ok() != Some(range),
            }
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let mut headers = request.headers;
        match single_range(&headers) {
            Some((_, range)) => {
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
        let response = self.unauthenticated.call(read).await;
        let (parts, body) = response
            .map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error.into()))?
            .into_parts();
        let mut response = S3Response::new(body);
        response.status = Some(parts.status);
        response.headers = parts.headers;
        Ok(response)
    }
}

/// The `Range` header and its range. `None` if S3 ignores the header: it is repeated, not text, malformed, or a list
/// of ranges.
fn single_range(headers: &HeaderMap) -> Option<(&str, Range)> {
    let mut values = headers.get_all(RANGE).iter();
    let header = values.next()?.to_str().ok()?;
    match values.next() {
        None => Some((header, parse_range(header)?)),
        Some(_) => None,
    }
}

/// The range in `header`; `None` if it is malformed or a list (RFC 9110, section 14.1.1).
fn parse_range(header: &str) -> Option<Range> {
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

/// Parses digits. A number greater than s3s accepts becomes the greatest that it accepts: no object is that large.
fn number(digits: &str) -> Option<u64> {
    const GREATEST: u64 = i64::MAX as u64;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(
        digits
            .parse()
            // Digits fail to parse only if the number has more than 64 bits.
            .map_or(GREATEST, |number: u64| number.min(GREATEST)),
    )
}

/// Removes the parameters of a presigned URI, because the second service would verify them again.
fn without_signature(uri: &Uri) -> S3Result<Uri> {
    let Some(query) = uri.query() else {
        return Ok(uri.clone());
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| {
            let name = match parameter.split_once('=') {
                Some((name, _)) => name,
                None => parameter,
            };
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
    use axum::http::header::{HeaderMap, HeaderValue, RANGE};
    use s3s::dto::Range;

    use super::{parse_range, single_range, without_signature};

    #[test]
    fn malformed_ranges_and_lists_of_ranges_are_none() {
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
            assert_eq!(parse_range(header), range, "{header}");
        }
    }

    #[test]
    fn repeated_range_header_is_ignored() {
        let mut headers = HeaderMap::new();
        assert_eq!(single_range(&headers), None);
        headers.append(RANGE, HeaderValue::from_static("bytes=1-2"));
        assert_eq!(single_range(&headers).unwrap().0, "bytes=1-2");
        headers.append(RANGE, HeaderValue::from_static("bytes=1-2"));
        assert_eq!(single_range(&headers), None);
    }

    #[test]
    fn presigned_uri_loses_only_its_signature() {
        let uri = "/moths/a%20b?versionId=null&X-Amz-Date=1&x-id=GetObject&X-Amz-Signature=2";
        let uri = without_signature(&uri.parse().unwrap()).unwrap();
        assert_eq!(uri, "/moths/a%20b?versionId=null&x-id=GetObject");
    }
}
