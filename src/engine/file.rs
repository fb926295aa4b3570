//! The compiled file: a program and its packed weights, ready to be mapped into memory.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `MOTHNET\n` |
//! | 4 | version of the format; this and all other numbers are little-endian |
//! | 4 | length of the description in bytes |
//! | 4 | CRC-32 of the description |
//! | 4 | CRC-32 of the weights |
//! | | the description: the program and the SHA-256 of its ONNX file, as JSON |
//! | | zeros up to a multiple of 64 bytes |
//! | | the packed weights, as f32 |

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
    program::Program,
    runtime::{ALIGNMENT, MappedFile, PackedWeights, ProgramError, Runnable},
};

const _: () = assert!(
    cfg!(target_endian = "little"),
    "weights are mapped as they are in the file: little-endian"
);

const MAGIC: &[u8; 8] = b"MOTHNET\n";
/// Version of the format. It changes with the meaning of a step and with the order of packed weights.
const VERSION: u32 = 5;
/// Length of everything before the description, in bytes.
const HEADER_LEN: usize = 24;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// SHA-256 of the ONNX file.
    model: String,
    program: Program,
}

/// Why a compiled file cannot be used. A retry does not help, except for [`FileError::Read`].
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file does not exist.
    #[error("there is none: compile the model")]
    Missing,
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The file does not begin as a compiled model does.
    #[error("it is no compiled model: compile the model again")]
    NotCompiled,
    /// The file has another version of the format.
    #[error("it has version {0} of the format instead of {VERSION}: compile the model again")]
    Version(u32),
    /// The file was compiled from another ONNX file.
    #[error("it was compiled from another model, with SHA-256 {0}: compile the model again")]
    Model(String),
    /// The file is not as it was written.
    #[error("it is damaged: {0}; compile the model again")]
    Damaged(#[source] Damage),
    /// The file is as it was written, but its program is not sound or not for this CPU.
    #[error("its program is refused: {0}; compile the model again")]
    Program(#[from] ProgramError),
}

/// How a compiled file differs from what was written.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The description is cut off, or its CRC-32 is wrong.
    #[error("the checksum of its description is wrong")]
    Description,
    /// The description has the right CRC-32, but is no program.
    #[error("its description does not parse: {0}")]
    Json(#[source] serde_json::Error),
    /// There is something between the description and the weights.
    #[error("the bytes before its weights are not zeros")]
    Padding,
    /// The weights have another length than the program says.
    #[error("its weights are cut off or too long")]
    Length,
    /// The CRC-32 of the weights is wrong.
    #[error("the checksum of its weights is wrong")]
    Weights,
}

/// Writes a compiled file. `model` is the SHA-256 of the ONNX file. An existing file stays until the new one is
/// complete.
///
/// # Errors
///
/// The error of the system call.
pub fn write(path: &Path, model: &str, program: &Program, weights: &[f32]) -> io::Result<()> {
    let description = serde_json::to_vec(&Description {
        model: model.to_owned(),
        program: program.clone(),
    })?;
    let bytes: Vec<u8> = weights
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let len = u32::try_from(description.len()).map_err(io::Error::other)?;
    let numbers = [
        VERSION,
        len,
        crc32fast::hash(&description),
        crc32fast::hash(&bytes),
    ];
    let end = HEADER_LEN + description.len();
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

/// Opens a compiled file. `model` is the SHA-256 of the ONNX file from which it must have been compiled.
///
/// The weights stay in the file, which is mapped into memory: the system may drop pages and read them again.
///
/// # Errors
///
/// A [`FileError`]. Nothing of the file runs before all of it was checked.
pub fn open(path: &Path, model: &str, isa: Isa) -> Result<Runnable, FileError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing,
        _ => FileError::Read(error),
    })?;
    let file = MappedFile::new(&file).map_err(FileError::Read)?;
    let (header, rest) = file
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(FileError::NotCompiled)?;
    let (magic, numbers) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(FileError::NotCompiled);
    }
    let (numbers, _) = numbers.as_chunks::<4>();
    let [version, len, crc, weights_crc] = [0, 1, 2, 3].map(|n| u32::from_le_bytes(numbers[n]));
    if version != VERSION {
        return Err(FileError::Version(version));
    }
    let description = rest
        .get(..len as usize)
        .filter(|description| crc32fast::hash(description) == crc)
        .ok_or(FileError::Damaged(Damage::Description))?;
    let Description {
        model: compiled_from,
        program,
    } = serde_json::from_slice(description)
        .map_err(|error| FileError::Damaged(Damage::Json(error)))?;
    if compiled_from != model {
        return Err(FileError::Model(compiled_from));
    }
    let end = HEADER_LEN + len as usize;
    let start = end.next_multiple_of(ALIGNMENT);
    let padding = file.get(end..start);
    let padding = padding.ok_or(FileError::Damaged(Damage::Length))?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(FileError::Damaged(Damage::Padding));
    }
    let weights = &file[start..];
    if Some(weights.len()) != program.weights_len.checked_mul(size_of::<f32>()) {
        return Err(FileError::Damaged(Damage::Length));
    }
    if crc32(weights) != weights_crc {
        return Err(FileError::Damaged(Damage::Weights));
    }
    let weights = PackedWeights::mapped(file, start);
    let weights = weights.ok_or(FileError::Damaged(Damage::Length))?;
    Ok(Runnable::new(program, weights, isa)?)
}

