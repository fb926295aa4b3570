//! Uploads: signed URLs, and what becomes of the photos.

use std::{
    io::Write,
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    api::{Answer, Api, Client, key},
    item::string,
    photo::{CLASSES, COLOR_MODEL, photo},
    promise::{self, Reference},
    stack::{Options, Stack},
};

async fn stack() -> Stack {
    Stack::with(Options {
        variables: &[COLOR_MODEL],
        ..Options::default()
    })
    .await
}

fn file(bytes: &[u8]) -> Value {
    json!({
        "name": "IMG_20261120_190431.PNG",
        "bytes": bytes.len(),
        "contentType": "image/png",
        "sha256": hex::encode(Sha256::digest(bytes)),
        "station": "field-1",
    })
}

/// Asks for one upload.
fn upload(api: &Client, file: &Value) -> Value {
    let answer = api.post("/v1/uploads", &json!({"files": [file]})).ok();
    assert_eq!(answer["items"][0]["status"], 200, "{answer}");
    answer["items"][0]["upload"].clone()
}

/// Sends the request of an upload with these bytes.
fn put(upload: &Value, bytes: &[u8]) -> Answer {
    let headers = upload["headers"].as_object().unwrap();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let client = Client::new(upload["url"].as_str().unwrap(), None);
    client.send(upload["method"].as_str().unwrap(), "", &headers, bytes)
}

fn status(api: &Client, upload: &Value) -> Value {
    api.get(&format!(
        "/v1/uploads/{}",
        upload["token"].as_str().unwrap()
    ))
    .ok()
}

