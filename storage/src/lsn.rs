//! The position of a record in the log.

use std::fmt;

/// Log sequence number of a record: 1, 2, 3 … without a gap, over the whole life of a data directory.
/// [`Lsn::ZERO`] is before the first record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);

    pub fn next(self) -> Lsn {
        self.plus(1)
    }

    pub fn plus(self, records: u64) -> Lsn {
        Lsn(self.0 + records)
    }

    /// The record before this one; [`Lsn::ZERO`] has none and stays.
    pub fn previous(self) -> Lsn {
        Lsn(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
