//! Everything that goes into a shard and comes out of it: the closed lists.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_wire::frames::{ConversationKind, MessageKind};
use tidegate_wire::server::Delivery;
use tidegate_wire::{ClientMessageId, ConversationId, DeviceId, Encoding, MessageId, Sequence, UserId};

/// Index of a shard, 0 to shards - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A connection of this shard's worker. The generation tells a reused slot from the connection that had it before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnectionId {
    pub slot: u32,
    pub generation: u32,
}

/// A session as other shards name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionRef {
    pub home: ShardId,
    pub connection: ConnectionId,
}

/// The time at which an input happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Now {
    /// Never goes back; for deadlines.
    pub monotonic: Duration,
    /// Milliseconds since 1970; may jump.
    pub wall_ms: u64,
}

/// Who a connection speaks for; from its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    pub user: UserId,
    pub device: DeviceId,
    pub encoding: Encoding,
    /// Seconds since 1970 at which the token ends.
    pub expires_at: u64,
}

/// What a fresh token of a live session says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    pub user: UserId,
    pub device: DeviceId,
    /// Seconds since 1970 at which the token ends.
    pub expires_at: u64,
}

/// Everything that can happen to a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection has been authenticated and moved here.
    Login { connection: ConnectionId, login: Login },
    /// A whole binary WebSocket message of a session.
    Binary { connection: ConnectionId, message: &'a [u8] },
    /// A whole text WebSocket message of a session.
    Text { connection: ConnectionId, message: &'a str },
    /// The connection is gone.
    Disconnected { connection: ConnectionId },
    /// The socket takes no more; `unsent` bytes wait.
    Blocked { connection: ConnectionId, unsent: usize },
    /// The socket has taken everything.
    Drained { connection: ConnectionId },
    /// From another shard.
    Envelope(Envelope),
    /// Every append of this shard up to this ticket is durable.
    Durable { up_to: u64 },
    /// The appends from this ticket on are not in the log and never will be; the stream has a new epoch.
    Refused { from: u64, epoch: u32, reason: Arc<str> },
    /// The store's answer.
    Answer { ticket: u64, answer: Answer },
    /// What became of [`Output::CheckToken`]: who it is for, or what is wrong with it.
    TokenChecked { connection: ConnectionId, request: u64, outcome: Result<Renewal, String> },
    /// Time has passed; at least every [`crate::limits::TICK`].
    Tick,
    /// The gateway is going down: tell the clients.
    Drain { reconnect_after_ms: u32, window_ms: u32 },
}

/// Everything a shard can ask for.
#[derive(Debug)]
pub enum Output {
    /// One or more whole WebSocket messages.
    Send { connection: ConnectionId, message: Bytes },
    /// Close with this code (RFC 6455 section 7.4) after what was sent before.
    Close { connection: ConnectionId, code: u16, reason: Cow<'static, str> },
    /// Stop or go on reading from this connection.
    SetReading { connection: ConnectionId, reading: bool },
    /// To another shard; never dropped.
    Envelope { to: ShardId, envelope: Envelope },
    /// To the log.
    Append(Append),
    /// To the store.
    Query { ticket: u64, query: Query },
    /// A session brings a fresh token; answered by [`Input::TokenChecked`].
    CheckToken { connection: ConnectionId, request: u64, token: Box<str> },
}

/// A record for the log: rows that become durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Counts up by one.
    pub ticket: u64,
    /// Refusals so far, as this shard knows it.
    pub epoch: u32,
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Conversation {
        conversation: ConversationId,
        meta: Bytes,
    },
    Member {
        conversation: ConversationId,
        user: UserId,
        info: Bytes,
    },
    Message {
        conversation: ConversationId,
        seq: Sequence,
        frame: Bytes,
        key: SendKey,
        message_id: MessageId,
        created: u64,
    },
    Delivered {
        user: UserId,
        device: DeviceId,
        conversation: ConversationId,
        seq: Sequence,
    },
}

/// What makes a send the same send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SendKey {
    pub sender: UserId,
    pub client_id: ClientMessageId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    Conversation {
        conversation: ConversationId,
    },
    Messages {
        conversation: ConversationId,
        after: Sequence,
        up_to: Sequence,
        limit: u32,
        bytes_max: u32,
        newest: bool,
    },
    Repeat {
        conversation: ConversationId,
        key: SendKey,
    },
    ConversationsOf {
        user: UserId,
        device: DeviceId,
        above: Option<ConversationId>,
        limit: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `None`: no such conversation.
    Conversation(Option<StoredConversation>),
    Messages {
        messages: Vec<(Sequence, Bytes)>,
        has_more: bool,
    },
    /// The place of the earlier send, if there was one.
    Repeat(Option<Place>),
    ConversationsOf {
        conversations: Vec<(ConversationId, Sequence)>,
        has_more: bool,
    },
    /// The store could not answer.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConversation {
    pub meta: Bytes,
    pub members: Vec<(UserId, Bytes)>,
    pub last_seq: Sequence,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub seq: Sequence,
    pub message_id: MessageId,
    pub created: u64,
}

/// A message between shards.
#[derive(Debug)]
pub enum Envelope {
    /// Home to owner.
    Send(Draft),
    Create {
        asked: Asked,
        conversation: ConversationId,
        kind: ConversationKind,
        creator: UserId,
        members: Box<[UserId]>,
        name: Box<str>,
    },
    /// May `user` see this conversation, and up to where?
    Access {
        key: u32,
        session: SessionRef,
        user: UserId,
        device: DeviceId,
        conversation: ConversationId,
    },
    Received {
        user: UserId,
        device: DeviceId,
        conversation: ConversationId,
        up_to: Sequence,
    },

    /// Owner to home.
    Acked {
        asked: Asked,
        conversation: ConversationId,
        client_id: ClientMessageId,
        client_ref: Box<str>,
        place: Place,
        /// An earlier send was the same, and may have come from another session.
        repeat: bool,
    },
    Created {
        asked: Asked,
        conversation: ConversationId,
    },
    Failed {
        asked: Asked,
        failure: Failure,
        was_send: bool,
    },
    /// Answer to `Access`. Every `Deliver` up to `head` was sent before it on the same ring, none of those after.
    Granted {
        key: u32,
        session: SessionRef,
        conversation: ConversationId,
        grant: Option<Grant>,
    },
    /// The store could not be asked for `Access`: try later.
    Unavailable {
        key: u32,
        session: SessionRef,
        conversation: ConversationId,
    },
    /// One per home shard with members: a durable message.
    Deliver {
        conversation: ConversationId,
        seq: Sequence,
        delivery: Delivery,
        members: Arc<[UserId]>,
        origin: SessionRef,
    },
}

/// Who asked, and under which request number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub session: SessionRef,
    pub request: u64,
}

/// A message on its way to its owner.
#[derive(Debug)]
pub struct Draft {
    pub asked: Asked,
    pub conversation: ConversationId,
    pub key: SendKey,
    pub client_ref: Box<str>,
    pub client_time: u64,
    pub reply_to: Sequence,
    pub kind: MessageKind,
    pub body: Vec<u8>,
}

/// What a member may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Newest message that is durable and fanned out.
    pub head: Sequence,
    /// What the device has acknowledged, as far as this is newer than what the store says.
    pub delivered: Sequence,
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not a member, or no such conversation: the same answer, so that nobody learns which.
    NotAMember,
    NoSuchMessage {
        reply_to: Sequence,
        head: Sequence,
    },
    /// The log or the store did not take it; nothing happened.
    Storage {
        reason: Arc<str>,
    },
}
