//! What is said when the disk of the embedded services fails, to the client and in the log.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use moth_classifier::local::CREDENTIALS;
use support::s3::{BUCKET, Server, client_config, failure, message};
use support::{BINARY, COLOR_MODEL};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

const PORT: u16 = 19430;

/// Makes the folder a disk of 1 MiB and starts what comes behind it there.
const ON_A_SMALL_DISK: &str =
    r#"mount -t tmpfs -o size=1m tmpfs "$1" && cd "$2" && shift 2 && exec "$@""#;

fn on_a_small_disk(folder: &Path, command: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK])
        .arg("sh")
        .arg(folder)
        .arg(env!("CARGO_MANIFEST_DIR"))
        .args(command)
        .env(COLOR_MODEL.0, COLOR_MODEL.1);
    unshare
}

/// Whether this system lets a test make a small disk; says so where it does not.
fn can_make_a_small_disk(folder: &Path) -> bool {
    let probe = on_a_small_disk(folder, &["true"]).output();
    let reason = match probe {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    // The harness would keep what eprintln! prints to itself.
    let skipped = format!("SKIPPED: no disk can be filled, as unshare(1) fails: {reason}\n");
    io::stderr().write_all(skipped.as_bytes()).unwrap();
    false
}

#[test]
fn a_photo_that_finds_no_room_says_why() {
    let folder = TempDir::new().unwrap();
    if !can_make_a_small_disk(folder.path()) {
        return;
    }
    let photo = TempDir::new().unwrap();
    let photo = photo.path().join("large.jpg");
    let large = File::create(&photo).unwrap();
    large.set_len(2 * 1024 * 1024).unwrap();
    let data = folder.path().to_str().unwrap();
    let photo = photo.to_str().unwrap();
    let local = [BINARY, "local", "--json", "--data", data, photo];
    let output = on_a_small_disk(folder.path(), &local).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let logged = String::from_utf8(output.stderr).unwrap();
    for said in [said, logged] {
        let reason = format!(
            "No space left on device (os error 28). The embedded S3 keeps its data in {data}: free"
        );
        assert!(said.contains(&reason), "{said}");
    }
}

/// `local --serve`, ended with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        support::kill(self.0.id());
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_full_disk_is_logged() {
    let folder = TempDir::new().unwrap();
    if !can_make_a_small_disk(folder.path()) {
        return;
    }
    let data = folder.path().to_str().unwrap();
    let port = PORT.to_string();
    let local = [
        BINARY, "local", "--serve", "--json", "--port", &port, "--data", data,
    ];
    let mut local = on_a_small_disk(folder.path(), &local);
    local.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut served = Served(local.spawn().unwrap());
    let stderr = served.0.stderr.take().unwrap();
    let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "Ctrl-C stops it."));

    let config = client_config(
        &format!("http://127.0.0.1:{PORT}"),
        CREDENTIALS.0,
        CREDENTIALS.1,
    )
    .retry_config(RetryConfig::disabled());
    let s3 = Client::from_conf(config.build());
    let put = s3.put_object().bucket(BUCKET).key("large");
    let put = put.body(ByteStream::from(vec![0; 2 * 1024 * 1024]));
    assert_eq!(failure(put.send().await), (500, "InternalError".to_owned()));

    let dynamodb = dynamodb(&format!("http://127.0.0.1:{}", PORT + 1));
    let mut failed = None;
    for number in 0..20 {
        let put = dynamodb
            .put_item()
            .table_name("ledger")
            .item("LedgerKey", AttributeValue::S(number.to_string()))
            .item("Large", AttributeValue::S("x".repeat(100 * 1024)));
        if let Err(error) = put.send().await {
            failed = Some(error.into_service_error());
            break;
        }
    }
    assert!(failed.unwrap().is_internal_server_error());
    drop(served);

    let logged: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    let of = |service: &str, cause: &str| {
        let failures = logged.iter().filter(|line| line.contains(service));
        failures
            .filter(|line| line.contains(" ERROR ") && line.contains(cause))
            .count()
    };
    assert_eq!(
        of("the embedded S3 failed", "No space left on device"),
        1,
        "{logged:#?}"
    );
    assert_eq!(
        of("the embedded DynamoDB failed", "disk is full"),
        1,
        "{logged:#?}"
    );
    assert_eq!(logged.len(), 2, "{logged:#?}");
}

fn dynamodb(endpoint: &str) -> aws_sdk_dynamodb::Client {
    use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
    let (id, secret) = CREDENTIALS;
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// What is logged on this thread.
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

    // Neither an object's GET nor its HEAD hides it, nor what is not implemented.
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
