//! Who gets in, and who does not.

use serde_json::json;

use crate::support::{
    api::{Api, Client, key},
    command::command,
    photo::{COLOR_MODEL, photo},
};

#[test]
fn a_key_is_needed_once_there_are_keys() {
    let (reader, reader_entry) = key("reader", None);
    let (admin, admin_entry) = key("admin", None);
    let keys = format!("{reader_entry}\n{admin_entry}");
    let api = Api::start(&["--without-tables"], &[COLOR_MODEL, ("API_KEYS", &keys)]);
    let none = api.get("/v1/models");
    none.problem(401, "unauthorized");
    assert!(none.header("www-authenticate").starts_with("Bearer"));
    for forged in ["", "x", &reader[1..], &format!("{reader}x"), &reader_entry] {
        api.with_key(forged)
            .get("/v1/models")
            .problem(401, "unauthorized");
    }
    let basic = [("authorization", "Basic eDp5")];
    api.send("GET", "/v1/models", &basic, [])
        .problem(401, "unauthorized");

    assert_eq!(api.with_key(&reader).get("/v1/models").status, 200);
    let small = api.with_key(&reader).post("/v1/models/reload", &json!({}));
    let detail = small.problem(403, "forbidden");
    assert_eq!(
        detail,
        "the-reader has the role reader, and this needs the role admin"
    );
    assert_eq!(
        api.with_key(&admin)
            .post("/v1/models/reload", &json!({}))
            .status,
        200
    );
    for open in [
        "/livez",
        "/readyz",
        "/health",
        "/ping",
        "/openapi.json",
        "/docs/",
        "/problems/busy",
    ] {
        assert_eq!(api.get(open).status, 200, "{open}");
    }
    let log = format!("{:?}", api.log());
    for secret in [&reader, &admin] {
        assert!(!log.contains(&secret[5..]), "a key is in the log");
    }
}

#[test]
fn a_server_that_others_can_reach_needs_keys() {
    let serve = |arguments: &[&str], keys: &str| {
        let mut all = vec!["serve", "--port", "0", "--without-tables"];
        all.extend(arguments);
        let mut command = command(&all);
        command
            .env(COLOR_MODEL.0, COLOR_MODEL.1)
            .env("API_KEYS", keys);
        Api::of(command)
    };
    let said = serve(&["--host", "0.0.0.0"], "").err().unwrap();
    assert!(
        said.contains("api-key") && said.contains("--open"),
        "{said}"
    );
    let said = serve(&[], "a:admin:secret").err().unwrap();
    assert!(
        said.contains("API_KEYS") && !said.contains("secret"),
        "{said}"
    );

    let open = serve(&["--host", "0.0.0.0", "--open", "reader"], "").unwrap();
    let local = open.address.replace("0.0.0.0", "127.0.0.1");
    let client = Client::new(&format!("http://{local}"), None);
    assert_eq!(client.photo("/v1/classify", &photo("FAW")).status, 200);
    client
        .post("/v1/models/reload", &json!({}))
        .problem(403, "forbidden");
    client.get("/metrics").problem(404, "not-found");
}

#[test]
fn pages_of_other_sites_are_kept_out() {
    let api = Api::classifier();
    let host = [("host", "moths.evil.example")];
    api.send("GET", "/v1/models", &host, [])
        .problem(401, "unauthorized");
    // A proxy in front would make everybody an admin.
    let proxied = [("x-forwarded-for", "192.0.2.1")];
    let proxied = api.send("GET", "/v1/models", &proxied, []);
    assert!(proxied.problem(401, "unauthorized").contains("proxy"));
    let json = ("content-type", "application/json");
    let forged = [json, ("sec-fetch-site", "cross-site")];
    api.send("POST", "/v1/models/reload", &forged, "{}")
        .problem(403, "forbidden");
    let forged = [json, ("origin", "http://evil.example")];
    api.send("POST", "/v1/models/reload", &forged, "{}")
        .problem(403, "forbidden");
    let own = format!("http://{}", api.address);
    let own = [json, ("origin", &own)];
    assert_eq!(
        api.send("POST", "/v1/models/reload", &own, "{}").status,
        200
    );
}

#[test]
fn a_caller_has_a_number_of_requests_a_minute() {
    let (first, first_entry) = key("reader", None);
    let (second, second_entry) = key("admin", None);
    let keys = format!("{first_entry} {second_entry}");
    let api = Api::start(
        &["--without-tables", "--rate-limit", "3"],
        &[COLOR_MODEL, ("API_KEYS", &keys)],
    );
    let first = api.with_key(&first);
    for _ in 0..3 {
        assert_eq!(first.get("/v1/models").status, 200);
    }
    let refused = first.get("/v1/models");
    assert!(
        refused
            .problem(429, "too-many-requests")
            .contains("3 requests a minute")
    );
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!(first.get("/readyz").status, 200, "probes are free");
    assert_eq!(api.with_key(&second).get("/v1/models").status, 200);
}
