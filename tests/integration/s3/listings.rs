//! Listings, page by page.

use aws_sdk_s3::types::EncodingType;
use tempfile::TempDir;

use crate::support::s3::{BUCKET, Server};

#[tokio::test]
async fn keys_are_listed_in_pages() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let keys = [
        "Z",
        "a/1",
        "a/2",
        "a0",
        "b/1",
        "b/2/3",
        "c d+e%.jpg",
        "ö",
        "🦋",
    ];
    for key in keys.iter().rev() {
        server.put(key, key.as_bytes()).await;
    }
    assert_eq!(server.keys().await, keys);
    let list = || {
        server
            .client
            .list_objects_v2()
            .bucket(BUCKET)
            .delimiter("/")
    };
    let mut seen = Vec::new();
    let mut token = None;
    loop {
        let page = list().max_keys(2).set_continuation_token(token);
        let page = page.send().await.unwrap();
        assert!(page.key_count().unwrap() <= 2);
        let prefixes = page.common_prefixes().iter().filter_map(|p| p.prefix());
        seen.extend(prefixes.map(str::to_owned));
        seen.extend(
            page.contents()
                .iter()
                .filter_map(|o| o.key())
                .map(str::to_owned),
        );
        token = page.next_continuation_token().map(str::to_owned);
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["Z", "a/", "a0", "b/", "c d+e%.jpg", "ö", "🦋"]);
    let under = list().prefix("b/").send().await.unwrap();
    assert_eq!(under.contents()[0].key(), Some("b/1"));
    assert_eq!(under.common_prefixes()[0].prefix(), Some("b/2/"));
    let after = list().start_after("b/2/3").send().await.unwrap();
    assert_eq!(after.contents()[0].key(), Some("c d+e%.jpg"));
    let encoded = list().start_after("b/2/3").encoding_type(EncodingType::Url);
    let encoded = encoded.send().await.unwrap();
    assert_eq!(encoded.contents()[0].key(), Some("c+d%2Be%25.jpg"));

    let v1 = || server.client.list_objects().bucket(BUCKET).delimiter("/");
    let page = v1().max_keys(2).send().await.unwrap();
    assert_eq!(page.next_marker(), Some("a/"));
    let page = v1().marker("a/").send().await.unwrap();
    assert_eq!(page.contents()[0].key(), Some("a0"));
}

#[tokio::test]
async fn versions_are_listed_in_pages_while_they_are_deleted() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    for key in ["a", "b"] {
        for body in [b"1", b"2", b"3"] {
            server.put(key, body).await;
        }
    }
    let deletion = server.client.delete_object().bucket(BUCKET).key("a");
    deletion.send().await.unwrap();
    let (mut key, mut version, mut seen) = (None, None, Vec::new());
    loop {
        let page = server
            .client
            .list_object_versions()
            .bucket(BUCKET)
            .max_keys(2);
        let page = page.set_key_marker(key).set_version_id_marker(version);
        let page = page.send().await.unwrap();
        let versions = page
            .versions()
            .iter()
            .map(|v| (v.key(), v.version_id(), v.is_latest()));
        let markers = page.delete_markers().iter();
        let markers = markers.map(|v| (v.key(), v.version_id(), v.is_latest()));
        for (key, id, latest) in markers.chain(versions) {
            seen.push((key.unwrap().to_owned(), latest.unwrap()));
            let deletion = server.client.delete_object().bucket(BUCKET);
            let deletion = deletion.set_key(key.map(str::to_owned));
            deletion.version_id(id.unwrap()).send().await.unwrap();
        }
        key = page.next_key_marker().map(str::to_owned);
        version = page.next_version_id_marker().map(str::to_owned);
        if page.is_truncated() != Some(true) {
            break;
        }
    }
    let keys: String = seen.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, "aaaabbb");
    assert!(seen[0].1);
    server
        .client
        .delete_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let blobs = std::fs::read_dir(folder.path().join("blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
}
