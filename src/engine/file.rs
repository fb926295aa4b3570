//! A program ready to run, in a file: nothing of it is parsed or packed at start, but for a page of description.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `MOTHNET\n` |
//! | 4 | version of the format, little endian as all of it |
//! | 4 | length of the description |
//! | 4 | CRC-32 of the description |
//! | 4 | CRC-32 of the weights |
//! | | the description, as JSON |
//! | | zeros up to a multiple of 64 bytes |
//! | | the weights, f32 |

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    thread,
};

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

use crate::{
    isa::Isa,
    kernel::{ALIGNMENT, MappedFile, Runnable, Weights},
    program::Program,
};

const MAGIC: &[u8; 8] = b"MOTHNET\n";
/// Anything that steps mean, or the order of weights, changes it.
const VERSION: u32 = 2;
const FIXED: usize = 24;

/// What is in front of the weights.
#[derive(Serialize, Deserialize)]
struct Description {
    /// SHA-256 of the ONNX file.
    model: String,
    program: Program,
}

/// Why a file cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It is something else.
    #[error("it is no compiled model")]
    Alien,
    /// It was written by another version of this program.
    #[error("it has version {0} of the format, and this is version {VERSION}")]
    Version(u32),
    /// It is of another model.
    #[error("it was compiled from another model, with SHA-256 {0}")]
    Model(String),
    /// It is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Writes a program with its weights, compiled from the ONNX file with this SHA-256. What was there stays until the
/// new file is whole.
///
/// # Errors
///
/// What the system says.
pub fn write(path: &Path, model: &str, program: &Program, weights: &[f32]) -> io::Result<()> {
    let description = serde_json::to_vec(&Description {
        model: model.to_owned(),
        program: program.clone(),
    })?;
    let bytes: Vec<u8> = weights
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let length = u32::try_from(description.len()).map_err(io::Error::other)?;
    let numbers = [
        VERSION,
        length,
        crc32fast::hash(&description),
        crc32fast::hash(&bytes),
    ];
    let end = FIXED + description.len();
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(MAGIC)?;
    file.write_all(numbers.map(u32::to_le_bytes).as_flattened())?;
    file.write_all(&description)?;
    file.write_all(&vec![0; end.next_multiple_of(ALIGNMENT) - end])?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(part, path)
}

/// Opens a program that was compiled from the ONNX file with this SHA-256. Its weights stay in the file, of which
/// the system keeps in memory what is used.
///
/// # Errors
///
/// A [`FileError`]; the file is then not used at all.
pub fn open(path: &Path, model: &str, isa: Isa) -> Result<Runnable, FileError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing,
        _ => FileError::Read(error),
    })?;
    let file = MappedFile::new(&file).map_err(FileError::Read)?;
    let (fixed, rest) = file.split_first_chunk::<FIXED>().ok_or(FileError::Alien)?;
    let (magic, numbers) = fixed.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(FileError::Alien);
    }
    let (numbers, _) = numbers.as_chunks::<4>();
    let [version, length, crc, weights_crc] = [0, 1, 2, 3].map(|n| u32::from_le_bytes(numbers[n]));
    if version != VERSION {
        return Err(FileError::Version(version));
    }
    let damaged = |what: &str| FileError::Damaged(what.to_owned());
    let description = rest
        .get(..length as usize)
        .filter(|description| crc32fast::hash(description) == crc)
        .ok_or_else(|| damaged("its description is not what was written"))?;
    let Description { model: of, program } = serde_json::from_slice(description)
        .map_err(|error| FileError::Damaged(error.to_string()))?;
    if of != model {
        return Err(FileError::Model(of));
    }
    let start = (FIXED + length as usize).next_multiple_of(ALIGNMENT);
    let weights = file
        .get(start..)
        .filter(|weights| Some(weights.len()) == program.weights.checked_mul(4))
        .ok_or_else(|| damaged("it is cut off"))?;
    if crc32(weights) != weights_crc {
        return Err(damaged("its weights are not what was written"));
    }
    Runnable::new(program, Weights::Mapped(file, start), isa).map_err(FileError::Damaged)
}

/// The CRC-32 of many bytes, by all CPUs.
fn crc32(bytes: &[u8]) -> u32 {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let parts = bytes.chunks(bytes.len().div_ceil(cpus).max(1));
    let hash = |part: &[u8]| {
        let mut hasher = Hasher::new();
        hasher.update(part);
        hasher
    };
    let mut whole = Hasher::new();
    thread::scope(|scope| {
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || hash(part))).collect();
        for part in parts {
            match part.join() {
                Ok(part) => whole.combine(&part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    whole.finalize()
}
