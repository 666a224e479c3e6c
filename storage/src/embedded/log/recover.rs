//! Opening a log: find its end, hand out what the store lacks, make the end safe to write behind.
//!
//! 1. Walk all segments. Records after the checkpoint go to `apply`, in order.
//! 2. Damage: refuse, unless the operator chose to cut there.
//! 3. Sync the segments that were read: after a crash of the process alone, bytes may be readable and not yet durable.
//! 4. Cut: clear what is behind the tail, sync; remove prepared segments that are too short to be used.
//! 5. Make the first segment if there is none.

use std::io;
use std::sync::Arc;

use super::forming::Forming;
use super::segments::Segments;
use super::streams::Streams;
use super::walk::{Damage, End, Outcome, Place, Stop, walk};
use super::{Group, GroupError, Log, LogOptions};
use crate::embedded::disk::{AlignedBuffer, Disk, SegmentNumber};
use crate::limits::{BLOCK_BYTES, GROUP_BYTES_FORMAT_MAX};
use crate::{Append, Lsn};

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The next record gets this number.
    pub next_lsn: Lsn,
    /// Records handed out because the store lacked them.
    pub replayed: u64,
    /// Greatest creation time of any message in the log, milliseconds since 1970; 0 when there is none.
    pub created_ms_max: u64,
    /// An unfinished write was cut off here. It had never been acknowledged.
    pub torn: Option<(Place, GroupError)>,
    /// The log was cut at damage because the operator chose so.
    pub truncated: Option<Damage>,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError<E> {
    #[error("{0}")]
    Options(String),
    #[error(
        "the log is damaged at byte {offset} of segment {segment}: {reason}. Records from {lsn} on were durable and \
         cannot be read there; {groups} later groups with {records} records still can. Restore the data directory \
         from a copy, or start once with --truncate-damaged-log to go on without record {lsn} and everything after it",
        offset = .0.place.offset, segment = .0.place.segment, reason = .0.reason, lsn = .0.lsn,
        groups = .0.groups_behind, records = .0.records_behind
    )]
    Damaged(Box<Damage>),
    #[error("log segment {segment}: {action} failed: {error}")]
    Io { segment: SegmentNumber, action: &'static str, error: io::Error },
    #[error("{0}")]
    Apply(E),
}

impl<D: Disk> Log<D> {
    /// Opens the log `log_id` on `disk`. `checkpoint` is the last record that the store has on disk; every later record
    /// is handed to `apply`, in order. When an error comes back, `apply` may have seen a prefix of the records.
    pub fn open<E>(
        disk: Arc<D>,
        log_id: u128,
        options: &LogOptions,
        checkpoint: Lsn,
        apply: &mut dyn FnMut(Lsn, Append) -> Result<(), E>,
    ) -> Result<(Self, Recovered), RecoveryError<E>> {
        if let Some(problem) = options.problem() {
            return Err(RecoveryError::Options(problem));
        }
        let mut replayed = 0;
        let outcome = walk(&*disk, log_id, Some(checkpoint), &mut |group: Group| {
            for (index, append) in group.records.into_iter().enumerate() {
                let lsn = group.header.first_lsn.plus(index as u64);
                if lsn > checkpoint {
                    replayed += 1;
                    apply(lsn, append)?;
                }
            }
            Ok(())
        });
        let (end, truncated) = match outcome {
            Ok(Outcome::End(end)) => (end, None),
            Ok(Outcome::Damaged(damage, end)) if options.truncate_damaged => (end, Some(damage)),
            Ok(Outcome::Damaged(damage, _)) => return Err(RecoveryError::Damaged(Box::new(damage))),
            Err(Stop::Read { segment, error }) => {
                return Err(RecoveryError::Io { segment, action: "reading", error });
            }
            Err(Stop::Caller(error)) => return Err(RecoveryError::Apply(error)),
        };

        for damage in &end.skipped {
            tracing::warn!(
                segment = %damage.place.segment, offset = damage.place.offset, reason = %damage.reason,
                "the log is damaged where the store has every record; going on behind it"
            );
        }
        let tail = Self::make_tail_safe(&disk, options, &end, truncated.is_some())?;
        let last_lsn = end.last.map_or(Lsn::ZERO, |header| header.last_lsn());
        if last_lsn < checkpoint {
            tracing::warn!(%last_lsn, %checkpoint, "the log ends before the store; going on behind the store");
        }
        let durable_lsn = last_lsn.max(checkpoint);
        let created_ms_max = end.last.map_or(0, |header| header.created_ms_max);

        let mut segments = Segments::new(options.segment_bytes, options.segments_ahead);
        let found =
            disk.segments().map_err(|error| RecoveryError::io(tail.segment, "listing segments", error))?;
        segments.recovered(&found, tail, &end.last_in_segment);
        let log = Self {
            disk,
            log_id,
            segments,
            streams: Streams::default(),
            forming: Forming::new(options.group_bytes_max),
            in_flight: false,
            poisoned: false,
            durable_lsn,
            persisted_lsn: checkpoint,
            last_crc: end.last.map_or(0, |header| header.crc),
            created_ms_max,
        };
        let torn = end.torn.map(|reason| (tail, reason));
        Ok((log, Recovered { next_lsn: durable_lsn.next(), replayed, created_ms_max, torn, truncated }))
    }

