//! A client frame made into bytes.

use bytes::Bytes;

use crate::archive;
use crate::frames::{self, kind};
use crate::request::HistoryRange;

/// Everything a client says to this version of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    Hello(frames::Hello),
    Send(frames::Send),
    Received(frames::UpTo),
    Read(frames::UpTo),
    Sync(frames::Sync),
    History(frames::History),
    Create(frames::Create),
    Renew(frames::Renew),
    Ping,
}

impl ClientFrame {
    /// The frame's kind: see [`kind`].
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Send(_) => kind::SEND,
            Self::Received(_) => kind::RECEIVED,
            Self::Read(_) => kind::READ,
            Self::Sync(_) => kind::SYNC,
            Self::History(_) => kind::HISTORY,
            Self::Create(_) => kind::CREATE,
            Self::Renew(_) => kind::RENEW,
            Self::Ping => kind::PING,
        }
    }

    /// The bare frame (no WebSocket header): several may stand back to back in one binary message.
    #[must_use]
    pub fn encode(&self, request: u64) -> Bytes {
        let mut out = Vec::new();
        self.append(&mut out, request);
        Bytes::from(out)
    }

    /// Appends the bare frame to `out`, to put several into one message without a copy.
    pub fn append(&self, out: &mut Vec<u8>, request: u64) {
        let kind = self.kind();
        match self {
            Self::Hello(body) => archive::append(out, kind, request, body),
            Self::Send(body) => {
                out.reserve(128 + body.body.len() + body.client_ref.len());
                archive::append(out, kind, request, body);
            }
            Self::Received(body) | Self::Read(body) => archive::append(out, kind, request, body),
            Self::Sync(body) => archive::append(out, kind, request, body),
            Self::History(body) => archive::append(out, kind, request, body),
            Self::Create(body) => archive::append(out, kind, request, body),
            Self::Renew(body) => archive::append(out, kind, request, body),
            Self::Ping => archive::append_empty(out, kind, request),
        }
    }
}

impl frames::History {
    /// The body that asks for `range`.
    #[must_use]
    pub fn of(conversation: u128, range: HistoryRange, limit: u32) -> Self {
        let (before_seq, after_seq) = match range {
            HistoryRange::Before(seq) => (seq.0, Self::AFTER_UNSET),
            HistoryRange::After(seq) => (Self::BEFORE_UNSET, seq.0),
            HistoryRange::Newest => (Self::BEFORE_UNSET, Self::AFTER_UNSET),
        };
        Self { conversation, before_seq, after_seq, limit }
    }
}
