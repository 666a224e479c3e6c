//! Any frame reads back as it was written, from an archive and from JSON.
//! Guards: a field lost in a conversion; text that JSON escapes; strings at the edge of being stored inline.

use proptest::prelude::*;
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{self, Create, Cursor, Deliver, Hello, History, MessageKind, Send};
use tidegate_wire::header::Header;
use tidegate_wire::request::{Frames, HistoryRange, Request, parse};
use tidegate_wire::server::{DeliverView, Delivery, ServerFrame};
use tidegate_wire::websocket::{Decoder, Item};
use tidegate_wire::{Sequence, json};

fn any_client_ref() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{0,64}"
}

/// Kind and a body of it.
fn any_body() -> impl Strategy<Value = (MessageKind, Vec<u8>)> {
    prop_oneof![
        "\\PC{0,300}".prop_map(|text| (MessageKind::Text, text.into_bytes())),
        any::<String>().prop_map(|text| (MessageKind::MediaRef, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|body| (MessageKind::Opaque, body)),
    ]
}

fn any_send() -> impl Strategy<Value = Send> {
    (any::<u128>(), any::<u128>(), any::<u64>(), any::<u64>(), any_body(), any_client_ref()).prop_map(
        |(conversation, client_id, client_time, reply_to, (kind, body), client_ref)| Send {
            conversation,
            client_id,
            client_time,
            reply_to,
            kind: kind as u8,
            body,
            client_ref,
        },
    )
}

fn any_deliver() -> impl Strategy<Value = Deliver> {
    (any_send(), any::<[u64; 4]>()).prop_map(|(send, [seq, message_id, sender, created])| Deliver {
        conversation: send.conversation,
        client_id: send.client_id,
        seq,
        message_id,
        sender,
        created,
        client_time: send.client_time,
        reply_to: send.reply_to,
        kind: send.kind,
        body: send.body,
        client_ref: send.client_ref,
    })
}

fn any_cursors() -> impl Strategy<Value = Vec<Cursor>> {
    prop::collection::vec(
        (any::<u128>(), any::<u64>()).prop_map(|(conversation, last_seq)| Cursor { conversation, last_seq }),
        0..20,
    )
}

fn only_frame(bytes: &[u8]) -> (Header, &[u8]) {
    let mut frames = Frames::new(bytes);
    let frame = frames.next().expect("one frame").expect("a valid frame");
    assert_eq!(frames.next(), None);
    frame
}

proptest! {
    #[test]
    fn send(send in any_send(), request in any::<u64>()) {
        let bytes = ClientFrame::Send(send.clone()).encode(request);
        prop_assert_eq!(bytes.len() % 8, 0);
        let (header, body) = only_frame(&bytes);
        prop_assert_eq!(header.request, request);
        let Ok(Request::Send(view)) = parse(&header, body) else { panic!("not a send") };
        prop_assert_eq!(view.conversation.0, send.conversation);
        prop_assert_eq!(view.client_id.0, send.client_id);
        prop_assert_eq!(view.client_ref, send.client_ref);
        prop_assert_eq!(view.client_time, send.client_time);
        prop_assert_eq!(view.reply_to.0, send.reply_to);
        prop_assert_eq!(view.kind as u8, send.kind);
        prop_assert_eq!(view.body, send.body);
    }

    #[test]
    fn json_send(send in any_send(), request in any::<u64>()) {
        let text = serde_json::json!({
            "type": "send",
            "request": request,
            "conversation": uuid::Uuid::from_u128(send.conversation).to_string(),
            "client_id": json::write_client_id(send.client_id, ""),
            "kind": MessageKind::try_from(send.kind).expect("a kind").name(),
            "client_time": send.client_time,
            "reply_to": send.reply_to,
            "body": body_text(send.kind, &send.body),
        })
        .to_string();
        let binary = Send { client_ref: String::new(), ..send };
        let bytes = ClientFrame::Send(binary).encode(request);
        let (header, body) = only_frame(&bytes);
        let (json_request, read) = json::read(&text).expect("a send");
        prop_assert_eq!(json_request, request);
        prop_assert_eq!(Ok(read.view()), parse(&header, body));
    }

    #[test]
    fn client_ids_come_back_as_they_were_written(text in "[A-Za-z0-9_-]{1,64}") {
        let (id, keep) = json::parse_client_id(&text);
        prop_assert_eq!(json::write_client_id(id, if keep { &text } else { "" }), text);
    }

    #[test]
    fn ulids_come_back(id in any::<u128>()) {
        prop_assert_eq!(json::parse_client_id(&json::write_client_id(id, "")), (id, false));
    }

    #[test]
    fn deliver(deliver in any_deliver()) {
        let delivery = Delivery::encode(&deliver);
        let frame = delivery.frame();
        let (header, body) = only_frame(&frame);
        prop_assert_eq!(ServerFrame::decode(&header, body), Ok(ServerFrame::Deliver(deliver.clone())));
        prop_assert_eq!(DeliverView::read(&frame), Some(DeliverView::from(&deliver)));

        let mut message = delivery.json().to_vec();
        let bytes = message.len();
        let mut decoder = Decoder::client(1 << 20);
        let Ok((used, Some(Item::Text(text)))) = decoder.next(&mut message) else { panic!("not a text") };
        prop_assert_eq!(used, bytes);
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        prop_assert_eq!(&json["type"], "deliver");
        prop_assert_eq!(&json["conversation"], &uuid::Uuid::from_u128(deliver.conversation).to_string());
        prop_assert_eq!(&json["seq"], deliver.seq);
        prop_assert_eq!(&json["message_id"], &deliver.message_id.to_string());
        prop_assert_eq!(&json["sender"], &deliver.sender.to_string());
        prop_assert_eq!(&json["created"], deliver.created);
        prop_assert_eq!(&json["client_id"], &json::write_client_id(deliver.client_id, &deliver.client_ref));
        prop_assert_eq!(json.get("reply_to").and_then(serde_json::Value::as_u64).unwrap_or(0), deliver.reply_to);
        prop_assert_eq!(&json["body"], &body_text(deliver.kind, &deliver.body));
    }

    #[test]
    fn lists(cursors in any_cursors(), members in prop::collection::vec(any::<u64>(), 0..40), text in ".{0,40}") {
        let hello = ClientFrame::Hello(Hello { cursors: cursors.clone(), client: text.clone() }).encode(1);
        let create = ClientFrame::Create(Create { members: members.clone(), kind: 2, name: text.clone() }).encode(2);
        let message = [hello, create].concat();
        let frames: Vec<_> = Frames::new(&message).map(|frame| frame.expect("a frame")).collect();
        let Ok(Request::Hello { cursors: read, client }) = parse(&frames[0].0, frames[0].1) else { panic!("hello") };
        prop_assert_eq!(read.iter().collect::<Vec<_>>(), cursors);
        prop_assert_eq!(client, &text);
        let Ok(Request::Create { members: read, name, .. }) = parse(&frames[1].0, frames[1].1) else { panic!("create") };
        prop_assert_eq!(read.iter().collect::<Vec<_>>(), members);
        prop_assert_eq!(name, &text);
        prop_assert_eq!(frames.len(), 2);
    }

    #[test]
    fn history(conversation in any::<u128>(), seq in 1..u64::MAX, limit in any::<u32>()) {
        for range in [
            HistoryRange::Before(Sequence(seq)),
            HistoryRange::After(Sequence(seq)),
            HistoryRange::After(Sequence(0)),
            HistoryRange::Newest,
        ] {
            let bytes = ClientFrame::History(History::of(conversation, range, limit)).encode(0);
            let (header, body) = only_frame(&bytes);
            let expected = Request::History {
                conversation: tidegate_wire::ConversationId(conversation),
                range,
                limit,
            };
            prop_assert_eq!(parse(&header, body), Ok(expected));
        }
    }

    #[test]
    fn errors(code in any::<u16>(), retry_after_ms in any::<u32>(), message in ".{0,100}") {
        let frame = ServerFrame::Error(frames::Error { code, retry_after_ms, message });
        let mut bytes = tidegate_wire::server::encode(tidegate_wire::Encoding::Binary, 9, &frame).to_vec();
        let mut decoder = Decoder::client(1 << 20);
        let Ok((_, Some(Item::Binary(payload)))) = decoder.next(&mut bytes) else { panic!("not binary") };
        let (header, body) = only_frame(payload);
        prop_assert_eq!(ServerFrame::decode(&header, body), Ok(frame));
    }
}

fn body_text(kind: u8, body: &[u8]) -> String {
    use base64::Engine as _;
    match MessageKind::try_from(kind) {
        Ok(MessageKind::Opaque) => base64::engine::general_purpose::STANDARD.encode(body),
        _ => String::from_utf8(body.to_vec()).expect("text is UTF-8"),
    }
}
