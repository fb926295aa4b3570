//! A failure of the embedded S3 names its cause, and is logged once.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::s3::{BUCKET, Server, client_config, failure, message};

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_failure_names_its_cause_and_is_logged_once() {
    let log = Log::default();
    let levels: tracing_subscriber::filter::Targets = "error,s3s=off".parse().unwrap();
    let lines = tracing_subscriber::fmt::layer().with_writer(log.clone());
    let subscriber = tracing_subscriber::registry().with(levels).with(lines);
    let _logging = tracing::subscriber::set_default(subscriber);
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let config = client_config(&server.endpoint, "key", "secret");
    let client = Client::from_conf(config.retry_config(RetryConfig::disabled()).build());
    let put = || client.put_object().bucket(BUCKET).key("a").send();
    put().await.unwrap();
    let absent = client.get_object().bucket(BUCKET).key("b").send().await;
    assert_eq!(failure(absent).0, 404);
    assert!(log.take().is_empty());

    std::fs::remove_dir_all(folder.path().join("blobs")).unwrap();
    let failed = put().await;
    let said = message(&failed);
    for part in [
        "could not be read or written: ",
        "No such file or directory (os error 2)",
        &format!("keeps its data in {}: check", folder.path().display()),
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(failure(failed), (500, "InternalError".to_owned()));
    let logged = log.take();
    assert_eq!(logged.len(), 1, "{logged:#?}");
    assert!(
        logged[0].contains("ERROR") && logged[0].contains(&said.replace('"', "\\\"")),
        "{}",
        logged[0]
    );

    // A GET, a HEAD and a call that is not implemented are logged too.
    let get = client.get_object().bucket(BUCKET).key("a").send().await;
    assert_eq!(failure(get).0, 500);
    assert!(log.take()[0].contains("No such file"));
    let head = client.head_object().bucket(BUCKET).key("a").send().await;
    assert_eq!(failure(head).0, 500);
    assert!(log.take()[0].contains("No such file"));
    let tags = client.get_bucket_tagging().bucket(BUCKET).send().await;
    assert_eq!(failure(tags).0, 501);
    assert_eq!(log.take().len(), 1);
}
