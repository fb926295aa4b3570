//! The embedded S3 with the bucket, and the delivery of its events to the function.

use std::{path::Path, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use versioned_s3 as s3;

use super::{
    BUCKET, CREDENTIALS, Delivery, Lambda, LocalError, REGION, THUMBNAILS_BUCKET, is_true,
};
use crate::error::chain;

/// Opens the object store in `folder`, with the bucket.
pub(super) fn open(
    folder: &Path,
) -> Result<(s3::Store, mpsc::UnboundedReceiver<s3::Notification>), LocalError> {
    let failed = |source| LocalError::Objects {
        folder: folder.to_owned(),
        source,
    };
    let configuration = s3::Configuration {
        region: REGION.to_owned(),
        notifying_bucket: BUCKET.to_owned(),
    };
    let (store, notifications) = s3::Store::open(folder, configuration).map_err(failed)?;
    store.create_bucket(BUCKET, true).map_err(failed)?;
    store
        .create_bucket(THUMBNAILS_BUCKET, false)
        .map_err(failed)?;
    Ok((store, notifications))
}

/// Serves the S3 API until `stopped` is true.
pub(super) fn serve(
    listener: TcpListener,
    store: &s3::Store,
    stopped: &watch::Receiver<bool>,
) -> JoinHandle<()> {
    let credentials = s3::Credentials {
        access_key: CREDENTIALS.0.to_owned(),
        secret_key: CREDENTIALS.1.to_owned(),
    };
    let serve = s3::serve(listener, store.clone(), credentials, is_true(stopped));
    tokio::spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!(%error, "the embedded S3 stopped");
        }
    })
}

/// Delivers the events of the bucket to the function.
pub(super) struct Notifier {
    pub(super) lambda: Lambda,
    pub(super) store: s3::Store,
    pub(super) delivered: mpsc::UnboundedSender<Delivery>,
}

impl Notifier {
    /// Delivers `notifications` until `until` ends.
    pub(super) async fn run(
        self,
        mut notifications: mpsc::UnboundedReceiver<s3::Notification>,
        until: impl Future<Output = ()>,
    ) {
        let this = Arc::new(self);
        tokio::pin!(until);
        // The channel does not close by itself: each delivery needs the store, which owns the sender.
        while let Some(notification) = tokio::select! {
            notification = notifications.recv() => notification,
            () = &mut until => None,
        } {
            tokio::spawn(Arc::clone(&this).deliver(notification));
        }
    }

    async fn deliver(self: Arc<Self>, notification: s3::Notification) {
        let s3::Notification { id, event } = notification;
        let payload = event.to_string().into();
        let Some(answer) = self.lambda.invoke_asynchronously(payload).await else {
            return; // Lambda stopped: the next run delivers the event
        };
        if let Err(error) = self.store.delivered(id) {
            tracing::error!(
                error = chain(&error),
                "a delivered event cannot be removed from the store: the next run in this folder delivers it again"
            );
        }
        // The receiver is dropped when the process is about to end.
        let _ = self.delivered.send(Delivery { event, answer });
    }
}

/// Receives `notifications` and drops them, until `until` ends.
pub(super) async fn discard(
    mut notifications: mpsc::UnboundedReceiver<s3::Notification>,
    until: impl Future<Output = ()>,
) {
    let all = async { while notifications.recv().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = until => {}
    }
}
