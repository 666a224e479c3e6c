//! How a client is to behave.

use std::collections::BTreeMap;

use tidegate_wire::{ConversationId, Sequence};

/// Where to connect, as whom, and from where to go on.
#[derive(Clone)]
pub struct Config {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) cursors: BTreeMap<ConversationId, Sequence>,
    pub(crate) start: Start,
    pub(crate) acknowledge: Acknowledge,
    pub(crate) name: String,
}

/// What an unknown conversation (one without a cursor) begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With what the gateway hands a device without a cursor: its newest messages, at most 100.
    #[default]
    Newest,
    /// With message 1: for archives, bots and tests that must see everything.
    First,
}

/// When a message counts as arrived on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledge {
    /// As soon as the application's event queue has it.
    #[default]
    OnDelivery,
    /// When the application says so with [`crate::Client::received`], for instance after its own storage has it.
    ByApplication,
}

impl Config {
    /// `url` such as `ws://127.0.0.1:9000/ws`; `token` as signed for one user and one device.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            cursors: BTreeMap::new(),
            start: Start::default(),
            acknowledge: Acknowledge::default(),
            name: concat!("tidegate-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Goes on where an earlier client stood: what its [`crate::Client::cursors`] gave.
    #[must_use]
    pub fn cursors(mut self, cursors: impl IntoIterator<Item = (ConversationId, Sequence)>) -> Self {
        self.cursors.extend(cursors);
        self
    }

    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    #[must_use]
    pub fn acknowledge(mut self, acknowledge: Acknowledge) -> Self {
        self.acknowledge = acknowledge;
        self
    }

    /// Free text for the operator's logs, such as `web/1.4`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

/// Without the token: it opens the account.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("cursors", &self.cursors.len())
            .field("start", &self.start)
            .field("acknowledge", &self.acknowledge)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
