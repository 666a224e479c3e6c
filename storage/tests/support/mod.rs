//! Shared pieces of the tests.
#![allow(dead_code)] // every test binary uses another part of it

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_storage::embedded::disk::{Disk, SimulatedDisk};
use tidegate_storage::embedded::log::{Finished, Log, LogOptions, Recovered, RecoveryError};
use tidegate_storage::row::Idempotency;
use tidegate_storage::{Append, Lsn, Row};

pub const LOG_ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

pub const SMALL: LogOptions = LogOptions {
    segment_bytes: 64 * 1024,
    group_bytes_max: 16 * 1024,
    segments_ahead: 1,
    truncate_damaged: false,
};

pub fn message(conversation: u128, seq: u64, frame: &[u8]) -> Row {
    let idempotency = Idempotency {
        sender: 7,
        client_id: u128::from(seq) << 64,
        message_id: 1000 + seq,
        created_ms: 5000 + seq,
    };
    Row::Message { conversation, seq, frame: Bytes::copy_from_slice(frame), idempotency }
}

pub fn append(stream: u16, ticket: u64, rows: Vec<Row>) -> Append {
    Append { stream, ticket, epoch: 0, rows }
}

/// One record of about `bytes` bytes whose content is derived from its ticket.
pub fn numbered(ticket: u64, bytes: usize) -> Append {
    let frame: Vec<u8> =
        (0..bytes).map(|at| (ticket as u8).wrapping_mul(31).wrapping_add(at as u8) | 1).collect();
    append(0, ticket, vec![message(1, ticket, &frame)])
}

pub type Opened<D> = (Log<D>, Recovered, Vec<(Lsn, Append)>);

/// Opens the log and collects what it hands out.
pub fn open<D: Disk>(
    disk: &Arc<D>,
    options: &LogOptions,
    checkpoint: Lsn,
) -> Result<Opened<D>, RecoveryError<Infallible>> {
    let mut replayed = Vec::new();
    let (log, recovered) = Log::open(disk.clone(), LOG_ID, options, checkpoint, &mut |lsn, append| {
        replayed.push((lsn, append));
        Ok(())
    })?;
    Ok((log, recovered, replayed))
}

/// A log on a new simulated disk.
pub fn fresh(options: &LogOptions) -> (Arc<SimulatedDisk>, Log<SimulatedDisk>) {
    let disk = Arc::new(SimulatedDisk::new());
    let (log, _, replayed) = open(&disk, options, Lsn::ZERO).expect("an empty disk opens");
    assert!(replayed.is_empty());
    (disk, log)
}

/// Commits what is forming.
pub fn commit<D: Disk>(log: &mut Log<D>) -> Finished {
    let commit = log.begin().expect("something is forming and a segment can be made");
    let result = commit.perform(&**log.disk());
    log.finish(commit, result)
}

/// Pushes the records as one group and expects it to become durable.
pub fn commit_all<D: Disk>(log: &mut Log<D>, appends: &[Append]) -> Vec<(Lsn, Append)> {
    for append in appends {
        log.push(append.clone()).expect("the record fits");
    }
    match commit(log) {
        Finished::Durable(group) => group.records().map(|(lsn, append)| (lsn, append.clone())).collect(),
        other => panic!("expected a durable group, got {other:?}"),
    }
}

/// Does the background work that is due.
pub fn prepare<D: Disk>(log: &mut Log<D>) {
    while let Some(preparation) = log.preparation() {
        let result = preparation.perform(&**log.disk());
        log.finish_preparation(preparation, result);
    }
}
