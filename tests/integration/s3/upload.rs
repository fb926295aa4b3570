//! An upload in parts, shared by tests.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tempfile::TempDir;

use crate::support::s3::{BUCKET, Server};

pub(super) const MIB: usize = 1024 * 1024;

/// A server, and an upload of `big.jpg` with one part.
pub(super) async fn with_upload(folder: &TempDir) -> (Server, String, CompletedPart) {
    let server = Server::with_bucket(folder, true).await;
    let create = server.client.create_multipart_upload().bucket(BUCKET);
    let create = create.key("big.jpg").send().await.unwrap();
    let upload = create.upload_id.unwrap();
    let part = upload_part(&server, &upload, b"moth".to_vec()).await;
    (server, upload, part)
}

/// Uploads part 1 of `big.jpg`.
pub(super) async fn upload_part(server: &Server, upload: &str, bytes: Vec<u8>) -> CompletedPart {
    let part = server.client.upload_part().bucket(BUCKET).key("big.jpg");
    let part = part.upload_id(upload).part_number(1);
    let part = part.body(ByteStream::from(bytes));
    let part = part.send().await.unwrap();
    let completed = CompletedPart::builder().part_number(1);
    completed.set_e_tag(part.e_tag).build()
}

/// The call that completes the upload of `big.jpg`.
pub(super) fn complete(
    client: &Client,
    upload: &str,
    parts: &[CompletedPart],
) -> CompleteMultipartUploadFluentBuilder {
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec()));
    let complete = client.complete_multipart_upload().bucket(BUCKET);
    let complete = complete.key("big.jpg").upload_id(upload);
    complete.multipart_upload(parts.build())
}

/// Number of versions in the bucket.
pub(super) async fn versions(server: &Server) -> usize {
    let versions = server.client.list_object_versions().bucket(BUCKET);
    versions.send().await.unwrap().versions().len()
}
