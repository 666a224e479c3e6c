//! A disk in memory that can fail and lose power. Written-but-unsynced sectors are kept apart from what is safe.
//!
//! It draws no random numbers: the caller decides every fault and the fate of every unsynced sector. `create`,
//! `rename` and `remove` either happen or do not, as they do in a directory that is synced by each of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{AlignedBuffer, Disk, SegmentNumber};
use crate::limits::BLOCK_BYTES;

/// Smallest unit that a device writes in one piece.
pub const SECTOR_BYTES: usize = 512;

/// A disk in memory; see the module.
#[derive(Debug, Default)]
pub struct SimulatedDisk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    segments: BTreeMap<SegmentNumber, Segment>,
    /// Taken by the next operation that it concerns.
    faults: Vec<Fault>,
    /// Bytes that all segments together may have; `None`: no bound.
    capacity: Option<u64>,
    writes: u64,
    syncs: u64,
}

#[derive(Debug, Default)]
struct Segment {
    durable: Vec<u8>,
    /// What reads see: the durable bytes with every write on top.
    written: Vec<u8>,
    /// Sectors that differ in safety, not necessarily in bytes: index and the order of their last write.
    unsynced: BTreeMap<usize, u64>,
}

/// What the next operation of its kind suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `write` fails after `sectors` sectors have gone to the device.
    Write { sectors: usize },
    /// `sync` fails; the sectors stay unsynced.
    Sync,
    /// `create` fails for lack of space.
    Create,
    /// `rename` fails.
    Rename,
}

/// A sector that was written and not synced when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsyncedSector {
    pub segment: SegmentNumber,
    /// In sectors of 512 bytes from the start of the segment.
    pub index: usize,
    /// Which write it was part of; later writes have greater numbers.
    pub write: u64,
}

/// What a crash does to an unsynced sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectorFate {
    /// It reached the medium.
    Kept,
    /// The old bytes are still there.
    Lost,
    /// The first `usize` bytes are new, the rest is old.
    Torn(usize),
}

impl SimulatedDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Arms a fault. Several of a kind hit one operation each, in the order they were armed.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Bounds the bytes of all segments together; `create` past it fails for lack of space.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Writes and syncs so far.
    pub fn operations(&self) -> (u64, u64) {
        let state = self.state();
        (state.writes, state.syncs)
    }

    /// Power fails. `fate` is asked once for each unsynced sector, by segment and position. What is left is durable.
    pub fn crash(&self, mut fate: impl FnMut(UnsyncedSector) -> SectorFate) {
        let mut state = self.state();
        state.faults.clear();
        for (&number, segment) in &mut state.segments {
            for (&index, &write) in &segment.unsynced {
                let from = index * SECTOR_BYTES;
                let kept = match fate(UnsyncedSector { segment: number, index, write }) {
                    SectorFate::Kept => SECTOR_BYTES,
                    SectorFate::Lost => 0,
                    SectorFate::Torn(bytes) => bytes.min(SECTOR_BYTES),
                };
                segment.durable[from..from + kept].copy_from_slice(&segment.written[from..from + kept]);
            }
            segment.unsynced.clear();
            segment.written.clone_from(&segment.durable);
        }
    }

    /// Changes bytes behind everybody's back, as a failing medium does.
    ///
    /// # Panics
    /// When the segment or the bytes do not exist.
    pub fn corrupt(&self, segment: SegmentNumber, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let segment = state.segments.get_mut(&segment).expect("the segment exists");
        change(&mut segment.durable);
        segment.written.clone_from(&segment.durable);
        segment.unsynced.clear();
    }

    /// An independent disk with the same bytes; unsynced ones count as written.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        for (&number, segment) in &self.state().segments {
            let durable = segment.written.clone();
            let same = Segment { written: durable.clone(), durable, unsynced: BTreeMap::new() };
            copy.state().segments.insert(number, same);
        }
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_fault(&mut self, concerns: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let index = self.faults.iter().position(concerns)?;
        Some(self.faults.remove(index))
    }

    fn segment(&mut self, number: SegmentNumber) -> io::Result<&mut Segment> {
        self.segments.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimulatedDisk {
    fn segments(&self) -> io::Result<Vec<(SegmentNumber, u64)>> {
        let state = self.state();
        Ok(state.segments.iter().map(|(&number, segment)| (number, segment.written.len() as u64)).collect())
    }

    fn create(&self, segment: SegmentNumber, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        let used: u64 = state.segments.values().map(|segment| segment.written.len() as u64).sum();
        let full = state.capacity.is_some_and(|capacity| used + bytes > capacity);
        if full || state.take_fault(|fault| *fault == Fault::Create).is_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; usize::try_from(bytes).expect("a segment fits into memory")];
        let made = Segment { written: zeros.clone(), durable: zeros, unsynced: BTreeMap::new() };
        state.segments.insert(segment, made);
        Ok(())
    }

    fn rename(&self, from: SegmentNumber, to: SegmentNumber) -> io::Result<()> {
        let mut state = self.state();
        if state.take_fault(|fault| *fault == Fault::Rename).is_some() {
            return Err(io::Error::from_raw_os_error(5));
        }
        let segment = state.segments.remove(&from).ok_or(io::ErrorKind::NotFound)?;
        state.segments.insert(to, segment);
        Ok(())
    }

    fn remove(&self, segment: SegmentNumber) -> io::Result<()> {
        self.state().segments.remove(&segment);
        Ok(())
    }

    fn write(&self, segment: SegmentNumber, offset: u64, blocks: &AlignedBuffer) -> io::Result<()> {
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "offset {offset} is inside a block");
        assert!(blocks.len().is_multiple_of(BLOCK_BYTES), "{} bytes are no whole blocks", blocks.len());
        let mut state = self.state();
        state.writes += 1;
        let write = state.writes;
        let fault = state.take_fault(|fault| matches!(fault, Fault::Write { .. }));
        let arrives = match fault {
            Some(Fault::Write { sectors }) => blocks.len().min(sectors * SECTOR_BYTES),
            _ => blocks.len(),
        };
        let segment = state.segment(segment)?;
        let from = usize::try_from(offset).expect("a segment fits into memory");
        let end = segment.written.len().max(from + blocks.len());
        segment.written.resize(end, 0);
        segment.durable.resize(end, 0);
        segment.written[from..from + arrives].copy_from_slice(&blocks.bytes()[..arrives]);
        for sector in from / SECTOR_BYTES..(from + arrives) / SECTOR_BYTES {
            segment.unsynced.insert(sector, write);
        }
        if fault.is_some() { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn sync(&self, segment: SegmentNumber) -> io::Result<()> {
        let mut state = self.state();
        state.syncs += 1;
        if state.take_fault(|fault| *fault == Fault::Sync).is_some() {
            return Err(io::Error::from_raw_os_error(5));
        }
        let segment = state.segment(segment)?;
        for &sector in segment.unsynced.keys() {
            let from = sector * SECTOR_BYTES;
            segment.durable[from..from + SECTOR_BYTES]
                .copy_from_slice(&segment.written[from..from + SECTOR_BYTES]);
        }
        segment.unsynced.clear();
        Ok(())
    }

    fn read(&self, segment: SegmentNumber) -> io::Result<AlignedBuffer> {
        let mut state = self.state();
        let segment = state.segment(segment)?;
        let mut buffer = AlignedBuffer::zeroed(segment.written.len());
        buffer.bytes_mut()[..segment.written.len()].copy_from_slice(&segment.written);
        Ok(buffer)
    }
}
