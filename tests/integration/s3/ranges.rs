//! Ranges that S3 ignores or refuses.

use tempfile::TempDir;

use crate::support::s3::{BUCKET, Server, failure};

#[tokio::test]
async fn an_invalid_range_is_ignored() {
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
}
