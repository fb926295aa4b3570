//! Uploads files to the embedded S3.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    cli::files::File,
    error::chain,
    local::BUCKET,
    object::{ObjectVersion, VersionId},
};

/// The object version of an uploaded file, or the object and why the upload failed.
pub(super) type Upload = Result<ObjectVersion, (ObjectVersion, String)>;

/// Uploads `files` to the bucket. Each upload takes a permit from `gate`, which the reader of the results
/// returns.
pub(super) fn upload(
    client: aws_sdk_s3::Client,
    files: Vec<File>,
    gate: Arc<Semaphore>,
) -> mpsc::UnboundedReceiver<Upload> {
    let (sender, uploads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for file in files {
            // The gate closes with the process.
            let Ok(permit) = gate.acquire().await else {
                return;
            };
            permit.forget();
            let (client, sender) = (client.clone(), sender.clone());
            tokio::spawn(async move { sender.send(put(&client, file).await) });
        }
    });
    uploads
}

async fn put(client: &aws_sdk_s3::Client, file: File) -> Upload {
    let mut object = ObjectVersion {
        bucket: BUCKET.into(),
        key: file.key,
        version: None,
    };
    let body = match ByteStream::from_path(&file.path).await {
        Ok(body) => body,
        Err(error) => return Err((object, format!("cannot read the file: {}", chain(&error)))),
    };
    match client
        .put_object()
        .bucket(BUCKET)
        .key(&object.key)
        .body(body)
        .send()
        .await
    {
        Ok(put) => {
            object.version = put.version_id.and_then(VersionId::new);
            Ok(object)
        }
        Err(error) => Err((object, format!("cannot upload: {}", chain(&error)))),
    }
}
