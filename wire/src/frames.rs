//! The bodies of all frames, as rkyv archives: every number little-endian, no alignment, 32-bit relative
//! pointers. Only sized fields and plain derives, so that the layout can be written down (`PROTOCOL.md`).
//!
//! A body never changes once released: what it lacks comes as a new kind or a new version byte.

use rkyv::{Archive, Deserialize, Serialize};

/// Frame kinds. Clients send 0x00xx, the gateway 0x01xx.
pub mod kind {
    pub const HELLO: u16 = 0x0001;
    pub const SEND: u16 = 0x0002;
    pub const EDIT: u16 = 0x0003;
    pub const DELETE: u16 = 0x0004;
    pub const REACT: u16 = 0x0005;
    pub const RECEIVED: u16 = 0x0006;
    pub const READ: u16 = 0x0007;
    pub const SYNC: u16 = 0x0008;
    pub const HISTORY: u16 = 0x0009;
    pub const OPEN: u16 = 0x000a;
    pub const CLOSE: u16 = 0x000b;
    pub const TYPING: u16 = 0x000c;
    pub const PRESENCE: u16 = 0x000d;
    pub const CREATE: u16 = 0x000e;
    pub const INVITE: u16 = 0x000f;
    pub const REMOVE: u16 = 0x0010;
    pub const ROLE: u16 = 0x0011;
    pub const LEAVE: u16 = 0x0012;
    pub const RENAME: u16 = 0x0013;
    pub const MUTE: u16 = 0x0014;
    pub const LIST: u16 = 0x0015;
    pub const RENEW: u16 = 0x0016;
    pub const PING: u16 = 0x0017;

    pub const WELCOME: u16 = 0x0101;
    pub const ACK: u16 = 0x0102;
    pub const DELIVER: u16 = 0x0103;
    pub const RECEIPT: u16 = 0x0104;
    pub const TYPING_EVENT: u16 = 0x0105;
    pub const PRESENCE_EVENT: u16 = 0x0106;
    pub const PAGE: u16 = 0x0107;
    pub const CONVERSATIONS: u16 = 0x0108;
    pub const LAGGING: u16 = 0x0109;
    pub const MOVED: u16 = 0x010a;
    pub const DRAIN: u16 = 0x010b;
    pub const ERROR: u16 = 0x010c;
    pub const SYNCED: u16 = 0x010d;
    pub const CREATED: u16 = 0x010e;
    pub const PONG: u16 = 0x010f;
}

/// What a message carries. On the wire a `u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageKind {
    /// UTF-8 text.
    Text = 1,
    /// Made by the gateway: a change of the conversation itself. Clients cannot send it.
    System = 2,
    /// UTF-8 reference to media kept elsewhere.
    MediaRef = 3,
    /// Bytes only the members understand (end-to-end encrypted).
    Opaque = 4,
}

impl MessageKind {
    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::System => "system",
            Self::MediaRef => "media_ref",
            Self::Opaque => "opaque",
        }
    }
}

impl TryFrom<u8> for MessageKind {
    type Error = u8;
    fn try_from(value: u8) -> Result<Self, u8> {
        match value {
            1 => Ok(Self::Text),
            2 => Ok(Self::System),
            3 => Ok(Self::MediaRef),
            4 => Ok(Self::Opaque),
            other => Err(other),
        }
    }
}

/// What a conversation is. On the wire a `u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ConversationKind {
    /// Two users, or one (notes to self); its id follows from them.
    Direct = 1,
    /// A list of members that the owner shard holds.
    Group = 2,
    /// Many members, held by their home shards.
    Channel = 3,
}

impl TryFrom<u8> for ConversationKind {
    type Error = u8;
    fn try_from(value: u8) -> Result<Self, u8> {
        match value {
            1 => Ok(Self::Direct),
            2 => Ok(Self::Group),
            3 => Ok(Self::Channel),
            other => Err(other),
        }
    }
}

/// Where a client stands in a conversation.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub conversation: u128,
    pub last_seq: u64,
}

// ---- client to gateway -------------------------------------------------------------------------------

/// First frame of a client: where it stands. Answered by catch-up.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
pub struct Hello {
    pub cursors: Vec<Cursor>,
    /// Free text for the operator's logs, such as `web/1.4`.
    pub client: String,
}

/// A message. Answered by `Ack` or `Error`.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Send {
    pub conversation: u128,
    pub client_id: u128,
    /// Milliseconds since 1970 by the client's clock; kept as information, 0 when unknown.
    pub client_time: u64,
    /// Sequence of the message this one answers; 0 when none.
    pub reply_to: u64,
    /// [`MessageKind`].
    pub kind: u8,
    pub body: Vec<u8>,
    /// `client_id` as the sender writes it, when that is not its canonical ULID text (JSON clients); else empty.
    pub client_ref: String,
}

/// Everything up to this sequence has arrived on this device. No answer.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpTo {
    pub conversation: u128,
    pub up_to_seq: u64,
}

/// Catch up again from these cursors.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    pub cursors: Vec<Cursor>,
}

/// A page of history: at most one of the two bounds is set, none for the newest page. [`History::of`] fills it in.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    pub conversation: u128,
    /// Newest messages below this sequence; 0 when not set.
    pub before_seq: u64,
    /// Oldest messages above this sequence (0: from the very first); `u64::MAX` when not set.
    pub after_seq: u64,
    pub limit: u32,
}

impl History {
    /// `before_seq` when that bound is not set.
    pub const BEFORE_UNSET: u64 = 0;
    /// `after_seq` when that bound is not set.
    pub const AFTER_UNSET: u64 = u64::MAX;
}

/// A new conversation with the sender and these members.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Create {
    pub members: Vec<u64>,
    /// [`ConversationKind`].
    pub kind: u8,
    pub name: String,
}

/// A fresh token over the live connection.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Renew {
    pub token: String,
}

// ---- gateway to client -------------------------------------------------------------------------------

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub user: u64,
    pub device: u64,
    /// Names this session in the gateway's logs.
    pub session: u64,
    pub server_time: u64,
    pub node: u32,
    pub heartbeat_ms: u32,
    pub message_bytes_max: u32,
    pub body_characters_max: u32,
    pub page_messages_max: u32,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub conversation: u128,
    pub client_id: u128,
    pub seq: u64,
    pub message_id: u64,
    /// Milliseconds since 1970 by the gateway's clock.
    pub created: u64,
    pub client_ref: String,
}

/// A message as every recipient gets it, and as the log keeps it.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    pub conversation: u128,
    pub client_id: u128,
    pub seq: u64,
    pub message_id: u64,
    pub sender: u64,
    pub created: u64,
    pub client_time: u64,
    pub reply_to: u64,
    pub kind: u8,
    pub body: Vec<u8>,
    pub client_ref: String,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub conversation: u128,
    pub user: u64,
    pub delivered_up_to: u64,
    pub read_up_to: u64,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub conversation: u128,
    pub has_more: bool,
    /// `Deliver` frames back to back, ascending by sequence, byte for byte as they were delivered.
    pub frames: Vec<u8>,
}

/// The end of catch-up in one conversation.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    pub conversation: u128,
    pub head_seq: u64,
    /// Messages between the client's cursor and the first one delivered: ask `History` for them.
    pub has_more: bool,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    pub conversation: u128,
}

/// Live delivery is paused because this connection reads too slowly; catch-up follows.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagging {
    pub conversation: u128,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub url: String,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub reconnect_after_ms: u32,
    pub window_ms: u32,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// See `PROTOCOL.md`, error codes.
    pub code: u16,
    pub retry_after_ms: u32,
    pub message: String,
}
