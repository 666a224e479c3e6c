//! The JSON twin: the same frames as text, one per WebSocket text message (`tidegate.v1.json`).
//!
//! Numbers that a JavaScript number cannot hold (ids of 64 and 128 bits) are strings; sequences, times and `request` are
//! numbers. Readers ignore fields they do not know. Reading borrows from the text where nothing is escaped; writing goes
//! straight into the message's buffer.

pub use client_id::{parse_client_id, write_client_id};
pub use read::{JsonRequest, read};
pub(crate) use write::{deliver_hint, write, write_deliver};

mod read;
mod scalar;

mod client_id;
mod write;
