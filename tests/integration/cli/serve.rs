//! The command `local --serve`, which runs until it is interrupted.

use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    command::{command, run, stderr},
    exclusive,
    served::Served,
};

/// Bound on the time from the interrupt to the end. It is 0.05 s. A shutdown that waited for a stuck task took 2 s.
const END: Duration = Duration::from_secs(1);

#[test]
fn serve_runs_until_it_is_interrupted() {
    let _turn = exclusive::blocking_turn();
    let mut served = Served::start(|port| {
        command(&[
            "local",
            "--serve",
            "--json",
            "--port",
            port,
            "test_images/good/aaw.jpg",
        ])
    });
    let port = served.port;
    let api = port + 3;
    assert!(served.greeting[0].contains(&format!("HTTP API  http://127.0.0.1:{api} ")));
    assert!(served.greeting[1].contains(&format!("http://127.0.0.1:{port}")));
    let line = served.stdout.next().unwrap().unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["outcome"], "recorded");

    let second = run(&["local", "--serve", "--port", &port.to_string()]);
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    assert!(said.contains(&format!("port {port}")), "{said}");
    assert!(said.contains("--port"), "{said}");

    let interrupt = Command::new("kill")
        .args(["-INT", &served.process.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let interrupted = Instant::now();
    assert!(served.process.wait().unwrap().success());
    assert!(interrupted.elapsed() < END);
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
}
