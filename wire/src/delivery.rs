//! The deliver frame: encoded once by the conversation's owner, then shared by the log, every recipient and history
//! pages.

use bytes::Bytes;
use rkyv::Archived;

use crate::frames::{self, MessageKind, kind};
use crate::header::{HEADER_BYTES, Header, VERSION};
use crate::request::Frames;
use crate::server::Encoding;
use crate::websocket::Opcode;
use crate::{archive, json, message};

/// A deliver frame, encoded once and shared by the log and every recipient.
#[derive(Clone, Debug)]
pub struct Delivery {
    message: Bytes,
    frame_at: usize,
}

impl Delivery {
    /// Encodes in one allocation: WebSocket header, frame header, body, padding.
    #[must_use]
    pub fn encode(deliver: &frames::Deliver) -> Self {
        let outside_root = deliver.body.len() + deliver.client_ref.len();
        let hint = (HEADER_BYTES + size_of::<Archived<frames::Deliver>>() + outside_root).next_multiple_of(8);
        let (message, frame_at) = message::build_framed(Opcode::Binary, hint, |out| {
            archive::append(out, kind::DELIVER, 0, deliver);
        });
        Self { message, frame_at }
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

    /// The whole WebSocket text message for JSON sessions: encode it once per fan-out, too.
    ///
    /// # Panics
    /// Never: the frame is one that [`Delivery::encode`] wrote.
    #[must_use]
    pub fn json(&self) -> Bytes {
        let view = stored(&self.message[self.frame_at..]);
        message::build(Opcode::Text, json::deliver_hint(&view), |out| json::write_deliver(out, &view))
    }
}

/// Stored deliver frames as WebSocket messages for a session: one binary message with all of them back to back, or
/// one text message each. Empty for no frames.
///
/// # Panics
/// With [`Encoding::Json`], if a frame is not a deliver frame as this crate writes them: the log holds nothing else,
/// under a checksum.
#[must_use]
pub fn deliver_stored(encoding: Encoding, frames: &[Bytes]) -> Bytes {
    if frames.is_empty() {
        return Bytes::new();
    }
    let bytes: usize = frames.iter().map(Bytes::len).sum();
    match encoding {
        Encoding::Binary => message::build(Opcode::Binary, bytes, |out| {
            for frame in frames {
                out.extend_from_slice(frame);
            }
        }),
        Encoding::Json => {
            let mut out = Vec::with_capacity(bytes * 2 + frames.len() * 128);
            for frame in frames {
                let view = stored(frame);
                message::append(&mut out, Opcode::Text, |out| json::write_deliver(out, &view));
            }
            Bytes::from(out)
        }
    }
}

/// A deliver frame read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverView<'a> {
    pub conversation: u128,
    pub client_id: u128,
    pub seq: u64,
    pub message_id: u64,
    pub sender: u64,
    pub created: u64,
    pub client_time: u64,
    pub reply_to: u64,
    pub kind: MessageKind,
    pub body: &'a [u8],
    pub client_ref: &'a str,
}

impl<'a> DeliverView<'a> {
    /// Reads one whole frame (header, body, padding); `None` if it is anything but a valid deliver frame.
    #[must_use]
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        let header = Header::read(frame)?;
        if header.kind != kind::DELIVER || header.version != VERSION || header.frame_bytes() != frame.len() {
            return None;
        }
        Self::read_body(&frame[HEADER_BYTES..HEADER_BYTES + header.length as usize])
    }

    /// Reads every deliver frame of a page's `frames`; `None` in place of one that is not valid.
    pub fn read_all(frames: &'a [u8]) -> impl Iterator<Item = Option<Self>> {
        Frames::new(frames).map(|frame| match frame {
            Ok((header, body)) if header.kind == kind::DELIVER && header.version == VERSION => {
                Self::read_body(body)
            }
            _ => None,
        })
    }

    fn read_body(body: &'a [u8]) -> Option<Self> {
        let deliver = archive::access::<Archived<frames::Deliver>>(body).ok()?;
        Some(Self {
            conversation: deliver.conversation.to_native(),
            client_id: deliver.client_id.to_native(),
            seq: deliver.seq.to_native(),
            message_id: deliver.message_id.to_native(),
            sender: deliver.sender.to_native(),
            created: deliver.created.to_native(),
            client_time: deliver.client_time.to_native(),
            reply_to: deliver.reply_to.to_native(),
            kind: MessageKind::try_from(deliver.kind).ok()?,
            body: deliver.body.as_slice(),
            client_ref: deliver.client_ref.as_str(),
        })
    }
}

impl<'a> From<&'a frames::Deliver> for DeliverView<'a> {
    /// # Panics
    /// If `kind` is not a [`MessageKind`]: our own bug, or a client that did not check.
    fn from(deliver: &'a frames::Deliver) -> Self {
        Self {
            conversation: deliver.conversation,
            client_id: deliver.client_id,
            seq: deliver.seq,
            message_id: deliver.message_id,
            sender: deliver.sender,
            created: deliver.created,
            client_time: deliver.client_time,
            reply_to: deliver.reply_to,
            kind: MessageKind::try_from(deliver.kind).expect("a deliver frame carries a known message kind"),
            body: &deliver.body,
            client_ref: &deliver.client_ref,
        }
    }
}

fn stored(frame: &[u8]) -> DeliverView<'_> {
    DeliverView::read(frame).expect("a stored deliver frame is one that Delivery::encode wrote")
}
