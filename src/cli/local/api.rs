//! The HTTP API of `local --serve`.

use std::{future::pending, net::SocketAddr, sync::Arc};

use crate::{
    config::FunctionConfig,
    http::{
        Access, Anonymous, Api, ApiKeys, ModelFolders, Models, Photos, Principal, Role, Server,
        Settings, Store,
    },
    ledger::Ledger,
    local::{BUCKET, Local, LocalError, THUMBNAILS_BUCKET},
};

/// The API, running until it is dropped.
pub(super) struct ServedApi {
    pub(super) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ServedApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ServedApi {
    /// Serves the tables and the bucket of `local` on this `port` of loopback, to the owners of `keys`, or without keys to
    /// programs of this machine.
    pub(super) async fn start(
        config: &FunctionConfig,
        keys: ApiKeys,
        local: &Local,
        port: u16,
    ) -> anyhow::Result<Self> {
        let FunctionConfig {
            compute,
            record,
            tables,
        } = config;
        let (s3, dynamodb) = local.clients();
        let photos = Photos::new(
            &s3,
            BUCKET.to_owned(),
            Some(THUMBNAILS_BUCKET.to_owned()),
            compute.limits.bytes,
        );
        let store = Store {
            ledger: Ledger::new(dynamodb, tables.predictions.clone(), tables.ledger.clone()),
            rules: record.capture.clone(),
            photos: Some(photos),
        };
        let anonymous = match keys.is_empty() {
            true => Anonymous::ThisMachine(Principal {
                name: "local".parse()?,
                role: Role::Admin,
                station: None,
            }),
            false => Anonymous::Nobody,
        };
        let access = Access { keys, anonymous };
        let settings = Settings {
            has_metrics: true,
            ..Settings::of(compute)
        };
        let folders = ModelFolders {
            default: Some(compute.model_dir.clone()),
            more: None,
        };
        let models = Models::new(folders, compute.clone());
        let api = Arc::new(Api::new(models, access, Some(store), settings));
        let server = Server::bind("127.0.0.1", port, Arc::clone(&api)).await;
        let server = server.map_err(|error| LocalError::Listen {
            port,
            source: error.into(),
        })?;
        let address = server.address();
        // Whoever reads the address may use it at once.
        api.models().reload().await?;
        let task = tokio::spawn(server.run(pending()));
        Ok(Self { address, task })
    }
}
