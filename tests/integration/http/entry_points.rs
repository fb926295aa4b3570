//! The same request through each entry point.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    records::photos,
    support::{
        api::{Api, key},
        photo::{COLOR_MODEL, photo},
        stack::{Options, Stack},
    },
};

/// A request as API Gateway or a function URL makes an event of it.
fn event(method: &str, path: &str, headers: Value, body: Option<&[u8]>) -> Value {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "a1b2c3",
            "domainName": "a1b2c3.lambda-url.us-east-1.on.aws",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "test"},
            "requestId": "event-1",
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": body.map(|body| STANDARD.encode(body)),
        "isBase64Encoded": body.is_some(),
    })
}

/// The same event with the claims of a person who signed in.
fn signed_in(mut event: Value, groups: &str) -> Value {
    event["requestContext"]["authorizer"] = json!({"jwt": {
        "claims": {"cognito:groups": groups, "email": "ada@example.org", "sub": "1"},
        "scopes": null,
    }});
    event
}

/// Status, and body as bytes.
fn answer(answer: &Value) -> (u64, Vec<u8>) {
    let body = answer["body"].as_str().unwrap();
    let body = match answer["isBase64Encoded"].as_bool().unwrap() {
        true => STANDARD.decode(body).unwrap(),
        false => body.as_bytes().to_vec(),
    };
    (answer["statusCode"].as_u64().unwrap(), body)
}

