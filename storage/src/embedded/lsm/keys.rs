//! Where a row is in the tree: one byte for the table, then the ids, all big-endian so that the order of bytes is the
//! order of ids.
//!
//! ```text
//! 0 checkpoint     –                                        lsn 8 │ created_ms_max 8
//! 1 conversation   conversation 16                          meta
//! 2 member         conversation 16 │ user 8                 info
//! 3 listed         user 8 │ conversation 16                 –
//! 4 message        conversation 16 │ seq 8                  frame
//! 5 idempotency    conversation 16 │ sender 8 │ client 16   seq 8 │ message_id 8 │ created_ms 8
//! 6 delivered      user 8 │ device 8 │ conversation 16      seq 8
//! 7 read           user 8 │ conversation 16                 seq 8
//! 8 pending        user 8 │ conversation 16                 seq 8
//! ```
//!
//! Numbers in values are little-endian.

pub const CHECKPOINT: [u8; 1] = [0];
const CONVERSATION: u8 = 1;
const MEMBER: u8 = 2;
const LISTED: u8 = 3;
const MESSAGE: u8 = 4;
pub const IDEMPOTENCY: u8 = 5;
const DELIVERED: u8 = 6;
const READ: u8 = 7;
const PENDING: u8 = 8;

/// Bytes of a key of the idempotency table's value.
pub const IDEMPOTENCY_VALUE_BYTES: usize = 24;

pub type Key = Vec<u8>;

pub fn conversation(conversation: u128) -> Key {
    key(CONVERSATION, &[&conversation.to_be_bytes()])
}

pub fn member(conversation: u128, user: u64) -> Key {
    key(MEMBER, &[&conversation.to_be_bytes(), &user.to_be_bytes()])
}

pub fn listed(user: u64, conversation: u128) -> Key {
    key(LISTED, &[&user.to_be_bytes(), &conversation.to_be_bytes()])
}

pub fn message(conversation: u128, seq: u64) -> Key {
    key(MESSAGE, &[&conversation.to_be_bytes(), &seq.to_be_bytes()])
}

pub fn idempotency(conversation: u128, sender: u64, client_id: u128) -> Key {
    key(IDEMPOTENCY, &[&conversation.to_be_bytes(), &sender.to_be_bytes(), &client_id.to_be_bytes()])
}

pub fn delivered(user: u64, device: u64, conversation: u128) -> Key {
    key(DELIVERED, &[&user.to_be_bytes(), &device.to_be_bytes(), &conversation.to_be_bytes()])
}

pub fn read(user: u64, conversation: u128) -> Key {
    key(READ, &[&user.to_be_bytes(), &conversation.to_be_bytes()])
}

pub fn pending(user: u64, conversation: u128) -> Key {
    key(PENDING, &[&user.to_be_bytes(), &conversation.to_be_bytes()])
}

/// The last 8 bytes of a key or value as the big-endian id that ends every key of the tables that are scanned by it.
pub fn last_u64(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

pub fn last_u128(key: &[u8]) -> Option<u128> {
    key.last_chunk().map(|bytes| u128::from_be_bytes(*bytes))
}

fn key(table: u8, ids: &[&[u8]]) -> Key {
    let mut key = Vec::with_capacity(1 + ids.iter().map(|id| id.len()).sum::<usize>());
    key.push(table);
    for id in ids {
        key.extend_from_slice(id);
    }
    key
}
