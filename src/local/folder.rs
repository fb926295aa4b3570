//! The lock on the data folder: one process at a time has its tables open, and tells the others where they are served.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use tokio::sync::oneshot;

use super::LocalError;

/// The lock on a data folder, until it is dropped. The operating system releases it when the process ends.
pub(super) struct FolderLock(File);

/// Whether this process has the folder.
pub(super) enum Folder {
    /// It has.
    Ours(FolderLock),
    /// Another process serves its tables at this address.
    Served(SocketAddr),
}

/// How long a command waits for another one.
const PATIENCE: Duration = Duration::from_secs(10);
/// File in the folder that is locked. It has the address of the tables, if the process serves them to others.
const FILE: &str = "tables.address";

impl FolderLock {
    /// Locks `folder`. If another process has the lock and serves no tables, such as an export, waits until it ends.
    ///
    /// # Errors
    ///
    /// [`LocalError::Folder`] if the file cannot be used; [`LocalError::InUse`] if the other process takes too long.
    pub(super) async fn take(folder: &Path) -> Result<Folder, LocalError> {
        let failed = |source| LocalError::Folder {
            folder: folder.into(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(FILE))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut address = String::new();
                file.read_to_string(&mut address).map_err(failed)?;
                if let Ok(address) = address.parse() {
                    return Ok(Folder::Served(address));
                }
                // The thread ends with the process if the lock never comes.
                let (locked, lock) = oneshot::channel();
                std::thread::spawn(move || locked.send(file.lock().map(|()| file)));
                let lock = tokio::time::timeout(PATIENCE, lock).await;
                let in_use = || LocalError::InUse {
                    folder: folder.into(),
                };
                file = lock
                    .map_err(|_| in_use())?
                    .map_err(|_| in_use())?
                    .map_err(failed)?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        Ok(Folder::Ours(Self(file)))
    }

    /// Tells other processes where the tables are served.
    pub(super) fn publish(&mut self, address: SocketAddr) -> std::io::Result<()> {
        self.0.set_len(0)?;
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(address.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(folder: &Path) -> Folder {
        FolderLock::take(folder).await.unwrap()
    }

    #[tokio::test]
    async fn another_process_learns_where_the_tables_are_or_waits() {
        let folder = tempfile::tempdir().unwrap();
        let Folder::Ours(lock) = take(folder.path()).await else {
            panic!("nobody else has the folder");
        };
        let path = folder.path().to_owned();
        let waiting = tokio::spawn(async move { take(&path).await });
        tokio::task::yield_now().await;
        drop(lock);
        let Folder::Ours(mut lock) = waiting.await.unwrap() else {
            panic!("nobody else has the folder");
        };
        let address = "127.0.0.1:9001".parse().unwrap();
        lock.publish(address).unwrap();
        let served = take(folder.path()).await;
        assert!(matches!(served, Folder::Served(at) if at == address));
        drop(lock);
        assert!(matches!(take(folder.path()).await, Folder::Ours(_)));
    }
}
