//! The lock on the data folder: one process at a time has its tables open, and tells the others where they are served.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    path::Path,
};

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

/// File in the folder that is locked. It has the address of the tables.
const FILE: &str = "tables.address";

impl FolderLock {
    /// Locks `folder`.
    ///
    /// # Errors
    ///
    /// [`LocalError::Folder`] if the file cannot be used; [`LocalError::InUse`] if another process has the lock, and has
    /// not written an address yet.
    pub(super) fn take(folder: &Path) -> Result<Folder, LocalError> {
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
            Ok(()) => {
                file.set_len(0).map_err(failed)?;
                Ok(Folder::Ours(Self(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let mut address = String::new();
                file.read_to_string(&mut address).map_err(failed)?;
                let in_use = |_| LocalError::InUse {
                    folder: folder.into(),
                };
                address.parse().map(Folder::Served).map_err(in_use)
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
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

    #[test]
    fn another_process_learns_where_the_tables_are() {
        let folder = tempfile::tempdir().unwrap();
        let Ok(Folder::Ours(mut lock)) = FolderLock::take(folder.path()) else {
            panic!("nobody else has the folder");
        };
        assert!(matches!(
            FolderLock::take(folder.path()),
            Err(LocalError::InUse { .. })
        ));
        let address = "127.0.0.1:9001".parse().unwrap();
        lock.publish(address).unwrap();
        let served = FolderLock::take(folder.path()).unwrap();
        assert!(matches!(served, Folder::Served(at) if at == address));
        drop(lock);
        assert!(matches!(
            FolderLock::take(folder.path()),
            Ok(Folder::Ours(_))
        ));
    }
}
