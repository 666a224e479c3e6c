//! The provided buffers that receives pick from: one ring of descriptors and one block of memory, shared with the
//! kernel.
//!
//! A buffer is the kernel's from `recycle` until a completion names it, and ours until the next `recycle`. The tail
//! is published once per turn ([`Buffers::commit`]). Both blocks are allocated zeroed and touched as they are used.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

#[derive(Debug)]
pub(super) struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    bytes: u32,
    /// Our tail; the published one lags until `commit`.
    tail: u16,
}

impl Buffers {
    /// `count` buffers of `bytes` each, all of them the kernel's once the ring is registered.
    ///
    /// # Panics
    /// If `count` is not a power of two up to 32768 (the kernel's rule), or `bytes` is 0.
    pub fn new(count: u16, bytes: u32) -> Self {
        assert!(
            count.is_power_of_two(),
            "receive_buffers is {count}; the kernel wants a power of two up to 32768"
        );
        assert!(bytes > 0, "receive_buffer_bytes is 0; give every buffer at least one byte");
        let mut buffers = Self {
            entries: allocate(entries_layout(count)).cast(),
            memory: allocate(memory_layout(count, bytes)),
            count,
            bytes,
            tail: 0,
        };
        for id in 0..count {
            buffers.recycle(id);
        }
        buffers.commit();
        buffers
    }

    /// Address and number of the descriptors, for registration.
    pub fn registration(&self) -> (u64, u16) {
        (self.entries.as_ptr() as u64, self.count)
    }

    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The first `length` bytes of a buffer that a completion has just named.
    ///
    /// # Panics
    /// If there is no such buffer or it is shorter: the kernel broke its word.
    pub fn filled(&mut self, id: u16, length: usize) -> &mut [u8] {
        assert!(id < self.count, "the kernel named buffer {id} of {}", self.count);
        assert!(length <= self.bytes as usize, "the kernel wrote {length} bytes into {}", self.bytes);
        // SAFETY: `id < count`, so the offset lies within `memory`.
        let start = unsafe { self.memory.add(id as usize * self.bytes as usize) };
        // SAFETY: in bounds by the asserts; zeroed at allocation, so initialized; ours, because a completion named
        // it and `recycle` has not given it back; the borrow of `self` keeps `recycle` away meanwhile.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) }
    }

    /// Gives a buffer back; the kernel sees it after `commit`.
    pub fn recycle(&mut self, id: u16) {
        debug_assert!(id < self.count);
        let address = self.memory.as_ptr() as u64 + u64::from(id) * u64::from(self.bytes);
        // SAFETY: the index is masked to the `count` entries of the allocation.
        let entry = unsafe { self.entries.add((self.tail & (self.count - 1)) as usize) };
        // SAFETY: aligned and within the allocation; the kernel reads entries only up to the published tail, and this
        // one lies behind it. The setters leave the tail field, which overlays the first entry, alone.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(self.bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Publishes what was recycled.
    pub fn commit(&mut self) {
        // SAFETY: `entries` is the page-aligned start of an initialized descriptor ring.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is a 2-byte aligned field of our allocation, which lives as long as `self`; kernel and
        // program both access it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout. The ring is closed before (field order of `UringDriver`), and
        // receives never outlive the turn that submitted them, so the kernel writes to neither block.
        unsafe { dealloc(self.entries.as_ptr().cast(), entries_layout(self.count)) };
        // SAFETY: as above.
        unsafe { dealloc(self.memory.as_ptr(), memory_layout(self.count, self.bytes)) };
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: both layouts have a size above zero (`new` asserts it).
    let block = unsafe { alloc_zeroed(layout) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
}

fn entries_layout(count: u16) -> Layout {
    Layout::array::<BufRingEntry>(count as usize)
        .and_then(|layout| layout.align_to(PAGE_BYTES))
        .expect("at most 32768 entries of 16 bytes")
}

fn memory_layout(count: u16, bytes: u32) -> Layout {
    Layout::from_size_align(count as usize * bytes as usize, CACHE_LINE_BYTES).expect("below 2^47 bytes")
}

/// The kernel wants the descriptors aligned to a page; 64 KiB serves every page size of Linux.
const PAGE_BYTES: usize = 64 * 1024;
const CACHE_LINE_BYTES: usize = 64;
