//! A client frame, read where it lies: the same borrowed view whether it came as an archive or as JSON.

use std::fmt;

use crate::frames::{ConversationKind, Cursor, MessageKind};
use crate::ids::{ClientMessageId, ConversationId, Sequence};

pub use parse::parse;
pub use split::{FrameError, Frames};

mod parse;
mod split;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Refusal {
    /// 400: the frame is not what the protocol says it is.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self { code: 400, message: message.into() }
    }

    /// 413: the frame is well-formed and too long.
    pub(crate) fn too_long(message: impl Into<String>) -> Self {
        Self { code: 413, message: message.into() }
    }
}

/// The frame that answers it; trying again unchanged will not help.
impl From<Refusal> for crate::frames::Error {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, retry_after_ms: 0, message: refusal.message }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

impl<'a> Cursors<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Archived(cursors) => cursors.len(),
            Self::Owned(cursors) => cursors.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cursors in the order the client wrote them, as native values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Cursor> + use<'a> {
        let cursors = *self;
        (0..self.len()).map(move |index| match cursors {
            Self::Archived(cursors) => Cursor {
                conversation: cursors[index].conversation.to_native(),
                last_seq: cursors[index].last_seq.to_native(),
            },
            Self::Owned(cursors) => cursors[index],
        })
    }
}

impl<'a> Members<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Archived(members) => members.len(),
            Self::Owned(members) => members.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The users in the order the client wrote them, as native values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> + use<'a> {
        let members = *self;
        (0..self.len()).map(move |index| match members {
            Self::Archived(members) => members[index].to_native(),
            Self::Owned(members) => members[index],
        })
    }
}

impl fmt::Debug for Cursors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Equal when the values are, wherever they lie.
impl PartialEq for Cursors<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Cursors<'_> {}

/// Equal when the values are, wherever they lie.
impl PartialEq for Members<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Members<'_> {}