/// Waits for the photo's event, and returns what became of the upload.
async fn settled(stack: &mut Stack, api: &Client, upload: &Value) -> Value {
    stack.delivery().await;
    status(api, upload)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_recorded_once_or_rejected_with_its_reason() {
    let mut stack = stack().await;
    let api = Api::of_stack(&stack, &[]);
    let bytes = photo("FAW");
    let wanted = upload(&api, &file(&bytes));
    assert_eq!(wanted["method"], "PUT");
    assert!(
        wanted["key"]
            .as_str()
            .unwrap()
            .starts_with("field-1/IMG_20261120_190431~")
    );
    assert_eq!(status(&api, &wanted)["status"], "pending");
    assert_eq!(put(&wanted, &bytes).status, 200);
    let recorded = settled(&mut stack, &api, &wanted).await;
    assert_eq!(recorded["status"], "recorded");
    assert_eq!(recorded["record"]["className"], "FAW");
    assert_eq!(recorded["record"]["station"], "field-1");
    assert_eq!(
        recorded["record"]["capturedAt"],
        "2026-11-20T19:04:31+01:00"
    );

    // A client that did not see the response, and one that lost the URL.
    assert_eq!(put(&wanted, &bytes).status, 412);
    let again = upload(&api, &file(&bytes));
    assert_eq!(again["key"], wanted["key"]);
    assert_eq!(put(&again, &bytes).status, 412);
    assert_eq!(
        status(&api, &again)["record"]["id"],
        recorded["record"]["id"]
    );

    let text = b"not a photo".to_vec();
    let wanted = upload(&api, &file(&text));
    assert_eq!(put(&wanted, &text).status, 200);
    let rejected = settled(&mut stack, &api, &wanted).await;
    assert_eq!(rejected["status"], "rejected");
    assert_eq!(rejected["reason"], "not a photo: send JPEG, PNG or WebP");
    assert_eq!(stack.records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_accepts_the_announced_photo_alone() {
    let stack = stack().await;
    let api = Api::of_stack(&stack, &[]);
    let bytes = photo("FAW");
    let wanted = upload(&api, &file(&bytes));
    let mut longer = bytes.clone();
    longer.push(0);
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    for wrong in [&longer, &other] {
        let answer = put(&wanted, wrong);
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    let mut moved = wanted.clone();
    moved["headers"]["x-amz-meta-station"] = json!("field-2");
    assert_eq!(put(&moved, &bytes).status, 403);
    let url = wanted["url"].as_str().unwrap();
    let mut elsewhere = wanted.clone();
    elsewhere["url"] = json!(url.replace("field-1", "field-2"));
    assert_eq!(put(&elsewhere, &bytes).status, 403);
    let mut unconditional = wanted.clone();
    unconditional["headers"]
        .as_object_mut()
        .unwrap()
        .remove("if-none-match");
    assert_eq!(put(&unconditional, &bytes).status, 403);
    assert_eq!(status(&api, &wanted)["status"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_does_no_harm() {
    let mut stack = stack().await;
    let api = Api::of_stack(&stack, &[]);
    let bytes = photo("ECLW");
    let wanted = upload(&api, &file(&bytes));
    let url = wanted["url"].as_str().unwrap();
    let (address, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut head = format!(
        "PUT /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n",
        bytes.len()
    );
    for (name, value) in wanted["headers"].as_object().unwrap() {
        head += &format!("{name}: {}\r\n", value.as_str().unwrap());
    }
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        stream.write_all(&bytes[..cut]).unwrap();
        drop(stream);
    }
    assert_eq!(put(&wanted, &bytes).status, 200);
    assert_eq!(
        settled(&mut stack, &api, &wanted).await["record"]["className"],
        "ECLW"
    );
    assert_eq!(stack.records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_file_of_a_request_has_its_own_outcome() {
    let stack = stack().await;
    let (own, entry) = key("uploader", Some("field-1"));
    let api = Api::of_stack(
        &stack,
        &[("API_KEYS", &entry), ("MAX_IMAGE_BYTES", "100_000")],
    );
    let api = api.with_key(&own);
    let with = |member: &str, value: Value| {
        let mut file = file(b"x");
        file[member] = value;
        file
    };
    let files = json!({"files": [
        file(b"x"),
        with("bytes", json!(0)),
        with("bytes", json!(100_001)),
        with("name", json!("../x")),
        with("station", json!("field-2")),
        with("sha256", json!("x")),
        with("station", Value::Null),
    ]});
    let answer = api.post("/v1/uploads", &files).ok();
    let items = answer["items"].as_array().unwrap();
    let statuses: Vec<u64> = items
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 422, 413, 400, 403, 400, 200]);
    assert!(
        items[6]["upload"]["key"]
            .as_str()
            .unwrap()
            .starts_with("field-1/")
    );
    let many = vec![file(b"x"); 51];
    api.post("/v1/uploads", &json!({"files": many}))
        .problem(400, "malformed");
    api.post("/v1/uploads", &json!({"files": []}))
        .problem(400, "malformed");
    let token = |key: &str| {
        let json = json!({"k": key, "e": 0}).to_string();
        URL_SAFE_NO_PAD.encode(json)
    };
    for other in ["field-2/a.jpg", "field-10/a.jpg", "a.jpg", "field-1"] {
        let answer = api.get(&format!("/v1/uploads/{}", token(other)));
        answer.problem(403, "forbidden");
    }
    let own = api
        .get(&format!("/v1/uploads/{}", token("field-1/a.jpg")))
        .ok();
    assert_eq!(own["status"], "expired");
    for trick in ["x", "..", "e30", "eyJrIjoiIiwiZSI6MH0", "%00"] {
        let answer = api.get(&format!("/v1/uploads/{trick}"));
        assert_eq!(answer.status, 404, "{trick}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once_are_recorded_once_each() {
    uploads_at_once(60).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 1,000 uploads"]
async fn a_thousand_uploads_at_once_are_recorded_once_each() {
    uploads_at_once(1000).await;
}

/// Uploads this `number` of photos from 100 threads, which send each photo twice.
async fn uploads_at_once(number: usize) {
    let mut stack = stack().await;
    let api = Api::of_stack(&stack, &[]);
    // Each photo has bytes of its own after its end.
    let photos: Vec<Vec<u8>> = (0..number)
        .map(|n| {
            let mut bytes = photo(CLASSES[n % CLASSES.len()]);
            bytes.extend((n as u32).to_be_bytes());
            bytes
        })
        .collect();
    let mut wanted = Vec::new();
    for some in photos.chunks(50) {
        let files: Vec<Value> = some.iter().map(|bytes| file(bytes)).collect();
        let answer = api.post("/v1/uploads", &json!({"files": files})).ok();
        let items = answer["items"].as_array().unwrap().iter();
        wanted.extend(items.map(|item| item["upload"].clone()));
    }
    let next = AtomicUsize::new(0);
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= 2 * number {
                            break;
                        }
                        let index = index % number;
                        let status = put(&wanted[index], &photos[index]).status;
                        // 409: the other thread is sending it now.
                        assert!(matches!(status, 200 | 409 | 412), "{status}");
                    }
                });
            }
        });
    });
    for _ in 0..number {
        stack.delivery().await;
    }
    for upload in &wanted {
        assert_eq!(status(&api, upload)["status"], "recorded");
    }
    let mut reference = Reference::new();
    for record in stack.records().await {
        let version = (string(&record, "ObjectKey"), string(&record, "VersionId"));
        let index = wanted
            .iter()
            .position(|upload| upload["key"] == version.0.as_str())
            .unwrap();
        reference.insert(version, Some(CLASSES[index % CLASSES.len()]));
    }
    assert_eq!(reference.len(), number);
    promise::check(&stack, &reference).await;
}
