//! Requests as clients of every kind write them: hosts, signatures, ranges.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use support::s3::{BUCKET, Server, client_config, failure, message};
use tempfile::TempDir;

/// Connects to 127.0.0.1 whatever the host, as not every system resolves the names under `localhost`.
#[derive(Debug, Default, Clone)]
struct Loopback {
    hosts: Arc<Mutex<Vec<String>>>,
}

impl Loopback {
    /// A client of the server that is reached as `name`.
    fn client(&self, server: &Server, name: &str, path_style: bool) -> Client {
        let port = server.endpoint.rsplit_once(':').unwrap().1;
        let config = client_config(&format!("http://{name}:{port}"), "key", "secret")
            .force_path_style(path_style)
            .interceptor(self.clone());
        Client::from_conf(config.build())
    }

    /// The host of the last request, without its port.
    fn last(&self) -> String {
        let host = self.hosts.lock().unwrap().last().unwrap().clone();
        host.rsplit_once(':').unwrap().0.to_owned()
    }
}

impl Intercept for Loopback {
    fn name(&self) -> &'static str {
        "Loopback"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let uri = request.uri().to_owned();
        let host = uri.split('/').nth(2).unwrap();
        let port = host.rsplit_once(':').unwrap().1;
        request.headers_mut().insert("host", host.to_owned());
        request.set_uri(uri.replacen(host, &format!("127.0.0.1:{port}"), 1))?;
        self.hosts.lock().unwrap().push(host.to_owned());
        Ok(())
    }
}

#[tokio::test]
async fn a_bucket_in_the_host() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let loopback = Loopback::default();
    for (domain, key) in [
        ("localhost", "photo.jpg"),
        ("s3.localhost", "field 1/ö.jpg"),
    ] {
        let client = loopback.client(&server, domain, false);
        for body in ["", "moth"] {
            let put = client.put_object().bucket(BUCKET).key(key);
            let body = ByteStream::from(body.as_bytes().to_vec());
            put.body(body).send().await.unwrap();
            assert_eq!(loopback.last(), format!("{BUCKET}.{domain}"));
        }
        assert_eq!(server.get(key, None).await, b"moth");
        let listed = client.list_objects_v2().bucket(BUCKET).send().await;
        assert!(
            listed
                .unwrap()
                .contents()
                .iter()
                .any(|o| o.key() == Some(key))
        );
        client.create_bucket().bucket("new").send().await.unwrap();
        client.delete_bucket().bucket("new").send().await.unwrap();
        assert_eq!(loopback.last(), format!("new.{domain}"));
    }
    let buckets = server.client.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().len(), 1);
}

#[tokio::test]
async fn a_bucket_in_the_path() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let client = Loopback::default().client(&server, host, true);
        let put = client.put_object().bucket(BUCKET).key(host);
        put.send().await.unwrap();
    }
    assert_eq!(server.keys().await, ["127.0.0.1", "[::1]", "localhost"]);
}

#[tokio::test]
async fn an_unknown_host_makes_no_bucket() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    for (host, code, said) in [
        ("moths.example.com", "InvalidRequest", "bucket.localhost"),
        ("_moths.localhost", "InvalidBucketName", "\"_moths\""),
    ] {
        // In path style the SDK writes `PUT /photo.jpg`, as it would with the bucket in the host.
        let client = Loopback::default().client(&server, host, true);
        let create = client.create_bucket().bucket("photo.jpg").send().await;
        let message = message(&create);
        assert!(
            message.contains(host) && message.contains(said),
            "{message}"
        );
        assert_eq!(failure(create), (400, code.to_owned()));
    }
    let buckets = server.client.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().len(), 1);
}

