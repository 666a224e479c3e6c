//! What must hold when a log is opened on any bytes. Shared by the fuzz target and the replay of its corpus.
//!
//! The input is a program: it writes a log as the gateway does, then does to the files what media, file systems and
//! people do to them, then opens it.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_storage::embedded::disk::{Disk, SimulatedDisk};
use tidegate_storage::embedded::log::{Finished, Log, LogOptions, Place, Recovered, RecoveryError, walk};
use tidegate_storage::row::Idempotency;
use tidegate_storage::{Append, Lsn, Row};

use damage::Damages;

mod damage;

const LOG_ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

const SMALL: LogOptions = LogOptions {
    segment_bytes: 32 * 1024,
    group_bytes_max: 16 * 1024,
    segments_ahead: 1,
    truncate_damaged: false,
};
const CUT: LogOptions = LogOptions { truncate_damaged: true, ..SMALL };

/// Opening never panics; what it hands out are the records that were durable, from the checkpoint on, without a gap; it
/// keeps silent about no loss that a later group vouches for; and an opened log goes on.
///
/// `data`: settings (bit 0: checksums are made right again after the damage; bit 1: segments are used again while
/// writing), checkpoint, number of groups, one byte per group for its size, then damages (see [`Damages`]).
pub fn log_recovery(data: &[u8]) {
    let [settings, checkpoint, groups, rest @ ..] = data else { return };
    let sizes = usize::from(groups % 16).min(rest.len());
    let (sizes, damages) = rest.split_at(sizes);
    let (forged, recycles) = (settings & 1 == 1, settings & 2 == 2);

    let Written { disk, durable, groups, persisted } = write_log(sizes, recycles);
    // Some are past the end: the store may be ahead of a log that was damaged.
    let checkpoint = Lsn(u64::from(*checkpoint) % (durable.len() as u64 + 3)).max(persisted);
    let whole = disk.copy();
    Damages(damages).apply(&disk);
    if forged {
        damage::make_checksums_right(&disk, LOG_ID);
    }

    // Damage that is found is named and can be cut, and what is left is whole.
    let cut = Arc::new(disk.copy());
    let vouched = vouched_for(&whole, &disk, &groups);
    match open(&Arc::new(disk), &SMALL, checkpoint) {
        Ok(opened) if forged => goes_on(opened, checkpoint),
        Ok(opened) => {
            is_prefix(&opened, &durable, checkpoint);
            let reaches = opened.recovered.next_lsn.previous();
            assert!(reaches >= vouched, "opened up to {reaches}, and {vouched} was durable");
            goes_on(opened, checkpoint);
        }
        Err(RecoveryError::Damaged(damage)) => {
            assert!(damage.lsn > checkpoint, "{damage:?}: the store has everything up to {checkpoint}");
            let text = RecoveryError::<Infallible>::Damaged(damage).to_string();
            assert!(text.contains("--truncate-damaged-log"), "{text}");
        }
        Err(error) => panic!("a disk that works gave {error}"),
    }
    let opened = open(&cut, &CUT, checkpoint).unwrap_or_else(|error| panic!("not even cut: {error}"));
    if !forged {
        is_prefix(&opened, &durable, checkpoint);
    }
    goes_on(opened, checkpoint);
}

struct Written {
    disk: SimulatedDisk,
    durable: Vec<(Lsn, Append)>,
    groups: Vec<Placed>,
    /// The store has everything up to here, and the log has used those segments again.
    persisted: Lsn,
}

/// A group as it was written.
struct Placed {
    place: Place,
    bytes: u32,
    last: Lsn,
}

struct Opened {
    disk: Arc<SimulatedDisk>,
    log: Log<SimulatedDisk>,
    recovered: Recovered,
    replayed: Vec<(Lsn, Append)>,
}

/// One group per size, of one or two records.
fn write_log(sizes: &[u8], recycles: bool) -> Written {
    let Opened { disk, mut log, .. } =
        open(&Arc::new(SimulatedDisk::new()), &SMALL, Lsn::ZERO).expect("an empty disk opens");
    let (mut durable, mut persisted, mut ticket) = (Vec::new(), Lsn::ZERO, 0);
    for size in sizes {
        for _ in 0..=size % 2 {
            ticket += 1;
            log.push(record(ticket, usize::from(*size) * 28)).expect("two records fit into a group");
        }
        durable.extend(commit(&mut log));
        if recycles {
            persisted = Lsn(log.durable_lsn().0.saturating_sub(2));
            log.persisted(persisted);
            while let Some(preparation) = log.preparation() {
                let result = preparation.perform(&*disk);
                log.finish_preparation(preparation, result);
            }
        }
    }
    let mut groups = Vec::new();
    let walked = walk(&*disk, LOG_ID, Some(persisted), &mut |group| {
        groups.push(Placed { place: group.place, bytes: group.header.bytes, last: group.header.last_lsn() });
        Ok::<_, Infallible>(())
    });
    walked.expect("a disk that works");
    Written { disk: disk.copy(), durable, groups, persisted }
}

