//! `serve`, running, and the requests that tests send to it.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;
use tempfile::NamedTempFile;
use ureq::{Agent, http};

use super::{
    command::{command, json_lines, run},
    photo::COLOR_MODEL,
    stack::Stack,
};

/// The line on standard error once the models are loaded.
const READY: &str = "Ready.";

/// A running `serve`. It is killed when it is dropped.
pub(crate) struct Api {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    log: NamedTempFile,
    client: Client,
}

/// A new API key with this `role`, and for this `station` alone if there is one: the key, and its entry of API_KEYS.
pub(crate) fn key(role: &str, station: Option<&str>) -> (String, String) {
    let name = format!(
        "the-{}{role}",
        station.map_or(String::new(), |name| format!("{name}-"))
    );
    let mut arguments = vec!["api-key", &name, "--role", role, "--json"];
    arguments.extend(station.iter().flat_map(|station| ["--station", station]));
    let line = &json_lines(&run(&arguments))[0];
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    (text("key"), text("entry"))
}

/// Sends requests with one API key, or without.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    key: Option<String>,
}

/// An answer, of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {} {text}", self.status))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON of a success.
    pub(crate) fn ok(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, 200, "{text}");
        assert_eq!(self.header("content-type"), "application/json");
        self.json()
    }

    /// Checks that this is a problem with this status and type, and returns its `detail`.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let json = self.json();
        assert_eq!(json["type"], format!("/problems/{kind}"), "{json}");
        assert_eq!(json["status"], status, "{json}");
        assert_eq!(json["requestId"], self.header("x-request-id"), "{json}");
        json["detail"].as_str().unwrap().to_owned()
    }
}

impl Api {
    /// Starts `serve` with the colour model and without tables.
    pub(crate) fn classifier() -> Self {
        Self::start(&["--without-tables"], &[COLOR_MODEL])
    }

    /// Starts `serve` on any port with these arguments and `variables`, and waits until it is ready.
    pub(crate) fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut all = vec!["serve", "--port", "0"];
        all.extend(arguments);
        let mut command = command(&all);
        command.envs(variables.iter().copied());
        Self::of(command).unwrap_or_else(|said| panic!("{said}"))
    }

    /// Starts `serve` with the colour model, on the tables and buckets of `stack`: through its proxies, if it has some.
    pub(crate) fn of_stack(stack: &Stack, variables: &[(&str, &str)]) -> Self {
        let [s3, dynamodb] = stack.addresses().map(|address| format!("http://{address}"));
        let stack = [
            COLOR_MODEL,
            ("AWS_ENDPOINT_URL_S3", s3.as_str()),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.as_str()),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local-secret"),
            ("AWS_REGION", "us-east-1"),
            ("PREDICTIONS_TABLE", "predictions"),
            ("LEDGER_TABLE", "ledger"),
            ("PHOTOS_BUCKET", "moths"),
            ("THUMBNAILS_BUCKET", "moths-thumbnails"),
        ];
        Self::start(&[], &[&stack, variables].concat())
    }

    /// Starts a command that serves, and waits until it is ready. Fails with what it said.
    pub(crate) fn of(mut command: Command) -> Result<Self, String> {
        let log = NamedTempFile::new().unwrap();
        let stdout = File::options().append(true).open(log.path()).unwrap();
        command.stdout(stdout).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut said = String::new();
        while !said.lines().any(|line| line == READY) {
            if stderr.read_line(&mut said).unwrap() == 0 {
                process.wait().unwrap();
                return Err(said);
            }
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let mut words = said
            .lines()
            .filter_map(|line| line.strip_prefix("HTTP API"));
        let base = words.next().expect("it says its address").trim().to_owned();
        let address = base.strip_prefix("http://").unwrap().to_owned();
        let client = Client::new(&base, None);
        Ok(Self {
            process,
            address,
            log,
            client,
        })
    }

    /// A client with this API key.
    pub(crate) fn with_key(&self, key: &str) -> Client {
        Client::new(&self.client.base, Some(key.to_owned()))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = Command::new("kill")
            .args([signal, &self.process.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }

    /// The most memory that it has had, in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() / 1024
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// The lines of its log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let mut text = String::new();
        File::open(self.log.path())
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect()
    }
}

impl std::ops::Deref for Api {
    type Target = Client;

    /// A client without a key.
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Client {
    pub(crate) fn new(base: &str, key: Option<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        Self {
            agent: config.build().into(),
            base: base.to_owned(),
            key,
        }
    }

    /// Sends a request. `headers` are names and values.
    #[track_caller]
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let answer = self.try_send(method, path, headers, body.as_ref());
        answer.unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// The same. `None` if the connection was cut.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let has_no_body = matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS");
        let response = match body.is_empty() && has_no_body {
            true => self.agent.run(request.body(()).unwrap()),
            false => self.agent.run(request.body(body.to_vec()).unwrap()),
        };
        let (parts, mut body) = response.ok()?.into_parts();
        Some(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.with_config().limit(1 << 30).read_to_vec().ok()?,
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], [])
    }

    /// Posts JSON.
    pub(crate) fn post(&self, path: &str, json: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send("POST", path, &headers, json.to_string())
    }

    /// Posts a photo.
    pub(crate) fn photo(&self, path: &str, bytes: &[u8]) -> Answer {
        self.send("POST", path, &[("content-type", "image/jpeg")], bytes)
    }

    /// Posts a form. A part has a name, the name of its file if it has one, and bytes.
    pub(crate) fn form(&self, path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Answer {
        let boundary = "a-boundary-that-no-photo-has";
        let mut body = Vec::new();
        for (name, file, bytes) in parts {
            let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
            );
            body.extend(head.as_bytes());
            body.extend(*bytes);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{boundary}--\r\n").as_bytes());
        let content_type = format!("multipart/form-data; boundary={boundary}");
        self.send("POST", path, &[("content-type", &content_type)], body)
    }
}
