//! Blobs: the bytes of a version or part, each in a file of its own that never changes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use axum::body::Bytes;
use futures_util::stream::try_unfold;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;
use tempfile::TempPath;
use tokio::io::AsyncReadExt;

use super::checksum::{Algorithm, Checksum, Hasher};
use super::error::StoreError;

/// A download is read from disk in pieces of this many bytes.
const READ_PIECE: usize = 128 * 1024;

/// A blob being written; its file is removed when this is dropped.
pub(super) struct BlobWriter {
    file: File,
    path: TempPath,
    size: u64,
    md5: Md5,
    checksum: Hasher,
}

impl BlobWriter {
    pub(super) fn create(blobs: &Path, algorithm: Algorithm) -> Result<Self, StoreError> {
        let file = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(32)
            .tempfile_in(blobs)
            .map_err(StoreError::file(blobs))?;
        let (file, path) = file.into_parts();
        Ok(Self {
            file,
            path,
            size: 0,
            md5: Md5::new(),
            checksum: algorithm.hasher(),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(StoreError::file(&*self.path))?;
        self.md5.update(bytes);
        self.checksum.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Writes all that `source` has left.
    pub(super) fn write_from(&mut self, mut source: impl Read) -> Result<(), StoreError> {
        let mut piece = vec![0; READ_PIECE];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => self.write(&piece[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::file(&*self.path)(error)),
            }
        }
    }

    pub(super) fn finish(self) -> Draft {
        Draft {
            path: self.path,
            size: self.size,
            md5: self.md5.finalize(),
            checksum: self.checksum.finish(),
        }
    }
}

/// A complete blob that no row names yet; its file is removed when this is dropped.
pub(super) struct Draft {
    path: TempPath,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) checksum: Checksum,
}

impl Draft {
    /// The file's name in `blobs/`.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(super) fn etag(&self) -> String {
        hex(&self.md5)
    }

    /// Leaves the file in place: a committed row names it now.
    pub(super) fn keep(self) {
        if let Err(error) = self.path.keep() {
            tracing::error!(%error, "blob of a committed version could not be kept");
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A reader of the bytes in `range`.
pub(super) fn section(mut file: File, range: Range<u64>) -> io::Result<impl Read> {
    file.seek(SeekFrom::Start(range.start))?;
    Ok(file.take(range.end - range.start))
}

/// Streams `length` bytes of the file from where it stands.
pub(super) fn stream(file: File, length: u64) -> StreamingBlob {
    let file = tokio::fs::File::from_std(file);
    StreamingBlob::wrap(try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut piece =
            Vec::with_capacity(READ_PIECE.min(usize::try_from(left).unwrap_or(READ_PIECE)));
        let count = (&mut file).take(left).read_buf(&mut piece).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(Some((Bytes::from(piece), (file, left - count as u64))))
    }))
}
