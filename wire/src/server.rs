//! A gateway frame made into bytes.

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
