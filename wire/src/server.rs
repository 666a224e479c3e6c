//! A gateway frame made into bytes, and read back by clients.

use bytes::Bytes;

use crate::frames::{self, kind};
use crate::header::Header;
use crate::websocket::Opcode;
use crate::{archive, json, message};

pub use crate::delivery::{DeliverView, Delivery, deliver_stored};

/// How a session reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `tidegate.v1`: binary WebSocket messages of frames.
    Binary,
    /// `tidegate.v1.json`: text WebSocket messages, one frame each.
    Json,
}

/// Everything the gateway says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    Welcome(frames::Welcome),
    Ack(frames::Ack),
    Deliver(frames::Deliver),
    Receipt(frames::Receipt),
    Page(frames::Page),
    Synced(frames::Synced),
    Created(frames::Created),
    Lagging(frames::Lagging),
    Moved(frames::Moved),
    Drain(frames::Drain),
    Error(frames::Error),
    Pong,
}

/// One whole unmasked WebSocket message carrying `frame`, in one allocation.
///
/// # Panics
/// With [`Encoding::Json`], if the `frames` of a page are not deliver frames as this crate writes them.
#[must_use]
pub fn encode(encoding: Encoding, request: u64, frame: &ServerFrame) -> Bytes {
    match encoding {
        Encoding::Binary => {
            message::build(Opcode::Binary, frame.bytes_hint(), |out| frame.append(out, request))
        }
        Encoding::Json => {
            message::build(Opcode::Text, frame.bytes_hint() * 2, |out| json::write(out, request, frame))
        }
    }
}

/// Why a frame of the gateway could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A kind this version does not know: skip the frame.
    UnknownKind(u16),
    /// A version this crate does not know.
    UnknownVersion(u8),
    /// The body is not an archive of its kind.
    Malformed { kind: u16, length: usize, why: String },
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "frame kind {kind:#06x} is not known: skip it"),
            Self::UnknownVersion(version) => {
                write!(f, "frame version {version} is not known: update this client")
            }
            Self::Malformed { kind, length, why } => {
                write!(f, "the {length}-byte body of frame kind {kind:#06x} is not valid: {why}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl ServerFrame {
    /// The frame's kind: see [`kind`].
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::Welcome(_) => kind::WELCOME,
            Self::Ack(_) => kind::ACK,
            Self::Deliver(_) => kind::DELIVER,
            Self::Receipt(_) => kind::RECEIPT,
            Self::Page(_) => kind::PAGE,
            Self::Synced(_) => kind::SYNCED,
            Self::Created(_) => kind::CREATED,
            Self::Lagging(_) => kind::LAGGING,
            Self::Moved(_) => kind::MOVED,
            Self::Drain(_) => kind::DRAIN,
            Self::Error(_) => kind::ERROR,
            Self::Pong => kind::PONG,
        }
    }

    /// Reads the body of a frame that the gateway sent.
    ///
    /// # Errors
    /// See [`DecodeError`]; an unknown kind is to be skipped, anything else means a broken or newer gateway.
    pub fn decode(header: &Header, body: &[u8]) -> Result<Self, DecodeError> {
        let known = (kind::WELCOME..=kind::PONG).contains(&header.kind);
        if known && header.version != crate::header::VERSION {
            return Err(DecodeError::UnknownVersion(header.version));
        }
        let frame = match header.kind {
            kind::WELCOME => archive::read(body).map(Self::Welcome),
            kind::ACK => archive::read(body).map(Self::Ack),
            kind::DELIVER => archive::read(body).map(Self::Deliver),
            kind::RECEIPT => archive::read(body).map(Self::Receipt),
            kind::PAGE => archive::read(body).map(Self::Page),
            kind::SYNCED => archive::read(body).map(Self::Synced),
            kind::CREATED => archive::read(body).map(Self::Created),
            kind::LAGGING => archive::read(body).map(Self::Lagging),
            kind::MOVED => archive::read(body).map(Self::Moved),
            kind::DRAIN => archive::read(body).map(Self::Drain),
            kind::ERROR => archive::read(body).map(Self::Error),
            kind::PONG => Ok(Self::Pong),
            other => return Err(DecodeError::UnknownKind(other)),
        };
        frame.map_err(|why| DecodeError::Malformed {
            kind: header.kind,
            length: body.len(),
            why: why.to_string(),
        })
    }

    /// Appends the bare frame: header, body, padding.
    fn append(&self, out: &mut Vec<u8>, request: u64) {
        let kind = self.kind();
        match self {
            Self::Welcome(body) => archive::append(out, kind, request, body),
            Self::Ack(body) => archive::append(out, kind, request, body),
            Self::Deliver(body) => archive::append(out, kind, request, body),
            Self::Receipt(body) => archive::append(out, kind, request, body),
            Self::Page(body) => archive::append(out, kind, request, body),
            Self::Synced(body) => archive::append(out, kind, request, body),
            Self::Created(body) => archive::append(out, kind, request, body),
            Self::Lagging(body) => archive::append(out, kind, request, body),
            Self::Moved(body) => archive::append(out, kind, request, body),
            Self::Drain(body) => archive::append(out, kind, request, body),
            Self::Error(body) => archive::append(out, kind, request, body),
            Self::Pong => archive::append_empty(out, kind, request),
        }
    }

    /// Bytes to reserve for the bare frame: enough for the binary form, a fair guess for half of the JSON one.
    fn bytes_hint(&self) -> usize {
        const FIXED: usize = 128;
        FIXED
            + match self {
                Self::Ack(ack) => ack.client_ref.len(),
                Self::Deliver(deliver) => deliver.body.len() + deliver.client_ref.len(),
                Self::Page(page) => page.frames.len(),
                Self::Moved(moved) => moved.url.len(),
                Self::Error(error) => error.message.len(),
                _ => 0,
            }
    }
}
