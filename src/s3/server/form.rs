//! POST forms: `${filename}` in their fields becomes the name of the uploaded file.
//!
//! s3s discards the name of the file, and checks the policy of the form before this crate sees the fields. The
//! fields are therefore rewritten before s3s reads them. That breaks no signature: the signature of a form covers
//! only its policy. Only the bytes before the content of the file are held in memory.
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
/// S3's limit on the bytes of a form before the content of its file.
const MAX_FIELDS: usize = 20 * 1024;

/// Replaces `${filename}` in the fields of a POST form. Returns every other request unchanged.
pub(crate) async fn substitute_filename(request: Request) -> S3Result<Request> {
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
    // A malformed form passes unchanged: s3s refuses it.
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

/// The delimiter line between the parts of a POST form; `None` if the request is not a form.
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

/// The fields of a form, which precede the file.
#[derive(Debug, PartialEq)]
struct Fields {
    /// The place of each value in the bytes of the form.
    values: Vec<Range<usize>>,
    /// Name of the file, without folders.
    filename: String,
    /// Offset of the file's content.
    end: usize,
}

#[derive(Debug, PartialEq)]
enum Parsed {
    Fields(Fields),
    /// The fields do not end in the bytes received so far.
    Incomplete,
    Malformed,
}

/// Parses the bytes of a form received so far.
fn parse(head: &[u8], boundary: &str) -> Parsed {
    let mut values = Vec::new();
    let end_of_value = format!("\r\n{boundary}");
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
        let Some(length) = memmem::find(&head[value..], end_of_value.as_bytes()) else {
            return Parsed::Incomplete;
        };
        values.push(value..value + length);
        at = value + length + 2;
    }
    Parsed::Malformed
}

/// The name of a part, and the name of its file, which is empty if the part is not a file.
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
    let filename = parameter("; filename=\"").unwrap_or("");
    Some((parameter("; name=\"")?, filename))
}

/// The text after the last slash or backslash, which is the file name for S3.
fn base_name(path: &str) -> &str {
    match path.rfind(['/', '\\']) {
        Some(last) => &path[last + 1..],
        None => path,
    }
}

/// Replaces the variable in the fields at the start of `head`.
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

/// Corrects `Content-Length`, if present, for a start of the body that grew or shrank from `old` to `new` bytes.
fn set_length(headers: &mut HeaderMap, old: usize, new: usize) -> S3Result<()> {
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(());
    };
    let invalid = || {
        s3_error!(
            IncompleteBody,
            "Content-Length is not the length of the request body"
        )
    };
    let text = length.to_str().map_err(|_| invalid())?;
    let length: usize = text.parse().map_err(|_| invalid())?;
    let length = length
        .checked_sub(old)
        .and_then(|rest| rest.checked_add(new))
        .ok_or_else(invalid)?;
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HeaderMap, HeaderValue, Parsed, base_name, boundary, parse, rewrite, set_length};
    use axum::http::Method;
    use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nin/${filename}\r\n\
        --b\r\ncontent-disposition: form-data; name=\"x-amz-meta-was\"\r\n\r\n${filename}${filename}\r\n\
        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\a b.jpg\"\r\n\
        Content-Type: image/jpeg\r\n\r\n${filename}\r\n--b--\r\n";

    #[test]
    fn variable_is_replaced_only_in_fields() {
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
    fn form_is_incomplete_before_the_content_of_the_file() {
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
    fn filename_has_no_folders() {
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

    #[test]
    fn boundary_is_that_of_a_post_form() {
        let form = "multipart/form-data; charset=utf-8; Boundary=\"b 1\"";
        for (method, content_type, expected) in [
            (Method::POST, form, Some("--b 1")),
            (Method::PUT, form, None),
            (Method::POST, "multipart/form-data", None),
            (Method::POST, "text/plain; boundary=b", None),
        ] {
            let content_type = HeaderValue::from_static(content_type);
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
            assert_eq!(boundary(&method, &headers).as_deref(), expected);
        }
    }

    #[test]
    fn content_length_follows_the_rewritten_fields() {
        let set = |length: &'static str| {
            let length = HeaderValue::from_static(length);
            let mut headers = HeaderMap::from_iter([(CONTENT_LENGTH, length)]);
            set_length(&mut headers, 10, 13).map(|()| headers[CONTENT_LENGTH].clone())
        };
        assert_eq!(set("100").unwrap(), "103");
        for invalid in ["9", "x", "-1"] {
            set(invalid).unwrap_err();
        }
        set_length(&mut HeaderMap::new(), 10, 13).unwrap();
    }
}
