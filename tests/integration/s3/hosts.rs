//! Buckets in the host and in the path.

use std::sync::{Arc, Mutex};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::ByteStream;
use tempfile::TempDir;

use crate::support::s3::{BUCKET, Server, client_config, failure, message};

/// Connects to 127.0.0.1 for every host, because not every system resolves names under `localhost`. Keeps the hosts.
#[derive(Debug, Default, Clone)]
struct Loopback {
    hosts: Arc<Mutex<Vec<String>>>,
}

impl Loopback {
    /// A client that reaches the server as `name`.
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
async fn a_bucket_may_be_in_the_host() {
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
async fn a_bucket_may_be_in_the_path() {
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
async fn an_unknown_host_creates_no_bucket() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    for (host, code, said) in [
        ("moths.example.com", "InvalidRequest", "bucket.localhost"),
        ("_moths.localhost", "InvalidBucketName", "\"_moths\""),
    ] {
        // In path style the SDK sends `PUT /photo.jpg`, which is also a put with the bucket in the host.
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
