//! Errors of the server and of the services behind it: 408, 500, 503 and 504.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::{
    records::photos,
    support::{
        api::{Api, Client},
        command::{command, root},
        item::string,
        photo::photo,
        proxy::Fault,
        stack::{Options, Stack},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_refuses_is_unavailable_and_a_damaged_record_is_an_error() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["FAW", "AAW"]).await;
    let elsewhere = Api::of_stack(&stack, &[("LEDGER_TABLE", "no-such-table")]);
    let path = format!("/v1/records/{}", photos[0].1);
    let refused = elsewhere.get(&path);
    let detail = refused.problem(503, "unavailable");
    assert!(!detail.contains("no-such-table"), "{detail}");
    assert_eq!(refused.header("retry-after"), "1");
    // The cause is in the log, with the id of the request.
    let log = elsewhere.log();
    let line = log.iter().find(|line| line["code"] == "Table").unwrap();
    assert!(line["reason"].as_str().unwrap().contains("no-such-table"));
    assert_eq!(line["span"]["id"], refused.header("x-request-id"));

    let record = stack
        .records()
        .await
        .into_iter()
        .find(|record| string(record, "ClassPredictionID").ends_with(&photos[0].1));
    let mut record = record.unwrap();
    record.insert("Probability".into(), AttributeValue::S("high".into()));
    let put = stack.dynamodb.put_item().table_name("predictions");
    put.set_item(Some(record)).send().await.unwrap();
    let api = Api::of_stack(&stack, &[]);
    let detail = api.get(&path).problem(500, "internal");
    assert!(detail.contains("Probability"), "{detail}");
    // It takes no other with it, and is not left out in silence.
    let list = api.get("/v1/records").ok();
    assert_eq!(list["records"].as_array().unwrap().len(), 1);
    assert_eq!(list["damaged"].as_array().unwrap().len(), 1);
    let export = api.get("/v1/export?format=csv");
    assert_eq!(export.header("x-damaged-records"), "1");
    let many = json!({"changes": [
        {"id": photos[0].1, "action": "confirm"}, {"id": photos[1].1, "action": "confirm"},
    ]});
    let outcomes = api.post("/v1/reviews", &many).ok();
    assert_eq!(outcomes["items"][0]["status"], 500);
    assert_eq!(outcomes["items"][1]["status"], 200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: waits for a deadline of 25 s"]
async fn a_service_that_stays_away_ends_at_the_deadline() {
    let stack = Stack::with(Options {
        proxied: true,
        ..Options::invoked_by_hand()
    })
    .await;
    let photos = photos(&stack, &["FAW"]).await;
    let api = Api::of_stack(&stack, &[]);
    stack
        .dynamodb_proxy()
        .by_chance(1, &[Fault::ServerError], 0);
    api.get(&format!("/v1/records/{}", photos[0].1))
        .problem(504, "deadline");
    stack.dynamodb_proxy().heal();
    assert_eq!(api.get(&format!("/v1/records/{}", photos[0].1)).status, 200);
}

#[test]
#[ignore = "long: waits 15 s for a body"]
fn a_body_that_stops_is_408() {
    let api = Api::classifier();
    let mut stream = TcpStream::connect(&api.address).unwrap();
    let head = "POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nx";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.contains("/problems/slow-body") && answer.contains("/v1/uploads"),
        "{answer}"
    );
}

#[test]
fn a_server_without_models_is_starting() {
    // The shipped model, not compiled, takes a second to load.
    let mut command = command(&["serve", "--port", "0", "--without-tables"]);
    command.env("MODEL_DIR", root().join("model"));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut stderr = process.stderr.take().unwrap();
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"/docs/\n") {
        assert_eq!(stderr.read(&mut byte).unwrap(), 1);
        said.extend(byte);
    }
    let said = String::from_utf8(said).unwrap();
    let base = said.split_whitespace().nth(2).unwrap();
    let client = Client::new(base, None);
    let starting = client.photo("/v1/classify", &photo("FAW"));
    starting.problem(503, "starting");
    assert_eq!(starting.header("retry-after"), "1");
    client.get("/readyz").problem(503, "starting");
    assert_eq!(client.get("/livez").status, 200);
    // As its clients should: until it is ready.
    let answer: Value = loop {
        let answer = client.photo("/v1/classify", &photo("FAW"));
        match answer.status {
            503 => {}
            _ => break answer.ok(),
        }
    };
    assert_eq!(answer["photo"]["format"], "png");
    process.kill().unwrap();
    process.wait().unwrap();
}
