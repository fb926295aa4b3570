//! A full disk, told to the client and in the log.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use moth_classifier::local::CREDENTIALS;
use tempfile::TempDir;

use crate::support::{
    command::{BINARY, root},
    photo::COLOR_MODEL,
    s3::{BUCKET, client_config, failure},
    served::Served,
};

/// The URL of a port on loopback.
fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Mounts a disk of 1 MiB on the first argument, and runs the rest in the second argument.
const ON_A_SMALL_DISK: &str =
    r#"mount -t tmpfs -o size=1m tmpfs "$1" && cd "$2" && shift 2 && exec "$@""#;

fn on_a_small_disk(folder: &Path, command: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK])
        .arg("sh")
        .arg(folder)
        .arg(root())
        .args(command)
        .env(COLOR_MODEL.0, COLOR_MODEL.1);
    unshare
}

/// Whether this system lets a test mount a small disk. Prints why if it does not.
fn can_make_a_small_disk(folder: &Path) -> bool {
    let probe = on_a_small_disk(folder, &["true"]).output();
    let reason = match probe {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    // The harness hides the output of eprintln! in a test that passes.
    let skipped = format!("SKIPPED: no disk can be filled, as unshare(1) fails: {reason}\n");
    io::stderr().write_all(skipped.as_bytes()).unwrap();
    false
}

#[test]
fn a_photo_that_does_not_fit_on_the_disk_says_why() {
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

#[tokio::test]
async fn a_full_disk_is_logged() {
    let folder = TempDir::new().unwrap();
    if !can_make_a_small_disk(folder.path()) {
        return;
    }
    let data = folder.path().to_str().unwrap();
    let mut served = Served::start(|port| {
        let local = [
            BINARY, "local", "--serve", "--json", "--port", port, "--data", data,
        ];
        on_a_small_disk(folder.path(), &local)
    });
    put_a_large_object(served.port).await;
    put_large_items(served.port + 1).await;
    served.process.kill().unwrap();

    let logged = served.stderr.by_ref().map(Result::unwrap);
    let logged: Vec<String> = logged.filter(|line| !line.is_empty()).collect();
    for (service, cause) in [
        ("the embedded S3 failed", "No space left on device"),
        ("the embedded DynamoDB failed", "disk is full"),
    ] {
        let failures = logged.iter().filter(|line| line.contains(service));
        let failures = failures.filter(|line| line.contains(" ERROR ") && line.contains(cause));
        assert_eq!(failures.count(), 1, "{logged:#?}");
    }
    assert_eq!(logged.len(), 2, "{logged:#?}");
}

/// Puts an object of twice the size of the disk, which fails.
async fn put_a_large_object(port: u16) {
    let (id, secret) = CREDENTIALS;
    let config = client_config(&url(port), id, secret).retry_config(RetryConfig::disabled());
    let s3 = Client::from_conf(config.build());
    let put = s3.put_object().bucket(BUCKET).key("large");
    let put = put.body(ByteStream::from(vec![0; 2 * 1024 * 1024]));
    assert_eq!(failure(put.send().await), (500, "InternalError".to_owned()));
}

/// Puts items until one fails.
async fn put_large_items(port: u16) {
    let dynamodb = dynamodb(&url(port));
    for number in 0..20 {
        let put = dynamodb
            .put_item()
            .table_name("ledger")
            .item("LedgerKey", AttributeValue::S(number.to_string()))
            .item("Large", AttributeValue::S("x".repeat(100 * 1024)));
        if let Err(error) = put.send().await {
            assert!(error.into_service_error().is_internal_server_error());
            return;
        }
    }
    panic!("20 items of 100 KiB fit on a disk of 1 MiB");
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
