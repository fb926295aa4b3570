//! The embedded S3 alone, with the real SDK client.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{self, BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};
use tokio::task::JoinHandle;
use versioned_s3::{self as s3, Configuration, Notification, Store};

pub(crate) const BUCKET: &str = "moths";

pub(crate) const REGION: &str = "eu-west-1";

pub(crate) fn configuration() -> Configuration {
    Configuration {
        region: REGION.to_owned(),
        notifying_bucket: BUCKET.to_owned(),
    }
}

/// A running S3. Its data stays in the folder that it was started with.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) store: Store,
    pub(crate) notifications: UnboundedReceiver<Notification>,
    pub(crate) endpoint: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(folder: &TempDir) -> Self {
        Self::with_configuration(folder, configuration()).await
    }

    pub(crate) async fn with_configuration(folder: &TempDir, configuration: Configuration) -> Self {
        let (store, notifications) = Store::open(folder.path(), configuration).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = store.clone();
        let task = tokio::spawn(async move {
            let credentials = s3::Credentials {
                access_key: "key".to_owned(),
                secret_key: "secret".to_owned(),
            };
            s3::serve(listener, served, credentials, async {
                let _ = stopped.await;
            })
            .await
            .unwrap();
        });
        let client = client(&endpoint, "secret");
        Self {
            client,
            store,
            notifications,
            endpoint,
            stop,
            task,
        }
    }

    /// Starts an S3 with an empty bucket.
    pub(crate) async fn with_bucket(folder: &TempDir, versioned: bool) -> Self {
        let server = Self::start(folder).await;
        server.store.create_bucket(BUCKET, versioned).unwrap();
        server
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    pub(crate) async fn put(&self, key: &str, body: &[u8]) -> Option<String> {
        let put = self.client.put_object().bucket(BUCKET).key(key);
        let body = ByteStream::from(body.to_vec());
        put.body(body).send().await.unwrap().version_id
    }

    pub(crate) async fn get(&self, key: &str, version: Option<&str>) -> Vec<u8> {
        let get = self.client.get_object().bucket(BUCKET).key(key);
        let answer = get.set_version_id(version.map(str::to_owned)).send().await;
        answer.unwrap().body.collect().await.unwrap().to_vec()
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        let page = self.client.list_objects_v2().bucket(BUCKET).send().await;
        let objects = page.unwrap().contents.unwrap_or_default();
        objects
            .into_iter()
            .map(|object| object.key.unwrap())
            .collect()
    }

    pub(crate) async fn notification(&mut self) -> Notification {
        tokio::time::timeout(Duration::from_secs(5), self.notifications.recv())
            .await
            .unwrap()
            .unwrap()
    }
}

pub(crate) fn client(endpoint: &str, secret: &str) -> Client {
    Client::from_conf(client_config(endpoint, "key", secret).build())
}

pub(crate) fn client_config(endpoint: &str, access_key: &str, secret: &str) -> config::Builder {
    aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(access_key, secret, None, None, "test"))
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
}

/// HTTP status and error code of a failed call.
pub(crate) fn failure<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
) -> (u16, String) {
    match result.unwrap_err() {
        SdkError::ServiceError(error) => (
            error.raw().status().as_u16(),
            error.err().code().unwrap_or_default().to_owned(),
        ),
        error => panic!("{error:?}"),
    }
}

/// The message of a failed call.
pub(crate) fn message<T, E: ProvideErrorMetadata>(result: &Result<T, SdkError<E>>) -> String {
    let error = result.as_ref().err().unwrap();
    error.message().unwrap_or_default().to_owned()
}

/// `length` bytes whose pattern does not repeat within a block or a part.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    // 251 is prime.
    (0..length).map(|place| (place % 251) as u8).collect()
}
