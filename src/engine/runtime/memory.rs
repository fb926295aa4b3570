//! Memory of a run and of the weights: aligned buffers and mapped files.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    fs::File,
    io,
    ops::Deref,
    ptr::NonNull,
    slice,
};

use memmap2::{Mmap, MmapOptions};

/// Alignment in bytes: a cache line, which is also the widest vector.
pub const ALIGNMENT: usize = 64;

/// A buffer of f32 that is aligned to a cache line.
pub struct AlignedFloats {
    first: NonNull<f32>,
    len: usize,
}

// SAFETY: the buffer owns its memory, as a `Vec` does.
unsafe impl Send for AlignedFloats {}
// SAFETY: a shared reference gives read access only; `as_ptr` leaves writing to unsafe code.
unsafe impl Sync for AlignedFloats {}

impl AlignedFloats {
    /// A buffer of `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: `layout` never has the size 0.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(first) = NonNull::new(memory.cast()) else {
            handle_alloc_error(layout)
        };
        Self { first, len }
    }

    /// A copy of `floats`.
    pub fn copied_from(floats: &[f32]) -> Self {
        let mut copy = Self::zeroed(floats.len());
        copy.as_mut_slice().copy_from_slice(floats);
        copy
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: `zeroed` initialized `len` floats, and `&mut self` is exclusive.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }

    #[expect(
        clippy::expect_used,
        reason = "lengths are those of verified programs or of slices in memory"
    )]
    fn layout(len: usize) -> Layout {
        Layout::array::<f32>(len.max(1))
            .and_then(|layout| layout.align_to(ALIGNMENT))
            .expect("a buffer has less than isize::MAX bytes")
    }

    /// First float, for threads that write to the buffer at the same time.
    pub(super) fn as_ptr(&self) -> *mut f32 {
        self.first.as_ptr()
    }
}

impl Deref for AlignedFloats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `zeroed` initialized `len` floats.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl Drop for AlignedFloats {
    fn drop(&mut self) {
        // SAFETY: `zeroed` allocated the memory with this layout.
        unsafe { dealloc(self.first.as_ptr().cast(), Self::layout(self.len)) }
    }
}

/// A file mapped into memory. The system may drop its pages when memory is short, and read them again.
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a whole file.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the compiled file is part of a container image, to which nothing writes, and `file::write` replaces
        // a file instead of changing it. If something changed it all the same, weights would have other values, and
        // any value is an f32; if something cut it off, the process would end with SIGBUS.
        unsafe { MmapOptions::new().populate().map(file).map(Self) }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The packed weights of a program.
pub struct PackedWeights(Memory);

enum Memory {
    Owned(AlignedFloats),
    /// `bytes` of the file are whole, aligned f32: `PackedWeights::mapped` checked it.
    Mapped {
        file: MappedFile,
        bytes: std::ops::Range<usize>,
    },
}

impl PackedWeights {
    /// Weights that were just packed.
    pub fn owned(weights: &[f32]) -> Self {
        Self(Memory::Owned(AlignedFloats::copied_from(weights)))
    }

    /// Weights in a file from byte `start` to its end. `None` if these bytes are not whole and aligned f32.
    pub fn mapped(file: MappedFile, start: usize) -> Option<Self> {
        let bytes = start..file.len();
        as_floats(file.get(bytes.clone())?)?;
        Some(Self(Memory::Mapped { file, bytes }))
    }
}

impl Deref for PackedWeights {
    type Target = [f32];

    #[expect(
        clippy::expect_used,
        reason = "`mapped` converted the same bytes, and a mapping does not move"
    )]
    fn deref(&self) -> &[f32] {
        match &self.0 {
            Memory::Owned(floats) => floats,
            Memory::Mapped { file, bytes } => {
                as_floats(&file[bytes.clone()]).expect("checked by `PackedWeights::mapped`")
            }
        }
    }
}

/// Bytes as f32. `None` if they are not whole or not aligned.
fn as_floats(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: any four bytes are an f32.
    let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(floats)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_holds_its_copy() {
        let copy = AlignedFloats::copied_from(&[1.0, 2.0, 3.0]);
        assert_eq!(copy[..], [1.0, 2.0, 3.0]);
        assert_eq!(copy.as_ptr() as usize % ALIGNMENT, 0);
        assert!(AlignedFloats::zeroed(0).is_empty());
    }

    #[test]
    fn mapped_weights_are_whole_and_aligned_or_refused() {
        let mut file = tempfile::tempfile().unwrap();
        for value in [1f32, 2.0, 3.0] {
            file.write_all(&value.to_le_bytes()).unwrap();
        }
        let mapped = |start| PackedWeights::mapped(MappedFile::new(&file).unwrap(), start);
        assert_eq!(mapped(4).unwrap()[..], [2.0, 3.0]);
        assert!(mapped(12).unwrap().is_empty());
        // Empty weights instead of a refusal would let the kernels read past their end.
        for start in [1, 2, 7, 13] {
            assert!(mapped(start).is_none(), "{start}");
        }
    }
}
