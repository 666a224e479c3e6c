//! The disk and the store of a simulation: the ones that `tidegate-storage` has for this, with faults in front.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_storage::embedded::disk::{AlignedBuffer, Disk, SegmentNumber, SimulatedDisk};
use tidegate_storage::store::{MemoryStore, StoreError};
use tidegate_storage::{Answer, Lsn, Query, Row, Store};

use super::random::Random;

/// A disk whose syncs may lie.
#[derive(Debug, Default)]
pub struct WorldDisk {
    pub inner: SimulatedDisk,
    pub sync_lies: AtomicBool,
}

impl Disk for WorldDisk {
    fn segments(&self) -> io::Result<Vec<(SegmentNumber, u64)>> {
        self.inner.segments()
    }

    fn create(&self, segment: SegmentNumber, bytes: u64) -> io::Result<()> {
        self.inner.create(segment, bytes)
    }

    fn rename(&self, from: SegmentNumber, to: SegmentNumber) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, segment: SegmentNumber) -> io::Result<()> {
        self.inner.remove(segment)
    }

    fn write(&self, segment: SegmentNumber, offset: u64, blocks: &AlignedBuffer) -> io::Result<()> {
        self.inner.write(segment, offset, blocks)
    }

    fn sync(&self, segment: SegmentNumber) -> io::Result<()> {
        if self.sync_lies.load(Ordering::Relaxed) { Ok(()) } else { self.inner.sync(segment) }
    }

    fn read(&self, segment: SegmentNumber) -> io::Result<AlignedBuffer> {
        self.inner.read(segment)
    }
}

/// The store in memory that sometimes does not answer. What it has persisted outlives the process.
#[derive(Debug)]
pub struct WorldStore {
    pub inner: MemoryStore,
    pub faults: Arc<Mutex<StoreFaults>>,
}

#[derive(Debug)]
pub struct StoreFaults {
    pub random: Random,
    pub per_mille: u64,
    pub cuts_pages: bool,
}

impl Store for WorldStore {
    fn apply(&mut self, lsn: Lsn, rows: &[Row]) -> Result<(), StoreError> {
        self.inner.apply(lsn, rows)
    }

    fn query(&mut self, query: &Query) -> Answer {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let per_mille = faults.per_mille;
        if faults.random.chance(per_mille) {
            return Answer::Failed("the simulated store does not answer".into());
        }
        match self.inner.query(query) {
            Answer::Messages { mut messages, has_more } if faults.cuts_pages => {
                if messages.len() > 2 {
                    messages.remove(1);
                }
                Answer::Messages { messages, has_more }
            }
            answer => answer,
        }
    }

    fn persisted_lsn(&self) -> Lsn {
        self.inner.persisted_lsn()
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.inner.flush()
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        self.inner.maintain()
    }
}
