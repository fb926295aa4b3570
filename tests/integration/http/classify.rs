//! Classifying photos over HTTP.

use std::{fs, io::Cursor};

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};

use crate::support::{
    api::Api,
    command::{json_lines, run, test_image},
    photo::{CLASSES, photo},
};

#[test]
fn every_form_of_a_photo_gets_the_same_answer() {
    let api = Api::start(&["--without-tables"], &[]);
    let file = test_image("good/aaw.jpg");
    let bytes = fs::read(&file).unwrap();
    let raw = api.photo("/v1/classify", &bytes);
    let answer = raw.ok();
    let line = &json_lines(&run(&["classify", "--json", file.to_str().unwrap()]))[0];
    assert_eq!(answer["className"], line["className"]);
    let probability = |value: &Value| value.as_f64().unwrap() as f32;
    assert_eq!(
        probability(&answer["probability"]),
        probability(&line["probability"])
    );
    assert_eq!(answer["unknown"], false);
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 3);
    assert_eq!(
        answer["predictions"][0]["probability"],
        answer["probability"]
    );
    assert_eq!(answer["photo"]["format"], "jpeg");
    assert_eq!(answer["photo"]["width"], 400);
    assert_eq!(answer["photo"]["bytes"], bytes.len());
    assert_eq!(raw.header("x-cache"), "miss");
    assert!(raw.header("server-timing").contains("inference;dur="));

    let base64 = STANDARD.encode(&bytes);
    let uri = format!("data:image/jpeg;base64,{base64}");
    let octets = [("content-type", "application/octet-stream")];
    for again in [
        api.photo("/classify", &bytes),
        api.send("POST", "/v1/classify", &octets, &bytes),
        api.send(
            "POST",
            "/invocations",
            &[("content-type", "application/x-image")],
            &bytes,
        ),
        api.form("/v1/classify", &[("file", Some("a.jpg"), &bytes)]),
        api.form("/v1/classify", &[("image", None, &bytes)]),
        api.post("/v1/classify", &json!({"image": base64})),
        api.post(
            "/v1/classify",
            &json!({"image": base64.trim_end_matches('=')}),
        ),
        api.post("/v1/classify", &json!({"image": uri})),
    ] {
        assert_eq!(again.body, raw.body);
        assert_eq!(again.header("x-cache"), "hit");
        assert_eq!(again.header("server-timing"), "cache;desc=hit");
    }
}

#[test]
fn a_photo_of_a_phone_fits_into_every_form() {
    let api = Api::classifier();
    let mut bytes = fs::read(test_image("good/aaw.jpg")).unwrap();
    bytes.extend(vec![0; 5 << 20]);
    let class = |answer: &Value| answer["photo"]["bytes"].as_u64().unwrap() as usize;
    assert_eq!(class(&api.photo("/v1/classify", &bytes).ok()), bytes.len());
    assert_eq!(
        class(&api.form("/v1/classify", &[("file", None, &bytes)]).ok()),
        bytes.len()
    );
    let image = STANDARD.encode(&bytes);
    assert_eq!(
        class(&api.post("/v1/classify", &json!({"image": image})).ok()),
        bytes.len()
    );
    let parts = [("files", None, &bytes[..]); 4];
    let batch = api.form("/v1/classify/batch", &parts).ok();
    assert_eq!(class(&batch["items"][3]["result"]), bytes.len());

    // What a caller sends is not repeated at length.
    let long = "x".repeat(100_000);
    for answer in [
        api.form(
            "/v1/classify",
            &[("file", None, b"x"), ("top", None, long.as_bytes())],
        ),
        api.form("/v1/classify", &[(&long, None, b"x")]),
        api.post("/v1/classify", &json!({long.as_str(): 1})),
        api.get(&format!("/problems/{}", &long[..20_000])),
    ] {
        assert!((400..500).contains(&answer.status));
        assert!(answer.body.len() < 25_000, "{} bytes", answer.body.len());
    }
    let many = format!("{{\"images\": [{}\"\"]}}", "\"\",".repeat(1_000_000));
    let json = [("content-type", "application/json")];
    let many = api.send("POST", "/v1/classify/batch", &json, many);
    assert!(many.problem(400, "malformed").contains("more than 32"));
    assert!(api.peak_memory() < 250, "{} MiB", api.peak_memory());
    api.get("/v1/models/%ff/classify")
        .problem(405, "method-not-allowed");
    api.photo("/v1/models/%ff/classify", b"x")
        .problem(400, "malformed");
}

