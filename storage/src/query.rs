//! What can be asked of the store.

use bytes::Bytes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Everything the owner of a conversation needs to open it.
    Conversation { conversation: u128 },
    /// Messages with `after < seq <= up_to`, at most `limit` of them and about `bytes_max` bytes (at least one).
    Messages { conversation: u128, after: u64, up_to: u64, limit: u32, bytes_max: u32, order: Order },
    /// An earlier send.
    Idempotency { conversation: u128, sender: u64, client_id: u128 },
    /// Conversations of a user, ascending by id, above `above`, with what `device` has of each.
    ConversationsOf { user: u64, device: u64, above: Option<u128>, limit: u32 },
    /// How far a user has read a conversation, and from where on messages wait for them.
    Pointers { user: u64, conversation: u128 },
    /// Conversations in which messages wait for a user, ascending by id, above `above`.
    PendingOf { user: u64, above: Option<u128>, limit: u32 },
}

/// Which end of the range the limit keeps. Messages come back ascending by sequence either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `None`: there is no such conversation.
    Conversation(Option<Opened>),
    Messages {
        /// `(seq, frame)`, ascending.
        messages: Vec<(u64, Bytes)>,
        /// The range holds more than was returned.
        has_more: bool,
    },
    Idempotency(Option<Found>),
    ConversationsOf {
        conversations: Vec<Listed>,
        /// More follow above the last one.
        has_more: bool,
    },
    Pointers {
        /// 0 when nothing was read.
        read: u64,
        /// First undelivered sequence, if there is a pending mark.
        pending: Option<u64>,
    },
    PendingOf {
        /// `(conversation, first undelivered sequence)`.
        pending: Vec<(u128, u64)>,
        has_more: bool,
    },
    /// The store could not answer (I/O error); the asker may try again.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub meta: Bytes,
    pub members: Vec<(u64, Bytes)>,
    /// Sequence of the newest message; 0 when there is none.
    pub last_seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub seq: u64,
    pub message_id: u64,
    pub created_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub conversation: u128,
    /// What the device has acknowledged; 0 when nothing.
    pub delivered: u64,
}
