//! One commit group as bytes.
//!
//! ```text
//!  0  magic "TGG1"            4   │ 40  durable_lsn        8
//!  4  format version          2   │ 48  created_ms_max     8
//!  6  zero                    2   │ 56  records            4
//!  8  log id                 16   │ 60  bytes              4   header and records, without the padding
//! 24  generation              8   │ 64  crc of the group before  4
//! 32  first_lsn               8   │ 68  crc                4
//! 72  records: { body bytes 4 │ crc 4 │ stream 2 │ zero 2 │ epoch 4 │ ticket 8 │ body }…, then zeros up to a block
//! ```
//!
//! Both checksums are CRC-32C over the log id and the generation (which are the seed) and then over the bytes they
//! guard: the group's over all but itself, a record's over everything in it behind the checksum. Old bytes of a
//! recycled segment, and bytes of another log, therefore never pass; and since the log id is a secret random number,
//! neither do bytes that a client smuggles into a message.

use bytes::Bytes;

use super::codec::{self, RowError};
use crate::limits::{BLOCK_BYTES, GROUP_BYTES_FORMAT_MAX};
use crate::{Append, Lsn};

pub const MAGIC: [u8; 4] = *b"TGG1";
pub const FORMAT_VERSION: u16 = 1;
pub const HEADER_BYTES: usize = 72;
pub const RECORD_HEADER_BYTES: usize = 24;

/// What a log's bytes are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub log_id: u128,
    pub generation: u64,
}

impl Identity {
    pub fn seed(self) -> u32 {
        let crc = crc32c::crc32c(&self.log_id.to_le_bytes());
        crc32c::crc32c_append(crc, &self.generation.to_le_bytes())
    }
}

/// The header of a group, apart from what identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    pub first_lsn: Lsn,
    /// The last record known to be durable when this group was written.
    pub durable_lsn: Lsn,
    /// Greatest creation time of any message up to and including this group, milliseconds since 1970.
    pub created_ms_max: u64,
    pub records: u32,
    /// Header and records, without the padding.
    pub bytes: u32,
    pub previous_crc: u32,
    pub crc: u32,
}

impl GroupHeader {
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.records) - 1)
    }

    /// Bytes in the file, padding included.
    pub fn padded_bytes(&self) -> usize {
        (self.bytes as usize).next_multiple_of(BLOCK_BYTES)
    }
}

/// Why the bytes at a place are not a group of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("no group header")]
    NoHeader,
    #[error("a group of generation {0} that was here before the file was used again")]
    OtherGeneration(u64),
    #[error("a group of another log")]
    OtherLog,
    #[error("a group of format version {0}, this program reads version {FORMAT_VERSION}")]
    OtherVersion(u16),
    #[error("a group header with impossible sizes")]
    Sizes,
    #[error("a group whose checksum does not match its bytes")]
    Checksum,
    #[error("a group that does not follow the one before it")]
    Chain,
}

