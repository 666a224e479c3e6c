//! What a client says and hears, in both encodings, through the codecs of `tidegate-wire`.

use serde_json::{Value, json};
use tidegate_wire::ServerFrame;
use tidegate_wire::delivery::DeliverView;
use tidegate_wire::json::{parse_client_id, write_client_id};
use tidegate_wire::request::Frames;
use tidegate_wire::websocket::{self, Item, Opcode};
use tidegate_wire::{ClientFrame, ConversationId, Encoding};

/// A deliver frame, however it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub conversation: u128,
    pub seq: u64,
    pub client_id: u128,
    pub message_id: u64,
    pub sender: u64,
    /// Of the body.
    pub checksum: u64,
}

/// What the gateway said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Welcome,
    Ack { request: u64, conversation: u128, client_id: u128, seq: u64, message_id: u64 },
    Deliver(Delivered),
    Page { request: u64, conversation: u128, messages: Vec<Delivered>, has_more: bool },
    Synced { conversation: u128, head: u64, has_more: bool },
    Created { request: u64, conversation: u128 },
    Lagging { conversation: u128 },
    Error { request: u64, code: u16 },
    Close { code: Option<u16> },
    Other,
}

/// One masked WebSocket message.
pub fn say(encoding: Encoding, request: u64, frame: &ClientFrame, key: u32) -> Vec<u8> {
    let key = key.to_le_bytes();
    match encoding {
        Encoding::Binary => websocket::masked(Opcode::Binary, &frame.encode(request), key).to_vec(),
        Encoding::Json => {
            let text = to_json(request, frame).to_string();
            websocket::masked(Opcode::Text, text.as_bytes(), key).to_vec()
        }
    }
}

fn to_json(request: u64, frame: &ClientFrame) -> Value {
    let id = |conversation: u128| ConversationId(conversation).to_string();
    let cursors = |cursors: &[tidegate_wire::frames::Cursor]| {
        let named = cursors
            .iter()
            .map(|cursor| json!({"conversation": id(cursor.conversation), "last_seq": cursor.last_seq}));
        Value::from(named.collect::<Vec<_>>())
    };
    match frame {
        ClientFrame::Hello(hello) => json!({"type": "hello", "cursors": cursors(&hello.cursors)}),
        ClientFrame::Sync(sync) => json!({"type": "sync", "cursors": cursors(&sync.cursors)}),
        ClientFrame::Send(send) => json!({
            "type": "send",
            "request": request,
            "conversation": id(send.conversation),
            "client_id": write_client_id(send.client_id, &send.client_ref),
            "kind": "text",
            "body": String::from_utf8_lossy(&send.body),
        }),
        ClientFrame::Received(up_to) => json!({
            "type": "received",
            "conversation": id(up_to.conversation),
            "up_to_seq": up_to.up_to_seq,
        }),
        ClientFrame::History(history) => json!({
            "type": "history",
            "request": request,
            "conversation": id(history.conversation),
            "after_seq": history.after_seq,
            "limit": history.limit,
        }),
        ClientFrame::Create(create) => json!({
            "type": "create",
            "request": request,
            "kind": if create.kind == 1 { "direct" } else { "group" },
            "members": create.members.iter().map(u64::to_string).collect::<Vec<_>>(),
            "name": create.name,
        }),
        ClientFrame::Ping => json!({"type": "ping", "request": request}),
        ClientFrame::Read(_) | ClientFrame::Renew(_) => {
            unreachable!("simulated clients do not say {frame:?}")
        }
    }
}

/// Reads one WebSocket item of the gateway.
///
/// # Errors
/// What is wrong with it.
pub fn hear(item: &Item<'_>, mut on_heard: impl FnMut(Heard)) -> Result<(), String> {
    match item {
        Item::Binary(message) => {
            for frame in Frames::new(message) {
                let (header, body) =
                    frame.map_err(|error| format!("frames do not follow each other: {error:?}"))?;
                let frame = ServerFrame::decode(&header, body).map_err(|error| error.to_string())?;
                on_heard(from_frame(header.request, &frame)?);
            }
        }
        Item::Text(text) => on_heard(from_json(text)?),
        Item::Close { code, .. } => on_heard(Heard::Close { code: code.map(|code| code.0) }),
        Item::Ping(_) | Item::Pong(_) => on_heard(Heard::Other),
    }
    Ok(())
}

