//! `local --serve`, running.

use std::{
    io::{BufRead, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
};

/// The last line before the services are used.
const READY: &str = "Ctrl-C stops it.";
/// Attempts to find free ports. Another process may take a port between the search and the start.
const ATTEMPTS: usize = 20;

/// A running `local --serve --json`. It is killed when it is dropped.
pub(crate) struct Served {
    pub(crate) process: Child,
    /// Port of S3. DynamoDB, Lambda and the HTTP API have the three after it.
    pub(crate) port: u16,
    /// The lines on standard error up to [`READY`].
    pub(crate) greeting: Vec<String>,
    pub(crate) stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) stderr: Lines<BufReader<ChildStderr>>,
}

impl Served {
    /// Starts the command that `command` makes for a port, and waits until the services listen.
    pub(crate) fn start(command: impl Fn(&str) -> Command) -> Self {
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let mut command = command(&port.to_string());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut process = command.spawn().unwrap();
            let stdout = BufReader::new(process.stdout.take().unwrap()).lines();
            let stderr = BufReader::new(process.stderr.take().unwrap()).lines();
            let mut served = Self {
                process,
                port,
                greeting: Vec::new(),
                stdout,
                stderr,
            };
            for line in served.stderr.by_ref() {
                served.greeting.push(line.unwrap());
                if served.greeting.last().is_some_and(|line| line == READY) {
                    return served;
                }
            }
            let said = served.greeting.join("\n");
            assert!(said.contains("cannot listen on port"), "{said}");
        }
        panic!("no free ports in {ATTEMPTS} attempts");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first of four free ports in a row, outside of the range that Linux takes for other connections.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..30_000);
        let ports = [port, port + 1, port + 2, port + 3];
        let listeners = ports.map(|port| TcpListener::bind(("127.0.0.1", port)));
        if listeners.iter().all(Result::is_ok) {
            return port;
        }
    }
}
