//! Memory that vectors and threads may share: aligned buffers, mapped files, and the arena of a run.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    fs::File,
    io,
    ops::Deref,
    ptr::NonNull,
    slice,
};

use memmap2::{Mmap, MmapOptions};

/// A cache line, and the widest vector.
pub const ALIGNMENT: usize = 64;

/// Zeroed floats, aligned to a cache line.
pub struct Floats {
    first: NonNull<f32>,
    length: usize,
}

// SAFETY: it owns its memory, like a Vec.
unsafe impl Send for Floats {}
// SAFETY: shared references only read.
unsafe impl Sync for Floats {}

impl Floats {
    /// `length` zeros.
    pub fn zeroed(length: usize) -> Self {
        let layout = Self::layout(length);
        // SAFETY: the layout is not of size 0.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(first) = NonNull::new(memory.cast()) else {
            handle_alloc_error(layout)
        };
        Self { first, length }
    }

    #[expect(
        clippy::expect_used,
        reason = "lengths come from pictures and models that are in memory"
    )]
    fn layout(length: usize) -> Layout {
        Layout::array::<f32>(length.max(1))
            .and_then(|layout| layout.align_to(ALIGNMENT))
            .expect("less than isize::MAX bytes")
    }

    /// All of them, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: it is ours alone, initialized, and `length` long.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.length) }
    }

    /// The first, for steps that share the floats between threads.
    pub(super) fn as_ptr(&self) -> *mut f32 {
        self.first.as_ptr()
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: initialized, and `length` long.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.length) }
    }
}

impl Drop for Floats {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.first.as_ptr().cast(), Self::layout(self.length)) }
    }
}

/// A file in memory, which the system may drop from there and read again when memory is short.
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps all of `file`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the files that are mapped are parts of an image that nobody writes. Should one be changed all
        // the same, floats take other values, and any value is a float; should it be cut off, the process ends
        // with SIGBUS.
        unsafe { MmapOptions::new().populate().map(file).map(Self) }
    }

    /// The floats at these bytes; `None` where the range is outside the file or not aligned to a float.
    pub fn floats(&self, start: usize, length: usize) -> Option<&[f32]> {
        let end = length.checked_mul(4)?.checked_add(start)?;
        let bytes = self.0.get(start..end)?;
        // SAFETY: any four bytes are a float.
        let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
        (before.is_empty() && after.is_empty()).then_some(floats)
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
