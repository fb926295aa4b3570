//! The embedded services, with the real binary as the function.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use moth_classifier::{
    config::FunctionConfig,
    local::{self, Delivery, Events, Local, Proxies, Settings, url},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    command::{BINARY, kill},
    item::{Item, string},
    model,
    photo::COLOR_MODEL,
    proxy::Proxy,
};

/// The bucket whose objects invoke the function.
pub(crate) const BUCKET: &str = local::BUCKET;

/// Longest wait for the end of an event.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a stack differs from the one that the command `local` starts.
pub(crate) struct Options<'a> {
    /// Environment variables of the function.
    pub(crate) variables: &'a [(&'a str, &'a str)],
    /// API_KEYS of the function's HTTP API.
    pub(crate) keys: &'a str,
    /// Processes of the function that run at once.
    pub(crate) processes: usize,
    /// Whether a put invokes the function.
    pub(crate) notify: bool,
    /// The function's timeout.
    pub(crate) timeout: Duration,
    /// Whether proxies stand between the function and the services.
    pub(crate) proxied: bool,
    /// The data of an earlier stack, to go on with.
    pub(crate) folder: Option<TempDir>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            variables: &[],
            keys: "",
            processes: 2,
            notify: true,
            timeout: Duration::from_secs(60),
            proxied: false,
            folder: None,
        }
    }
}

impl Options<'static> {
    /// A stack with the colour model, whose function is invoked by the test alone.
    pub(crate) fn invoked_by_hand() -> Self {
        Self {
            variables: &[COLOR_MODEL],
            notify: false,
            ..Self::default()
        }
    }
}

/// Running services and function. Their processes end when it is dropped.
pub(crate) struct Stack {
    pub(crate) local: Local,
    pub(crate) events: Events,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    /// In front of S3 and of DynamoDB, if the stack is proxied.
    proxies: Option<[Proxy; 2]>,
    folder: TempDir,
}

impl Stack {
    /// Starts a stack with the shipped model and with `variables` in the function's environment.
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        Self::with(Options {
            variables,
            ..Options::default()
        })
        .await
    }

    pub(crate) async fn with(options: Options<'_>) -> Self {
        let folder = options
            .folder
            .unwrap_or_else(|| tempfile::tempdir().unwrap());
        let proxies = match options.proxied {
            true => Some([Proxy::listen().await, Proxy::listen().await]),
            false => None,
        };
        let settings = Settings {
            config: config(options.variables),
            api: local::api(options.keys.parse().unwrap()),
            folder: folder.path().to_owned(),
            port: 0,
            concurrency: options.processes,
            bootstrap: BINARY.into(),
            timeout: options.timeout,
            notify: options.notify,
            proxies: proxies.as_ref().map(|[s3, dynamodb]| Proxies {
                s3: s3.address(),
                dynamodb: dynamodb.address(),
            }),
        };
        let (local, events) = Local::start(settings).await.unwrap();
        if let Some([s3, dynamodb]) = &proxies {
            let endpoints = local.endpoints();
            for (proxy, service) in [(s3, endpoints.s3), (dynamodb, endpoints.dynamodb)] {
                let instances = local.instances();
                proxy.connect(service, move || instances.ids().into_iter().for_each(kill));
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

    /// The proxies in front of S3 and of DynamoDB.
    pub(crate) fn proxies(&self) -> &[Proxy; 2] {
        self.proxies.as_ref().expect("the stack is proxied")
    }

    pub(crate) fn s3_proxy(&self) -> &Proxy {
        &self.proxies()[0]
    }

    pub(crate) fn dynamodb_proxy(&self) -> &Proxy {
        &self.proxies()[1]
    }

    /// Addresses of S3 and of DynamoDB: those of the proxies, if the stack is proxied.
    pub(crate) fn addresses(&self) -> [SocketAddr; 2] {
        match &self.proxies {
            Some(proxies) => proxies.each_ref().map(Proxy::address),
            None => {
                let endpoints = self.local.endpoints();
                [endpoints.s3, endpoints.dynamodb]
            }
        }
    }

    /// The proxy in front of the service that has `operation`.
    pub(crate) fn proxy_of(&self, operation: &str) -> &Proxy {
        match operation {
            "GetObject" => self.s3_proxy(),
            _ => self.dynamodb_proxy(),
        }
    }

    /// The folder with the data.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Ids of the function's processes that run now.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.local.instances().ids().into_iter().collect()
    }

    /// Stops services and function, and returns their data.
    pub(crate) async fn stop(self) -> TempDir {
        self.local.stop().await;
        self.folder
    }

    /// Stops services and function, and returns the lines of the function's log. It is complete only then.
    pub(crate) async fn stop_and_read_log(self) -> Vec<Value> {
        let folder = self.stop().await;
        let log = std::fs::read_to_string(folder.path().join("function.log")).unwrap();
        let lines = log.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect()
    }

    /// Puts an object, and returns its version id without waiting for its event.
    pub(crate) async fn upload(&self, key: &str, bytes: Vec<u8>) -> String {
        let put = self.s3.put_object().bucket(BUCKET).key(key);
        let put = put.body(bytes.into()).send().await.unwrap();
        put.version_id.expect("the bucket is versioned")
    }

    /// Puts an object, and waits for the end of its event. Returns its version id and the end.
    pub(crate) async fn put(&mut self, key: &str, bytes: Vec<u8>) -> (String, Delivery) {
        let version = self.upload(key, bytes).await;
        (version, self.delivery().await)
    }

    /// Waits for the end of the next event.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        let deliveries = self.events.deliveries.recv();
        tokio::select! {
            delivery = tokio::time::timeout(PATIENCE, deliveries) => delivery.unwrap().unwrap(),
            failure = self.events.failure.recv() => panic!("{}", failure.unwrap()),
        }
    }

    /// Invokes the function over the Invoke API. Returns its answer, or its error if it failed.
    pub(crate) async fn invoke(&self, event: &Value) -> Result<Value, Value> {
        let url = format!(
            "{}/2015-03-31/functions/{}/invocations",
            url(self.local.endpoints().lambda),
            local::FUNCTION
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
    pub(crate) async fn records(&self) -> Vec<Item> {
        self.scan("predictions").await
    }

    /// Every item of the ledger whose key begins with `prefix`.
    pub(crate) async fn ledger(&self, prefix: &str) -> Vec<Item> {
        let mut items = self.scan("ledger").await;
        items.retain(|item| string(item, "LedgerKey").starts_with(prefix));
        items
    }

    async fn scan(&self, table: &str) -> Vec<Item> {
        let pages = self.dynamodb.scan().table_name(table).consistent_read(true);
        let items = pages.into_paginator().items().send();
        items.collect::<Result<_, _>>().await.unwrap()
    }
}

/// The function's configuration: the shipped model, with `variables` over it.
fn config(variables: &[(&str, &str)]) -> FunctionConfig {
    FunctionConfig::read_with_tables(local::tables(), |name| {
        let given = variables.iter().find(|(variable, _)| *variable == name);
        match (given, name) {
            (Some((_, value)), _) => Some(OsString::from(value)),
            (None, "MODEL_DIR") => Some(model::compiled().into()),
            _ => None,
        }
    })
    .unwrap()
}