/// Writes the header over the first [`HEADER_BYTES`] of a group whose records are in place, and returns its checksum.
/// `group` is header and records without padding; `header.crc` is ignored.
pub fn seal(group: &mut [u8], identity: Identity, header: &GroupHeader) -> u32 {
    let seed = identity.seed();
    seal_records(&mut group[HEADER_BYTES..], seed);
    group[0..4].copy_from_slice(&MAGIC);
    group[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    group[6..8].fill(0);
    group[8..24].copy_from_slice(&identity.log_id.to_le_bytes());
    group[24..32].copy_from_slice(&identity.generation.to_le_bytes());
    group[32..40].copy_from_slice(&header.first_lsn.0.to_le_bytes());
    group[40..48].copy_from_slice(&header.durable_lsn.0.to_le_bytes());
    group[48..56].copy_from_slice(&header.created_ms_max.to_le_bytes());
    group[56..60].copy_from_slice(&header.records.to_le_bytes());
    group[60..64].copy_from_slice(&header.bytes.to_le_bytes());
    group[64..68].copy_from_slice(&header.previous_crc.to_le_bytes());
    let crc = checksum(group, seed);
    group[68..72].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Appends one record; its checksum stays zero until [`seal`], because it depends on the segment.
pub fn encode_record(append: &Append, out: &mut Vec<u8>) {
    let body_bytes = u32::try_from(codec::encoded_bytes(&append.rows)).expect("bounded by the group");
    out.extend_from_slice(&body_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&append.stream.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&append.epoch.to_le_bytes());
    out.extend_from_slice(&append.ticket.to_le_bytes());
    codec::encode(&append.rows, out);
}

/// Bytes that [`encode_record`] adds.
pub fn record_bytes(append: &Append) -> usize {
    RECORD_HEADER_BYTES + codec::encoded_bytes(&append.rows)
}

/// The header of the group at the start of `bytes`, with its checksum verified.
pub fn parse(bytes: &[u8], identity: Identity) -> Result<GroupHeader, GroupError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(GroupError::NoHeader);
    };
    if head[0..4] != MAGIC {
        return Err(GroupError::NoHeader);
    }
    if u128_at(head, 8) != identity.log_id {
        return Err(GroupError::OtherLog);
    }
    if u64_at(head, 24) != identity.generation {
        return Err(GroupError::OtherGeneration(u64_at(head, 24)));
    }
    let version = u16::from_le_bytes([head[4], head[5]]);
    let header = GroupHeader {
        first_lsn: Lsn(u64_at(head, 32)),
        durable_lsn: Lsn(u64_at(head, 40)),
        created_ms_max: u64_at(head, 48),
        records: u32_at(head, 56),
        bytes: u32_at(head, 60),
        previous_crc: u32_at(head, 64),
        crc: u32_at(head, 68),
    };
    if version != FORMAT_VERSION {
        return Err(GroupError::OtherVersion(version));
    }
    let length = header.bytes as usize;
    let sizes_possible = (HEADER_BYTES..=GROUP_BYTES_FORMAT_MAX.min(bytes.len())).contains(&length);
    let records_possible = header.records > 0 && header.records as usize <= length / RECORD_HEADER_BYTES;
    let lsns_possible = header.first_lsn > Lsn::ZERO
        && header.first_lsn.0.checked_add(u64::from(header.records)).is_some()
        && header.durable_lsn < header.first_lsn;
    if !(sizes_possible && records_possible && lsns_possible) {
        return Err(GroupError::Sizes);
    }
    if checksum(&bytes[..length], identity.seed()) != header.crc {
        return Err(GroupError::Checksum);
    }
    Ok(header)
}

/// Why a record inside a group cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record {index} of the group does not fit into it")]
    Short { index: u32 },
    #[error("record {index} of the group: the checksum does not match its bytes")]
    Checksum { index: u32 },
    #[error("record {index} of the group: {error}")]
    Rows { index: u32, error: RowError },
    #[error("{bytes} bytes follow the last record of the group")]
    Rest { bytes: usize },
}

/// The records of a group that [`parse`] has accepted. `group` begins at its header and shares its memory with them.
pub fn records(group: &Bytes, identity: Identity, header: &GroupHeader) -> Result<Vec<Append>, RecordError> {
    let mut records = Vec::with_capacity(header.records as usize);
    let mut at = HEADER_BYTES;
    let end = header.bytes as usize;
    for index in 0..header.records {
        let Some(head) = group[at..end].first_chunk::<RECORD_HEADER_BYTES>() else {
            return Err(RecordError::Short { index });
        };
        let body_bytes = u32_at(head, 0) as usize;
        let body_at = at + RECORD_HEADER_BYTES;
        if body_bytes > end - body_at {
            return Err(RecordError::Short { index });
        }
        let body_end = body_at + body_bytes;
        if crc32c::crc32c_append(identity.seed(), &group[at + 8..body_end]) != u32_at(head, 4) {
            return Err(RecordError::Checksum { index });
        }
        let rows = codec::decode(&group.slice(body_at..body_end))
            .map_err(|error| RecordError::Rows { index, error })?;
        records.push(Append {
            stream: u16::from_le_bytes([head[8], head[9]]),
            epoch: u32_at(head, 12),
            ticket: u64_at(head, 16),
            rows,
        });
        at = body_end;
    }
    if at != end {
        return Err(RecordError::Rest { bytes: end - at });
    }
    Ok(records)
}

fn seal_records(mut records: &mut [u8], seed: u32) {
    while !records.is_empty() {
        let body_bytes = u32_at(records, 0) as usize;
        let (record, rest) = records.split_at_mut(RECORD_HEADER_BYTES + body_bytes);
        let crc = crc32c::crc32c_append(seed, &record[8..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        records = rest;
    }
}

fn checksum(group: &[u8], seed: u32) -> u32 {
    let crc = crc32c::crc32c_append(seed, &group[..68]);
    crc32c::crc32c_append(crc, &group[HEADER_BYTES..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked the length"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked the length"))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked the length"))
}
