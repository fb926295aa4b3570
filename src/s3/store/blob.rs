//! Blobs: the bytes of a version or part, each in a file of its own that never changes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use futures_util::stream::try_unfold;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;
use tempfile::TempPath;
use tokio::io::AsyncReadExt;

use crate::checksum::{Algorithm, Checksum, Hasher};
use crate::error::StoreError;

/// Blobs are read in pieces of this many bytes.
const READ_SIZE: usize = 128 * 1024;

/// Letters and digits in the name of a blob. 32 random ones never collide.
const NAME_LENGTH: usize = 32;

/// A blob in progress. Its file is removed when this is dropped.
pub(crate) struct BlobWriter {
    file: File,
    path: TempPath,
    name: String,
    size: u64,
    md5: Md5,
    checksum: Hasher,
}

impl BlobWriter {
    pub(crate) fn create(blobs: &Path, algorithm: Algorithm) -> Result<Self, StoreError> {
        let file = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(NAME_LENGTH)
            .tempfile_in(blobs)
            .map_err(StoreError::file(blobs))?;
        let (file, path) = file.into_parts();
        let name = path
            .file_name()
            .and_then(OsStr::to_str)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))
            .map_err(StoreError::file(&*path))?
            .to_owned();
        Ok(Self {
            file,
            path,
            name,
            size: 0,
            md5: Md5::new(),
            checksum: algorithm.hasher(),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(StoreError::file(&*self.path))?;
        self.md5.update(bytes);
        self.checksum.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Appends the bytes of `source` in `range`.
    ///
    /// # Errors
    ///
    /// [`StoreError::File`] with the path of the file that could not be read or written.
    pub(crate) fn copy(
        &mut self,
        mut source: BlobReader,
        range: Range<u64>,
    ) -> Result<(), StoreError> {
        source.seek(range.start)?;
        let mut left = range.end - range.start;
        let mut buffer = vec![0; READ_SIZE];
        while left > 0 {
            let length = piece_length(left);
            let piece = &mut buffer[..length];
            source
                .file
                .read_exact(piece)
                .map_err(StoreError::file(&source.path))?;
            self.write(piece)?;
            left -= length as u64;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> NewBlob {
        NewBlob {
            path: self.path,
            name: self.name,
            size: self.size,
            md5: self.md5.finalize(),
            checksum: self.checksum.finish(),
        }
    }
}

/// A complete blob to which no committed row refers yet. Its file is removed when this is dropped.
pub(crate) struct NewBlob {
    path: TempPath,
    /// The file's name in `blobs/`.
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) checksum: Checksum,
}

impl NewBlob {
    /// The ETag of an object or part with these bytes: the MD5 digest in hexadecimal.
    pub(crate) fn etag(&self) -> String {
        hex::encode(self.md5)
    }

    /// Leaves the file in place, because a committed row refers to it.
    pub(crate) fn keep(mut self) {
        self.path.disable_cleanup(true);
    }
}

/// A blob open for reading. It stays readable when its file is removed.
pub(crate) struct BlobReader {
    file: File,
    path: PathBuf,
    /// In bytes.
    pub(crate) size: u64,
}

impl BlobReader {
    /// Opens the blob at `path`, which must have `size` bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError::File`] if it cannot be opened, [`StoreError::Damaged`] if it has another size.
    pub(crate) fn open(path: PathBuf, size: u64) -> Result<Self, StoreError> {
        let file = File::open(&path).map_err(StoreError::file(&path))?;
        let actual = file.metadata().map_err(StoreError::file(&path))?.len();
        if actual != size {
            return Err(StoreError::damaged(format!(
                "blob {} has {actual} bytes instead of {size}",
                path.display()
            )));
        }
        Ok(Self { file, path, size })
    }

    fn seek(&mut self, offset: u64) -> Result<(), StoreError> {
        self.file
            .seek(SeekFrom::Start(offset))
            .map(drop)
            .map_err(StoreError::file(&self.path))
    }

    /// Streams the bytes in `range`.
    ///
    /// The status of the response is sent before the bytes are read. A read that fails later can only break the
    /// connection, and is therefore logged here.
    pub(crate) fn stream(mut self, range: Range<u64>) -> Result<StreamingBlob, StoreError> {
        self.seek(range.start)?;
        let state = (
            tokio::fs::File::from_std(self.file),
            self.path,
            range.end - range.start,
        );
        Ok(StreamingBlob::wrap(try_unfold(
            state,
            |(mut file, path, left)| async move {
                if left == 0 {
                    return Ok(None);
                }
                match read_piece(&mut file, left).await {
                    Ok(piece) => {
                        let left = left - piece.len() as u64;
                        Ok(Some((piece, (file, path, left))))
                    }
                    Err(error) => {
                        let blob = path.display();
                        tracing::error!(%blob, %error, "the embedded S3 failed in the middle of a response");
                        Err(error)
                    }
                }
            },
        )))
    }
}

/// Reads at least one and at most `left` bytes.
async fn read_piece(file: &mut tokio::fs::File, left: u64) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(piece_length(left));
    let count = file.take(left).read_buf(&mut piece).await?;
    if count == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(Bytes::from(piece))
}

/// Size of the next piece, of `left` bytes.
fn piece_length(left: u64) -> usize {
    left.min(READ_SIZE as u64) as usize
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tempfile::TempDir;

    use super::{BlobReader, BlobWriter, READ_SIZE};
    use crate::StoreError;
    use crate::checksum::Algorithm;

    fn writer(folder: &TempDir) -> BlobWriter {
        BlobWriter::create(folder.path(), Algorithm::Crc32).unwrap()
    }

    #[test]
    fn file_stays_only_if_it_is_kept() {
        let folder = TempDir::new().unwrap();
        let mut written = writer(&folder);
        written.write(b"moth").unwrap();
        let kept = written.finish();
        assert_eq!(kept.etag(), "3e442b18a209481375e3361f7b568696");
        let path = folder.path().join(&kept.name);
        kept.keep();
        drop(writer(&folder).finish());
        drop(writer(&folder));
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1);
        assert_eq!(std::fs::read(path).unwrap(), b"moth");
    }

    #[tokio::test]
    async fn copy_and_stream_give_the_bytes_of_the_range() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("source");
        let bytes: Vec<u8> = (0..READ_SIZE + 10).map(|index| index as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let size = bytes.len() as u64;
        for range in [0..size, 3..size - 1, 5..5] {
            let expected = &bytes[range.start as usize..range.end as usize];
            let mut copy = writer(&folder);
            let source = BlobReader::open(path.clone(), size).unwrap();
            copy.copy(source, range.clone()).unwrap();
            let copy = copy.finish();
            assert_eq!(
                std::fs::read(folder.path().join(&copy.name)).unwrap(),
                expected
            );
            assert_eq!(copy.size, expected.len() as u64);
            let source = BlobReader::open(path.clone(), size).unwrap();
            let mut stream = source.stream(range).unwrap();
            let mut streamed = Vec::new();
            while let Some(piece) = stream.next().await {
                streamed.extend_from_slice(&piece.unwrap());
            }
            assert_eq!(streamed, expected);
        }
    }

    #[tokio::test]
    async fn blob_that_is_cut_off_is_an_error() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("source");
        std::fs::write(&path, b"moth").unwrap();
        let longer = BlobReader::open(path.clone(), 5);
        assert!(matches!(longer, Err(StoreError::Damaged { .. })));
        let source = || BlobReader::open(path.clone(), 4).unwrap();
        let (copied, streamed) = (source(), source());
        std::fs::write(&path, b"mo").unwrap();
        let error = writer(&folder).copy(copied, 0..4).unwrap_err();
        assert!(matches!(error, StoreError::File { path: named, .. } if named == path));
        let mut stream = streamed.stream(0..4).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().len(), 2);
        stream.next().await.unwrap().unwrap_err();
    }
}
