//! The server itself: hostile connections, floods, and its end.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    hostile::photos,
    support::{
        api::Api,
        command::{BINARY, root},
        exclusive,
        photo::{COLOR_MODEL, moth, photo},
    },
};

/// Bound on the wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(api: &Api) -> TcpStream {
    let stream = TcpStream::connect(&api.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes, and reads until the server closes the connection.
fn exchange(api: &Api, bytes: &[u8]) -> String {
    let mut stream = connect(api);
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn malformed_requests_end_their_connection_alone() {
    let api = Api::classifier();
    let bomb = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    let many: String = (0..1000).map(|n| format!("A{n}: 1\r\n")).collect();
    let many = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    for (bytes, status) in [
        (bomb.as_str(), " 431 "),
        (&many, " 431 "),
        ("hello\r\n\r\n", " 400 "),
        ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", " 400 "),
        (
            "POST /v1/classify HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            " 400 ",
        ),
        (
            "GET http://evil.example/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            " 401 ",
        ),
        (
            "GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            " 200 ",
        ),
    ] {
        let answer = exchange(&api, bytes.as_bytes());
        let line = answer.lines().next().unwrap_or("");
        assert!(line.contains(status), "{status}: {line}");
    }
    assert_eq!(api.get("/livez").status, 200);
}

#[test]
fn a_body_that_is_cut_off_is_no_photo() {
    let api = Api::classifier();
    let mut stream = connect(&api);
    let head = "POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&moth()[..500]).unwrap();
    drop(stream);
    assert_eq!(
        api.photo("/v1/classify", &photo("FAW")).ok()["className"],
        "FAW"
    );
}

#[test]
fn idle_connections_keep_nobody_out() {
    let api = Api::classifier();
    // More than the server keeps, and each held open by this side.
    let idle: Vec<TcpStream> = (0..900).map(|_| connect(&api)).collect();
    let more: Vec<TcpStream> = (0..300).map(|_| connect(&api)).collect();
    let started = Instant::now();
    assert_eq!(
        api.photo("/v1/classify", &photo("FAW")).ok()["className"],
        "FAW"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    // The first one was closed to make room.
    let mut first = &idle[0];
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0);
    drop(more);
}

/// Lets this process have this number of files.
fn allow_files(number: u64) {
    let prlimit = Command::new("prlimit")
        .args([
            "--pid",
            &std::process::id().to_string(),
            &format!("--nofile={number}"),
        ])
        .status();
    assert!(prlimit.unwrap().success());
}

#[test]
#[ignore = "long: 10,000 connections"]
fn ten_thousand_idle_connections_take_little_memory_and_keep_nobody_out() {
    let _turn = exclusive::blocking_turn();
    allow_files(20_000);
    let api = Api::classifier();
    let mut idle = Vec::new();
    for n in 0..10_000 {
        let mut stream = connect(&api);
        // Some have begun a request.
        if n % 3 == 0 {
            let _ = stream.write_all(b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        }
        idle.push(stream);
        if n % 1000 == 0 {
            let started = Instant::now();
            assert_eq!(
                api.photo("/v1/classify", &photo("FAW")).ok()["className"],
                "FAW"
            );
            assert!(started.elapsed() < Duration::from_secs(5));
        }
    }
    let peak = api.peak_memory();
    println!("10,000 connections: {peak} MiB");
    assert!(peak < 150, "{peak} MiB");
}

#[test]
#[ignore = "long: photos of 50 million pixels"]
fn bombs_at_once_stay_within_the_memory_of_one() {
    let _turn = exclusive::blocking_turn();
    let api = Api::classifier();
    let bombs = photos::large(0);
    std::thread::scope(|scope| {
        for bomb in bombs.iter().chain(&bombs) {
            let api = &api;
            scope.spawn(move || {
                let status = api.photo("/v1/classify", &bomb.bytes).status;
                assert!(matches!(status, 200 | 422 | 429), "{}: {status}", bomb.name);
            });
        }
    });
    let peak = api.peak_memory();
    println!("{} large photos at once: {peak} MiB", 2 * bombs.len());
    // docs/operations.md: 700 for one, and BODY_MEMORY for the bodies.
    assert!(peak < 956, "{peak} MiB");
    assert_eq!(
        api.photo("/v1/classify", &photo("FAW")).ok()["className"],
        "FAW"
    );
}

#[test]
fn a_flood_gets_429_and_the_rest_is_answered() {
    let api = Api::start(
        &["--without-tables"],
        &[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")],
    );
    let moth = moth();
    // Each photo has a comment of its own, so that no result is in the cache.
    let unique = |n: u32| {
        let mut bytes = moth[..2].to_vec();
        bytes.extend([0xff, 0xfe, 0, 6]);
        bytes.extend(n.to_be_bytes());
        bytes.extend(&moth[2..]);
        bytes
    };
    let statuses: Vec<(u16, String)> = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..200)
            .map(|n| {
                let (api, bytes) = (&api, unique(n));
                scope.spawn(move || {
                    let answer = api.photo("/v1/classify", &bytes);
                    let retry = answer.header("retry-after").to_owned();
                    (answer.status, retry)
                })
            })
            .collect();
        requests
            .into_iter()
            .map(|request| request.join().unwrap())
            .collect()
    });
    let number = |status| {
        statuses
            .iter()
            .filter(|(other, _)| *other == status)
            .count()
    };
    assert_eq!(number(200) + number(429), 200);
    assert!(number(200) >= 65, "{} were answered", number(200));
    assert!(number(429) > 0);
    assert!(
        statuses
            .iter()
            .all(|(status, retry)| *status == 200 || retry == "1")
    );
    assert_eq!(api.photo("/v1/classify", &moth).status, 200);
}

#[test]
fn what_was_accepted_is_answered_before_the_end() {
    for _ in 0..3 {
        let mut api = Api::start(&["--without-tables"], &[]);
        let moth = moth();
        let head = format!(
            "POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            moth.len()
        );
        // Half of each request is sent before the signal, so that the server has accepted it for sure.
        let mut requests: Vec<TcpStream> = (0..20).map(|_| connect(&api)).collect();
        for stream in &mut requests {
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&moth[..1000]).unwrap();
        }
        while !api_has_in_flight(&api, 20) {}
        api.signal("-TERM");
        for stream in &mut requests {
            stream.write_all(&moth[1000..]).unwrap();
        }
        for stream in &mut requests {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            assert!(answer.contains("\"className\":\"AAW\""), "{answer}");
        }
        assert!(api.wait().success());
        assert!(TcpStream::connect(&api.address).is_err());
    }
}

