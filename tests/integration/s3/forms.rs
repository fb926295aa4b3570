//! Uploads from the forms of web pages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::s3::{BUCKET, REGION, Server};

const BOUNDARY: &str = "----WebKitFormBoundary7MA4YWxkTrZu0gW";

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let hash = |pad: u8, text: &[u8]| {
        let padded = block.map(|byte| byte ^ pad);
        Sha256::new()
            .chain_update(padded)
            .chain_update(text)
            .finalize()
    };
    hash(0x5c, &hash(0x36, text.as_bytes())).to_vec()
}

/// A form as a browser sends it, signed for keys that begin with `prefix`.
fn form(prefix: &str, fields: &[(&str, &str)], filename: &str, file: &str) -> String {
    let now = Utc::now();
    let day = now.format("%Y%m%d").to_string();
    let date = now.format("%Y%m%dT%H%M%SZ").to_string();
    let credential = format!("key/{day}/{REGION}/s3/aws4_request");
    let policy = json!({
        "expiration": (now + TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Millis, true),
        "conditions": [
            {"bucket": BUCKET},
            {"x-amz-date": date},
            {"x-amz-credential": credential},
            {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
            ["starts-with", "$key", prefix],
            ["starts-with", "$x-amz-meta-was", ""],
            ["starts-with", "$success_action_status", ""],
        ],
    });
    let policy = STANDARD.encode(policy.to_string());
    let scope = [&day, REGION, "s3", "aws4_request"];
    let key = scope
        .into_iter()
        .fold(b"AWS4secret".to_vec(), |key, part| hmac(&key, part));
    let signature: String = hmac(&key, &policy)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let signed = [
        ("x-amz-date", date.as_str()),
        ("x-amz-credential", &credential),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("policy", &policy),
        ("x-amz-signature", &signature),
        ("success_action_status", "201"),
    ];
    let mut form = String::new();
    for (name, value) in fields.iter().chain(&signed) {
        form += &format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
    }
    form + &format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\n\
         Content-Type: text/plain\r\n\r\n{file}\r\n--{BOUNDARY}--\r\n"
    )
}

/// POSTs the form in two chunks, and returns the answer from the status on. The first chunk ends in the middle of a
/// field.
async fn post(server: &Server, form: &str) -> String {
    let address = server.endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (one, two) = form.split_at(form.find("name=\"key\"").unwrap());
    let request = format!(
        "POST /{BUCKET} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n\
         {:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.strip_prefix("HTTP/1.1 ").unwrap().to_owned()
}

#[tokio::test]
async fn a_form_names_its_object_after_the_file() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let fields = [
        ("key", "field/${filename}"),
        ("x-amz-meta-was", "${filename}"),
    ];
    let answer = post(
        &server,
        &form("field/", &fields, "C:\\photos\\a b.jpg", "${filename}"),
    )
    .await;
    assert!(answer.starts_with("201 "), "{answer}");
    assert!(answer.contains("<Key>field/a b.jpg</Key>"), "{answer}");
    assert_eq!(server.keys().await, ["field/a b.jpg"]);
    assert_eq!(server.get("field/a b.jpg", None).await, b"${filename}");
    let head = server
        .client
        .head_object()
        .bucket(BUCKET)
        .key("field/a b.jpg");
    let head = head.send().await.unwrap();
    assert_eq!(head.metadata().unwrap()["was"], "a b.jpg");

    // The policy applies to the key with the filename in it.
    let alone = [("key", "${filename}"), ("x-amz-meta-was", "")];
    let answer = post(&server, &form("a", &alone, "a.jpg", "a")).await;
    assert!(answer.starts_with("201 "), "{answer}");
    let answer = post(&server, &form("a", &alone, "b.jpg", "b")).await;
    assert!(
        answer.starts_with("4") && answer.contains("got &apos;b.jpg&apos;"),
        "{answer}"
    );
    let answer = post(&server, &form("", &alone, &"a".repeat(1025), "a")).await;
    assert!(answer.contains("<Code>KeyTooLongError</Code>"), "{answer}");
    let answer = post(&server, &form("", &alone, "photos/", "a")).await;
    assert!(answer.contains("<Code>InvalidArgument</Code>"), "{answer}");
    let much = "x".repeat(20 * 1024);
    let answer = post(
        &server,
        &form("", &[("key", "a"), ("x-amz-meta-was", &much)], "a", "a"),
    )
    .await;
    let code = "<Code>MaxPostPreDataLengthExceededError</Code>";
    assert!(
        answer.starts_with("400 ") && answer.contains(code),
        "{answer}"
    );
    assert_eq!(server.keys().await, ["a.jpg", "field/a b.jpg"]);
}
