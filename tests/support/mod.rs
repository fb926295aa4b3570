//! The embedded services with the real binary as the function, and the calls that tests make.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

pub mod promise;
pub mod proxy;
pub mod s3;
pub mod xmp;

use std::{collections::HashMap, ffi::OsString, path::PathBuf, process::Command, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use moth_classifier::{
    config::Config,
    local::{self, Between, Delivery, Events, Local, Settings, url},
};
use proxy::Proxy;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_moth-classifier");

pub type Item = HashMap<String, AttributeValue>;

/// A file of `test_images`.
pub fn test_image(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("test_images")
        .join(name)
}

/// Bytes of one drawn moth, a JPEG.
pub fn moth() -> Vec<u8> {
    std::fs::read(test_image("good/aaw.jpg")).unwrap()
}

/// The configuration of the function, with `overrides`.
pub fn config(overrides: &[(&str, &str)]) -> Config {
    Config::read(|name| {
        let overridden = overrides.iter().find(|(variable, _)| *variable == name);
        match (overridden, name) {
            (Some((_, value)), _) => Some(OsString::from(value)),
            (None, "PREDICTIONS_TABLE") => Some("predictions".into()),
            (None, "LEDGER_TABLE") => Some("ledger".into()),
            (None, "MODEL_DIR") => std::env::var_os("MODEL_DIR")
                .or_else(|| Some(concat!(env!("CARGO_MANIFEST_DIR"), "/model").into())),
            _ => None,
        }
    })
    .unwrap()
}

/// How a stack differs from the one that `local` starts.
pub struct Options<'a> {
    /// Environment variables of the function.
    pub variables: &'a [(&'a str, &'a str)],
    pub processes: usize,
    /// Whether a put invokes the function.
    pub notify: bool,
    pub timeout: Duration,
    /// Whether proxies stand between the function and the services.
    pub proxied: bool,
    /// What an earlier stack kept.
    pub folder: Option<TempDir>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            variables: &[],
            processes: 2,
            notify: true,
            timeout: Duration::from_secs(60),
            proxied: false,
            folder: None,
        }
    }
}

/// A function that tells red, green and blue pictures, and answers in a moment.
pub const COLOR_MODEL: (&str, &str) = (
    "MODEL_DIR",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/color_model"),
);

