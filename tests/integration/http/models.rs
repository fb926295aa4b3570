//! Several models, and their reload.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    api::Api,
    command::{command, root},
    photo::photo,
};

/// A folder with copies of the colour model.
fn models(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        copy(&folder.path().join(name));
    }
    folder
}

fn copy(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for file in ["model.json", "model.onnx"] {
        fs::copy(
            root().join("tests/color_model").join(file),
            folder.join(file),
        )
        .unwrap();
    }
}

/// Changes the manifest of a model.
fn edit(folder: &Path, change: impl Fn(&mut Value)) {
    let file = folder.join("model.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&file, manifest.to_string()).unwrap();
}

fn start(models: &Path) -> Result<Api, String> {
    let models = models.to_str().unwrap();
    let mut command = command(&[
        "serve",
        "--port",
        "0",
        "--without-tables",
        "--models",
        models,
    ]);
    command.env_remove("MODEL_DIR");
    Api::of(command)
}

#[test]
fn a_model_is_chosen_by_path_or_by_name() {
    let folder = models(&["moths", "beetles"]);
    edit(&folder.path().join("moths"), |manifest| {
        manifest["labels"] = json!(["A", "B", "C"]);
        manifest["self_test"] = json!({"A": 0.41, "B": 0.33, "C": 0.26});
    });
    let api = start(folder.path()).unwrap();
    let list = api.get("/v1/models").ok();
    assert_eq!(list["default"], "beetles");
    assert_eq!(list["models"][1]["name"], "moths");
    assert_eq!(list["models"][1]["labels"], json!(["A", "B", "C"]));
    assert_eq!(list["models"][1]["input"], json!({"width": 8, "height": 8}));
    let bytes = photo("FAW");
    for (path, class, model) in [
        ("/v1/classify", "FAW", "beetles"),
        ("/v1/classify?model=moths", "C", "moths"),
        ("/v1/models/moths/classify", "C", "moths"),
        ("/v1/models/beetles/classify", "FAW", "beetles"),
    ] {
        let answer = api.photo(path, &bytes).ok();
        assert_eq!(
            (&answer["className"], &answer["model"]["name"]),
            (&json!(class), &json!(model))
        );
    }
    let answer = api.form(
        "/v1/classify",
        &[("model", None, b"moths"), ("file", None, &bytes)],
    );
    assert_eq!(answer.ok()["className"], "C");
    for trick in [
        "..",
        "%2e%2e%2fmoths",
        "moths%00",
        "moths%2f",
        "MOTHS",
        "%",
        "%ff",
    ] {
        let answer = api.photo(&format!("/v1/models/{trick}/classify"), &bytes);
        assert!(
            (400..500).contains(&answer.status),
            "{trick}: {}",
            answer.status
        );
    }
    let both = api.photo("/v1/models/moths/classify?model=beetles", &bytes);
    both.problem(400, "malformed");
}

#[test]
fn a_reload_replaces_all_models_or_none() {
    let folder = models(&["one"]);
    let api = start(folder.path()).unwrap();
    let bytes = photo("FAW");
    assert_eq!(api.photo("/v1/classify", &bytes).ok()["className"], "FAW");

    copy(&folder.path().join("two"));
    edit(&folder.path().join("one"), |manifest| {
        manifest["threshold"] = json!(1.0);
    });
    let reloaded = api.post("/v1/models/reload", &json!({})).ok();
    assert_eq!(reloaded["models"], json!(["one", "two"]));
    // The result of the model before is forgotten.
    let answer = api.photo("/v1/classify", &bytes);
    assert_eq!(
        (answer.header("x-cache"), &answer.ok()["className"]),
        ("miss", &json!("UNKNOWN"))
    );

    // A model with other answers than its manifest says, and one that is no model.
    let bad: [&dyn Fn(&mut Value); 3] = [
        &|manifest| manifest["self_test"] = json!({"AAW": 0.9}),
        &|manifest| manifest["sha256"] = json!("0".repeat(64)),
        &|manifest| *manifest = json!({}),
    ];
    for change in bad {
        copy(&folder.path().join("two"));
        edit(&folder.path().join("one"), |manifest| {
            manifest["threshold"] = json!(0.0)
        });
        edit(&folder.path().join("two"), change);
        let refused = api.post("/v1/models/reload", &json!({}));
        let detail = refused.problem(422, "bad-model");
        assert!(detail.contains("two"), "{detail}");
        assert_eq!(
            api.photo("/v1/classify", &bytes).ok()["className"],
            "UNKNOWN"
        );
    }

    copy(&folder.path().join("two"));
    api.signal("-HUP");
    // SIGHUP has no answer: the next reload by the route waits for its turn.
    api.post("/v1/models/reload", &json!({})).ok();
    assert_eq!(api.photo("/v1/classify", &bytes).ok()["className"], "FAW");
    let said = start(&folder.path().join("one")).err().unwrap();
    assert!(said.contains("model.json"), "{said}");
}
