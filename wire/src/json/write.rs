//! A gateway frame written as JSON.

use std::borrow::Cow;
use std::fmt::Display;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::client_id::ulid_text;
use crate::delivery::DeliverView;
use crate::frames::{Ack, MessageKind, Page, Receipt, Welcome};
use crate::server::ServerFrame;

/// Appends `frame`. `request` is written in every answer (ack, created, page, pong, error), elsewhere unless it is 0.
///
/// # Panics
/// If the frames of a page are not deliver frames as this crate writes them.
pub(crate) fn write(out: &mut Vec<u8>, request: u64, frame: &ServerFrame) {
    match frame {
        ServerFrame::Welcome(welcome) => put(out, &welcome_text(request, welcome)),
        ServerFrame::Ack(ack) => put(out, &ack_text(request, ack)),
        ServerFrame::Deliver(deliver) => put(out, &deliver_text(request, &DeliverView::from(deliver))),
        ServerFrame::Receipt(receipt) => put(out, &receipt_text(request, receipt)),
        ServerFrame::Page(page) => put(out, &page_text(request, page)),
        ServerFrame::Synced(synced) => put(
            out,
            &SyncedText {
                name: "synced",
                request,
                conversation: ConversationText(synced.conversation),
                head_seq: synced.head_seq,
                has_more: synced.has_more,
            },
        ),
        ServerFrame::Created(created) => {
            put(
                out,
                &CreatedText {
                    name: "created",
                    request,
                    conversation: ConversationText(created.conversation),
                },
            );
        }
        ServerFrame::Lagging(lagging) => {
            put(
                out,
                &LaggingText {
                    name: "lagging",
                    request,
                    conversation: ConversationText(lagging.conversation),
                },
            );
        }
        ServerFrame::Moved(moved) => put(out, &MovedText { name: "moved", request, url: &moved.url }),
        ServerFrame::Drain(drain) => put(
            out,
            &DrainText {
                name: "drain",
                request,
                reconnect_after_ms: drain.reconnect_after_ms,
                window_ms: drain.window_ms,
            },
        ),
        ServerFrame::Error(error) => put(
            out,
            &ErrorText {
                name: "error",
                request,
                code: error.code,
                message: &error.message,
                retry_after_ms: error.retry_after_ms,
            },
        ),
        ServerFrame::Pong => put(out, &PongText { name: "pong", request }),
    }
}

/// Appends a deliver frame.
pub(crate) fn write_deliver(out: &mut Vec<u8>, deliver: &DeliverView<'_>) {
    put(out, &deliver_text(0, deliver));
}

/// Bytes to reserve for a deliver frame: enough unless its text is full of characters that JSON escapes.
pub(crate) fn deliver_hint(deliver: &DeliverView<'_>) -> usize {
    const FIXED: usize = 288;
    const ESCAPES: usize = 16;
    let body = match deliver.kind {
        MessageKind::Opaque => deliver.body.len().div_ceil(3) * 4,
        _ => deliver.body.len() + deliver.body.len() / ESCAPES,
    };
    FIXED + body + deliver.client_ref.len()
}

fn put(out: &mut Vec<u8>, text: &impl Serialize) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail, and every key is a string");
}

/// A number of 64 bits as a JSON string.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A conversation as a UUID, written without `fmt`: it stands in every frame.
struct ConversationText(u128);

impl Serialize for ConversationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = uuid::Uuid::encode_buffer();
        serializer.serialize_str(uuid::Uuid::from_u128(self.0).hyphenated().encode_lower(&mut text))
    }
}

/// A client message id as its sender wrote it.
struct ClientIdText<'a> {
    id: u128,
    client_ref: &'a str,
}

impl Serialize for ClientIdText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.client_ref.is_empty() {
            return serializer.serialize_str(self.client_ref);
        }
        let text = ulid_text(self.id);
        serializer.serialize_str(std::str::from_utf8(&text).expect("the digits of a ULID are ASCII"))
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(serde::Serialize)]
struct WelcomeText {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    request: u64,
    user: Text<u64>,
    device: Text<u64>,
    session: Text<u64>,
    heartbeat_ms: u32,
    server_time: u64,
    node: u32,
    message_bytes_max: u32,
    body_characters_max: u32,
    page_messages_max: u32,
}

fn welcome_text(request: u64, welcome: &Welcome) -> WelcomeText {
    WelcomeText {
        name: "welcome",
        request,
        user: Text(welcome.user),
        device: Text(welcome.device),
        session: Text(welcome.session),
        heartbeat_ms: welcome.heartbeat_ms,
        server_time: welcome.server_time,
        node: welcome.node,
        message_bytes_max: welcome.message_bytes_max,
        body_characters_max: welcome.body_characters_max,
        page_messages_max: welcome.page_messages_max,
    }
}

