//! What the application sees.

use std::time::Duration;

use tidegate_wire::frames::{self, MessageKind};
use tidegate_wire::{ClientMessageId, ConversationId, DeviceId, MessageId, Sequence, UserId};

use crate::error::SendError;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session stands; catch-up follows.
    Connected { user: UserId, device: DeviceId, session: u64 },
    /// The next message of its conversation: in order, once, whoever sent it.
    Message(Message),
    /// A message handed to [`crate::Client::submit`] is durable.
    Ack(Ack),
    /// A message handed to [`crate::Client::submit`] was refused for good.
    Refused { client_id: ClientMessageId, error: SendError },
    /// Everything up to `head` of this conversation has been handed out.
    Synced { conversation: ConversationId, head: Sequence },
    /// The gateway no longer has, or no longer shows, the messages after `after` and before `before`.
    Missing { conversation: ConversationId, after: Sequence, before: Sequence },
    /// How far another member is.
    Receipt { conversation: ConversationId, user: UserId, delivered_up_to: Sequence, read_up_to: Sequence },
    /// The gateway is about to go; the client moves over by itself after this time.
    Draining { reconnect_in: Duration },
    /// The session is gone; the next attempt comes after this time.
    Disconnected { reason: String, retry_in: Duration },
    /// The token was refused or has expired: nothing is tried before [`crate::Client::renew`].
    TokenRefused { reason: String },
    /// The last event: the client does not come back.
    Stopped { reason: String },
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub conversation: ConversationId,
    pub seq: Sequence,
    pub message_id: MessageId,
    pub sender: UserId,
    pub client_id: ClientMessageId,
    /// Milliseconds since 1970 by the gateway's clock.
    pub created: u64,
    /// Milliseconds since 1970 by the sender's clock, 0 when unknown. Orders nothing.
    pub client_time: u64,
    /// The message this one answers.
    pub reply_to: Option<Sequence>,
    pub content: Content,
}

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    /// Made by the gateway; cannot be sent.
    System(String),
    MediaRef(String),
    /// Bytes that only the members understand.
    Opaque(Vec<u8>),
    /// A kind that this version does not know.
    Unknown {
        kind: u8,
        body: Vec<u8>,
    },
}

impl Content {
    /// Kind and body as they stand in a frame.
    #[must_use]
    pub fn into_parts(self) -> (u8, Vec<u8>) {
        match self {
            Self::Text(text) => (MessageKind::Text as u8, text.into_bytes()),
            Self::System(text) => (MessageKind::System as u8, text.into_bytes()),
            Self::MediaRef(text) => (MessageKind::MediaRef as u8, text.into_bytes()),
            Self::Opaque(body) => (MessageKind::Opaque as u8, body),
            Self::Unknown { kind, body } => (kind, body),
        }
    }

    /// From a frame. Text that is not UTF-8 (the gateway never sends it) becomes [`Content::Unknown`].
    #[must_use]
    pub fn from_parts(kind: u8, body: Vec<u8>) -> Self {
        let text = |make: fn(String) -> Self, body| {
            String::from_utf8(body).map_or_else(|e| Self::Unknown { kind, body: e.into_bytes() }, make)
        };
        match MessageKind::try_from(kind) {
            Ok(MessageKind::Text) => text(Self::Text, body),
            Ok(MessageKind::System) => text(Self::System, body),
            Ok(MessageKind::MediaRef) => text(Self::MediaRef, body),
            Ok(MessageKind::Opaque) => Self::Opaque(body),
            Err(_) => Self::Unknown { kind, body },
        }
    }

    /// The text of a text message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A message on its way to the gateway. The client id makes it the same message however often it is sent: keep it
/// with the message if the outbox of the application outlives the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub conversation: ConversationId,
    pub client_id: ClientMessageId,
    pub content: Content,
    pub reply_to: Option<Sequence>,
    /// Milliseconds since 1970 by this machine's clock, 0 when unknown.
    pub client_time: u64,
}

/// The gateway has made a message durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    pub conversation: ConversationId,
    pub client_id: ClientMessageId,
    pub seq: Sequence,
    pub message_id: MessageId,
    /// Milliseconds since 1970 by the gateway's clock.
    pub created: u64,
}

/// A page of history, ascending by sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub conversation: ConversationId,
    pub messages: Vec<Message>,
    /// There are more in the direction that was asked.
    pub has_more: bool,
}

impl From<frames::Deliver> for Message {
    fn from(deliver: frames::Deliver) -> Self {
        Self {
            conversation: ConversationId(deliver.conversation),
            seq: Sequence(deliver.seq),
            message_id: MessageId(deliver.message_id),
            sender: UserId(deliver.sender),
            client_id: ClientMessageId(deliver.client_id),
            created: deliver.created,
            client_time: deliver.client_time,
            reply_to: (deliver.reply_to != 0).then_some(Sequence(deliver.reply_to)),
            content: Content::from_parts(deliver.kind, deliver.body),
        }
    }
}

impl From<frames::Ack> for Ack {
    fn from(ack: frames::Ack) -> Self {
        Self {
            conversation: ConversationId(ack.conversation),
            client_id: ClientMessageId(ack.client_id),
            seq: Sequence(ack.seq),
            message_id: MessageId(ack.message_id),
            created: ack.created,
        }
    }
}

impl Message {
    /// The own message as everybody else gets it, from what was sent and what was acknowledged.
    pub(crate) fn acknowledged(sent: frames::Send, ack: Ack, sender: UserId) -> Self {
        Self {
            conversation: ack.conversation,
            seq: ack.seq,
            message_id: ack.message_id,
            sender,
            client_id: ack.client_id,
            created: ack.created,
            client_time: sent.client_time,
            reply_to: (sent.reply_to != 0).then_some(Sequence(sent.reply_to)),
            content: Content::from_parts(sent.kind, sent.body),
        }
    }
}

impl Outgoing {
    pub(crate) fn into_frame(self) -> frames::Send {
        let (kind, body) = self.content.into_parts();
        frames::Send {
            conversation: self.conversation.0,
            client_id: self.client_id.0,
            client_time: self.client_time,
            reply_to: self.reply_to.map_or(0, |seq| seq.0),
            kind,
            body,
            client_ref: String::new(),
        }
    }
}