/// A picture of one colour, a PNG, which [`COLOR_MODEL`] calls `class`.
pub fn picture(class: &str) -> Vec<u8> {
    let color = match class {
        "AAW" => [255, 0, 0],
        "ECLW" => [0, 255, 0],
        "FAW" => [0, 0, 255],
        _ => panic!("no color of {class}"),
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(20, 10, image::Rgb(color))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

pub struct Stack {
    pub local: Local,
    pub events: Events,
    pub s3: aws_sdk_s3::Client,
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// In front of S3 and DynamoDB, where the stack is proxied.
    pub proxies: Option<[Proxy; 2]>,
    folder: TempDir,
}

impl Stack {
    /// Starts the services and two processes of the function.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        Self::with(Options {
            variables,
            ..Options::default()
        })
        .await
    }

    pub async fn with(options: Options<'_>) -> Self {
        let folder = options
            .folder
            .unwrap_or_else(|| tempfile::tempdir().unwrap());
        let proxies = match options.proxied {
            true => Some([Proxy::listen().await, Proxy::listen().await]),
            false => None,
        };
        let settings = Settings {
            config: config(options.variables),
            folder: folder.path().to_owned(),
            port: 0,
            concurrency: options.processes,
            bootstrap: BINARY.into(),
            timeout: options.timeout,
            notify: options.notify,
            between: proxies.as_ref().map(|[s3, dynamodb]| Between {
                s3: s3.address(),
                dynamodb: dynamodb.address(),
            }),
        };
        let (local, events) = Local::start(settings).await.unwrap();
        if let Some([s3, dynamodb]) = &proxies {
            let endpoints = local.endpoints();
            for (proxy, service) in [(s3, endpoints.s3), (dynamodb, endpoints.dynamodb)] {
                let processes = local.processes();
                proxy.connect(service, move || processes.ids().into_iter().for_each(kill));
            }
        }
        let (s3, dynamodb) = local.clients();
        Self {
            local,
            events,
            s3,
            dynamodb,
            proxies,
            folder,
        }
    }

    /// In front of S3.
    pub fn s3_proxy(&self) -> &Proxy {
        &self.proxies.as_ref().unwrap()[0]
    }

    /// In front of DynamoDB.
    pub fn dynamodb_proxy(&self) -> &Proxy {
        &self.proxies.as_ref().unwrap()[1]
    }

    /// Stops everything and gives what it kept.
    pub async fn stop(self) -> TempDir {
        self.local.stop().await;
        self.folder
    }

    /// Stops everything and gives the lines of the function's log, which is complete only then.
    pub async fn stop_and_read_log(self) -> Vec<Value> {
        let folder = self.stop().await;
        let log = std::fs::read_to_string(folder.path().join("function.log")).unwrap();
        let lines = log.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    }

    /// Puts an object that invokes nothing, and gives its version id.
    pub async fn upload(&self, key: &str, bytes: Vec<u8>) -> String {
        let put = self
            .s3
            .put_object()
            .bucket(local::BUCKET)
            .key(key)
            .body(bytes.into());
        put.send().await.unwrap().version_id.unwrap()
    }

    /// Puts an object, and gives its version id and what became of its event.
    pub async fn put(&mut self, key: &str, bytes: Vec<u8>) -> (String, Delivery) {
        let version = self.upload(key, bytes).await;
        (version, self.delivery().await)
    }

    /// What became of the next event that ends.
    pub async fn delivery(&mut self) -> Delivery {
        let deliveries = self.events.deliveries.recv();
        tokio::select! {
            delivery = tokio::time::timeout(Duration::from_secs(120), deliveries) => delivery.unwrap().unwrap(),
            failure = self.events.failure.recv() => panic!("{}", failure.unwrap()),
        }
    }

    /// Invokes the function over the Invoke API; its error where it failed.
    pub async fn invoke(&self, event: &Value) -> Result<Value, Value> {
        let url = format!(
            "{}/2015-03-31/functions/{}/invocations",
            url(self.local.endpoints().lambda),
            local::lambda::FUNCTION
        );
        let event = event.to_string();
        tokio::task::spawn_blocking(move || {
            let mut response = ureq::post(&url).send(event).unwrap();
            let failed = response.headers().contains_key("x-amz-function-error");
            let answer: Value =
                serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
            if failed { Err(answer) } else { Ok(answer) }
        })
        .await
        .unwrap()
    }

    /// Every record, in order of date and id.
    pub async fn records(&self) -> Vec<Item> {
        self.scan("predictions").await
    }

    /// Every item of the ledger whose key begins with `prefix`.
    pub async fn ledger(&self, prefix: &str) -> Vec<Item> {
        let mut items = self.scan("ledger").await;
        items.retain(|item| string(item, "LedgerKey").starts_with(prefix));
        items
    }

    async fn scan(&self, table: &str) -> Vec<Item> {
        let pages = self.dynamodb.scan().table_name(table).consistent_read(true);
        pages
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .unwrap()
    }
}

/// An S3 event for `objects`: bucket, form-encoded key, version id.
pub fn event(objects: &[(&str, &str, Option<&str>)]) -> Value {
    let record = |(bucket, key, version): &(&str, &str, Option<&str>)| {
        let mut object = json!({"key": key, "size": 1, "sequencer": "0055AED6DCD90281E5"});
        if let Some(version) = version {
            object["versionId"] = json!(version);
        }
        json!({
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": "2026-11-20T18:04:31.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket}, "object": object},
        })
    };
    json!({"Records": objects.iter().map(record).collect::<Vec<_>>()})
}

/// An SQS event of messages: id and body.
pub fn queue_event(messages: &[(String, Value)]) -> Value {
    let record = |(id, body): &(String, Value)| json!({"messageId": id, "eventSource": "aws:sqs", "body": body.to_string()});
    json!({"Records": messages.iter().map(record).collect::<Vec<_>>()})
}

/// Ends a process at once.
pub fn kill(process: u32) {
    // It may have ended by itself.
    let _ = Command::new("kill")
        .args(["-9", &process.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
}

pub fn string(item: &Item, attribute: &str) -> String {
    match &item[attribute] {
        AttributeValue::S(value) => value.clone(),
        other => panic!("{attribute} is {other:?}"),
    }
}

pub fn number(item: &Item, attribute: &str) -> f64 {
    match &item[attribute] {
        AttributeValue::N(value) => value.parse().unwrap(),
        other => panic!("{attribute} is {other:?}"),
    }
}

/// The one outcome in the answer to an event of one object.
pub fn outcome(answer: &Value) -> &Value {
    assert_eq!(
        answer["outcomes"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
    &answer["outcomes"][0]
}
