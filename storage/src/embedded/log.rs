//! The group-commit log: says when a record is durable, and finds every durable record again.
//!
//! A state machine without threads and clock. It owns the order of records and the segments; it never interprets rows.
//! Driven in phases, so that its caller decides which thread blocks and a simulator can put time and crashes between:
//!
//! 1. [`Log::push`] puts records into the forming group.
//! 2. [`Log::begin`] seals it: a [`Commit`]. One is in flight at most; records that arrive meanwhile form the next.
//! 3. [`Commit::perform`] writes and syncs (blocks).
//! 4. [`Log::finish`] says what became of the group.
//!
//! Segments are prepared in the same three phases ([`Log::preparation`], [`Preparation::perform`],
//! [`Log::finish_preparation`]), on any thread. Call `begin` after every push, finish and finish_preparation: a group may
//! have to wait for a segment that is just being prepared.
//!
//! What bounds it: two group buffers, one entry per stream, one per segment.

mod codec;
mod commit;
mod forming;
mod group;
mod recover;
mod segments;
mod streams;
mod walk;

use std::sync::Arc;

pub use codec::RowError;
pub use commit::{Commit, CommitError};
pub use group::{FORMAT_VERSION, GroupError, GroupHeader, RecordError};
pub use recover::{Recovered, RecoveryError};
pub use segments::Preparation;
pub use streams::RefusedStream;
pub use walk::{Damage, DamageReason, End, Group, Outcome, Place, Stop, walk};

use crate::embedded::disk::Disk;
use crate::limits::{self, BLOCK_BYTES};
use crate::{Append, Lsn};
use forming::Forming;
use group::Identity;
use segments::{Room, Segments};
use streams::Streams;

/// How a log behaves. The defaults are in [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Size of new segment files; whole blocks, at least one group.
    pub segment_bytes: u64,
    /// Size of a commit group; whole blocks, at most [`limits::GROUP_BYTES_FORMAT_MAX`].
    pub group_bytes_max: usize,
    /// Segments kept ready.
    pub segments_ahead: usize,
    /// Cut a damaged log where the damage begins, and lose what is behind, knowingly.
    pub truncate_damaged: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: limits::SEGMENT_BYTES,
            group_bytes_max: limits::GROUP_BYTES_MAX,
            segments_ahead: limits::SEGMENTS_AHEAD,
            truncate_damaged: false,
        }
    }
}

/// Why a record was not taken. It is given back and is not in the log.
#[derive(Debug)]
pub struct Rejected {
    pub append: Append,
    pub reason: RejectReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    #[error("the forming group is full; push again after the next begin")]
    Full,
    #[error("the record was made before its stream heard of a refusal")]
    Stale,
    #[error("the record has {bytes} bytes, at most {bytes_max} fit into a group")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("an earlier write or sync failed; the log takes nothing until it is opened again")]
    Poisoned,
}

/// What became of a group.
#[derive(Debug)]
pub enum Finished {
    Durable(DurableGroup),
    /// Nothing was written (no segment could be made), and the log goes on. These records are not in the log: first
    /// those of the group, then those that had been pushed behind them by the same streams.
    Refused {
        error: std::io::Error,
        appends: Vec<Append>,
        streams: Vec<RefusedStream>,
    },
    /// A write or sync failed. Whether the group will be found after reopening is unknown, so nobody may be told
    /// anything about it; the log takes nothing until it is opened again.
    Poisoned {
        error: std::io::Error,
    },
}

/// Records that are durable.
#[derive(Debug)]
pub struct DurableGroup {
    /// Of the first record; the others follow without a gap.
    pub first_lsn: Lsn,
    pub appends: Vec<Append>,
}

impl DurableGroup {
    pub fn records(&self) -> impl Iterator<Item = (Lsn, &Append)> {
        self.appends.iter().enumerate().map(|(index, append)| (self.first_lsn.plus(index as u64), append))
    }

    pub fn last_lsn(&self) -> Lsn {
        self.first_lsn.plus(self.appends.len() as u64 - 1)
    }

    /// The highest durable ticket of each stream in the group, ascending by stream.
    pub fn durable_tickets(&self) -> Vec<(u16, u64)> {
        let mut tickets = std::collections::BTreeMap::new();
        for append in &self.appends {
            tickets.insert(append.stream, append.ticket);
        }
        tickets.into_iter().collect()
    }
}

/// The log; see the module.
#[derive(Debug)]
pub struct Log<D> {
    disk: Arc<D>,
    log_id: u128,
    segments: Segments,
    streams: Streams,
    forming: Forming,
    in_flight: bool,
    poisoned: bool,
    durable_lsn: Lsn,
    persisted_lsn: Lsn,
    /// Checksum of the last group.
    last_crc: u32,
    created_ms_max: u64,
}

