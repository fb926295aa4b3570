//! The tables of a data folder, without the rest of the system.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use aws_sdk_dynamodb::Client;
use tokio::{net::TcpListener, sync::watch};

use super::{
    LocalError, clients_at, dynamodb,
    folder::{Folder, FolderLock},
    is_true, tables,
};

/// The tables of a data folder. If `local` has the folder, its DynamoDB; otherwise one that this process serves to
/// itself on loopback, until this value is dropped.
pub struct FolderTables {
    /// A client of the DynamoDB.
    pub client: Client,
    _served: Option<(FolderLock, watch::Sender<bool>)>,
}

impl FolderTables {
    /// Opens the tables in `folder`.
    ///
    /// # Errors
    ///
    /// If an earlier `local --data` has not made them, or they cannot be opened.
    pub async fn open(folder: &Path) -> Result<Self, LocalError> {
        if !dynamodb::file(folder).is_file() {
            return Err(LocalError::NoTables {
                folder: folder.into(),
            });
        }
        let lock = match FolderLock::take(folder).await? {
            Folder::Served(address) => {
                return Ok(Self {
                    client: clients_at(address, address).1,
                    _served: None,
                });
            }
            Folder::Ours(lock) => lock,
        };
        let failed = |source| LocalError::Listen { port: 0, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address: SocketAddr = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let database = dynamodb::open(folder)?;
        tokio::spawn(dynamodb::serve(listener, database, is_true(&stopped)));
        let client = clients_at(address, address).1;
        dynamodb::prepare_tables(&client, &tables())
            .await
            .map_err(|source| LocalError::Tables {
                folder: folder.into(),
                source,
            })?;
        Ok(Self {
            client,
            _served: Some((lock, stop)),
        })
    }
}
