//! Records over HTTP: lists, reviews, deletion, counts, exports, deployments.

use serde_json::{Value, json};

use crate::{
    records::{command, photos, rejected_photo, run},
    support::{
        api::{Answer, Api, Client, key},
        command::stdout,
        photo::COLOR_MODEL,
        stack::{Options, Stack},
    },
};

async fn stack() -> Stack {
    Stack::with(Options::invoked_by_hand()).await
}

fn ids(answer: &Value) -> Vec<String> {
    let records = answer["records"].as_array().unwrap().iter();
    records
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect()
}

fn review(api: &Client, id: &str, revision: Option<&str>, body: &Value) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(revision.map(|revision| ("if-match", revision)));
    api.send(
        "PUT",
        &format!("/v1/records/{id}/review"),
        &headers,
        body.to_string(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_where_its_cursor_says() {
    let stack = stack().await;
    let photos = photos(&stack, &["FAW", "AAW", "FAW", "ECLW", "FAW"]).await;
    let api = Api::of_stack(&stack, &[]);
    let all = api.get("/v1/records").ok();
    assert_eq!(ids(&all).len(), photos.len());
    assert_eq!(all["nextCursor"], Value::Null);
    let mut pages = Vec::new();
    let mut path = "/v1/records?limit=2".to_owned();
    loop {
        let page = api.get(&path).ok();
        pages.extend(ids(&page));
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/v1/records?limit=2&cursor={cursor}");
    }
    assert_eq!(pages, ids(&all));
    assert_eq!(ids(&api.get("/v1/records?class=FAW").ok()).len(), 3);
    assert_eq!(ids(&api.get("/v1/records?station=field-1").ok()).len(), 2);
    assert_eq!(
        ids(&api.get("/v1/records?order=leastCertain").ok()).len(),
        0
    );
    assert_eq!(
        ids(&api.get("/v1/records?minProbability=0.99").ok()).len(),
        0
    );
    let page = api.get("/v1/records?limit=2").ok();
    let cursor = page["nextCursor"].as_str().unwrap();
    let other = api.get(&format!("/v1/records?limit=2&class=FAW&cursor={cursor}"));
    assert!(other.problem(400, "malformed").contains("another query"));
    for (query, status, named) in [
        ("cursor=x", 400, "cursor"),
        ("limit=0", 400, "limit"),
        ("limit=201", 400, "limit"),
        ("order=random", 400, "order"),
        ("from=yesterday", 400, "from"),
        ("minProbability=2", 400, "minProbability"),
        ("stations=a", 400, "stations"),
        ("class=faw", 422, "AAW, ECLW, FAW"),
        ("station=a&station=b", 400, "station"),
        ("from=2026-05-02&to=2026-05-01", 422, "2026-05-02"),
        ("from=2020-01-01&to=2026-01-01", 422, "days"),
    ] {
        let kind = if status == 400 {
            "malformed"
        } else {
            "not-possible"
        };
        let detail = api
            .get(&format!("/v1/records?{query}"))
            .problem(status, kind);
        assert!(detail.contains(named), "{query}: {detail}");
    }
    let html = api.send("GET", "/v1/records", &[("accept", "text/html")], []);
    html.problem(406, "not-acceptable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_through_the_hands_of_people() {
    let stack = stack().await;
    let photos = photos(&stack, &["FAW", "FAW", "AAW"]).await;
    let id = &photos[0].1;
    let api = Api::of_stack(&stack, &[]);
    let record = api.get(&format!("/v1/records/FAW-{id}"));
    assert_eq!(record.header("etag"), "\"0\"");
    assert_eq!(record.ok()["className"], "FAW");

    let wrong = json!({"verdict": "relabel", "className": "ECLW", "note": "wing"});
    let reviewed = review(&api, id, Some("\"0\""), &wrong);
    assert_eq!(reviewed.header("etag"), "\"1\"");
    assert_eq!(reviewed.ok()["className"], "ECLW");
    // The one who was slower.
    let late = review(&api, id, Some("\"0\""), &json!({"verdict": "confirm"}));
    late.problem(412, "revision-mismatch");
    assert_eq!(
        (&late.json()["by"], &late.json()["revision"]),
        (&json!("local"), &json!(1))
    );
    let future = review(&api, id, Some("\"7\""), &json!({"verdict": "confirm"}));
    future.problem(412, "revision-mismatch");
    assert_eq!(
        review(&api, id, Some("*"), &json!({"verdict": "unknown"})).ok()["revision"],
        2
    );

    let counts = |class: &str| {
        let days = api.get("/v1/counts?by=date").ok();
        let days = days["days"].as_array().unwrap();
        assert_eq!(days.len(), 30);
        days.iter()
            .map(|day| day["classes"][class].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    assert_eq!(
        [counts("FAW"), counts("UNKNOWN"), counts("ECLW")],
        [1, 1, 0]
    );
    let withdrawn = api.send("DELETE", &format!("/v1/records/{id}/review"), &[], []);
    assert_eq!(withdrawn.ok()["className"], "FAW");
    let deleted = api.send(
        "DELETE",
        &format!("/v1/records/{id}"),
        &[("if-match", "\"3\"")],
        [],
    );
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    api.get(&format!("/v1/records/{id}"))
        .problem(410, "deleted");
    assert_eq!(counts("FAW"), 1);
    let restored = api.send("POST", &format!("/v1/records/{id}/restore"), &[], []);
    assert_eq!(restored.ok()["revision"], 5);
    let again = api.send("POST", &format!("/v1/records/{id}/restore"), &[], []);
    again.problem(422, "not-possible");
    let history = api.get(&format!("/v1/records/{id}/history")).ok();
    let kinds: Vec<&str> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["relabelled", "unknown", "withdrawn", "deleted", "restored"]
    );
    assert_eq!(history["history"][0]["note"], "wing");
    let audit = run(&stack, &["audit"]).await;
    assert!(audit.status.success(), "{}", stdout(&audit));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_made_says_why() {
    let stack = stack().await;
    let photos = photos(&stack, &["FAW"]).await;
    let id = &photos[0].1;
    let api = Api::of_stack(&stack, &[]);
    let put = |body: Value| review(&api, id, None, &body);
    for (body, status, named) in [
        (json!({}), 400, "verdict"),
        (json!({"verdict": "delete"}), 400, "delete"),
        (json!({"verdict": "confirm", "by": "me"}), 400, "by"),
        (json!(["confirm"]), 400, "object"),
        (json!({"verdict": "relabel"}), 422, "className"),
        (
            json!({"verdict": "confirm", "className": "FAW"}),
            422,
            "className",
        ),
        (
            json!({"verdict": "relabel", "className": "FAWN"}),
            422,
            "AAW, ECLW, FAW",
        ),
        (
            json!({"verdict": "confirm", "note": "a\u{0}b"}),
            422,
            "note",
        ),
        (
            json!({"verdict": "confirm", "note": "n".repeat(2001)}),
            422,
            "note",
        ),
    ] {
        let kind = if status == 400 {
            "malformed"
        } else {
            "not-possible"
        };
        let detail = put(body).problem(status, kind);
        assert!(detail.contains(named), "{named}: {detail}");
    }
    let huge = put(json!({"verdict": "confirm", "note": "n".repeat(20_000)}));
    huge.problem(413, "too-many-bytes");
    review(&api, id, Some("x"), &json!({"verdict": "confirm"})).problem(400, "malformed");
    let path = format!("/v1/records/{id}/review");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    api.send("PUT", &path, &form, "verdict=confirm")
        .problem(415, "unsupported-media-type");
    api.send("DELETE", &path, &[], [])
        .problem(422, "not-possible");
    let new = json!({"verdict": "relabel", "className": "Moth é", "newClass": true});
    assert_eq!(put(new).ok()["className"], "Moth é");
    let rejected = rejected_photo(&stack).await;
    let rejected = crate::support::reviews::id(&rejected);
    let detail = api
        .get(&format!("/v1/records/{rejected}"))
        .problem(404, "not-found");
    assert!(detail.contains("rejected"), "{detail}");
    for trick in [
        "x",
        "..",
        "%2e%2e",
        "00000000-0000-0000-0000-000000000000",
        "FAW-",
        "%00",
        "a%2fb",
        "%ff",
    ] {
        for suffix in ["", "/history", "/photo", "/thumbnail"] {
            let answer = api.get(&format!("/v1/records/{trick}{suffix}"));
            assert!(
                (400..500).contains(&answer.status),
                "{trick}{suffix}: {}",
                answer.status
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_have_one_outcome_each() {
    let stack = stack().await;
    let photos = photos(&stack, &["FAW", "AAW", "ECLW"]).await;
    let (reviewer, reviewer_entry) = key("reviewer", None);
    let (admin, admin_entry) = key("admin", None);
    let keys = format!("{reviewer_entry} {admin_entry}");
    let api = Api::of_stack(&stack, &[("API_KEYS", &keys)]);
    let changes = json!({"changes": [
        {"id": photos[0].1, "action": "confirm"},
        {"id": "x", "action": "confirm"},
        {"id": photos[1].1, "action": "relabel", "className": "FAW", "note": "=1+1 <img onerror>"},
        {"id": photos[2].1, "action": "delete", "revision": 0},
        {"id": photos[0].1, "action": "unknown", "revision": 9},
    ]});
    let statuses = |answer: &Value| -> Vec<u64> {
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|item| item["status"].as_u64().unwrap()).collect()
    };
    let answer = api.with_key(&reviewer).post("/v1/reviews", &changes).ok();
    assert_eq!(statuses(&answer), [200, 404, 200, 403, 412]);
    assert_eq!(answer["items"][0]["record"]["reviewedBy"], "the-reviewer");
    let answer = api.with_key(&admin).post("/v1/reviews", &changes).ok();
    // Another person's review is not overwritten without its revision.
    assert_eq!(statuses(&answer), [409, 404, 409, 200, 412]);
    assert_eq!(answer["items"][0]["problem"]["by"], "the-reviewer");
    let none = api
        .with_key(&admin)
        .post("/v1/reviews", &json!({"changes": []}));
    none.problem(400, "malformed");
    let many = vec![json!({"id": "x", "action": "confirm"}); 101];
    let many = api
        .with_key(&admin)
        .post("/v1/reviews", &json!({"changes": many}));
    many.problem(400, "malformed");

    // What people typed is escaped for spreadsheets, and is plain JSON.
    let history = api
        .with_key(&reviewer)
        .get(&format!("/v1/records/{}/history", photos[1].1));
    assert_eq!(history.ok()["history"][0]["note"], "=1+1 <img onerror>");
    assert_eq!(history.header("x-content-type-options"), "nosniff");
    assert!(
        history
            .header("content-security-policy")
            .contains("default-src 'none'")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_too_small_gets_403_on_every_route() {
    let stack = stack().await;
    let photos = photos(&stack, &["FAW"]).await;
    let keys = ["reader", "uploader", "reviewer", "admin"].map(|role| key(role, None));
    let entries = keys.each_ref().map(|(_, entry)| entry.as_str()).join(" ");
    let api = Api::of_stack(&stack, &[("API_KEYS", &entries)]);
    let reference = api.get("/openapi.json").ok();
    let role_of = |path: &str, method: &str| match (path, method) {
        (path, _) if !path.starts_with("/v1/") => None,
        ("/v1/uploads" | "/v1/uploads/{token}", _) => Some(1),
        ("/v1/reviews" | "/v1/records/{id}/review", _) => Some(2),
        ("/v1/models/reload" | "/v1/records/{id}/restore", _)
        | ("/v1/records/{id}", "delete")
        | ("/v1/deployments", "put") => Some(3),
        _ => Some(0),
    };
    let mut routes = 0;
    for (template, operations) in reference["paths"].as_object().unwrap() {
        let path = template
            .replace("{id}", &photos[0].1)
            .replace("{token}", "x")
            .replace("{model}", "color_model");
        for method in operations.as_object().unwrap().keys() {
            routes += 1;
            let send = |client: &Client| {
                let headers = [("content-type", "application/json")];
                client
                    .send(&method.to_uppercase(), &path, &headers, [])
                    .status
            };
            let Some(needed) = role_of(template, method) else {
                assert_eq!(send(&api), 200, "{method} {path}");
                continue;
            };
            assert_eq!(send(&api), 401, "{method} {path}");
            assert_eq!(send(&api.with_key("forged")), 401, "{method} {path}");
            for (role, (secret, _)) in keys.iter().enumerate() {
                let status = send(&api.with_key(secret));
                assert_eq!(
                    status == 403,
                    role < needed,
                    "{method} {path} {role}: {status}"
                );
            }
        }
    }
    assert!(routes >= 24, "{routes} routes");
    for alias in ["/classify", "/batch-classify", "/invocations"] {
        assert_eq!(api.photo(alias, b"x").status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_station_sees_its_station() {
    let stack = stack().await;
    // Stations field-0 and field-1 in turns.
    let photos = photos(&stack, &["FAW", "AAW", "FAW"]).await;
    let (own, entry) = key("admin", Some("field-0"));
    let api = Api::of_stack(&stack, &[("API_KEYS", &entry)]);
    let api = api.with_key(&own);
    let listed = ids(&api.get("/v1/records").ok());
    assert_eq!(listed.len(), 2);
    assert!(!listed.contains(&photos[1].1));
    let day = &api.get("/v1/counts?by=date").ok()["days"][29];
    assert_eq!(day["total"], 2);
    let export = String::from_utf8(api.get("/v1/export?format=csv").body).unwrap();
    assert_eq!(export.lines().count(), 3);
    assert_eq!(api.get(&format!("/v1/records/{}", photos[0].1)).status, 200);
    let other = &photos[1].1;
    let object = json!({"object": {"key": photos[0].0.0}});
    for answer in [
        api.get("/v1/records?station=field-1"),
        api.get("/v1/export?format=csv&station=field-1"),
        api.get("/v1/counts?station=field-1"),
        api.get(&format!("/v1/records/{other}")),
        api.get(&format!("/v1/records/{other}/history")),
        api.get(&format!("/v1/records/{other}/photo")),
        api.get(&format!("/v1/records/{other}/thumbnail")),
        api.send("DELETE", &format!("/v1/records/{other}"), &[], []),
        api.get(&format!("/v1/records/{}", uuid::Uuid::new_v4())),
        review(
            &api,
            other,
            None,
            &json!({"verdict": "relabel", "className": "x"}),
        ),
        api.post(
            "/v1/reviews",
            &json!({"changes": [{"id": other, "action": "confirm"}]}),
        ),
        api.get("/v1/rejections"),
        api.get("/v1/drift"),
        api.get("/v1/deployments"),
        api.post("/v1/classify", &object),
    ] {
        answer.problem(403, "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_drift_and_exports_are_those_of_the_command_line() {
    let stack = stack().await;
    let photos = photos(&stack, &["FAW", "AAW"]).await;
    rejected_photo(&stack).await;
    let api = Api::of_stack(&stack, &[]);
    let rejections = api.get("/v1/rejections").ok();
    assert_eq!(rejections["rejections"][0]["key"], "a.txt");
    assert_eq!(
        rejections["rejections"][0]["reason"],
        "not a photo: send JPEG, PNG or WebP"
    );
    assert_eq!(rejections["isComplete"], true);
    let drift = api.get("/v1/drift").ok();
    assert_eq!(drift["models"][0]["now"]["bins"][9], 2);
    for format in ["csv", "training"] {
        let answer = api.get(&format!("/v1/export?format={format}"));
        let mut command = command(&stack, &["export", "--format", format]);
        let command = command.env(COLOR_MODEL.0, COLOR_MODEL.1).output().unwrap();
        assert_eq!(
            String::from_utf8(answer.body.clone()).unwrap(),
            stdout(&command)
        );
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        assert!(
            answer
                .header("content-disposition")
                .starts_with("attachment")
        );
    }
    let package = api.get("/v1/export?format=camtrap-dp");
    let detail = package.problem(422, "not-possible");
    assert!(detail.contains("deployments table"), "{detail}");
    api.get("/v1/export").problem(400, "malformed");

    api.get("/v1/deployments").problem(404, "not-found");
    let csv = "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd\n\
               d1,field-0,1,2,2020-01-01T00:00:00Z,2040-01-01T00:00:00Z\n\
               d2,field-1,1,2,2020-01-01T00:00:00Z,2040-01-01T00:00:00Z\n";
    let put = |headers: &[(&str, &str)], body: &str| {
        let headers = [&[("content-type", "text/csv")], headers].concat();
        api.send("PUT", "/v1/deployments", &headers, body)
    };
    assert_eq!(put(&[("if-none-match", "*")], csv).ok()["deployments"], 2);
    put(&[("if-none-match", "*")], &csv.replace("d1", "d9")).problem(412, "revision-mismatch");
    put(&[("if-none-match", "\"x\"")], csv).problem(400, "malformed");
    put(&[("if-none-match", "*"), ("if-match", "*")], csv).problem(400, "malformed");
    let table = api.get("/v1/deployments");
    let etag = table.header("etag");
    assert_eq!(
        put(&[("if-match", etag)], &csv.replace("d1", "d3")).status,
        200
    );
    // Somebody who still has the older table.
    put(&[("if-match", etag)], &csv.replace("d1", "d4")).problem(412, "revision-mismatch");
    let bad = put(&[], "locationID\n").problem(422, "not-possible");
    assert!(bad.contains("deploymentID"), "{bad}");
    let text = [("content-type", "application/json")];
    api.send("PUT", "/v1/deployments", &text, csv)
        .problem(415, "unsupported-media-type");
    let package = api.get("/v1/export?format=camtrap-dp");
    assert_eq!(
        (package.status, package.header("content-type")),
        (200, "application/zip")
    );
    assert!(package.body.starts_with(b"PK"));

    // The photo, by a URL that needs no key; and its thumbnail.
    let path = format!("/v1/records/{}", photos[0].1);
    let found = api.get(&format!("{path}/photo"));
    assert_eq!(found.status, 302);
    let photo = ureq::get(found.header("location")).call().unwrap();
    assert_eq!(
        photo.into_body().read_to_vec().unwrap(),
        crate::support::photo::photo("FAW")
    );
    let made = api.get(&format!("{path}/thumbnail?w=320"));
    assert_eq!(
        (made.status, made.header("content-type")),
        (200, "image/jpeg")
    );
    assert!(made.header("cache-control").contains("immutable"));
    let kept = stack
        .s3
        .get_object()
        .bucket("moths-thumbnails")
        .key(format!("{}.jpg", photos[0].1));
    let kept = kept.send().await.unwrap().body.collect().await.unwrap();
    assert_eq!(kept.to_vec(), made.body);
    assert_eq!(api.get(&format!("{path}/thumbnail")).body, made.body);
    api.get(&format!("{path}/thumbnail?w=9"))
        .problem(400, "malformed");
}