impl<D: Disk> Log<D> {
    /// Puts a record into the forming group.
    ///
    /// # Errors
    /// The record comes back with the reason; see [`RejectReason`].
    ///
    /// # Panics
    /// When a stream's tickets do not go up or its epoch is ahead of its refusals.
    pub fn push(&mut self, append: Append) -> Result<(), Rejected> {
        let reason = if self.poisoned {
            Some(RejectReason::Poisoned)
        } else if self.streams.is_stale(&append) {
            Some(RejectReason::Stale)
        } else {
            self.forming.refuses(&append)
        };
        if let Some(reason) = reason {
            return Err(Rejected { append, reason });
        }
        self.streams.accept(&append);
        self.forming.push(append);
        Ok(())
    }

    /// Seals the forming group. `None`: there is nothing to commit, a commit is in flight, a segment is being
    /// prepared, or the log is poisoned.
    pub fn begin(&mut self) -> Option<Commit> {
        if self.in_flight || self.poisoned || self.forming.is_empty() {
            return None;
        }
        let padded = self.forming.padded_bytes() as u64;
        let (place, making) = match self.segments.room(padded, self.durable_lsn) {
            Room::Here(place) => (place, None),
            Room::AfterMaking(making) => (Segments::place_after(&making), Some(making)),
            Room::Soon => return None,
        };
        self.in_flight = true;
        let created_ms_max = self.forming.created_ms_max().max(self.created_ms_max);
        let identity = Identity { log_id: self.log_id, generation: place.segment.0 };
        let sealed = self.forming.seal(identity, self.durable_lsn, created_ms_max, self.last_crc);
        Some(Commit { place, making, sealed })
    }

    /// Takes the result of [`Commit::perform`].
    pub fn finish(&mut self, commit: Commit, result: Result<(), CommitError>) -> Finished {
        assert!(self.in_flight, "the commit at {:?} has finished before", commit.place);
        self.in_flight = false;
        let Commit { place, making, sealed } = commit;
        match result {
            Ok(()) => {
                if let Some(making) = &making {
                    self.segments.made(making, self.durable_lsn);
                }
                self.segments.written(place, sealed.padded_bytes() as u64);
                self.durable_lsn = sealed.header.last_lsn();
                self.created_ms_max = sealed.header.created_ms_max;
                self.last_crc = sealed.header.crc;
                let first_lsn = sealed.header.first_lsn;
                Finished::Durable(DurableGroup { first_lsn, appends: self.forming.recycle(sealed) })
            }
            Err(CommitError::NotWritten(error)) => {
                self.segments.not_made();
                let mut appends = self.forming.recycle(sealed);
                let streams = self.streams.refuse(&appends);
                appends.extend(self.forming.remove(|append| self.streams.is_stale(append)));
                Finished::Refused { error, appends, streams }
            }
            Err(CommitError::Failed(error)) => {
                self.poisoned = true;
                Finished::Poisoned { error }
            }
        }
    }

    /// The next step that keeps segments ready, if there is one. One is under way at most.
    pub fn preparation(&mut self) -> Option<Preparation> {
        self.segments.preparation(self.persisted_lsn)
    }

    /// Takes the result of [`Preparation::perform`]. A failure is no disaster: the group that needs the segment tries
    /// once more by itself, and is refused if that fails too.
    pub fn finish_preparation(&mut self, preparation: Preparation, result: std::io::Result<()>) {
        self.segments.prepared(&preparation, result.is_ok());
        if let Err(error) = result {
            tracing::warn!(?preparation, %error, "no log segment could be prepared ahead");
        }
    }

    /// The store has everything up to `lsn` on disk: segments before it can be used again.
    pub fn persisted(&mut self, lsn: Lsn) {
        if lsn > self.persisted_lsn {
            self.persisted_lsn = lsn;
            self.segments.try_again();
        }
    }

    pub fn disk(&self) -> &Arc<D> {
        &self.disk
    }

    /// The last durable record.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    /// Greatest creation time of any durable message, milliseconds since 1970.
    pub fn created_ms_max(&self) -> u64 {
        self.created_ms_max
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Records wait for the next [`Log::begin`].
    pub fn has_forming(&self) -> bool {
        !self.forming.is_empty()
    }
}

impl LogOptions {
    /// What is wrong with the values, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let block = BLOCK_BYTES as u64;
        if !self.group_bytes_max.is_multiple_of(BLOCK_BYTES)
            || !(BLOCK_BYTES..=limits::GROUP_BYTES_FORMAT_MAX).contains(&self.group_bytes_max)
        {
            return Some(format!(
                "group_bytes_max is {}; use a multiple of {BLOCK_BYTES} up to {}",
                self.group_bytes_max,
                limits::GROUP_BYTES_FORMAT_MAX
            ));
        }
        if !self.segment_bytes.is_multiple_of(block) || self.segment_bytes < self.group_bytes_max as u64 {
            return Some(format!(
                "segment_bytes is {}; use a multiple of {BLOCK_BYTES} that holds a group of {}",
                self.segment_bytes, self.group_bytes_max
            ));
        }
        None
    }
}