async fn stack(keys: &str) -> Stack {
    Stack::with(Options {
        variables: &[COLOR_MODEL],
        keys,
        notify: false,
        ..Options::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_gives_the_same_bytes() {
    let (secret, entry) = key("admin", None);
    let stack = stack(&entry).await;
    let photos = photos(&stack, &["FAW", "AAW"]).await;
    let api = Api::of_stack(&stack, &[("API_KEYS", &entry)]);
    let bearer = format!("Bearer {secret}");
    let bytes = photo("ECLW");
    let id = &photos[0].1;
    let record = format!("/v1/records/{id}");
    let thumbnail = format!("/v1/records/{id}/thumbnail");
    let json = br#"{"image": "aGVsbG8="}"#;
    let requests: [(&str, &str, &str, Option<&[u8]>); 10] = [
        ("POST", "/v1/classify?top=2", "image/png", Some(&bytes)),
        ("POST", "/invocations", "application/x-image", Some(&bytes)),
        ("POST", "/v1/classify", "application/json", Some(json)),
        ("GET", "/v1/models", "", None),
        ("GET", "/v1/records?limit=1", "", None),
        ("GET", &record, "", None),
        ("GET", &thumbnail, "", None),
        ("GET", "/v1/counts?by=date", "", None),
        ("GET", "/v1/export?format=csv", "", None),
        ("GET", "/openapi.json", "", None),
    ];
    let mut classified = Vec::new();
    for (method, path, content_type, body) in requests {
        let id = "the-same-id";
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", content_type),
            ("x-request-id", id),
        ];
        let headers = &headers[..];
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .copied()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let served = api.send(method, path, &headers, body.unwrap_or_default());
        let map: serde_json::Map<String, Value> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        // A function URL's event has no authorizer. API Gateway's has one with claims, or none for keys.
        let mut url = event(method, path, Value::Object(map.clone()), body);
        url["requestContext"]["requestId"] = json!(id);
        let mut without_key = map;
        without_key.remove("authorization");
        let mut gateway = event(method, path, Value::Object(without_key), body);
        gateway["requestContext"]["requestId"] = json!(id);
        for event in [url, signed_in(gateway, "[admin]")] {
            let answered = stack.invoke(&event).await.unwrap();
            let (status, body) = answer(&answered);
            assert_eq!(status, u64::from(served.status), "{path}");
            assert_eq!(
                String::from_utf8_lossy(&body),
                String::from_utf8_lossy(&served.body),
                "{path}"
            );
            assert_eq!(
                answered["headers"]["content-type"],
                served.header("content-type"),
                "{path}"
            );
        }
        if path == "/invocations" || path.starts_with("/v1/classify?") {
            classified.push(served.json()["className"].clone());
        }
    }
    assert_eq!(classified, ["ECLW", "ECLW"]);
    // The function still takes photos.
    assert_eq!(stack.records().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_lets_nobody_in_who_has_no_role() {
    let (secret, entry) = key("reader", None);
    let stack = stack(&entry).await;
    let photos = photos(&stack, &["FAW"]).await;
    let review = format!("/v1/records/{}/review", photos[0].1);
    let put = |headers: Value| event("PUT", &review, headers, Some(br#"{"verdict": "confirm"}"#));
    let json = json!({"content-type": "application/json"});
    let with_key =
        json!({"content-type": "application/json", "authorization": format!("Bearer {secret}")});
    let forged = json!({"content-type": "application/json", "authorization": "Bearer eyJhbGciOiJub25lIn0.e30."});
    for (event, status) in [
        (put(json.clone()), 401),
        (put(forged), 401),
        (put(with_key), 403),
        (signed_in(put(json.clone()), ""), 403),
        (signed_in(put(json.clone()), "[root]"), 403),
        (signed_in(put(json.clone()), "[reader uploader]"), 403),
        (signed_in(put(json.clone()), "[reader reviewer]"), 200),
        (event("GET", "/livez", json!({}), None), 200),
        (event("GET", "/metrics", json!({}), None), 404),
    ] {
        let answered = stack.invoke(&event).await.unwrap();
        let (found, body) = answer(&answered);
        assert_eq!(found, status, "{}", String::from_utf8_lossy(&body));
    }
    let history = event(
        "GET",
        &format!("/v1/records/{}/history", photos[0].1),
        json!({}),
        None,
    );
    let (_, body) = answer(&stack.invoke(&signed_in(history, "[reader]")).await.unwrap());
    let history: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(history["history"][0]["by"], "ada@example.org");

    let large = vec![0; 4_600_000];
    let headers = json!({"content-type": "image/jpeg"});
    let large = signed_in(
        event("POST", "/v1/classify", headers, Some(&large)),
        "[reader]",
    );
    let large = stack.invoke(&large).await.unwrap();
    let (status, body) = answer(&large);
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, &problem["type"]),
        (413, &json!("/problems/too-many-bytes"))
    );
    assert!(problem["detail"].as_str().unwrap().contains("/v1/uploads"));

    // What is no request gets an answer, and the function lives on.
    let mut odd = event("GET", "/livez", json!({}), None);
    odd["rawPath"] = json!("/a b/é\u{0}");
    assert_eq!(answer(&stack.invoke(&odd).await.unwrap()).0, 404);
    odd["body"] = json!("!");
    odd["isBase64Encoded"] = json!(true);
    assert_eq!(answer(&stack.invoke(&odd).await.unwrap()).0, 400);
    let log = stack.stop_and_read_log().await;
    let metric = log
        .iter()
        .find(|line| line["Route"] == "/v1/records/{id}/review")
        .unwrap();
    assert_eq!(
        metric["_aws"]["CloudWatchMetrics"][0]["Namespace"],
        "MothClassifier"
    );
    assert_eq!(metric["Requests"], 1);
    assert!(
        log.iter()
            .any(|line| line["target"] == "access" && line["principal"] == "ada@example.org")
    );
    assert!(!format!("{log:?}").contains(&secret[5..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn local_serves_the_records_of_its_own_photos() {
    let mut served = crate::support::served::Served::start(|port| {
        let mut command = crate::support::command::command(&[
            "local",
            "--serve",
            "--json",
            "--port",
            port,
            "test_images/good/aaw.jpg",
        ]);
        command.env(COLOR_MODEL.0, COLOR_MODEL.1);
        command
    });
    served.stdout.next().unwrap().unwrap();
    let api =
        crate::support::api::Client::new(&format!("http://127.0.0.1:{}", served.port + 3), None);
    assert_eq!(api.get("/v1/records").ok()["records"][0]["key"], "aaw.jpg");
}
