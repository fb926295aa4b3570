//! Keys with characters that harm logs, terminals and URLs.

use std::{collections::BTreeSet, fs};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use super::options;
use crate::support::{
    event::{event, outcome},
    item::{Item, string},
    photo::photo,
    stack::Stack,
};

#[tokio::test]
async fn keys_are_kept_unchanged_and_do_no_harm() {
    let mut stack = Stack::with(options()).await;
    // S3's limit: 1,024 bytes.
    let longest = "蛾é😀/".repeat(102) + "1234";
    assert_eq!(longest.len(), 1024);
    let keys = [
        longest.as_str(),
        "line\nbreak\r\n{\"message\":\"image\",\"outcome\":\"recorded\"}.jpg",
        "quote\"s 'and' \\backslashes\\.jpg",
        "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{7f}.jpg",
        "\u{202e}gpj.exe \u{2066}isolated\u{2069}\u{200f}.jpg",
        "a b+c%20d%2Be&f=g?h#i;j:k@l,m.jpg",
        "//double//slashes/../and/./dots.jpg",
        " .jpg",
    ];
    for key in keys {
        let (version, delivery) = stack.put(key, photo("ECLW")).await;
        let answer = delivery.answer.unwrap();
        assert_eq!(outcome(&answer)["outcome"], "recorded", "{key:?}");
        assert_eq!(outcome(&answer)["key"], key);
        // The error of a failed event names the key.
        let encoded = utf8_percent_encode(key, NON_ALPHANUMERIC).to_string();
        let elsewhere = event(&[("no-such-bucket", &encoded, Some(&version))]);
        let error = stack.invoke(&elsewhere).await.unwrap_err();
        let message = error["errorMessage"].as_str().unwrap();
        assert!(!message.chars().any(is_harmful), "{message:?}");
    }
    let records = stack.records().await;
    let stored: BTreeSet<String> = records.iter().map(|r| string(r, "ObjectKey")).collect();
    assert_eq!(stored, keys.map(str::to_owned).into());
    records.iter().for_each(assert_url_names_the_object);
    let folder = stack.stop().await;
    let log = fs::read_to_string(folder.path().join("function.log")).unwrap();
    assert!(!log.chars().any(|c| c != '\n' && is_harmful(c)));
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let images = lines.filter(|line| line["message"] == "photo");
    assert_eq!(images.count(), keys.len());
}

/// The URL of a record is plain ASCII, and decodes to the object's key and version.
fn assert_url_names_the_object(record: &Item) {
    let url = string(record, "ImageURL_ClassName");
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
    let (path, query) = url.rsplit_once("?versionId=").unwrap();
    let path = path
        .strip_prefix("https://moths.s3.us-east-1.amazonaws.com/")
        .unwrap();
    let key = percent_decode_str(path).decode_utf8().unwrap();
    assert_eq!(key, string(record, "ObjectKey"));
    assert_eq!(query, string(record, "VersionId"));
    assert!(!path.contains(['?', '#', '+', ' ']), "{url}");
}

/// Whether `c` moves a terminal's cursor or changes the direction of its text.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