#[test]
fn an_answer_is_sent_to_its_end() {
    // An answer of 20 MB, which no buffer of the system holds.
    let models = tempfile::tempdir().unwrap();
    let model = models.path().join("large");
    fs::create_dir(&model).unwrap();
    for file in ["model.json", "model.onnx"] {
        fs::copy(
            root().join("tests/color_model").join(file),
            model.join(file),
        )
        .unwrap();
    }
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(model.join("model.json")).unwrap()).unwrap();
    manifest["taxa"] = json!({"FAW": "x".repeat(20_000_000)});
    fs::write(model.join("model.json"), manifest.to_string()).unwrap();
    let arguments = [
        "--without-tables",
        "--models",
        models.path().to_str().unwrap(),
    ];
    let mut api = Api::start(&arguments, &[("MODEL_DIR", "")]);
    let ask = |connection: &str| {
        let mut stream = connect(&api);
        let request = format!(
            "GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {connection}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = vec![0; 1000];
        stream.read_exact(&mut first).unwrap();
        stream
    };
    let mut slow = ask("keep-alive");
    let mut slower = ask("close");
    // Neither the limit of connections nor the end of the server cuts it off.
    let idle: Vec<TcpStream> = (0..950).map(|_| connect(&api)).collect();
    assert_eq!(api.get("/livez").status, 200);
    api.signal("-TERM");
    drop(idle);
    for stream in [&mut slow, &mut slower] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.len() > 19_999_000, "{} bytes", rest.len());
        assert!(rest.ends_with(b"}"));
    }
    assert!(api.wait().success());
}

#[test]
fn a_server_without_free_files_makes_room() {
    let mut command = Command::new("bash");
    let limited = "ulimit -n 80 && exec \"$0\" serve --port 0 --without-tables";
    command.args(["-c", limited, BINARY]).current_dir(root());
    command.env(COLOR_MODEL.0, COLOR_MODEL.1);
    let api = Api::of(command).unwrap();
    let idle: Vec<TcpStream> = (0..300).map(|_| connect(&api)).collect();
    let started = Instant::now();
    assert_eq!(
        api.photo("/v1/classify", &photo("FAW")).ok()["className"],
        "FAW"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(idle);
}

/// Whether this number of requests, and the one that asks, are in flight.
fn api_has_in_flight(api: &Api, number: u32) -> bool {
    let metrics = String::from_utf8(api.get("/metrics").body).unwrap();
    metrics.contains(&format!("http_requests_in_flight {}\n", number + 1))
}

#[test]
fn a_server_that_stops_says_so() {
    let mut api = Api::classifier();
    api.signal("-TERM");
    // It accepts connections for a second, so that load balancers see this.
    let draining = loop {
        let answer = api.get("/readyz");
        if answer.status != 200 {
            break answer;
        }
    };
    draining.problem(503, "draining");
    assert_eq!(draining.header("connection"), "close");
    assert!(api.wait().success());
}
