//! Memory that O_DIRECT accepts: starts on a block, is a whole number of blocks.

use crate::limits::BLOCK_BYTES;

/// A buffer of fixed capacity whose first byte lies on a block boundary.
pub struct AlignedBuffer {
    /// Never grows past its first allocation: that would move the start off the boundary.
    memory: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl AlignedBuffer {
    /// `capacity` is rounded up to whole blocks.
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(BLOCK_BYTES);
        let mut memory: Vec<u8> = Vec::with_capacity(capacity + BLOCK_BYTES);
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES, "align_offset of a byte pointer is below the alignment, got {start}");
        memory.resize(start, 0);
        Self { memory, start, capacity }
    }

    /// A buffer of `bytes` zeros, rounded up to whole blocks.
    pub fn zeroed(bytes: usize) -> Self {
        let mut buffer = Self::with_capacity(bytes);
        buffer.memory.resize(buffer.start + buffer.capacity, 0);
        buffer
    }

    pub fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn clear(&mut self) {
        self.memory.truncate(self.start);
    }

    /// Lets `write` append at most `bytes` bytes.
    ///
    /// # Panics
    /// When they do not fit, or more were written.
    pub fn append(&mut self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let length = self.len();
        assert!(length + bytes <= self.capacity, "{bytes} bytes after {length} exceed {}", self.capacity);
        write(&mut self.memory);
        assert!(self.len() <= length + bytes, "{} bytes written, {bytes} announced", self.len() - length);
    }

    /// Fills the last block with zeros.
    pub fn pad(&mut self) {
        let padded = self.len().next_multiple_of(BLOCK_BYTES);
        self.memory.resize(self.start + padded, 0);
    }

    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuffer").field("len", &self.len()).field("capacity", &self.capacity).finish()
    }
}
