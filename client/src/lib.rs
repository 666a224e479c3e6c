//! Rust client for Tidegate: one task owns the socket, a [`Client`] handle asks, an [`Events`] stream answers.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use tidegate_client::{Config, Content, Event, UserId, connect};
//!
//! let (client, mut events) = connect(Config::new("ws://127.0.0.1:9000/ws", "token"));
//! let conversation = client.create_direct(UserId(2)).await?;
//! let ack = client.send(conversation, Content::Text("hello".into())).await?;
//! println!("message {} is durable", ack.seq);
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {:?}", message.sender, message.content);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! What it promises: every message of a conversation comes once, in order, the own ones included; a message that was
//! sent is sent again after every reconnect until the gateway acknowledges it or refuses it for good. What bounds
//! it: [`limits`]. How it is built: [`state`] is the whole client without a socket or a clock, `connection` the shell
//! around it.

pub mod client;
pub mod config;
pub mod event;

pub mod state;

mod outbox;
mod pointers;
mod timeline;

pub mod backoff;
mod connection;
pub mod error;
pub mod limits;

pub use client::{Client, Events, connect};
pub use config::{Acknowledge, Config, Start};
pub use error::{CallError, SendError};
pub use event::{Ack, Content, Event, Message, Outgoing, Page};
pub use tidegate_wire::request::HistoryRange;
pub use tidegate_wire::{ClientMessageId, ConversationId, DeviceId, MessageId, Sequence, UserId};
