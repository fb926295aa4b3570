//! Uploads in parts.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedPart, ObjectAttributes};
use tempfile::TempDir;

use super::upload::{MIB, complete, with_upload};
use crate::support::s3::{BUCKET, Server, bytes, failure};

/// Number of files with the bytes of objects and parts.
fn blobs(folder: &TempDir) -> usize {
    let blobs = std::fs::read_dir(folder.path().join("blobs"));
    blobs.unwrap().count()
}

/// Starts an upload of `big.jpg`, and returns its id.
async fn create(server: &Server, algorithm: Option<ChecksumAlgorithm>) -> String {
    let create = server.client.create_multipart_upload().bucket(BUCKET);
    let create = create.key("big.jpg").content_type("image/jpeg");
    let create = create.set_checksum_algorithm(algorithm).send().await;
    create.unwrap().upload_id.unwrap()
}

fn completed(number: i32, etag: Option<String>) -> CompletedPart {
    let part = CompletedPart::builder().part_number(number);
    part.set_e_tag(etag).build()
}

#[tokio::test]
async fn parts_become_one_object() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::with_bucket(&folder, true).await;
    let client = server.client.clone();
    let bytes = bytes(11 * MIB);
    let upload = create(&server, None).await;
    let mut parts = Vec::new();
    for (number, piece) in (1..).zip(bytes.chunks(5 * MIB)) {
        let part = client.upload_part().bucket(BUCKET).key("big.jpg");
        let part = part.upload_id(&upload).part_number(number);
        let part = part.body(ByteStream::from(piece.to_vec())).send().await;
        parts.push(completed(number, part.unwrap().e_tag));
    }
    let listed = client.list_parts().bucket(BUCKET).key("big.jpg");
    let listed = listed.upload_id(&upload).send().await.unwrap();
    assert_eq!(listed.parts().len(), 3);
    let uploads = client.list_multipart_uploads().bucket(BUCKET);
    let uploads = uploads.send().await.unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(upload.as_str()));
    assert!(server.keys().await.is_empty());

    let reversed: Vec<CompletedPart> = parts.iter().rev().cloned().collect();
    let wrong = [completed(1, Some("\"x\"".to_owned()))];
    for (parts, code) in [(&reversed[..], "InvalidPartOrder"), (&wrong, "InvalidPart")] {
        let refused = complete(&client, &upload, parts).send().await;
        assert_eq!(failure(refused), (400, code.to_owned()));
    }
    let done = complete(&client, &upload, &parts).send().await.unwrap();
    // The MD5 of the parts' MD5s, and the number of parts.
    assert_eq!(done.e_tag(), Some("\"af35a684675c366900bb097be2dffe92-3\""));
    assert_eq!(server.get("big.jpg", done.version_id()).await, bytes);
    let event = server.notification().await.event;
    assert_eq!(
        event["Records"][0]["eventName"],
        "ObjectCreated:CompleteMultipartUpload"
    );
    assert_eq!(event["Records"][0]["s3"]["object"]["size"], 11 * MIB);
    assert_eq!(blobs(&folder), 1);
}

#[tokio::test]
async fn parts_are_copied_from_another_object() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let client = &server.client;
    let bytes = bytes(20);
    server.put("big.jpg", &bytes).await;
    let upload = create(&server, Some(ChecksumAlgorithm::Crc32)).await;
    let mut parts = Vec::new();
    for (number, range) in [(1, "bytes=0-9"), (2, "bytes=10-19")] {
        let copy = client.upload_part_copy().bucket(BUCKET).key("big.jpg");
        let copy = copy.upload_id(&upload).part_number(number);
        let copy = copy.copy_source("moths/big.jpg").copy_source_range(range);
        let result = copy.send().await.unwrap().copy_part_result.unwrap();
        parts.push(completed(number, result.e_tag));
    }
    // Only the last part may be small.
    let small = complete(client, &upload, &parts).send().await;
    assert_eq!(failure(small), (400, "EntityTooSmall".to_owned()));
    let done = complete(client, &upload, &parts[1..]).send().await;
    assert!(done.unwrap().checksum_crc32().unwrap().ends_with("-1"));
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
    assert_eq!(blobs(&folder), 2);
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let (server, upload, _) = with_upload(&folder).await;
    assert_eq!(blobs(&folder), 1);
    let abort = server.client.abort_multipart_upload().bucket(BUCKET);
    let abort = abort.key("big.jpg").upload_id(&upload);
    abort.send().await.unwrap();
    assert_eq!(blobs(&folder), 0);
}