fn from_frame(request: u64, frame: &ServerFrame) -> Result<Heard, String> {
    Ok(match frame {
        ServerFrame::Welcome(_) => Heard::Welcome,
        ServerFrame::Ack(ack) => Heard::Ack {
            request,
            conversation: ack.conversation,
            client_id: ack.client_id,
            seq: ack.seq,
            message_id: ack.message_id,
        },
        ServerFrame::Deliver(deliver) => Heard::Deliver(Delivered::of(&DeliverView::from(deliver))),
        ServerFrame::Page(page) => {
            let messages = DeliverView::read_all(&page.frames)
                .map(|view| view.map(|view| Delivered::of(&view)).ok_or("a page holds what is no message"))
                .collect::<Result<_, _>>()?;
            Heard::Page { request, conversation: page.conversation, messages, has_more: page.has_more }
        }
        ServerFrame::Synced(synced) => Heard::Synced {
            conversation: synced.conversation,
            head: synced.head_seq,
            has_more: synced.has_more,
        },
        ServerFrame::Created(created) => Heard::Created { request, conversation: created.conversation },
        ServerFrame::Lagging(lagging) => Heard::Lagging { conversation: lagging.conversation },
        ServerFrame::Error(error) => Heard::Error { request, code: error.code },
        ServerFrame::Receipt(_) | ServerFrame::Moved(_) | ServerFrame::Drain(_) | ServerFrame::Pong => {
            Heard::Other
        }
    })
}

fn from_json(text: &str) -> Result<Heard, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    read_json(&value).ok_or_else(|| format!("not the gateway's JSON: {text}"))
}

fn read_json(value: &Value) -> Option<Heard> {
    let request = value["request"].as_u64().unwrap_or(0);
    let conversation = || conversation_of(value);
    Some(match value["type"].as_str()? {
        "welcome" => Heard::Welcome,
        "ack" => Heard::Ack {
            request,
            conversation: conversation()?,
            client_id: parse_client_id(value["client_id"].as_str()?).0,
            seq: value["seq"].as_u64()?,
            message_id: value["message_id"].as_str()?.parse().ok()?,
        },
        "deliver" => Heard::Deliver(delivered_of(value)?),
        "page" => Heard::Page {
            request,
            conversation: conversation()?,
            messages: value["messages"].as_array()?.iter().map(delivered_of).collect::<Option<_>>()?,
            has_more: value["has_more"].as_bool()?,
        },
        "synced" => Heard::Synced {
            conversation: conversation()?,
            head: value["head_seq"].as_u64()?,
            has_more: value["has_more"].as_bool()?,
        },
        "created" => Heard::Created { request, conversation: conversation()? },
        "lagging" => Heard::Lagging { conversation: conversation()? },
        "error" => Heard::Error { request, code: u16::try_from(value["code"].as_u64()?).ok()? },
        _ => Heard::Other,
    })
}

fn conversation_of(value: &Value) -> Option<u128> {
    let digits = value["conversation"].as_str()?.replace('-', "");
    u128::from_str_radix(&digits, 16).ok()
}

fn delivered_of(value: &Value) -> Option<Delivered> {
    Some(Delivered {
        conversation: conversation_of(value)?,
        seq: value["seq"].as_u64()?,
        client_id: parse_client_id(value["client_id"].as_str()?).0,
        message_id: value["message_id"].as_str()?.parse().ok()?,
        sender: value["sender"].as_str()?.parse().ok()?,
        checksum: checksum(value["body"].as_str()?.as_bytes()),
    })
}

impl Delivered {
    pub fn of(view: &DeliverView<'_>) -> Self {
        Self {
            conversation: view.conversation,
            seq: view.seq,
            client_id: view.client_id,
            message_id: view.message_id,
            sender: view.sender,
            checksum: checksum(view.body),
        }
    }
}

/// FNV-1a: to compare bodies, and to compare runs.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
