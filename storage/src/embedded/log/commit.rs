//! A sealed group on its way to the disk.

use std::io;

use super::forming::Sealed;
use super::segments::Preparation;
use super::walk::Place;
use crate::embedded::disk::Disk;
use crate::{Append, Lsn};

/// A sealed group and where it goes. Hand it to [`super::Log::finish`] whatever happened.
#[derive(Debug)]
pub struct Commit {
    pub(super) place: Place,
    /// No segment was ready: this makes one first.
    pub(super) making: Option<Preparation>,
    pub(super) sealed: Sealed,
}

/// Why a commit did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the group went to the disk; the log can go on.
    #[error("no log segment could be made: {0}; free some space on the log's file system")]
    NotWritten(io::Error),
    /// Unknown how much did, and whether the next try would tell the truth.
    #[error("writing or syncing the log failed: {0}; look at the disk and the kernel log, then start again")]
    Failed(io::Error),
}

impl Commit {
    /// Writes and syncs; blocks. Never to be repeated after a failure.
    pub fn perform<D: Disk>(&self, disk: &D) -> Result<(), CommitError> {
        self.write(disk)?;
        self.sync(disk)
    }

    /// The first half of [`Commit::perform`].
    pub fn write<D: Disk>(&self, disk: &D) -> Result<(), CommitError> {
        if let Some(making) = &self.making {
            making.perform(disk).map_err(CommitError::NotWritten)?;
        }
        disk.write(self.place.segment, self.place.offset, &self.sealed.buffer).map_err(CommitError::Failed)
    }

    /// The second half of [`Commit::perform`].
    pub fn sync<D: Disk>(&self, disk: &D) -> Result<(), CommitError> {
        disk.sync(self.place.segment).map_err(CommitError::Failed)
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// Bytes that go to the disk, padding included.
    pub fn bytes(&self) -> usize {
        self.sealed.padded_bytes()
    }

    pub fn first_lsn(&self) -> Lsn {
        self.sealed.header.first_lsn
    }

    /// The records, in their order.
    pub fn appends(&self) -> &[Append] {
        &self.sealed.appends
    }

    /// How many records.
    pub fn records(&self) -> u32 {
        self.sealed.header.records
    }
}
