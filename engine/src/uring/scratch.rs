//! Memory in which several buffers for one socket become one. Holds its addresses until it is reset.

/// Blocks that never move; each copy lies in one of them.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    blocks: Vec<Box<[u8]>>,
    /// The block being filled, and how far.
    block: usize,
    used: usize,
}

impl Scratch {
    /// Copies the chunks one behind the other, at most `length` bytes, and returns where they lie until `reset`.
    ///
    /// # Panics
    /// If `length` is above [`COPY_BYTES_MAX`].
    pub fn join<'a>(&mut self, chunks: impl Iterator<Item = &'a [u8]>, length: usize) -> *const u8 {
        assert!(length <= COPY_BYTES_MAX);
        if self.used + length > BLOCK_BYTES {
            self.block += 1;
            self.used = 0;
        }
        if self.block >= self.blocks.len() {
            self.blocks.push(vec![0; BLOCK_BYTES].into_boxed_slice());
        }
        let space = &mut self.blocks[self.block][self.used..self.used + length];
        let mut filled = 0;
        for chunk in chunks {
            let count = chunk.len().min(length - filled);
            space[filled..filled + count].copy_from_slice(&chunk[..count]);
            filled += count;
            if filled == length {
                break;
            }
        }
        debug_assert_eq!(filled, length);
        self.used += length;
        space.as_ptr()
    }

    /// The kernel has read everything: use the memory again, and return what a burst has left.
    pub fn reset(&mut self) {
        self.blocks.truncate(BLOCKS_KEPT);
        self.block = 0;
        self.used = 0;
    }
}

/// Most that one send copies. Larger sends go in pieces of this size, or straight from their buffers.
pub(super) const COPY_BYTES_MAX: usize = 64 * 1024;

/// Cost: blocks kept × block, 1 MiB per worker. Covers 1000 receivers with 1 KiB each in one turn.
const BLOCKS_KEPT: usize = 4;
const BLOCK_BYTES: usize = 256 * 1024;
