//! Uploads in parts, and their completion.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::HashSet;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput;
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ObjectAttributes,
};
use support::s3::{BUCKET, Server, failure, noise};
use tempfile::TempDir;
use tokio::task::JoinSet;

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn multipart_uploads() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::with_bucket(&folder, true).await;
    let client = server.client.clone();
    let bytes = noise(11 * MIB);
    let pieces = [
        &bytes[..5 * MIB],
        &bytes[5 * MIB..10 * MIB],
        &bytes[10 * MIB..],
    ];
    let create = || {
        let create = client.create_multipart_upload().bucket(BUCKET);
        create.key("big.jpg").content_type("image/jpeg")
    };
    let upload = create().send().await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    for (number, piece) in (1..).zip(pieces) {
        let part = client.upload_part().bucket(BUCKET).key("big.jpg");
        let part = part.upload_id(&upload).part_number(number);
        let part = part
            .body(ByteStream::from(piece.to_vec()))
            .send()
            .await
            .unwrap();
        let completed = CompletedPart::builder().part_number(number);
        parts.push(completed.set_e_tag(part.e_tag).build());
    }
    let listed = client.list_parts().bucket(BUCKET).key("big.jpg");
    let listed = listed.upload_id(&upload).send().await.unwrap();
    assert_eq!(listed.parts().len(), 3);
    let uploads = client.list_multipart_uploads().bucket(BUCKET);
    let uploads = uploads.send().await.unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(upload.as_str()));
    assert!(server.keys().await.is_empty());

    let complete = |parts: Vec<CompletedPart>| {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let complete = client.complete_multipart_upload().bucket(BUCKET);
        let complete = complete.key("big.jpg").upload_id(&upload);
        complete.multipart_upload(parts.build()).send()
    };
    let backwards = complete(parts.iter().rev().cloned().collect()).await;
    assert_eq!(failure(backwards), (400, "InvalidPartOrder".to_owned()));
    let wrong = CompletedPart::builder()
        .part_number(1)
        .e_tag("\"x\"")
        .build();
    let wrong = complete(vec![wrong]).await;
    assert_eq!(failure(wrong), (400, "InvalidPart".to_owned()));
    let done = complete(parts.clone()).await.unwrap();
    assert_eq!(done.e_tag(), Some("\"1ea094977f590aa26669571e829df4d0-3\""));
    assert_eq!(server.get("big.jpg", done.version_id()).await, bytes);
    let event = server.notification().await.event;
    assert_eq!(
        event["Records"][0]["eventName"],
        "ObjectCreated:CompleteMultipartUpload"
    );
    assert_eq!(event["Records"][0]["s3"]["object"]["size"], 11 * MIB);

    // From parts of another object; its first part is too small for one that is not the last.
    let upload = create().checksum_algorithm(ChecksumAlgorithm::Crc32);
    let upload = upload.send().await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    for (number, range) in [(1, "bytes=0-9"), (2, "bytes=10-19")] {
        let copy = server
            .client
            .upload_part_copy()
            .bucket(BUCKET)
            .key("big.jpg");
        let copy = copy.upload_id(&upload).part_number(number);
        let copy = copy.copy_source("moths/big.jpg").copy_source_range(range);
        let result = copy.send().await.unwrap().copy_part_result.unwrap();
        let completed = CompletedPart::builder().part_number(number);
        parts.push(completed.set_e_tag(result.e_tag).build());
    }
    let complete = |parts: &[CompletedPart]| {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec()));
        let complete = client.complete_multipart_upload().bucket(BUCKET);
        let complete = complete.key("big.jpg").upload_id(&upload);
        complete.multipart_upload(parts.build()).send()
    };
    let small = complete(&parts).await;
    assert_eq!(failure(small), (400, "EntityTooSmall".to_owned()));
    let done = complete(&parts[1..]).await.unwrap();
    assert!(done.checksum_crc32().unwrap().ends_with("-1"));
    let attributes = client.get_object_attributes().bucket(BUCKET);
    let attributes = attributes
        .key("big.jpg")
        .object_attributes(ObjectAttributes::ObjectParts)
        .object_attributes(ObjectAttributes::Checksum);
    let attributes = attributes.send().await.unwrap();
    let parts = attributes.object_parts().unwrap();
    assert_eq!(parts.total_parts_count(), Some(1));
    let checksum = attributes.checksum().unwrap();
    assert_eq!(checksum.checksum_type(), Some(&ChecksumType::Composite));
    assert_eq!(server.get("big.jpg", None).await, bytes[10..20]);

    let upload = create().send().await.unwrap().upload_id.unwrap();
    let part = client.upload_part().bucket(BUCKET).key("big.jpg");
    let part = part.upload_id(&upload).part_number(1);
    part.body(ByteStream::from_static(b"x"))
        .send()
        .await
        .unwrap();
    let abort = client.abort_multipart_upload().bucket(BUCKET);
    abort
        .key("big.jpg")
        .upload_id(&upload)
        .send()
        .await
        .unwrap();
    let blobs = std::fs::read_dir(folder.path().join("blobs")).unwrap();
    assert_eq!(blobs.count(), 2);
}

