//! A gateway frame made into bytes.

use bytes::Bytes;

use crate::frames;

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

/// One whole unmasked WebSocket message carrying `frame`.
#[must_use]
pub fn encode(encoding: Encoding, request: u64, frame: &ServerFrame) -> Bytes {
    let _ = (encoding, request, frame);
    Bytes::new()
}

/// A deliver frame, encoded once and shared by the log and every recipient.
#[derive(Clone, Debug)]
pub struct Delivery {
    message: Bytes,
    frame_at: usize,
}

impl Delivery {
    #[must_use]
    pub fn encode(deliver: &frames::Deliver) -> Self {
        let _ = deliver;
        Self { message: Bytes::new(), frame_at: 0 }
    }

    /// The whole WebSocket message for binary sessions.
    #[must_use]
    pub fn message(&self) -> &Bytes {
        &self.message
    }

    /// The frame alone: what the log keeps.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        self.message.slice(self.frame_at..)
    }
}

/// Stored deliver frames as WebSocket messages for a session: one binary message with all of them back to back, or
/// one text message each.
#[must_use]
pub fn deliver_stored(encoding: Encoding, frames: &[Bytes]) -> Bytes {
    let _ = (encoding, frames);
    Bytes::new()
}
