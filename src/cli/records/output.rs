//! Standard output, or a file that appears when it is complete.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::NamedTempFile;

/// Where a command writes what it made.
pub(super) enum Output {
    /// Standard output.
    Stdout(BufWriter<io::Stdout>),
    /// A pipe or a device.
    Special(BufWriter<File>),
    /// A temporary file beside the file.
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl Output {
    /// Writes to `file`, or to standard output if its name is `-`.
    pub(super) fn create(file: &Path) -> anyhow::Result<Self> {
        if file.as_os_str() == "-" {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        // A link to a file stays a link: the file is replaced.
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let existing = fs::metadata(&file).ok();
        if existing
            .as_ref()
            .is_some_and(|existing| !existing.is_file())
        {
            let special = OpenOptions::new().write(true).open(&file);
            let special = special.with_context(|| format!("cannot write to {}", file.display()))?;
            return Ok(Self::Special(BufWriter::new(special)));
        }
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // Those of the file that is replaced; for a new one, what the umask permits.
        let permissions = match existing {
            Some(existing) => existing.permissions(),
            None => Permissions::from_mode(0o666),
        };
        let temporary = tempfile::Builder::new()
            .permissions(permissions)
            .tempfile_in(folder)
            .with_context(|| format!("cannot write to the folder {}", folder.display()))?;
        Ok(Self::File(BufWriter::new(temporary), file))
    }

    /// Completes the file.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush()?,
            Self::Special(mut special) => special.flush()?,
            Self::File(writer, file) => {
                let temporary = writer
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)?;
                let failed = || format!("cannot write {}", file.display());
                temporary.persist(&file).with_context(failed)?;
            }
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Special(special) => special.write(bytes),
            Self::File(file, _) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::Special(special) => special.flush(),
            Self::File(file, _) => file.flush(),
        }
    }
}