/// The last record up to which everything must come back: the newest group whose bytes are as they were says that all
/// before it were durable.
fn vouched_for(whole: &SimulatedDisk, damaged: &SimulatedDisk, groups: &[Placed]) -> Lsn {
    let intact = |group: &&Placed| {
        let from = usize::try_from(group.place.offset).expect("small");
        let range = from..from + group.bytes as usize;
        let read = |disk: &SimulatedDisk| {
            disk.read(group.place.segment).ok()?.bytes().get(range.clone()).map(<[u8]>::to_vec)
        };
        read(whole) == read(damaged)
    };
    groups.iter().rev().find(intact).map_or(Lsn::ZERO, |group| group.last)
}

/// Exactly the durable records behind the checkpoint, up to somewhere.
fn is_prefix(opened: &Opened, durable: &[(Lsn, Append)], checkpoint: Lsn) {
    let behind = durable.iter().filter(|(lsn, _)| *lsn > checkpoint);
    let expected: Vec<_> = behind.take(opened.replayed.len()).cloned().collect();
    assert_same(&opened.replayed, &expected);
}

/// An opened log takes records, and a later opening finds them behind the others. (It may speak of a torn write: what is
/// left of a broken group in a segment far behind the tail stays until the log comes there.)
fn goes_on(opened: Opened, checkpoint: Lsn) {
    let Opened { disk, mut log, recovered, replayed: mut expected } = opened;
    assert_eq!(recovered.next_lsn, log.durable_lsn().next());
    for ticket in 1..=3 {
        log.push(record(ticket, 6000)).expect("an opened log takes records");
        expected.extend(commit(&mut log));
    }
    drop(log);
    let again =
        open(&disk, &SMALL, checkpoint).unwrap_or_else(|error| panic!("opened, written, and now: {error}"));
    assert_same(&again.replayed, &expected);
}

/// Numbers first: whole records would fill the screen.
fn assert_same(found: &[(Lsn, Append)], expected: &[(Lsn, Append)]) {
    let numbers = |records: &[(Lsn, Append)]| -> Vec<_> {
        records.iter().map(|(lsn, append)| (lsn.0, append.ticket)).collect()
    };
    assert_eq!(numbers(found), numbers(expected));
    assert!(found == expected, "the numbers are right, the content is not");
}

fn open(
    disk: &Arc<SimulatedDisk>,
    options: &LogOptions,
    checkpoint: Lsn,
) -> Result<Opened, RecoveryError<Infallible>> {
    let mut replayed = Vec::new();
    let (log, recovered) = Log::open(disk.clone(), LOG_ID, options, checkpoint, &mut |lsn, append| {
        replayed.push((lsn, append));
        Ok(())
    })?;
    Ok(Opened { disk: disk.clone(), log, recovered, replayed })
}

fn commit(log: &mut Log<SimulatedDisk>) -> Vec<(Lsn, Append)> {
    let commit = log.begin().expect("something is forming, and nothing is under way");
    let result = commit.perform(&**log.disk());
    match log.finish(commit, result) {
        Finished::Durable(group) => group.records().map(|(lsn, append)| (lsn, append.clone())).collect(),
        other => panic!("expected a durable group, got {other:?}"),
    }
}

/// A record whose content is derived from its ticket.
fn record(ticket: u64, bytes: usize) -> Append {
    let frame: Vec<u8> =
        (0..bytes).map(|at| (ticket as u8).wrapping_mul(31).wrapping_add(at as u8) | 1).collect();
    let idempotency = Idempotency {
        sender: 7,
        client_id: u128::from(ticket) << 64,
        message_id: ticket,
        created_ms: 5000 + ticket,
    };
    let rows = vec![Row::Message { conversation: 1, seq: ticket, frame: Bytes::from(frame), idempotency }];
    Append { stream: 0, ticket, epoch: 0, rows }
}