/// The CRC-32 of `bytes`, computed by all CPUs.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        activation::{Activation, Curve},
        fixtures::{affine, convolution, graph, input},
        graph::{Convolution, Graph, Op, Padding},
        plan::plan,
        runtime::Fault,
        steps::Step,
    };

    /// A program with its weights, written with a change to the bytes between description and weights.
    fn written(change: impl FnOnce(&mut Program), padding: u8) -> Result<Runnable, FileError> {
        let (mut program, weights) =
            plan(&graph([(input(), &[]), (convolution(1), &[0])], 8)).unwrap();
        change(&mut program);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.compiled");
        write(&path, "0123", &program, &weights).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let start = bytes.len() - weights.len() * size_of::<f32>();
        bytes[start - 1] ^= padding;
        // Another file: one that is mapped must not change.
        let path = folder.path().join("other.compiled");
        fs::write(&path, bytes).unwrap();
        open(&path, "0123", Isa::Portable)
    }

    #[test]
    fn a_file_with_right_checksums_and_an_unsound_program_is_refused() {
        assert!(written(|_| {}, 0).is_ok());
        let refused = |change: fn(&mut Program)| match written(change, 0) {
            Err(FileError::Program(error)) => error,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("the program is not sound"),
        };
        // No load: the convolution would read what is in the arena.
        let error = refused(|program| {
            program.steps.remove(0);
        });
        let expected = ProgramError::Invalid {
            step: 0,
            kind: "direct convolution",
            field: "input",
            fault: Fault::NotLive,
        };
        assert_eq!(error, expected);
        let error = refused(|program| {
            if let Step::Direct(direct) = &mut program.steps[1] {
                direct.bias += 16;
            }
        });
        let expected = ProgramError::Invalid {
            step: 1,
            kind: "direct convolution",
            field: "bias",
            fault: Fault::OutsideWeights,
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn a_program_that_says_another_length_of_weights_is_refused() {
        for change in [
            (|program| program.weights_len += 1) as fn(&mut Program),
            |program| program.weights_len = usize::MAX,
            |program| program.weights_len = 0,
        ] {
            let error = written(change, 0).err().unwrap();
            assert!(
                matches!(error, FileError::Damaged(Damage::Length)),
                "{error}"
            );
        }
    }

    #[test]
    fn bytes_before_the_weights_are_zeros() {
        let error = written(|_| {}, 1).err().unwrap();
        assert!(
            matches!(error, FileError::Damaged(Damage::Padding)),
            "{error}"
        );
    }

    /// A graph with packed weights of every kind.
    fn every_packing() -> Graph {
        let numbers = |count: usize| (0..count).map(|n| (n * 7919 % 256) as f32 / 256.0);
        let mut graph = graph([(input(), &[])], 28);
        let same = |kernel: usize, is_depthwise: bool, input: usize| {
            Op::Convolution(Convolution {
                weights: numbers(16 * if is_depthwise { 1 } else { input } * kernel * kernel)
                    .collect(),
                bias: numbers(16).collect(),
                is_depthwise,
                kernel: [kernel; 2],
                stride: [1, 1],
                padding: Padding {
                    before: [kernel / 2; 2],
                    after: [kernel / 2; 2],
                },
                residual_stride: None,
                has_gate: false,
                activation: Activation::RELU,
            })
        };
        let shape = graph.shape(0);
        let affine = Op::Affine(affine(2.0, 3.0), Activation::Curve(Curve::Swish));
        for op in [
            same(5, false, 16),
            same(3, false, 16),
            same(3, true, 16),
            affine,
        ] {
            let last = graph.nodes.len() - 1;
            graph.push(op, &[last], shape);
        }
        graph.outputs = vec![(4, vec![1, 16, 28, 28])];
        graph
    }

    /// If this fails, the order of packed weights or the description of a step has changed: then [`VERSION`] changes
    /// too, because an older compiled file would be read wrongly. A new step in the sound program changes the last hash
    /// alone, without a new version.
    #[test]
    fn the_format_changes_only_with_its_version() {
        let (program, weights) = plan(&every_packing()).unwrap();
        let bytes: Vec<u8> = weights
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let planned = serde_json::to_vec(&program).unwrap();
        let every_step = serde_json::to_vec(&crate::steps::verify::tests::program::program());
        let hashes = [bytes, planned, every_step.unwrap()].map(|bytes| crc32fast::hash(&bytes));
        assert_eq!(
            (VERSION, hashes),
            (5, [2_034_810_917, 3_073_924_623, 3_334_333_998])
        );
    }
}
