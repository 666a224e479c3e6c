//! What can be stored: the closed list.

use bytes::Bytes;

/// One change of the tables. A record of the log is a list of these; applying a row twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A conversation exists, with these opaque bytes about it (replaces the earlier ones).
    Conversation {
        conversation: u128,
        meta: Bytes,
    },
    /// `user` is a member, with these opaque bytes about the membership. Also listed under the user.
    Member {
        conversation: u128,
        user: u64,
        info: Bytes,
    },
    /// `user` is no member any more.
    MemberRemoved {
        conversation: u128,
        user: u64,
    },
    /// A message at its place, and the key under which a repeat of its send is recognised.
    Message {
        conversation: u128,
        seq: u64,
        frame: Bytes,
        idempotency: Idempotency,
    },
    /// `device` has everything up to `seq`. The greatest value wins, whatever the order of application.
    Delivered {
        user: u64,
        device: u64,
        conversation: u128,
        seq: u64,
    },
    /// `user` has read everything up to `seq`. The greatest value wins.
    Read {
        user: u64,
        conversation: u128,
        seq: u64,
    },
    /// `user` was offline when `first_seq` came; kept until cleared (the smallest value wins).
    Pending {
        user: u64,
        conversation: u128,
        first_seq: u64,
    },
    PendingCleared {
        user: u64,
        conversation: u128,
    },
}

/// Finds an earlier send of the same message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub sender: u64,
    pub client_id: u128,
    pub message_id: u64,
    /// Milliseconds since 1970; the key may be forgotten `idempotency_window` after this.
    pub created_ms: u64,
}

/// One record of the log: rows that become durable together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Who appends (a shard). Records of one stream become durable in the order of their tickets.
    pub stream: u16,
    /// Counts up by one per record of the stream.
    pub ticket: u64,
    /// The stream's refusal count as its owner knows it: after a refusal, records that were already under way
    /// still carry the old number and are refused too, so nothing that was built on a refused record survives it.
    pub epoch: u32,
    pub rows: Vec<Row>,
}