/// A server with a photo `big.jpg` of one part uploaded; the upload and the part.
async fn with_upload(folder: &TempDir) -> (Server, String, CompletedPart) {
    let server = Server::with_bucket(folder, true).await;
    let create = server.client.create_multipart_upload().bucket(BUCKET);
    let create = create.key("big.jpg").send().await.unwrap();
    let upload = create.upload_id.unwrap();
    let part = upload_part(&server, &upload, b"moth".to_vec()).await;
    (server, upload, part)
}

async fn upload_part(server: &Server, upload: &str, bytes: Vec<u8>) -> CompletedPart {
    let part = server.client.upload_part().bucket(BUCKET).key("big.jpg");
    let part = part.upload_id(upload).part_number(1);
    let part = part.body(ByteStream::from(bytes));
    let part = part.send().await.unwrap();
    let completed = CompletedPart::builder().part_number(1);
    completed.set_e_tag(part.e_tag).build()
}

fn complete(
    client: &Client,
    upload: &str,
    parts: &[CompletedPart],
) -> CompleteMultipartUploadFluentBuilder {
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec()));
    let complete = client.complete_multipart_upload().bucket(BUCKET);
    let complete = complete.key("big.jpg").upload_id(upload);
    complete.multipart_upload(parts.build())
}

async fn versions(server: &Server) -> usize {
    let versions = server.client.list_object_versions().bucket(BUCKET);
    versions.send().await.unwrap().versions().len()
}

#[tokio::test]
async fn a_completion_again_gives_the_same_result() {
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
    // All else says of a completed upload what it says of one that never was.
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
    // So large that all are under way before one is done.
    let part = upload_part(&server, &upload, noise(16 * MIB)).await;
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

#[tokio::test]
async fn a_completion_is_forgotten_after_a_week() {
    let folder = TempDir::new().unwrap();
    let (server, upload, part) = with_upload(&folder).await;
    let parts = [part];
    let first = complete(&server.client, &upload, &parts).send().await;
    first.unwrap();
    server.stop().await;

    let server = Server::start(aged(&folder, 6)).await;
    let again = complete(&server.client, &upload, &parts).send().await;
    again.unwrap();
    server.stop().await;

    let server = Server::start(aged(&folder, 2)).await;
    let again = complete(&server.client, &upload, &parts).send().await;
    assert_eq!(failure(again), (404, "NoSuchUpload".to_owned()));
    assert_eq!(versions(&server).await, 1);
}

/// Makes what is remembered in the folder older.
fn aged(folder: &TempDir, days: i64) -> &TempDir {
    let database = folder.path().join("objects.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    let age = "UPDATE completed_upload SET completed = completed - ?1 * 86400";
    assert_eq!(database.execute(age, [days]).unwrap(), 1);
    folder
}

#[tokio::test]
async fn a_folder_of_an_older_version_opens() {
    let folder = TempDir::new().unwrap();
    let (server, upload, part) = with_upload(&folder).await;
    server.stop().await;
    let database = folder.path().join("objects.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    database.execute("DROP TABLE completed_upload", []).unwrap();
    drop(database);

    let server = Server::start(&folder).await;
    for _ in 0..2 {
        let completed = complete(&server.client, &upload, std::slice::from_ref(&part));
        completed.send().await.unwrap();
    }
    assert_eq!(versions(&server).await, 1);
}
