//! What the log asks of a disk. Two implementations: [`FileDisk`] and [`SimulatedDisk`].

mod aligned;
mod file;
mod simulated;

use std::fmt;
use std::io;

pub use aligned::AlignedBuffer;
pub use file::FileDisk;
pub(crate) use file::sync_directory;
pub use simulated::{Fault, SectorFate, SimulatedDisk, UnsyncedSector};

/// Number of a segment: 1, 2, 3 … in the order they are written. A recycled file gets a new number; the number is the
/// generation that its groups carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}", self.0)
    }
}

/// Segments of one log. Calls block; they may come from several threads, for different segments.
///
/// `create`, `rename` and `remove` are durable when they return. `write` is durable after a later `sync` of the same
/// segment has returned without an error, and after a failed `sync` nothing is known about any unsynced write.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Existing segments, ascending, with their length in bytes.
    fn segments(&self) -> io::Result<Vec<(SegmentNumber, u64)>>;

    /// Makes a segment of `bytes` zeros whose blocks are allocated and written. Replaces an existing one. After an
    /// error there may or may not be a segment.
    fn create(&self, segment: SegmentNumber, bytes: u64) -> io::Result<()>;

    /// Gives an existing segment a new number, contents as they are.
    fn rename(&self, from: SegmentNumber, to: SegmentNumber) -> io::Result<()>;

    /// Removes a segment; one that is not there is as good as removed.
    fn remove(&self, segment: SegmentNumber) -> io::Result<()>;

    /// Writes whole blocks at a block boundary.
    fn write(&self, segment: SegmentNumber, offset: u64, blocks: &AlignedBuffer) -> io::Result<()>;

    fn sync(&self, segment: SegmentNumber) -> io::Result<()>;

    /// The whole segment.
    fn read(&self, segment: SegmentNumber) -> io::Result<AlignedBuffer>;
}
