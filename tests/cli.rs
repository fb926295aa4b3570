//! The command line, as a person and as a program use it.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{BINARY, moth, test_image, xmp};

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn keys(line: &Value) -> BTreeSet<&str> {
    line.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// Every file of `test_images`, relative to it.
fn test_images() -> BTreeSet<String> {
    ["good", "bad"]
        .into_iter()
        .flat_map(|folder| {
            let files = fs::read_dir(test_image(folder)).unwrap();
            files.map(move |file| {
                format!(
                    "{folder}/{}",
                    file.unwrap().file_name().into_string().unwrap()
                )
            })
        })
        .collect()
}

#[test]
fn classify_prints_one_line_for_each_file() {
    let output = run(&["classify", "--json", "test_images"]);
    assert_eq!(output.status.code(), Some(1), "the bad ones fail");
    let lines = lines(&output);
    let paths: Vec<&str> = lines
        .iter()
        .map(|line| line["path"].as_str().unwrap())
        .collect();
    assert!(paths.is_sorted());
    assert_eq!(paths.len(), test_images().len());
    for line in &lines {
        let expected = [
            "path",
            "className",
            "probability",
            "probabilities",
            "reason",
        ];
        assert_eq!(keys(line), BTreeSet::from(expected));
        let is_good = line["path"]
            .as_str()
            .unwrap()
            .starts_with("test_images/good/");
        assert_eq!(line["reason"].is_null(), is_good, "{line}");
        assert_eq!(line["className"].is_string(), is_good, "{line}");
        if is_good {
            let class = line["className"].as_str().unwrap();
            assert_eq!(line["probabilities"][class], line["probability"]);
        }
    }
}

#[test]
fn a_photo_that_xmp_turns_is_classified_upright() {
    let folder = tempfile::tempdir().unwrap();
    let photo = fs::read(test_image("good/faw-orientation-6.jpg")).unwrap();
    let by_xmp = xmp::jpeg(&photo, &xmp::packet(6));
    let not_turned = xmp::jpeg(&photo, &xmp::packet(1));
    for (name, bytes) in [("exif", &photo), ("none", &not_turned), ("xmp", &by_xmp)] {
        fs::write(folder.path().join(name).with_extension("jpg"), bytes).unwrap();
    }
    let output = run(&["classify", "--json", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let [exif, none, xmp]: [Value; 3] = lines(&output).try_into().unwrap();
    assert_eq!(xmp["probabilities"], exif["probabilities"]);
    assert_ne!(xmp["probabilities"], none["probabilities"]);
}

fn json_file(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn classify_shows_a_table() {
    let output = run(&[
        "classify",
        "test_images/good/aaw.jpg",
        "test_images/bad/empty.jpg",
    ]);
    let table = stdout(&output);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3);
    assert!(rows[0].starts_with("file") && rows[0].contains("probability"));
    let golden = json_file("tests/golden.json");
    let class = golden["images"]["aaw.jpg"]["className"].as_str().unwrap();
    assert!(rows[1].starts_with("test_images/good/aaw.jpg") && rows[1].contains(class));
    assert!(rows[2].contains("the file is empty"));
    assert_eq!(
        run(&["classify", "test_images/good/aaw.jpg"]).status.code(),
        Some(0)
    );
}

#[test]
fn the_self_test_compares_with_the_manifest() {
    let output = run(&["classify", "--self-test"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut manifest = json_file("model/model.json");
    let recorded = manifest["self_test"].as_object().unwrap().iter();
    let recorded = recorded.map(|(label, value)| (value.as_f64().unwrap(), label.clone()));
    let (probability, label) = recorded.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    let verdict = format!("self-test passed: {label} ");
    assert!(stdout(&output).starts_with(&verdict), "{}", stdout(&output));

    let model = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    std::os::unix::fs::symlink(shipped.join("model.onnx"), model.path().join("model.onnx"))
        .unwrap();
    let mut with = |answer: Value| {
        manifest["self_test"] = answer;
        fs::write(model.path().join("model.json"), manifest.to_string()).unwrap();
        Command::new(BINARY)
            .args(["classify", "--self-test", "--json"])
            .env("MODEL_DIR", model.path())
            .output()
            .unwrap()
    };
    let other = with(serde_json::json!({label: probability - 0.03}));
    assert_eq!(other.status.code(), Some(1));
    assert_eq!(lines(&other)[0]["passed"], false);
    let none = with(serde_json::json!({}));
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("run model/export.py again"));
}

/// The shipped model in a folder of its own, compiled.
fn compiled_model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    for file in ["model.json", "model.onnx"] {
        std::os::unix::fs::symlink(shipped.join(file), folder.path().join(file)).unwrap();
    }
    let output = Command::new(BINARY)
        .arg("compile")
        .env("MODEL_DIR", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("model.compiled: "));
    folder
}

#[test]
fn a_compiled_model_is_used_if_it_is_whole_and_of_this_model() {
    let folder = compiled_model();
    let way = |variables: &[(&str, &str)]| {
        let output = Command::new(BINARY)
            .args(["classify", "--self-test", "--json"])
            .env("MODEL_DIR", folder.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        lines(&output)[0]["way"].as_str().unwrap().to_owned()
    };
    assert!(way(&[]).starts_with("compiled, "));
    assert_eq!(way(&[("MAX_CPU_ISA", "portable")]), "compiled, portable");

    let compiled = folder.path().join("model.compiled");
    let mut bytes = fs::read(&compiled).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&compiled).unwrap();
    fs::write(&compiled, &bytes).unwrap();
    let said = way(&[]);
    assert!(
        said.contains("made of the ONNX file") && said.contains("it is damaged"),
        "{said}"
    );
    fs::remove_file(&compiled).unwrap();
    assert!(way(&[]).contains("model.compiled: there is none"));
}

#[test]
fn a_model_that_the_engine_does_not_know_runs_on_tract() {
    let with_color_model = |arguments: &[&str]| {
        let output = Command::new(BINARY)
            .args(arguments)
            .env("MODEL_DIR", "tests/color_model")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    assert!(
        with_color_model(&["compile"]).starts_with("not compiled, as the engine does not know ")
    );
    let classified = with_color_model(&["classify", "--json", "test_images/good/one-pixel.png"]);
    assert!(classified.contains("\"className\":\""), "{classified}");
}

#[test]
fn local_gives_every_file_its_outcome() {
    let output = run(&["local", "--json", "test_images"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = lines(&output);
    let seen: BTreeSet<String> = lines
        .iter()
        .map(|line| line["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(seen, test_images());
    assert_eq!(lines.len(), seen.len());
    let mut ordinals: BTreeMap<(String, String), BTreeSet<u64>> = BTreeMap::new();
    for line in &lines {
        assert_eq!(
            keys(line),
            BTreeSet::from([
                "key",
                "versionId",
                "outcome",
                "className",
                "probability",
                "count",
                "date",
                "reason"
            ])
        );
        assert!(line["versionId"].is_string());
        let is_good = line["key"].as_str().unwrap().starts_with("good/");
        assert_eq!(
            line["outcome"],
            if is_good { "recorded" } else { "rejected" },
            "{line}"
        );
        assert_eq!(line["reason"].is_null(), is_good);
        if is_good {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            let of_class = ordinals
                .entry((text("date"), text("className")))
                .or_default();
            assert!(of_class.insert(line["count"].as_u64().unwrap()), "{line}");
        }
    }
    for (class, of_class) in ordinals {
        let expected: BTreeSet<u64> = (1..=of_class.len() as u64).collect();
        assert_eq!(of_class, expected, "{class:?}");
    }
}

#[test]
fn local_keeps_what_it_is_told_to_keep() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = [
        "local",
        "--json",
        "--data",
        data.to_str().unwrap(),
        "test_images/good/aaw.jpg",
    ];
    for count in 1..=2 {
        let output = run(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(lines(&output)[0]["count"], count);
    }
    let log = fs::read_to_string(data.join("function.log")).unwrap();
    let logged: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["message"] == "image")
        .collect();
    assert_eq!(logged.len(), 2, "{log}");
    for field in [
        "fetch_ms",
        "decode_ms",
        "inference_ms",
        "commit_ms",
        "probability",
        "count",
    ] {
        assert!(logged[0][field].is_number(), "{field} in {}", logged[0]);
    }
    for field in ["key", "version", "class", "date", "outcome"] {
        assert!(logged[0][field].is_string(), "{field} in {}", logged[0]);
    }
}

#[test]
fn the_log_begins_anew_when_it_is_full() {
    let data = tempfile::tempdir().unwrap();
    let log = |name| data.path().join(name);
    let full = "a line of an earlier run\n".repeat(10 * 1024 * 1024 / 25);
    fs::write(log("function.log"), &full).unwrap();
    let folder = data.path().to_str().unwrap();
    let output = run(&["local", "--data", folder, "test_images/good/aaw.jpg"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        fs::read_to_string(log("function.log.1"))
            .unwrap()
            .starts_with(&full)
    );
    let new = fs::read_to_string(log("function.log")).unwrap();
    assert!(new.contains("aaw.jpg") && new.len() < 10_000, "{new}");
}

#[test]
fn serve_runs_until_it_is_interrupted() {
    let mut served = Command::new(BINARY)
        .args([
            "local",
            "--serve",
            "--json",
            "--port",
            "19400",
            "test_images/good/aaw.jpg",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(served.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&line).unwrap()["outcome"],
        "recorded"
    );

    // Its port is taken now, and that is said.
    let output = run(&["local", "--serve", "--port", "19400"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("port 19400"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("--port"));

    let interrupt = Command::new("kill")
        .args(["-INT", &served.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let interrupted = Instant::now();
    assert!(served.wait().unwrap().success());
    // It takes 0.05 s; what waited for something that never ends took 2 s.
    assert!(interrupted.elapsed() < Duration::from_secs(1));
    // Nothing of it is left.
    TcpListener::bind("127.0.0.1:19400").unwrap();
    let mut said = String::new();
    BufReader::new(served.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert!(said.contains("http://127.0.0.1:19400"));
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for (path, said) in [
        ("no/such/path", "no/such/path"),
        (empty.to_str().unwrap(), "no files in"),
    ] {
        for command in ["classify", "local"] {
            let output = run(&[command, path]);
            assert_eq!(output.status.code(), Some(1));
            assert!(stderr(&output).contains(said), "{}", stderr(&output));
        }
    }

    let with_model = |command: &str, dir: &Path| {
        let output = Command::new(BINARY)
            .args([command, test_image("good/aaw.jpg").to_str().unwrap()])
            .env("MODEL_DIR", dir)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    let tampered = folder.path().join("tampered");
    fs::create_dir(&tampered).unwrap();
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/model/model.json"),
        tampered.join("model.json"),
    )
    .unwrap();
    for command in ["classify", "local"] {
        let missing = with_model(command, &empty);
        assert!(
            missing.contains("model.json") && missing.contains("MODEL_DIR"),
            "{missing}"
        );
        fs::write(tampered.join("model.onnx"), b"another file").unwrap();
        let wrong = with_model(command, &tampered);
        assert!(
            wrong.contains("model.onnx") && wrong.contains("SHA-256"),
            "{wrong}"
        );
        fs::remove_file(tampered.join("model.onnx")).unwrap();
        let gone = with_model(command, &tampered);
        assert!(
            gone.contains("cannot read") && gone.contains("model.onnx"),
            "{gone}"
        );
    }

    // The right file under a manifest that does not fit it: the function finds out, not the command.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    let mut manifest = json_file("model/model.json");
    let labels = manifest["labels"].as_array_mut().unwrap();
    labels.push("one too many".into());
    let said = format!("the manifest has {} labels", labels.len());
    fs::write(tampered.join("model.json"), manifest.to_string()).unwrap();
    std::os::unix::fs::symlink(model.join("model.onnx"), tampered.join("model.onnx")).unwrap();
    for command in ["classify", "local"] {
        let unfit = with_model(command, &tampered);
        assert!(unfit.contains(&said), "{unfit}");
    }

    let output = Command::new(BINARY)
        .args(["classify", "."])
        .env("TIME_ZONE", "Lagos")
        .env("MAX_IMAGE_PIXELS", "many")
        .output()
        .unwrap();
    let said = stderr(&output);
    assert!(
        said.contains("TIME_ZONE") && said.contains("MAX_IMAGE_PIXELS"),
        "{said}"
    );
}

#[test]
fn a_thousand_images_are_a_thousand_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    // Text is rejected without inference: this is about the way there and back.
    for n in 0..1000 {
        let file = folder.path().join(format!("{n:04}.jpg"));
        fs::write(file, format!("photo {n}")).unwrap();
    }
    fs::write(folder.path().join("moth.jpg"), moth()).unwrap();
    fs::write(folder.path().join(".hidden"), b"not for upload").unwrap();
    let output = run(&["local", "--json", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = lines(&output);
    let keys: BTreeSet<&str> = lines
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect();
    assert_eq!((lines.len(), keys.len()), (1001, 1001));
    let recorded: Vec<&Value> = lines
        .iter()
        .filter(|line| line["outcome"] == "recorded")
        .collect();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0]["key"], "moth.jpg");
}
