//! POST forms: `${filename}` in their fields becomes the name of the uploaded file.
//!
//! s3s drops the file's name, and checks the form's policy before any of our code sees the fields. So the fields
//! are rewritten before s3s reads them; a form's signature covers the policy alone. Only what comes before the
//! bytes of the file is held in memory.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/HTTPPOSTForms.html>

use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Method;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use futures_util::{StreamExt, stream};
use memchr::memmem;
use s3s::{S3Error, S3Result, s3_error};

const VARIABLE: &str = "${filename}";
/// S3's limit on a form without the bytes of its file.
const MAX_FIELDS: usize = 20 * 1024;

/// The request with `${filename}` replaced, where it is a POST form.
pub(super) async fn substitute_filename(request: Request) -> S3Result<Request> {
    let Some(boundary) = boundary(request.method(), request.headers()) else {
        return Ok(request);
    };
    let (mut parts, body) = request.into_parts();
    let mut rest = body.into_data_stream();
    let mut head = Vec::new();
    let fields = loop {
        match parse(&head, &boundary) {
            Parsed::Incomplete if head.len() <= MAX_FIELDS => {}
            Parsed::Incomplete => return Err(too_large()),
            Parsed::Fields(fields) if fields.end > MAX_FIELDS => return Err(too_large()),
            Parsed::Fields(fields) => break Some(fields),
            Parsed::Malformed => break None,
        }
        match rest.next().await {
            Some(Ok(bytes)) => head.extend_from_slice(&bytes),
            Some(Err(error)) => return Err(s3_error!(error, IncompleteBody)),
            None => break None,
        }
    };
    // s3s says what is wrong with a malformed form.
    if let Some(fields) = fields {
        let rewritten = rewrite(&head, &fields);
        set_length(&mut parts.headers, head.len(), rewritten.len())?;
        head = rewritten;
    }
    let head = stream::iter([Ok(Bytes::from(head))]);
    Ok(Request::from_parts(
        parts,
        Body::from_stream(head.chain(rest)),
    ))
}

fn too_large() -> S3Error {
    s3_error!(
        MaxPostPreDataLengthExceededError,
        "the fields of the form have more than {MAX_FIELDS} bytes"
    )
}

/// The line between the parts of a POST form; `None` where the request is none.
fn boundary(method: &Method, headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (kind, parameters) = content_type.split_once(';')?;
    if *method != Method::POST || !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then(|| value.trim().trim_matches('"'))
    })?;
    Some(format!("--{boundary}"))
}

/// The fields of a form, which come before the file.
#[derive(Debug, PartialEq)]
struct Fields {
    values: Vec<Range<usize>>,
    filename: String,
    /// Where the bytes of the file begin.
    end: usize,
}

#[derive(Debug, PartialEq)]
enum Parsed {
    Fields(Fields),
    /// More bytes are needed.
    Incomplete,
    Malformed,
}

/// Parses what has come of a form.
fn parse(head: &[u8], boundary: &str) -> Parsed {
    let mut values = Vec::new();
    let between = format!("\r\n{boundary}");
    let mut at = if head.starts_with(b"\r\n") { 2 } else { 0 };
    if head.len() < at + boundary.len() {
        return Parsed::Incomplete;
    }
    while head[at..].starts_with(boundary.as_bytes()) {
        let headers = at + boundary.len();
        let Some(length) = memmem::find(&head[headers..], b"\r\n\r\n") else {
            return Parsed::Incomplete;
        };
        let value = headers + length + 4;
        let Some((name, filename)) = disposition(&head[headers..value]) else {
            return Parsed::Malformed;
        };
        if name.eq_ignore_ascii_case("file") {
            return Parsed::Fields(Fields {
                values,
                filename: base_name(filename).to_owned(),
                end: value,
            });
        }
        let Some(length) = memmem::find(&head[value..], between.as_bytes()) else {
            return Parsed::Incomplete;
        };
        values.push(value..value + length);
        at = value + length + 2;
    }
    Parsed::Malformed
}

/// The name of a part, and of its file or an empty one.
fn disposition(headers: &[u8]) -> Option<(&str, &str)> {
    let headers = std::str::from_utf8(headers).ok()?;
    let disposition = headers.split("\r\n").find_map(|header| {
        let (name, value) = header.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    })?;
    let parameter = |start: &str| {
        let (_, value) = disposition.split_once(start)?;
        Some(value.split_once('"')?.0)
    };
    Some((
        parameter("; name=\"")?,
        parameter("; filename=\"").unwrap_or_default(),
    ))
}

/// S3 takes the text behind the last slash or backslash.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

fn rewrite(head: &[u8], fields: &Fields) -> Vec<u8> {
    let mut rewritten = Vec::with_capacity(head.len());
    let mut at = 0;
    for value in &fields.values {
        let found = memmem::find_iter(&head[value.clone()], VARIABLE);
        for start in found.map(|offset| value.start + offset) {
            rewritten.extend_from_slice(&head[at..start]);
            rewritten.extend_from_slice(fields.filename.as_bytes());
            at = start + VARIABLE.len();
        }
    }
    rewritten.extend_from_slice(&head[at..]);
    rewritten
}

/// Corrects `Content-Length`, where there is one.
fn set_length(headers: &mut HeaderMap, old: usize, new: usize) -> S3Result<()> {
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(());
    };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    let length = length
        .and_then(|length: usize| length.checked_sub(old)?.checked_add(new))
        .ok_or_else(|| s3_error!(IncompleteBody, "Content-Length is less than what came"))?;
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Parsed, base_name, parse, rewrite};

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nin/${filename}\r\n\
        --b\r\ncontent-disposition: form-data; name=\"x-amz-meta-was\"\r\n\r\n${filename}${filename}\r\n\
        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\a b.jpg\"\r\n\
        Content-Type: image/jpeg\r\n\r\n${filename}\r\n--b--\r\n";

    #[test]
    fn the_variable_is_replaced_in_fields_only() {
        for form in [FORM.to_owned(), format!("\r\n{FORM}")] {
            let Parsed::Fields(fields) = parse(form.as_bytes(), "--b") else {
                panic!("{form}");
            };
            let rewritten = String::from_utf8(rewrite(form.as_bytes(), &fields)).unwrap();
            let expected = form.replacen("${filename}", "a b.jpg", 3);
            assert_eq!(rewritten, expected);
        }
    }

    #[test]
    fn a_form_is_incomplete_up_to_the_bytes_of_the_file() {
        let end = FORM.find("${filename}\r\n--b--").unwrap();
        for length in 0..end {
            let parsed = parse(&FORM.as_bytes()[..length], "--b");
            assert_eq!(parsed, Parsed::Incomplete, "{length}");
        }
        assert!(matches!(
            parse(&FORM.as_bytes()[..end], "--b"),
            Parsed::Fields(_)
        ));
        let no_name = b"--b\r\nContent-Disposition: form-data\r\n\r\n";
        for malformed in [b"no form".as_slice(), no_name] {
            assert_eq!(parse(malformed, "--b"), Parsed::Malformed);
        }
    }

    #[test]
    fn a_path_is_left_off_the_name() {
        for (path, name) in [
            ("a.jpg", "a.jpg"),
            ("/photos/a.jpg", "a.jpg"),
            ("C:\\photos\\a.jpg", "a.jpg"),
            ("photos/", ""),
            ("", ""),
        ] {
            assert_eq!(base_name(path), name);
        }
    }
}