#[tokio::test]
async fn only_the_key_pair_is_let_in() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    for (access_key, secret, code, said) in [
        (
            "key",
            "guess",
            "SignatureDoesNotMatch",
            [
                "The request signature we calculated does not match the signature you provided. \
                 Check your key and signing method.",
                "AWS_SECRET_ACCESS_KEY",
            ],
        ),
        (
            "guess",
            "secret",
            "InvalidAccessKeyId",
            [
                "The AWS Access Key Id you provided does not exist in our records.",
                "AWS_ACCESS_KEY_ID to key",
            ],
        ),
    ] {
        let config = client_config(&server.endpoint, access_key, secret);
        let stranger = Client::from_conf(config.build());
        let put = stranger.put_object().bucket(BUCKET).key("a").send().await;
        let message = message(&put);
        assert!(said.iter().all(|said| message.contains(said)), "{message}");
        assert_eq!(failure(put), (403, code.to_owned()));
        let head = stranger.head_object().bucket(BUCKET).key("a").send().await;
        assert_eq!(failure(head).0, 403);
    }
    let anonymous = send(&format!("{}/{BUCKET}/a", server.endpoint), &[]).await;
    assert_eq!(anonymous.status(), 403);
    assert!(server.keys().await.is_empty());
}

#[tokio::test]
async fn a_range_that_s3_does_not_understand_is_ignored() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let old = server.put("a b.jpg", b"0123456789").await.unwrap();
    server.put("a b.jpg", b"new").await;
    let get = |range: &str| {
        let get = server.client.get_object().bucket(BUCKET).key("a b.jpg");
        get.version_id(&old).range(range)
    };
    for range in [
        "bytes=0-1,3-4",
        "bytes=4-2",
        "bytes=x",
        "bytes=-",
        "lines=1-2",
    ] {
        let whole = get(range).send().await.unwrap();
        assert_eq!(whole.content_range(), None, "{range}");
        assert_eq!(whole.content_length(), Some(10), "{range}");
        assert_eq!(whole.body.collect().await.unwrap().to_vec(), b"0123456789");
        let head = server.client.head_object().bucket(BUCKET).key("a b.jpg");
        let head = head.range(range).send().await.unwrap();
        assert_eq!(head.content_length(), Some(3), "{range}");
    }
    for range in ["bytes=10-", "bytes=99999999999999999999-", "bytes=-0"] {
        let refused = get(range).send().await;
        assert_eq!(
            failure(refused),
            (416, "InvalidRange".to_owned()),
            "{range}"
        );
    }
    let rest = get("bytes=8-99999999999999999999").send().await.unwrap();
    assert_eq!(rest.content_range(), Some("bytes 8-9/10"));

    // Only who may read without the header may read with it.
    let config = client_config(&server.endpoint, "key", "guess");
    let stranger = Client::from_conf(config.build());
    let get_as = |client: &Client| {
        let get = client.get_object().bucket(BUCKET).key("a b.jpg");
        get.version_id(&old).range("bytes=x")
    };
    let refused = get_as(&stranger).send().await;
    assert_eq!(failure(refused).0, 403);
    for (client, status) in [(&server.client, 200), (&stranger, 403)] {
        let presigned = get_as(client);
        let presigned = presigned
            .presigned(PresigningConfig::expires_in(Duration::from_secs(60)).unwrap())
            .await
            .unwrap();
        let answer = send(presigned.uri(), &[("range", "bytes=x")]).await;
        assert_eq!(answer.status(), status);
    }
    let unsigned = format!("{}/{BUCKET}/a%20b.jpg", server.endpoint);
    let answer = send(&unsigned, &[("range", "bytes=x")]).await;
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn a_presigned_request_takes_no_header_that_is_not_signed() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    server.put("a b.jpg", b"photo").await;
    let get = server.client.get_object().bucket(BUCKET).key("a b.jpg");
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let presigned = get.presigned(minute).await.unwrap();
    for (headers, status) in [
        (&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")][..], 200),
        // With a URL to write one object this would read any other.
        (&[("x-amz-copy-source", "/other/private.jpg")], 403),
        (&[("x-amz-meta-station", "field-2")], 403),
    ] {
        let mut answer = send(presigned.uri(), headers).await;
        assert_eq!(answer.status(), status, "{headers:?}");
        if status == 403 {
            let said = answer.body_mut().read_to_string().unwrap();
            assert!(
                said.contains("AccessDenied") && said.contains(headers[0].0),
                "{said}"
            );
        }
    }
}

/// GETs the URL as it is.
async fn send(url: &str, headers: &[(&str, &str)]) -> ureq::http::Response<ureq::Body> {
    let config = ureq::config::Config::builder().http_status_as_error(false);
    let mut request = config.build().new_agent().get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    tokio::task::spawn_blocking(|| request.call().unwrap())
        .await
        .unwrap()
}