#[test]
fn top_limits_the_predictions() {
    let api = Api::classifier();
    let bytes = photo("FAW");
    let number = |answer: &Value| answer["predictions"].as_array().unwrap().len();
    assert_eq!(number(&api.photo("/v1/classify?top=1", &bytes).ok()), 1);
    assert_eq!(number(&api.photo("/v1/classify?top=1000", &bytes).ok()), 3);
    let form = [("file", None, &bytes[..]), ("top", None, b"2")];
    assert_eq!(number(&api.form("/v1/classify", &form).ok()), 2);
    let image = STANDARD.encode(&bytes);
    let json = json!({"image": image, "top": 2});
    assert_eq!(number(&api.post("/v1/classify", &json).ok()), 2);
    for top in ["0", "1001", "-1", "x"] {
        let refused = api.photo(&format!("/v1/classify?top={top}"), &bytes);
        assert!(refused.problem(400, "malformed").contains("top"), "{top}");
    }
}

#[test]
fn a_batch_has_one_answer_for_each_photo() {
    let api = Api::classifier();
    let photos = CLASSES.map(photo);
    let [aaw, ecl, faw] = photos.each_ref().map(Vec::as_slice);
    let parts = [
        ("files", Some("1.png"), aaw),
        ("files", Some("2.txt"), &b"hello"[..]),
        ("file", Some("3.png"), ecl),
        ("files", None, &[]),
        ("files", Some("5.png"), faw),
    ];
    let answer = api.form("/v1/classify/batch?top=1", &parts).ok();
    let items = answer["items"].as_array().unwrap();
    let statuses: Vec<u64> = items
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 422, 200, 422, 200]);
    for (position, class) in [(0, "AAW"), (2, "ECLW"), (4, "FAW")] {
        assert_eq!(items[position]["result"]["className"], class);
        assert_eq!(items[position]["index"], position);
    }
    assert_eq!(items[0]["name"], "1.png");
    assert_eq!(items[1]["problem"]["type"], "/problems/not-a-photo");
    assert_eq!(items[3]["problem"]["type"], "/problems/empty");

    let images = photos.each_ref().map(|bytes| STANDARD.encode(bytes));
    let answer = api.post("/batch-classify", &json!({"images": images})).ok();
    assert_eq!(answer["items"][2]["result"]["className"], "FAW");

    let some = json!({"images": [images[0], "!", "http://169.254.169.254/"]});
    let answer = api.post("/v1/classify/batch", &some).ok();
    assert_eq!(answer["items"][0]["status"], 200);
    assert_eq!(answer["items"][1]["status"], 400);
    assert!(
        answer["items"][2]["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("images[2]")
    );

    let many = vec![images[0].clone(); 33];
    let refused = api.post("/v1/classify/batch", &json!({"images": many}));
    assert!(refused.problem(400, "malformed").contains("32"));
    let refused = api.post("/v1/classify/batch", &json!({"images": []}));
    refused.problem(400, "malformed");
    let refused = api.photo("/v1/classify/batch", aaw);
    refused.problem(415, "unsupported-media-type");
}

#[test]
fn every_rejection_has_its_status_and_the_sentence_of_the_ledger() {
    let api = Api::start(
        &["--without-tables"],
        &[
            crate::support::photo::COLOR_MODEL,
            ("MAX_IMAGE_PIXELS", "120_000"),
            ("MAX_IMAGE_BYTES", "100_000"),
        ],
    );
    let moth = fs::read(test_image("good/aaw.jpg")).unwrap();
    let mut wide = Cursor::new(Vec::new());
    RgbImage::new(401, 300)
        .write_to(&mut wide, ImageFormat::Png)
        .unwrap();
    let small = photo("AAW");
    let mut damaged = small.clone();
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0);
    let cases: [(&[u8], u16, &str, &str); 6] = [
        (b"", 422, "empty", "upload it again"),
        (b"hello", 422, "not-a-photo", "send JPEG, PNG or WebP"),
        (wide.get_ref(), 422, "too-many-pixels", "MAX_IMAGE_PIXELS"),
        (&moth[..5000], 422, "truncated", "cut off"),
        (&damaged, 422, "damaged", "damaged"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            415,
            "unsupported",
            "HEI",
        ),
    ];
    for (bytes, status, kind, sentence) in cases {
        let refused = api.photo("/v1/classify", bytes);
        let detail = refused.problem(status, kind);
        assert!(detail.contains(sentence), "{detail}");
        // The type leads to a page of the same server.
        let page = api.get(&format!("/problems/{kind}"));
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, "text/html; charset=utf-8")
        );
        let metrics = String::from_utf8(api.get("/metrics").body).unwrap();
        assert!(
            metrics.contains(&format!("moth_rejections_total{{reason=\"{kind}\"}} 1")),
            "{metrics}"
        );
    }
    let large = vec![0; 100_001];
    let refused = api.photo("/v1/classify", &large);
    let detail = refused.problem(413, "too-many-bytes");
    assert!(detail.contains("MAX_IMAGE_BYTES"), "{detail}");
    // So large that it is refused before it is read.
    let refused = api.photo("/v1/classify", &vec![0; 10_000_000]);
    let detail = refused.problem(413, "too-many-bytes");
    assert!(detail.contains("send a smaller photo"), "{detail}");
    assert_eq!(refused.json()["limit"], 198_872);
    let batch = [("content-type", "application/json")];
    let refused = api.send(
        "POST",
        "/v1/classify/batch",
        &batch,
        vec![b' '; (64 << 20) + 1],
    );
    let detail = refused.problem(413, "too-many-bytes");
    assert!(detail.contains("/v1/uploads"), "{detail}");
    // After all that, the server still works.
    assert_eq!(api.photo("/v1/classify", &small).ok()["className"], "AAW");
}

