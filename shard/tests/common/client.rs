//! What a session hears: WebSocket messages of both encodings read back into the same frames.

use serde_json::Value;
use tidegate_shard::contract::Renewal;
use tidegate_wire::frames;
use tidegate_wire::json::parse_client_id;
use tidegate_wire::request::Frames;
use tidegate_wire::server::{DeliverView, ServerFrame};
use tidegate_wire::{ConversationId, DeviceId, Encoding, UserId};

/// The frames of one `Output::Send`, with their request numbers.
pub fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<(u64, ServerFrame)> {
    let mut heard = Vec::new();
    let mut rest = bytes;
    assert!(!rest.is_empty(), "an empty send");
    while !rest.is_empty() {
        let (opcode, payload, after) = unwrap(rest);
        rest = after;
        match encoding {
            Encoding::Binary => {
                assert_eq!(opcode, 2, "binary sessions get binary messages");
                for frame in Frames::new(payload) {
                    let (header, body) = frame.expect("the gateway sends whole frames");
                    heard.push((header.request, ServerFrame::decode(&header, body).expect("a known frame")));
                }
            }
            Encoding::Json => {
                assert_eq!(opcode, 1, "JSON sessions get text messages");
                heard.push(from_json(&serde_json::from_slice(payload).expect("the gateway sends JSON")));
            }
        }
    }
    heard
}

/// One unmasked, unfragmented message (RFC 6455 section 5.2).
fn unwrap(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
    assert_eq!(bytes[0] & 0xf0, 0x80, "FIN and no reserved bits");
    let (length, at) = match bytes[1] {
        126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
        127 => (u64::from_be_bytes(bytes[2..10].try_into().expect("eight bytes")) as usize, 10),
        short => (usize::from(short), 2),
    };
    let (payload, after) = bytes[at..].split_at(length);
    (bytes[0] & 0xf, payload, after)
}

fn from_json(value: &Value) -> (u64, ServerFrame) {
    let number = |name: &str| match &value[name] {
        Value::String(text) => text.parse().expect("a number as text"),
        other => other.as_u64().unwrap_or(0),
    };
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let conversation = || uuid(value["conversation"].as_str().expect("a conversation"));
    let frame = match value["type"].as_str().expect("every frame has a type") {
        "welcome" => ServerFrame::Welcome(frames::Welcome {
            user: number("user"),
            device: number("device"),
            session: number("session"),
            server_time: number("server_time"),
            node: number("node") as u32,
            heartbeat_ms: number("heartbeat_ms") as u32,
            message_bytes_max: number("message_bytes_max") as u32,
            body_characters_max: number("body_characters_max") as u32,
            page_messages_max: number("page_messages_max") as u32,
        }),
        "ack" => ServerFrame::Ack(frames::Ack {
            conversation: conversation(),
            client_id: parse_client_id(&text("client_id")).0,
            seq: number("seq"),
            message_id: number("message_id"),
            created: number("created"),
            client_ref: text("client_id"),
        }),
        "deliver" => ServerFrame::Deliver(frames::Deliver {
            conversation: conversation(),
            client_id: parse_client_id(&text("client_id")).0,
            seq: number("seq"),
            message_id: number("message_id"),
            sender: number("sender"),
            created: number("created"),
            client_time: number("client_time"),
            reply_to: number("reply_to"),
            kind: 1,
            body: text("body").into_bytes(),
            client_ref: text("client_id"),
        }),
        "page" => {
            let messages = value["messages"].as_array().expect("a list").iter();
            let mut bytes = Vec::new();
            for message in messages {
                let ServerFrame::Deliver(deliver) = from_json(message).1 else {
                    panic!("{message} in a page")
                };
                bytes.extend_from_slice(&tidegate_wire::server::Delivery::encode(&deliver).frame());
            }
            let has_more = value["has_more"].as_bool().expect("a bool");
            ServerFrame::Page(frames::Page { conversation: conversation(), has_more, frames: bytes })
        }
        "synced" => ServerFrame::Synced(frames::Synced {
            conversation: conversation(),
            head_seq: number("head_seq"),
            has_more: value["has_more"].as_bool().expect("a bool"),
        }),
        "created" => ServerFrame::Created(frames::Created { conversation: conversation() }),
        "lagging" => ServerFrame::Lagging(frames::Lagging { conversation: conversation() }),
        "drain" => ServerFrame::Drain(frames::Drain {
            reconnect_after_ms: number("reconnect_after_ms") as u32,
            window_ms: number("window_ms") as u32,
        }),
        "error" => ServerFrame::Error(frames::Error {
            code: number("code") as u16,
            retry_after_ms: number("retry_after_ms") as u32,
            message: text("message"),
        }),
        "pong" => ServerFrame::Pong,
        other => panic!("the gateway says {other}, which no test expects"),
    };
    (number("request"), frame)
}

fn uuid(text: &str) -> u128 {
    u128::from_str_radix(&text.replace('-', ""), 16).expect("a UUID")
}

/// Sequences in a page, in its order.
pub fn page_seqs(page: &frames::Page) -> Vec<u64> {
    DeliverView::read_all(&page.frames).map(|view| view.expect("a page holds deliver frames").seq).collect()
}

/// Every message that a frame carries or speaks of: nobody may hear of one that is not durable.
pub fn mentions(frame: &ServerFrame) -> Vec<(ConversationId, u64)> {
    match frame {
        ServerFrame::Ack(ack) => vec![(ConversationId(ack.conversation), ack.seq)],
        ServerFrame::Deliver(deliver) => vec![(ConversationId(deliver.conversation), deliver.seq)],
        ServerFrame::Synced(synced) => vec![(ConversationId(synced.conversation), synced.head_seq)],
        ServerFrame::Page(page) => {
            page_seqs(page).into_iter().map(|seq| (ConversationId(page.conversation), seq)).collect()
        }
        _ => Vec::new(),
    }
}

/// Tokens of these tests are `user:device:expires_at`.
pub fn read_token(token: &str) -> Result<Renewal, String> {
    let numbers: Vec<u64> = token.split(':').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [user, device, expires_at] => {
            Ok(Renewal { user: UserId(user), device: DeviceId(device), expires_at })
        }
        _ => Err(format!("{token:?} is no token")),
    }
}
