//! Completions of uploads that come twice, late or at once.

use std::collections::HashSet;

use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput;
use aws_sdk_s3::types::CompletedPart;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::upload::{MIB, complete, upload_part, versions, with_upload};
use crate::support::s3::{BUCKET, Server, bytes, failure};

#[tokio::test]
async fn a_repeated_completion_gives_the_same_result() {
    let folder = TempDir::new().unwrap();
    let (mut server, upload, part) = with_upload(&folder).await;
    let parts = [part];
    let first = complete(&server.client, &upload, &parts).if_none_match("*");
    let first = first.send().await.unwrap();
    server.notification().await;
    let same = |again: CompleteMultipartUploadOutput| {
        assert_eq!(again.version_id(), first.version_id());
        assert_eq!(again.e_tag(), first.e_tag());
        assert_eq!(again.checksum_crc32(), first.checksum_crc32());
        assert_eq!(again.checksum_crc64_nvme(), first.checksum_crc64_nvme());
    };
    let again = complete(&server.client, &upload, &parts).if_none_match("*");
    same(again.send().await.unwrap());
    assert_eq!(versions(&server).await, 1);
    assert!(server.notifications.try_recv().is_err());
    server.stop().await;

    let server = Server::start(&folder).await;
    let again = complete(&server.client, &upload, &parts);
    same(again.send().await.unwrap());
    let other = CompletedPart::builder().part_number(1).e_tag("\"x\"");
    let more = CompletedPart::builder().part_number(2).e_tag("\"x\"");
    for others in [
        vec![other.build()],
        vec![parts[0].clone(), more.build()],
        vec![],
    ] {
        let refused = complete(&server.client, &upload, &others).send().await;
        assert_eq!(failure(refused), (400, "InvalidPart".to_owned()));
    }
    // Every other call treats a completed upload as unknown.
    let abort = server.client.abort_multipart_upload().bucket(BUCKET);
    let abort = abort.key("big.jpg").upload_id(&upload).send().await;
    assert_eq!(failure(abort), (404, "NoSuchUpload".to_owned()));
    same(
        complete(&server.client, &upload, &parts)
            .send()
            .await
            .unwrap(),
    );
    let elsewhere = complete(&server.client, &upload, &parts).key("other.jpg");
    let elsewhere = elsewhere.send().await;
    assert_eq!(failure(elsewhere), (404, "NoSuchUpload".to_owned()));
    assert_eq!(versions(&server).await, 1);
}

#[tokio::test]
async fn completions_at_once_give_one_version() {
    let folder = TempDir::new().unwrap();
    let (server, upload, _) = with_upload(&folder).await;
    // The part is so large that all completions are under way before one is done.
    let part = upload_part(&server, &upload, bytes(16 * MIB)).await;
    let mut completions = JoinSet::new();
    for condition in [None, Some("*"), None, Some("*"), None, Some("*")] {
        let complete = complete(&server.client, &upload, std::slice::from_ref(&part));
        let complete = complete.set_if_none_match(condition.map(str::to_owned));
        completions.spawn(complete.send());
    }
    let mut results = HashSet::new();
    while let Some(completed) = completions.join_next().await {
        let completed = completed.unwrap().unwrap();
        results.insert((completed.version_id, completed.e_tag));
    }
    assert_eq!(results.len(), 1);
    assert_eq!(versions(&server).await, 1);
}

#[tokio::test]
async fn an_aborted_upload_cannot_be_completed() {
    let folder = TempDir::new().unwrap();
    let (server, upload, part) = with_upload(&folder).await;
    let abort = server.client.abort_multipart_upload().bucket(BUCKET);
    let abort = abort.key("big.jpg").upload_id(&upload);
    abort.send().await.unwrap();
    let completed = complete(&server.client, &upload, &[part]).send().await;
    assert_eq!(failure(completed), (404, "NoSuchUpload".to_owned()));
    assert_eq!(versions(&server).await, 0);
}