#[derive(serde::Serialize)]
struct AckText<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    request: u64,
    conversation: ConversationText,
    client_id: ClientIdText<'a>,
    seq: u64,
    message_id: Text<u64>,
    created: u64,
}

fn ack_text(request: u64, ack: &Ack) -> AckText<'_> {
    AckText {
        name: "ack",
        request,
        conversation: ConversationText(ack.conversation),
        client_id: ClientIdText { id: ack.client_id, client_ref: &ack.client_ref },
        seq: ack.seq,
        message_id: Text(ack.message_id),
        created: ack.created,
    }
}

#[derive(serde::Serialize)]
struct DeliverText<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    request: u64,
    conversation: ConversationText,
    seq: u64,
    message_id: Text<u64>,
    sender: Text<u64>,
    client_id: ClientIdText<'a>,
    kind: &'static str,
    created: u64,
    #[serde(skip_serializing_if = "is_zero")]
    client_time: u64,
    #[serde(skip_serializing_if = "is_zero")]
    reply_to: u64,
    body: Body<'a>,
}

fn deliver_text<'a>(request: u64, deliver: &DeliverView<'a>) -> DeliverText<'a> {
    DeliverText {
        name: "deliver",
        request,
        conversation: ConversationText(deliver.conversation),
        seq: deliver.seq,
        message_id: Text(deliver.message_id),
        sender: Text(deliver.sender),
        client_id: ClientIdText { id: deliver.client_id, client_ref: deliver.client_ref },
        kind: deliver.kind.name(),
        created: deliver.created,
        client_time: deliver.client_time,
        reply_to: deliver.reply_to,
        body: match deliver.kind {
            MessageKind::Opaque => Body::Base64(deliver.body),
            _ => Body::Text(deliver.body),
        },
    }
}

enum Body<'a> {
    Text(&'a [u8]),
    Base64(&'a [u8]),
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // A text was UTF-8 when it was accepted; what a gateway of another version stored is shown as well as it can be.
            Self::Text(body) => serializer.serialize_str(
                &simdutf8::basic::from_utf8(body)
                    .map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed),
            ),
            Self::Base64(body) => serializer.collect_str(&Base64Display::new(body, &STANDARD)),
        }
    }
}

#[derive(serde::Serialize)]
struct ReceiptText {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    request: u64,
    conversation: ConversationText,
    user: Text<u64>,
    delivered_up_to: u64,
    read_up_to: u64,
}

fn receipt_text(request: u64, receipt: &Receipt) -> ReceiptText {
    ReceiptText {
        name: "receipt",
        request,
        conversation: ConversationText(receipt.conversation),
        user: Text(receipt.user),
        delivered_up_to: receipt.delivered_up_to,
        read_up_to: receipt.read_up_to,
    }
}

#[derive(serde::Serialize)]
struct PageText<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    request: u64,
    conversation: ConversationText,
    messages: Messages<'a>,
    has_more: bool,
}

fn page_text(request: u64, page: &Page) -> PageText<'_> {
    PageText {
        name: "page",
        request,
        conversation: ConversationText(page.conversation),
        messages: Messages(&page.frames),
        has_more: page.has_more,
    }
}

/// Stored deliver frames back to back, each as the object that would be delivered, `type` included.
struct Messages<'a>(&'a [u8]);

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for deliver in DeliverView::read_all(self.0) {
            let deliver = deliver.expect("a page holds deliver frames as Delivery::encode wrote them");
            list.serialize_element(&deliver_text(0, &deliver))?;
        }
        list.end()
    }
}

#[derive(serde::Serialize)]
struct SyncedText {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    request: u64,
    conversation: ConversationText,
    head_seq: u64,
    has_more: bool,
}

#[derive(serde::Serialize)]
struct CreatedText {
    #[serde(rename = "type")]
    name: &'static str,
    request: u64,
    conversation: ConversationText,
}

#[derive(serde::Serialize)]
struct LaggingText {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    request: u64,
    conversation: ConversationText,
}

#[derive(serde::Serialize)]
struct MovedText<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    request: u64,
    url: &'a str,
}

#[derive(serde::Serialize)]
struct DrainText {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    request: u64,
    reconnect_after_ms: u32,
    window_ms: u32,
}

#[derive(serde::Serialize)]
struct ErrorText<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    request: u64,
    code: u16,
    message: &'a str,
    retry_after_ms: u32,
}

#[derive(serde::Serialize)]
struct PongText {
    #[serde(rename = "type")]
    name: &'static str,
    request: u64,
}
