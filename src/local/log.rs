//! The function's log: `function.log`, and `function.log.1` with the lines before it. Its size is bounded.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    task::JoinSet,
};

/// Size at which the log is rotated: the lines of about 6,000 photos.
const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Time to wait for the remaining output of an ended instance. A child process may keep the pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// The log, open for appending. Clones write to the same file.
#[derive(Clone)]
pub(super) struct Log(Arc<Shared>);

struct Shared {
    path: PathBuf,
    max_bytes: u64,
    file: Mutex<Current>,
}

struct Current {
    file: File,
    bytes: u64,
}

impl Log {
    /// Opens the log in `folder` and appends to that of an earlier run.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        Self::with_limit(folder, MAX_BYTES)
    }

    fn with_limit(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        let path = folder.join("function.log");
        let file = Mutex::new(Current::open(&path)?);
        Ok(Self(Arc::new(Shared {
            path,
            max_bytes,
            file,
        })))
    }

    /// Path of the file with the newest lines.
    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Appends one line, which ends in a line feed.
    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut current = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        let length = line.len() as u64;
        if current.bytes > 0 && current.bytes + length > self.0.max_bytes {
            match fs::rename(&self.0.path, self.0.path.with_extension("log.1")) {
                // An earlier rotation renamed the file and could not open the new one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            *current = Current::open(&self.0.path)?;
        }
        current.file.write_all(line)?;
        current.bytes += length;
        Ok(())
    }

    /// The last line; `None` if the log is empty or unreadable.
    pub(super) fn last_line(&self) -> Option<String> {
        let text = fs::read_to_string(&self.0.path).ok()?;
        text.lines().last().map(ToOwned::to_owned)
    }
}

impl Current {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

/// Copies the output of one instance to the log.
pub(super) struct Copying(JoinSet<()>);

impl Copying {
    pub(super) fn new() -> Self {
        Self(JoinSet::new())
    }

    /// Copies every line of `output` to `log`.
    pub(super) fn add(&mut self, log: &Log, output: impl AsyncRead + Unpin + Send + 'static) {
        let log = log.clone();
        self.0.spawn(async move {
            copy(&log, output).await;
        });
    }

    /// Waits until the remaining output of the ended instance is in the log.
    pub(super) async fn finish(mut self) {
        let all = async { while self.0.join_next().await.is_some() {} };
        // Later output is lost: dropping the tasks ends them.
        let _ = tokio::time::timeout(DRAIN, all).await;
    }
}

/// Copies lines. It keeps reading if a line cannot be written, because an instance whose output nobody reads
/// would block.
async fn copy(log: &Log, output: impl AsyncRead + Unpin) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    let mut is_reported = false;
    // A read error counts as the end of the pipe.
    while output
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|bytes| bytes > 0)
    {
        if let Err(error) = log.append(&line)
            && !is_reported
        {
            let path = log.path().display();
            tracing::error!(%error, "the function's log {path} cannot be written: lines are lost");
            is_reported = true;
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_rotated_and_the_oldest_lines_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::with_limit(folder.path(), 20).unwrap();
        for number in 0..7 {
            log.append(format!("line {number}..\n").as_bytes()).unwrap();
        }
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("function.log.1"), "line 4..\nline 5..\n");
        assert_eq!(read("function.log"), "line 6..\n");
        assert_eq!(log.last_line().unwrap(), "line 6..");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_log_of_an_earlier_run_counts_towards_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("function.log"), "of before\n").unwrap();
        let log = Log::with_limit(folder.path(), 20).unwrap();
        log.append(b"of this run\n").unwrap();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("function.log.1"), "of before\n");
        assert_eq!(read("function.log"), "of this run\n");
    }
}
