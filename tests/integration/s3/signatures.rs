//! Signed, presigned and unsigned requests.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use tempfile::TempDir;

use crate::support::s3::{BUCKET, Server, client_config, failure, message};

#[tokio::test]
async fn only_the_key_pair_has_access() {
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
async fn a_request_with_an_ignored_range_needs_a_signature() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let old = server.put("a b.jpg", b"0123456789").await.unwrap();
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
async fn a_presigned_request_has_no_unsigned_headers() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    server.put("a b.jpg", b"photo").await;
    let get = server.client.get_object().bucket(BUCKET).key("a b.jpg");
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let presigned = get.presigned(minute).await.unwrap();
    for (headers, status) in [
        (&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")][..], 200),
        // With a URL that writes one object, this header would read any other.
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

/// GETs `url` unchanged.
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
