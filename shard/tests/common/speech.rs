//! What clients say, as frames and as JSON.

use tidegate_wire::frames::{self, MessageKind};
use tidegate_wire::server::ServerFrame;
use tidegate_wire::{ClientFrame, ConversationId};

/// A text message.
pub fn message(conversation: ConversationId, client_id: u128, reply_to: u64) -> ClientFrame {
    ClientFrame::Send(frames::Send {
        conversation: conversation.0,
        client_id,
        client_time: 7,
        reply_to,
        kind: MessageKind::Text as u8,
        body: format!("message {client_id}").into_bytes(),
        client_ref: String::new(),
    })
}

pub fn code_of(frame: &ServerFrame) -> u16 {
    match frame {
        ServerFrame::Error(error) => error.code,
        other => panic!("{other:?} instead of an error"),
    }
}

pub fn cursors_of(cursors: &[(ConversationId, u64)]) -> Vec<frames::Cursor> {
    cursors.iter().map(|(id, last_seq)| frames::Cursor { conversation: id.0, last_seq: *last_seq }).collect()
}

pub fn to_json(request: u64, frame: &ClientFrame) -> String {
    let id = |conversation: u128| ConversationId(conversation).to_string();
    let cursors = |cursors: &[frames::Cursor]| -> Vec<serde_json::Value> {
        let of = |c: &frames::Cursor| serde_json::json!({"conversation": id(c.conversation), "last_seq": c.last_seq});
        cursors.iter().map(of).collect()
    };
    let value = match frame {
        ClientFrame::Hello(hello) => {
            serde_json::json!({"type": "hello", "request": request, "cursors": cursors(&hello.cursors), "client": "t"})
        }
        ClientFrame::Sync(sync) => {
            serde_json::json!({"type": "sync", "request": request, "cursors": cursors(&sync.cursors)})
        }
        ClientFrame::Send(send) => serde_json::json!({
            "type": "send", "request": request, "conversation": id(send.conversation), "kind": "text",
            "client_id": tidegate_wire::json::write_client_id(send.client_id, ""), "reply_to": send.reply_to,
            "client_time": send.client_time, "body": String::from_utf8_lossy(&send.body),
        }),
        ClientFrame::Received(at) => serde_json::json!({
            "type": "received", "request": request, "conversation": id(at.conversation), "up_to_seq": at.up_to_seq,
        }),
        ClientFrame::History(history) => {
            let mut value = serde_json::json!({
                "type": "history", "request": request, "conversation": id(history.conversation), "limit": history.limit,
            });
            if history.before_seq != frames::History::BEFORE_UNSET {
                value["before_seq"] = history.before_seq.into();
            }
            if history.after_seq != frames::History::AFTER_UNSET {
                value["after_seq"] = history.after_seq.into();
            }
            value
        }
        ClientFrame::Create(create) => serde_json::json!({
            "type": "create", "request": request, "kind": if create.kind == 1 { "direct" } else { "group" },
            "members": create.members, "name": create.name,
        }),
        ClientFrame::Renew(renew) => {
            serde_json::json!({"type": "renew", "request": request, "token": renew.token})
        }
        ClientFrame::Ping => serde_json::json!({"type": "ping", "request": request}),
        other => panic!("no test says {other:?} in JSON"),
    };
    value.to_string()
}
