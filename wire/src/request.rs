//! A client frame, read where it lies: the same borrowed view whether it came as an archive or as JSON.

use crate::frames::{ConversationKind, Cursor, MessageKind};
use crate::ids::{ClientMessageId, ConversationId, Sequence};

/// What a client asks.
#[derive(Clone, Copy)]
pub enum Request<'a> {
    Hello {
        cursors: Cursors<'a>,
        client: &'a str,
    },
    Send(Send<'a>),
    Received {
        conversation: ConversationId,
        up_to: Sequence,
    },
    Read {
        conversation: ConversationId,
        up_to: Sequence,
    },
    Sync {
        cursors: Cursors<'a>,
    },
    History {
        conversation: ConversationId,
        range: HistoryRange,
        limit: u32,
    },
    Create {
        kind: ConversationKind,
        members: Members<'a>,
        name: &'a str,
    },
    Renew {
        token: &'a str,
    },
    Ping,
    /// Known to the protocol, not answered by this gateway yet; the number is the frame's kind.
    Unsupported {
        kind: u16,
    },
    /// Not known to this version of the protocol: skipped and counted.
    Unknown {
        kind: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send<'a> {
    pub conversation: ConversationId,
    pub client_id: ClientMessageId,
    /// See [`crate::frames::Send::client_ref`].
    pub client_ref: &'a str,
    pub client_time: u64,
    pub reply_to: Sequence,
    pub kind: MessageKind,
    pub body: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryRange {
    /// The newest messages below this sequence.
    Before(Sequence),
    /// The oldest messages above this sequence.
    After(Sequence),
    /// The newest messages.
    Newest,
}

/// Cursors of a hello or a sync, in place.
#[derive(Clone, Copy)]
pub enum Cursors<'a> {
    Archived(&'a [rkyv::Archived<Cursor>]),
    Owned(&'a [Cursor]),
}

/// Members of a create, in place.
#[derive(Clone, Copy)]
pub enum Members<'a> {
    Archived(&'a [rkyv::rend::unaligned::u64_ule]),
    Owned(&'a [u64]),
}

/// Why a frame is answered with an error instead of being obeyed. The connection stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// See `PROTOCOL.md`, error codes.
    pub code: u16,
    /// What was wrong, with what value, and what to do.
    pub message: String,
}