    fn make_tail_safe<E>(
        disk: &D,
        options: &LogOptions,
        end: &End,
        truncate: bool,
    ) -> Result<Place, RecoveryError<E>> {
        let Some(tail) = end.tail else {
            let first = SegmentNumber(1);
            disk.create(first, options.segment_bytes)
                .map_err(|error| RecoveryError::io(first, "making the first segment", error))?;
            return Ok(Place { segment: first, offset: 0 });
        };
        for &(segment, _) in &end.last_in_segment {
            disk.sync(segment).map_err(|error| RecoveryError::io(segment, "syncing", error))?;
        }
        let segments = disk.segments().map_err(|error| RecoveryError::io(tail.segment, "listing", error))?;
        let later: Vec<_> = segments.iter().copied().filter(|(number, _)| *number > tail.segment).collect();
        if truncate {
            // From the last to the first: an interruption leaves a log that is still seen to be damaged.
            for &(segment, _) in later.iter().rev() {
                disk.remove(segment).map_err(|error| RecoveryError::io(segment, "removing", error))?;
            }
            clear(disk, tail, u64::MAX)?;
            return Ok(tail);
        }
        // A segment that was cut short would stay empty, and the groups behind it would look like those behind a lost one.
        // Numbers have no gaps, so those after it go with it; nothing in them is part of the log.
        let holds_a_group = |bytes: u64| bytes - bytes % BLOCK_BYTES as u64 >= options.group_bytes_max as u64;
        let usable = later.iter().take_while(|(_, bytes)| holds_a_group(*bytes)).count();
        let (usable, useless) = later.split_at(usable);
        for &(segment, _) in useless.iter().rev() {
            disk.remove(segment).map_err(|error| RecoveryError::io(segment, "removing", error))?;
        }
        // A torn group may have been on its way to the rest of this segment or to the start of the next one.
        clear(disk, tail, tail.offset + GROUP_BYTES_FORMAT_MAX as u64)?;
        if let Some(&(next, _)) = usable.first() {
            clear(disk, Place { segment: next, offset: 0 }, GROUP_BYTES_FORMAT_MAX as u64)?;
        }
        let is_left = |place: &Place| useless.iter().all(|(segment, _)| *segment != place.segment);
        for &(place, end) in end.stray.iter().filter(|(place, _)| is_left(place)) {
            clear(disk, place, end)?;
        }
        Ok(tail)
    }
}

impl<E> RecoveryError<E> {
    fn io(segment: SegmentNumber, action: &'static str, error: io::Error) -> Self {
        Self::Io { segment, action, error }
    }
}

/// Writes zeros from `from` up to `end` or the end of the file, where there is anything else, and syncs.
fn clear<D: Disk, E>(disk: &D, from: Place, end: u64) -> Result<(), RecoveryError<E>> {
    let segment = from.segment;
    let bytes = disk.read(segment).map_err(|error| RecoveryError::io(segment, "reading", error))?;
    let end = usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len());
    let zeros = AlignedBuffer::zeroed(BLOCK_BYTES);
    let mut written = false;
    let mut offset = usize::try_from(from.offset).expect("a segment fits into memory");
    while offset < end {
        if bytes.bytes()[offset..offset + BLOCK_BYTES].iter().any(|byte| *byte != 0) {
            disk.write(segment, offset as u64, &zeros)
                .map_err(|error| RecoveryError::io(segment, "clearing the tail", error))?;
            written = true;
        }
        offset += BLOCK_BYTES;
    }
    if written {
        disk.sync(segment).map_err(|error| RecoveryError::io(segment, "syncing the cleared tail", error))?;
    }
    Ok(())
}