#[test]
fn a_request_that_cannot_be_read_says_what_is_wrong() {
    let api = Api::classifier();
    let bytes = photo("AAW");
    let json = |body: Value| api.post("/v1/classify", &body);
    for (answer, named) in [
        (json(json!({"image": "!"})), "base64"),
        (
            json(json!({"image": "http://169.254.169.254/"})),
            "other URIs are not read",
        ),
        (json(json!({"image": "data:image/png,abc"})), "base64"),
        (json(json!({"url": "http://evil.example"})), "url"),
        (json(json!({})), "image"),
        (json(json!({"image": "", "object": {"key": "a"}})), "either"),
        (json(json!([])), "JSON"),
        (
            api.send(
                "POST",
                "/v1/classify",
                &[("content-type", "application/json")],
                "{",
            ),
            "JSON",
        ),
        (
            api.form(
                "/v1/classify",
                &[("file", None, &bytes), ("file", None, &bytes)],
            ),
            "2 photos",
        ),
        (
            api.form("/v1/classify", &[("photo", None, &bytes)]),
            "photo",
        ),
        (api.form("/v1/classify", &[]), "photo"),
        (
            api.send(
                "POST",
                "/v1/classify",
                &[("content-type", "multipart/form-data")],
                "x",
            ),
            "form",
        ),
        (api.photo("/v1/classify?model=model&tops=1", &bytes), "tops"),
    ] {
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains(named), "{named}: {detail}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let refused = api.send("POST", "/v1/classify", &form, &bytes);
    assert!(
        refused
            .problem(415, "unsupported-media-type")
            .contains("image/jpeg")
    );
    let object = api.post("/v1/classify", &json!({"object": {"key": "a.jpg"}}));
    object.problem(404, "not-configured");
    let other = api.get("/v1/classify");
    other.problem(405, "method-not-allowed");
    assert_eq!(other.header("allow"), "POST");
    api.get("/v1/nothing").problem(404, "not-found");
    api.get("/problems/nothing").problem(404, "not-found");
}

#[test]
fn an_uncertain_photo_is_unknown() {
    let api = Api::start(
        &["--without-tables"],
        &[
            crate::support::photo::COLOR_MODEL,
            ("UNKNOWN_BELOW", "0.99"),
        ],
    );
    let answer = api.photo("/v1/classify", &photo("FAW")).ok();
    assert_eq!(answer["className"], "UNKNOWN");
    assert_eq!(answer["unknown"], true);
    assert_eq!(answer["predictions"][0]["className"], "FAW");
}

#[test]
fn requests_have_an_id_a_log_line_and_metrics() {
    let api = Api::classifier();
    let bytes = photo("FAW");
    let headers = [("content-type", "image/png"), ("x-request-id", "night-7")];
    let answer = api.send("POST", "/v1/classify?top=2", &headers, &bytes);
    assert_eq!(answer.header("x-request-id"), "night-7");
    for forged in ["a b", "<script>", &"x".repeat(65)] {
        let answer = api.send("GET", "/livez", &[("x-request-id", forged)], []);
        assert_eq!(answer.header("x-request-id").len(), 36);
    }
    let log = api.log();
    let line = log
        .iter()
        .find(|line| line["request"] == "night-7")
        .unwrap();
    assert_eq!(line["method"], "POST");
    assert_eq!(line["route"], "/v1/classify");
    assert_eq!(line["status"], 200);
    assert_eq!(line["principal"], "local");
    assert_eq!(line["bytes"], answer.body.len());
    assert!(
        !line.to_string().contains("top"),
        "query values are not logged: {line}"
    );
    let metrics = String::from_utf8(api.get("/metrics").body).unwrap();
    for part in [
        "http_requests_total{method=\"POST\",route=\"/v1/classify\",status=\"200\"} 1",
        "moth_classifications_total{model=\"color_model\",class=\"FAW\"} 1",
        "moth_stage_duration_seconds_count{stage=\"inference\"} 1",
        "moth_cache_total{result=\"miss\"} 1",
        "moth_model_info{model=\"color_model\",version=\"4c89908a0995\"} 1",
        "http_requests_in_flight 1",
    ] {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }
    assert_eq!(metrics.matches("# EOF").count(), 1);
}
