//! The group that records go into until it is sealed. Two buffers take turns: one forms, one is in flight.

use super::RejectReason;
use super::group::{self, GroupHeader, HEADER_BYTES, Identity};
use crate::embedded::disk::AlignedBuffer;
use crate::limits::ROW_BYTES_MAX;
use crate::{Append, Lsn, Row};

use super::codec;

#[derive(Debug)]
pub(super) struct Forming {
    buffer: AlignedBuffer,
    appends: Vec<Append>,
    created_ms_max: u64,
    /// The other buffer, while no commit is in flight.
    spare: Option<AlignedBuffer>,
}

/// A group as it goes to the disk.
#[derive(Debug)]
pub(super) struct Sealed {
    pub buffer: AlignedBuffer,
    pub header: GroupHeader,
    pub appends: Vec<Append>,
}

impl Sealed {
    pub fn padded_bytes(&self) -> usize {
        self.buffer.len()
    }
}

impl Forming {
    pub fn new(group_bytes_max: usize) -> Self {
        let mut buffer = AlignedBuffer::with_capacity(group_bytes_max);
        start(&mut buffer);
        let spare = Some(AlignedBuffer::with_capacity(group_bytes_max));
        Self { buffer, appends: Vec::new(), created_ms_max: 0, spare }
    }

    pub fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    pub fn padded_bytes(&self) -> usize {
        self.buffer.len().next_multiple_of(crate::limits::BLOCK_BYTES)
    }

    pub fn created_ms_max(&self) -> u64 {
        self.created_ms_max
    }

    /// Why this record cannot be pushed, if so.
    pub fn refuses(&self, append: &Append) -> Option<RejectReason> {
        let content = codec::content_bytes_max(&append.rows);
        if content > ROW_BYTES_MAX {
            return Some(RejectReason::TooLarge { bytes: content, bytes_max: ROW_BYTES_MAX });
        }
        let bytes = group::record_bytes(append);
        let bytes_max = self.buffer.capacity() - HEADER_BYTES;
        if bytes > bytes_max {
            return Some(RejectReason::TooLarge { bytes, bytes_max });
        }
        (self.buffer.len() + bytes > self.buffer.capacity()).then_some(RejectReason::Full)
    }

    pub fn push(&mut self, append: Append) {
        self.buffer.append(group::record_bytes(&append), |out| group::encode_record(&append, out));
        self.created_ms_max =
            append.rows.iter().fold(self.created_ms_max, |max, row| max.max(created_ms(row)));
        self.appends.push(append);
    }

    /// Takes the group out and starts the next one. `durable_lsn` is the record before the group's first.
    pub fn seal(
        &mut self,
        identity: Identity,
        durable_lsn: Lsn,
        created_ms_max: u64,
        previous_crc: u32,
    ) -> Sealed {
        let mut next = self.spare.take().expect("one commit is in flight at most, the other buffer is free");
        start(&mut next);
        let mut buffer = std::mem::replace(&mut self.buffer, next);
        let appends = std::mem::take(&mut self.appends);
        self.created_ms_max = 0;
        let mut header = GroupHeader {
            first_lsn: durable_lsn.next(),
            durable_lsn,
            created_ms_max,
            records: u32::try_from(appends.len()).expect("bounded by the group's bytes"),
            bytes: u32::try_from(buffer.len()).expect("bounded by the group's bytes"),
            previous_crc,
            crc: 0,
        };
        header.crc = group::seal(buffer.bytes_mut(), identity, &header);
        buffer.pad();
        Sealed { buffer, header, appends }
    }

    /// Takes the buffer back, hands the records out.
    pub fn recycle(&mut self, sealed: Sealed) -> Vec<Append> {
        self.spare = Some(sealed.buffer);
        sealed.appends
    }

    /// Takes out the records that `unwanted` names and lays out the rest anew.
    pub fn remove(&mut self, unwanted: impl Fn(&Append) -> bool) -> Vec<Append> {
        let (removed, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.appends).into_iter().partition(unwanted);
        start(&mut self.buffer);
        self.created_ms_max = 0;
        for append in kept {
            self.push(append);
        }
        removed
    }
}

/// Leaves room for the header.
fn start(buffer: &mut AlignedBuffer) {
    buffer.clear();
    buffer.append(HEADER_BYTES, |out| out.resize(out.len() + HEADER_BYTES, 0));
}

fn created_ms(row: &Row) -> u64 {
    match row {
        Row::Message { idempotency, .. } => idempotency.created_ms,
        _ => 0,
    }
}
