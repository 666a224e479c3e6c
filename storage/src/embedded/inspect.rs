//! Looking at a log without opening it: for `tidegate log verify` and `tidegate log dump`. Changes nothing and takes no
//! lock, so the answer about a directory in use is a snapshot whose end may be a group that is just being written.

use std::fmt;
use std::io;
use std::path::Path;

use super::directory::{DirectoryError, explain, look};
use super::disk::{Disk, FileDisk, SegmentNumber};
use super::log::{Damage, Group, GroupError, Outcome, Place, Stop, walk};
use crate::{Append, Lsn, Row};

/// What is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The process that uses the directory at the moment.
    pub holder: Option<String>,
    pub segments: u64,
    pub groups: u64,
    pub records: u64,
    /// First and last record.
    pub lsns: Option<(Lsn, Lsn)>,
    pub tail: Option<Place>,
    /// An unfinished write at the tail; recovery will cut it off.
    pub torn: Option<GroupError>,
    /// The gateway will refuse to start.
    pub damage: Option<Damage>,
}

/// Why a log cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("log segment {segment} cannot be read: {error}")]
    Read { segment: SegmentNumber, error: io::Error },
    #[error("writing the output failed: {0}")]
    Output(io::Error),
}

/// Reads the whole log and checks everything in it.
pub fn verify(directory: &Path) -> Result<Report, InspectError> {
    inspect(directory, &mut |_| Ok(()))
}

/// Like [`verify`], and writes a line for each group, record and row. Contents of messages are not written, only
/// their length.
pub fn dump(directory: &Path, out: &mut dyn io::Write) -> Result<Report, InspectError> {
    inspect(directory, &mut |group| dump_group(group, out))
}

/// Like [`verify`], and hands out each group in order; stops when `on_group` fails.
pub fn inspect(
    directory: &Path,
    on_group: &mut dyn FnMut(&Group) -> io::Result<()>,
) -> Result<Report, InspectError> {
    let (log_id, holder) = look(directory)?;
    let log = directory.join("log");
    let disk = FileDisk::open_read_only(&log).map_err(|error| explain(&log, "reading", error))?;
    let segments = disk.segments().map_err(|error| explain(&log, "listing", error))?.len() as u64;
    let mut report =
        Report { holder, segments, groups: 0, records: 0, lsns: None, tail: None, torn: None, damage: None };
    let outcome = walk(&disk, log_id, None, &mut |group: Group| {
        report.groups += 1;
        report.records += u64::from(group.header.records);
        let first = report.lsns.map_or(group.header.first_lsn, |(first, _)| first);
        report.lsns = Some((first, group.header.last_lsn()));
        on_group(&group)
    });
    let (end, damage) = match outcome {
        Ok(Outcome::End(end)) => (end, None),
        Ok(Outcome::Damaged(damage, end)) => (end, Some(damage)),
        Err(Stop::Read { segment, error }) => return Err(InspectError::Read { segment, error }),
        Err(Stop::Caller(error)) => return Err(InspectError::Output(error)),
    };
    report.tail = end.tail;
    report.torn = end.torn;
    report.damage = damage;
    Ok(report)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} segments, {} groups, {} records", self.segments, self.groups, self.records)?;
        if let Some((first, last)) = self.lsns {
            write!(f, ", {first} to {last}")?;
        }
        if let Some(holder) = &self.holder {
            write!(f, "\nin use by process {holder}: the last group may be half written")?;
        }
        if let (Some(reason), Some(tail)) = (&self.torn, self.tail) {
            write!(
                f,
                "\nan unfinished write at byte {} of segment {}: {reason}. ",
                tail.offset, tail.segment
            )?;
            write!(f, "It was never acknowledged; the next start cuts it off")?;
        }
        match &self.damage {
            None => write!(f, "\nno damage"),
            Some(damage) => write!(
                f,
                "\nDAMAGED at byte {} of segment {}: {}. Record {} and later ones are missing there; {} groups with \
                 {} records can be read behind",
                damage.place.offset,
                damage.place.segment,
                damage.reason,
                damage.lsn,
                damage.groups_behind,
                damage.records_behind
            ),
        }
    }
}

fn dump_group(group: &Group, out: &mut dyn io::Write) -> io::Result<()> {
    let header = &group.header;
    writeln!(
        out,
        "group segment={} offset={} first_lsn={} records={} bytes={} durable_lsn={} created_ms_max={} crc={:08x}",
        group.place.segment,
        group.place.offset,
        header.first_lsn,
        header.records,
        header.bytes,
        header.durable_lsn,
        header.created_ms_max,
        header.crc
    )?;
    for (index, record) in group.records.iter().enumerate() {
        dump_record(header.first_lsn.plus(index as u64), record, out)?;
    }
    Ok(())
}

fn dump_record(lsn: Lsn, record: &Append, out: &mut dyn io::Write) -> io::Result<()> {
    let Append { stream, ticket, epoch, rows } = record;
    writeln!(out, "  record lsn={lsn} stream={stream} ticket={ticket} epoch={epoch} rows={}", rows.len())?;
    for row in rows {
        write!(out, "    ")?;
        dump_row(row, out)?;
    }
    Ok(())
}

fn dump_row(row: &Row, out: &mut dyn io::Write) -> io::Result<()> {
    match row {
        Row::Conversation { conversation, meta } => {
            writeln!(out, "conversation {conversation:032x} meta_bytes={}", meta.len())
        }
        Row::Member { conversation, user, info } => {
            writeln!(out, "member {conversation:032x} user={user} info_bytes={}", info.len())
        }
        Row::MemberRemoved { conversation, user } => {
            writeln!(out, "member_removed {conversation:032x} user={user}")
        }
        Row::Message { conversation, seq, frame, idempotency } => writeln!(
            out,
            "message {conversation:032x} seq={seq} frame_bytes={} sender={} client_id={:032x} message_id={} \
             created_ms={}",
            frame.len(),
            idempotency.sender,
            idempotency.client_id,
            idempotency.message_id,
            idempotency.created_ms
        ),
        Row::Delivered { user, device, conversation, seq } => {
            writeln!(out, "delivered {conversation:032x} user={user} device={device} seq={seq}")
        }
        Row::Read { user, conversation, seq } => {
            writeln!(out, "read {conversation:032x} user={user} seq={seq}")
        }
        Row::Pending { user, conversation, first_seq } => {
            writeln!(out, "pending {conversation:032x} user={user} first_seq={first_seq}")
        }
        Row::PendingCleared { user, conversation } => {
            writeln!(out, "pending_cleared {conversation:032x} user={user}")
        }
    }
}
