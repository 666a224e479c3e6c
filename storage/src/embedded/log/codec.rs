//! Rows as bytes: the body of a record. Little-endian, no padding, one kind byte in front of each row.
//!
//! ```text
//! 1 Conversation    conversation 16 │ length 4 │ meta
//! 2 Member          conversation 16 │ user 8 │ length 4 │ info
//! 3 MemberRemoved   conversation 16 │ user 8
//! 4 Message         conversation 16 │ seq 8 │ sender 8 │ client_id 16 │ message_id 8 │ created_ms 8 │ length 4 │ frame
//! 5 Delivered       user 8 │ device 8 │ conversation 16 │ seq 8
//! 6 Read            user 8 │ conversation 16 │ seq 8
//! 7 Pending         user 8 │ conversation 16 │ first_seq 8
//! 8 PendingCleared  user 8 │ conversation 16
//! ```

use bytes::Bytes;

use crate::limits::ROW_BYTES_MAX;
use crate::row::{Idempotency, Row};

/// Why bytes are not rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("row kind {kind} at byte {at} is unknown; a newer version may have written it")]
    UnknownKind { kind: u8, at: usize },
    #[error("a row at byte {at} needs {needed} more bytes, {left} are left")]
    Short { at: usize, needed: usize, left: usize },
    #[error("a row at byte {at} carries {bytes} bytes, at most {ROW_BYTES_MAX} are allowed")]
    TooLarge { at: usize, bytes: usize },
}

/// Bytes that [`encode`] adds for `rows`.
pub fn encoded_bytes(rows: &[Row]) -> usize {
    rows.iter().map(row_bytes).sum()
}

/// Appends the rows to `out`, exactly [`encoded_bytes`] long.
pub fn encode(rows: &[Row], out: &mut Vec<u8>) {
    for row in rows {
        encode_row(row, out);
    }
}

/// The rows in `body`; their variable content shares its memory.
pub fn decode(body: &Bytes) -> Result<Vec<Row>, RowError> {
    let mut reader = Reader { body, at: 0 };
    let mut rows = Vec::new();
    while reader.at < body.len() {
        rows.push(decode_row(&mut reader)?);
    }
    Ok(rows)
}

/// Longest variable content among the rows.
pub fn content_bytes_max(rows: &[Row]) -> usize {
    rows.iter().map(|row| content(row).map_or(0, Bytes::len)).max().unwrap_or(0)
}

fn content(row: &Row) -> Option<&Bytes> {
    match row {
        Row::Conversation { meta, .. } => Some(meta),
        Row::Member { info, .. } => Some(info),
        Row::Message { frame, .. } => Some(frame),
        _ => None,
    }
}

fn row_bytes(row: &Row) -> usize {
    let fixed = match row {
        Row::Conversation { .. } => 16 + 4,
        Row::Member { .. } => 16 + 8 + 4,
        Row::MemberRemoved { .. } => 16 + 8,
        Row::Message { .. } => 16 + 8 + 8 + 16 + 8 + 8 + 4,
        Row::Delivered { .. } => 8 + 8 + 16 + 8,
        Row::Read { .. } | Row::Pending { .. } => 8 + 16 + 8,
        Row::PendingCleared { .. } => 8 + 16,
    };
    1 + fixed + content(row).map_or(0, Bytes::len)
}

fn encode_row(row: &Row, out: &mut Vec<u8>) {
    match row {
        Row::Conversation { conversation, meta } => {
            out.push(1);
            put_u128(out, *conversation);
            put_content(out, meta);
        }
        Row::Member { conversation, user, info } => {
            out.push(2);
            put_u128(out, *conversation);
            put_u64(out, *user);
            put_content(out, info);
        }
        Row::MemberRemoved { conversation, user } => {
            out.push(3);
            put_u128(out, *conversation);
            put_u64(out, *user);
        }
        Row::Message { conversation, seq, frame, idempotency } => {
            out.push(4);
            put_u128(out, *conversation);
            put_u64(out, *seq);
            put_u64(out, idempotency.sender);
            put_u128(out, idempotency.client_id);
            put_u64(out, idempotency.message_id);
            put_u64(out, idempotency.created_ms);
            put_content(out, frame);
        }
        Row::Delivered { user, device, conversation, seq } => {
            out.push(5);
            put_u64(out, *user);
            put_u64(out, *device);
            put_u128(out, *conversation);
            put_u64(out, *seq);
        }
        Row::Read { user, conversation, seq } => {
            out.push(6);
            put_u64(out, *user);
            put_u128(out, *conversation);
            put_u64(out, *seq);
        }
        Row::Pending { user, conversation, first_seq } => {
            out.push(7);
            put_u64(out, *user);
            put_u128(out, *conversation);
            put_u64(out, *first_seq);
        }
        Row::PendingCleared { user, conversation } => {
            out.push(8);
            put_u64(out, *user);
            put_u128(out, *conversation);
        }
    }
}

fn decode_row(reader: &mut Reader<'_>) -> Result<Row, RowError> {
    let at = reader.at;
    match reader.u8()? {
        1 => Ok(Row::Conversation { conversation: reader.u128()?, meta: reader.content()? }),
        2 => Ok(Row::Member { conversation: reader.u128()?, user: reader.u64()?, info: reader.content()? }),
        3 => Ok(Row::MemberRemoved { conversation: reader.u128()?, user: reader.u64()? }),
        4 => {
            let conversation = reader.u128()?;
            let seq = reader.u64()?;
            let idempotency = Idempotency {
                sender: reader.u64()?,
                client_id: reader.u128()?,
                message_id: reader.u64()?,
                created_ms: reader.u64()?,
            };
            Ok(Row::Message { conversation, seq, frame: reader.content()?, idempotency })
        }
        5 => Ok(Row::Delivered {
            user: reader.u64()?,
            device: reader.u64()?,
            conversation: reader.u128()?,
            seq: reader.u64()?,
        }),
        6 => Ok(Row::Read { user: reader.u64()?, conversation: reader.u128()?, seq: reader.u64()? }),
        7 => Ok(Row::Pending { user: reader.u64()?, conversation: reader.u128()?, first_seq: reader.u64()? }),
        8 => Ok(Row::PendingCleared { user: reader.u64()?, conversation: reader.u128()? }),
        kind => Err(RowError::UnknownKind { kind, at }),
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u128(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_content(out: &mut Vec<u8>, content: &Bytes) {
    let bytes = u32::try_from(content.len()).expect("checked against ROW_BYTES_MAX before encoding");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(content);
}

struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let left = &self.body[self.at..];
        let Some(array) = left.first_chunk::<N>() else {
            return Err(RowError::Short { at: self.at, needed: N, left: left.len() });
        };
        self.at += N;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, RowError> {
        Ok(self.array::<1>()?[0])
    }

    fn u64(&mut self) -> Result<u64, RowError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn u128(&mut self) -> Result<u128, RowError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    fn content(&mut self) -> Result<Bytes, RowError> {
        let at = self.at;
        let bytes = u32::from_le_bytes(self.array()?) as usize;
        if bytes > ROW_BYTES_MAX {
            return Err(RowError::TooLarge { at, bytes });
        }
        let left = self.body.len() - self.at;
        if bytes > left {
            return Err(RowError::Short { at, needed: bytes, left });
        }
        let content = self.body.slice(self.at..self.at + bytes);
        self.at += bytes;
        Ok(content)
    }
}
