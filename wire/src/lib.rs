//! The Tidegate protocol: what crosses a socket, and nothing about what it means.
//!
//! Read in this order: [`ids`], [`header`], [`frames`] (the bodies), [`request`] (a client frame read in
//! place), [`server`] (a gateway frame made into bytes), [`delivery`] (the one frame that is shared), [`client`] (a
//! client frame made into bytes), [`json`] (the same frames as text), [`websocket`] (RFC 6455 framing). The byte-exact
//! description is `PROTOCOL.md` beside this crate.

pub mod client;
pub mod delivery;
pub mod frames;
pub mod header;
pub mod ids;
pub mod json;
pub mod request;
pub mod rules;
pub mod server;
pub mod websocket;

mod archive;
mod message;

pub use client::ClientFrame;
pub use header::Header;
pub use ids::{ClientMessageId, ConversationId, DeviceId, MessageId, Sequence, UserId};
pub use request::Request;
pub use server::{Encoding, ServerFrame};
