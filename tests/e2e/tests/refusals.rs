//! Promise: whatever a client sends, it gets the answer of the protocol, and everybody else is served on.
//! Guards against: a panic on bytes from outside, a wrong close code, a connection that hangs.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_e2e::raw::{self, Raw, Shape, UPGRADE, frame, header, request, upgrade, whole};
use tidegate_e2e::{BinarySession, Gateway, JsonSession};
use tidegate_wire::ServerFrame;
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{self, MessageKind, kind};
use tidegate_wire::header::Header;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const JSON: &str = "tidegate.v1.json";
const FRAMES: &str = "tidegate.v1";

/// Two others who chat, before and after.
async fn assert_serves_others(gateway: &mut Gateway) {
    let mut first = BinarySession::online(gateway, 901, 1).await;
    let mut second = BinarySession::online(gateway, 902, 1).await;
    let conversation = first.create_direct(902).await;
    let client_id = u128::from(first.welcome.session) + (u128::from(first.welcome.server_time) << 64);
    let ack = first.send(conversation, client_id, &format!("still here {client_id}")).await;
    while second.deliver().await.seq != ack.seq {}
    gateway.assert_sound();
}

#[tokio::test]
async fn broken_websocket_frames_close_with_the_code_of_rfc_6455() {
    let mut gateway = Gateway::start();
    let unmasked = |opcode| Shape { masked: false, ..whole(opcode) };
    let big = 64 * 1024 + 1;
    let cases: Vec<(&str, &str, Vec<u8>, u16)> = vec![
        ("unmasked text", JSON, frame(unmasked(TEXT), b"{}"), 1002),
        ("unmasked binary", FRAMES, frame(unmasked(BINARY), b""), 1002),
        ("unmasked ping", JSON, frame(unmasked(PING), b""), 1002),
        ("reserved bit 1", JSON, frame(Shape { reserved: 4, ..whole(TEXT) }, b"{}"), 1002),
        ("reserved bit 2", JSON, frame(Shape { reserved: 2, ..whole(TEXT) }, b"{}"), 1002),
        ("reserved bit 3", FRAMES, frame(Shape { reserved: 1, ..whole(BINARY) }, b""), 1002),
        ("reserved opcode 3", JSON, frame(whole(3), b""), 1002),
        ("reserved opcode 7", JSON, frame(whole(7), b""), 1002),
        ("reserved opcode 11", FRAMES, frame(whole(11), b""), 1002),
        ("reserved opcode 15", FRAMES, frame(whole(15), b""), 1002),
        ("fragmented ping", JSON, frame(Shape { fin: false, ..whole(PING) }, b""), 1002),
        ("ping of 126 bytes", JSON, frame(whole(PING), &[0; 126]), 1002),
        ("close of one byte", JSON, frame(whole(CLOSE), &[3]), 1002),
        ("close with code 1005", JSON, frame(whole(CLOSE), &1005_u16.to_be_bytes()), 1002),
        ("close with code 999", JSON, frame(whole(CLOSE), &999_u16.to_be_bytes()), 1002),
        ("close reason not UTF-8", JSON, frame(whole(CLOSE), &[3, 232, 0xff]), 1007),
        ("continuation of nothing", JSON, frame(whole(0), b"x"), 1002),
        (
            "a message within a message",
            JSON,
            [frame(Shape { fin: false, ..whole(TEXT) }, b"{"), frame(whole(TEXT), b"{}")].concat(),
            1002,
        ),
        ("text not UTF-8", JSON, frame(whole(TEXT), b"{\"type\":\"\xff\"}"), 1007),
        (
            "UTF-8 broken across fragments",
            JSON,
            [frame(Shape { fin: false, ..whole(TEXT) }, b"\xf0\x9f"), frame(whole(0), b"\x20")].concat(),
            1007,
        ),
        ("text cut within a character", JSON, frame(whole(TEXT), b"\xf0\x9f\x8c"), 1007),
        ("one byte too much, announced", JSON, header(whole(TEXT), big), 1009),
        ("one byte too much, announced, binary", FRAMES, header(whole(BINARY), big), 1009),
        ("2^62 bytes announced", FRAMES, header(whole(BINARY), 1 << 62), 1009),
        ("length with its highest bit set", FRAMES, header(whole(BINARY), 1 << 63), 1002),
        (
            "too much in fragments",
            FRAMES,
            [frame(Shape { fin: false, ..whole(BINARY) }, &[0; 40_000]), header(whole(0), 30_000)].concat(),
            1009,
        ),
        ("text on a binary session", FRAMES, frame(whole(TEXT), b"{\"type\":\"ping\"}"), 1003),
        ("binary on a JSON session", JSON, frame(whole(BINARY), &[0; 16]), 1003),
        ("a frame header cut short", FRAMES, frame(whole(BINARY), &[0; 15]), 1007),
        ("a frame longer than its message", FRAMES, frame(whole(BINARY), &overrun()), 1007),
    ];
    for (at, (name, subprotocol, bytes, code)) in cases.into_iter().enumerate() {
        let mut raw = Raw::session(&gateway, 100 + at as u64, 1, subprotocol);
        raw.write(&bytes);
        assert_eq!(raw.close_code(), code, "{name}");
        raw.write(&frame(whole(CLOSE), &code.to_be_bytes()));
        raw.assert_ended();
    }
    assert_serves_others(&mut gateway).await;
}

/// A header that announces more than there is.
fn overrun() -> Vec<u8> {
    let header = Header { length: 64, kind: kind::PING, version: 1, flags: 0, request: 1 };
    [header.to_bytes().as_slice(), &[0; 8]].concat()
}

#[tokio::test]
async fn control_frames_are_answered_between_fragments() {
    let gateway = Gateway::start();
    let mut raw = Raw::session(&gateway, 1, 1, JSON);
    let text = br#"{"type":"create","request":1,"kind":"direct","members":["2"]}"#;
    let (first, rest) = text.split_at(20);
    raw.write(&frame(Shape { fin: false, ..whole(TEXT) }, first));
    raw.write(&frame(whole(PING), b"are you there"));
    assert_eq!(raw.frame(), Some(raw::Frame { opcode: PONG, payload: b"are you there".to_vec() }));
    raw.write(&frame(whole(0), rest));
    let answer = raw.frame().unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["type"], "created", "{answer}");
    raw.write(&frame(whole(CLOSE), &[&1000_u16.to_be_bytes()[..], b"bye"].concat()));
    assert_eq!(raw.close_code(), 1000);
    raw.assert_ended();
}

#[tokio::test]
async fn the_largest_message_is_taken_byte_by_byte() {
    let gateway = Gateway::start();
    let mut raw = Raw::session(&gateway, 1, 1, JSON);
    let frame_text = json!({"type": "ping", "request": 5, "ignored": "x".repeat(65_000)}).to_string();
    let padded = format!("{frame_text}{}", " ".repeat(64 * 1024 - frame_text.len()));
    let bytes = frame(whole(TEXT), padded.as_bytes());
    let (slowly, rest) = bytes.split_at(40);
    for byte in slowly {
        raw.write(&[*byte]);
    }
    raw.write(rest);
    let answer: Value = serde_json::from_slice(&raw.frame().unwrap().payload).unwrap();
    assert_eq!((&answer["type"], &answer["request"]), (&json!("pong"), &json!(5)));
}

#[tokio::test]
async fn bad_bodies_are_refused_and_the_session_goes_on() {
    let mut gateway = Gateway::start();
    let mut session = JsonSession::online(&gateway, 1, 1).await;
    let conversation =
        session.ask(json!({"type": "create", "kind": "direct", "members": ["2"]})).await["conversation"]
            .clone();
    let send = |change: Value| {
        let mut send = json!({"type": "send", "conversation": conversation, "client_id": "x1", "kind": "text", "body": "x"});
        for (key, value) in change.as_object().unwrap() {
            send[key] = value.clone();
        }
        send
    };
    let cases = [
        ("no conversation", json!({"type": "send", "client_id": "x", "kind": "text", "body": "x"}), 400),
        ("conversation not a UUID", send(json!({"conversation": "nowhere"})), 400),
        ("unknown message kind", send(json!({"kind": "telepathy"})), 400),
        ("system message of a client", send(json!({"kind": "system"})), 400),
        ("empty client id", send(json!({"client_id": ""})), 400),
        ("client id of 65 characters", send(json!({"client_id": "x".repeat(65)})), 400),
        ("client id with a space", send(json!({"client_id": "a b"})), 400),
        ("text of 4001 characters", send(json!({"body": "ä".repeat(4001)})), 413),
        ("opaque not base64", send(json!({"kind": "opaque", "body": "*"})), 400),
        ("body a number", send(json!({"body": 5})), 400),
        ("create of no kind", json!({"type": "create", "members": ["2"]}), 400),
        ("create of an unknown kind", json!({"type": "create", "kind": "crowd", "members": ["2"]}), 400),
        ("member not a number", json!({"type": "create", "kind": "direct", "members": ["you"]}), 400),
        ("direct of three", json!({"type": "create", "kind": "direct", "members": ["2", "3"]}), 400),
        ("history without a conversation", json!({"type": "history", "limit": 5}), 400),
        (
            "history both ways",
            json!({"type": "history", "conversation": conversation, "before_seq": 5, "after_seq": 1, "limit": 5}),
            400,
        ),
    ];
    for (name, frame, code) in cases {
        let answer = session.ask(frame).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{name}: {answer}");
        assert!(answer["message"].as_str().unwrap().len() > 10, "{name}: a message that helps: {answer}");
    }
    for text in ["", "{", "[]", "null", "\"send\"", "{\"type\":5}", "{\"request\":3}", "{}\u{0}", "[[[[[[[["]
    {
        session.say_text(text).await;
        let answer = session.next("error").await;
        assert_eq!(answer["code"], 400, "{text:?}: {answer}");
    }
    // "Unknown frame types are ignored."
    session.say(json!({"type": "teleport", "request": 900})).await;
    let longest =
        session.ask(send(json!({"body": "ä".repeat(4000), "unknown": {"fields": ["are", "ignored"]}}))).await;
    assert_eq!((&longest["type"], &longest["seq"]), (&json!("ack"), &json!(1)), "{longest}");
    assert_serves_others(&mut gateway).await;
}

#[tokio::test]
async fn bad_binary_bodies_are_refused_and_the_session_goes_on() {
    let mut gateway = Gateway::start();
    let mut session = BinarySession::online(&gateway, 1, 1).await;
    let conversation = session.create_direct(2).await;
    let valid = |kind: u8, body: &[u8]| frames::Send {
        conversation,
        client_id: 1,
        client_time: 0,
        reply_to: 0,
        kind,
        body: body.to_vec(),
        client_ref: String::new(),
    };
    let text = MessageKind::Text as u8;
    let cases = [
        ("kind 0", valid(0, b"x"), 400),
        ("kind 200", valid(200, b"x"), 400),
        ("system", valid(MessageKind::System as u8, b"x"), 400),
        ("text not UTF-8", valid(text, b"\xff"), 400),
        ("text of 4001 characters", valid(text, "ä".repeat(4001).as_bytes()), 413),
        ("media reference not UTF-8", valid(MessageKind::MediaRef as u8, b"\xff"), 400),
    ];
    for (name, send, code) in cases {
        let request = session.ask(&ClientFrame::Send(send)).await;
        match session.answer(request).await {
            ServerFrame::Error(error) => assert_eq!(error.code, code, "{name}: {error:?}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    // Any body of any known kind that is not its archive: an error for that frame, nothing else.
    for (request, kind) in
        (10_000..).zip([kind::HELLO, kind::SEND, kind::RECEIVED, kind::HISTORY, kind::CREATE, kind::SYNC])
    {
        for filling in [0x00, 0x7f, 0xff] {
            let header = Header { length: 40, kind, version: 1, flags: 0xff, request };
            session.write([header.to_bytes().as_slice(), &[filling; 40]].concat().into()).await;
        }
        let header = Header { length: 0, kind, version: 1, flags: 0, request };
        session.write(header.to_bytes().to_vec().into()).await;
        match session.answer(request).await {
            ServerFrame::Error(error) => {
                assert!((400..=413).contains(&error.code), "kind {kind:#06x}: {error:?}")
            }
            other => panic!("kind {kind:#06x}: {other:?}"),
        }
    }
    // An unknown kind is skipped by its length, also between others.
    let unknown = Header { length: 3, kind: 0x7777, version: 9, flags: 0, request: 1 };
    let mut batch = [unknown.to_bytes().as_slice(), &[1, 2, 3, 0, 0, 0, 0, 0]].concat();
    batch.extend_from_slice(&ClientFrame::Ping.encode(20_000));
    session.write(batch.into()).await;
    assert_eq!(session.answer(20_000).await, ServerFrame::Pong);
    assert_serves_others(&mut gateway).await;
}

#[tokio::test]
async fn requests_that_are_no_upgrade_get_an_http_answer() {
    let mut gateway = Gateway::start();
    let token = gateway.token(1, 1);
    let bearer = format!("Bearer {token}");
    let with = |name, value| {
        let changed = UPGRADE.map(|header| if header.0 == name { (name, value) } else { header });
        request("GET", "/ws", &[&changed[..], &[("Authorization", bearer.as_str())]].concat())
    };
    let cases = [
        ("another path", request("GET", "/", &UPGRADE), 404),
        ("POST", request("POST", "/ws", &UPGRADE), 405),
        ("no upgrade", request("GET", "/ws", &[]), 426),
        ("version 8", with("Sec-WebSocket-Version", "8"), 426),
        ("a short key", with("Sec-WebSocket-Key", "AAAA"), 400),
        (
            "an unknown subprotocol",
            upgrade(&[("Authorization", &bearer), ("Sec-WebSocket-Protocol", "mqtt")]),
            400,
        ),
        (
            "echo where it is off",
            upgrade(&[("Authorization", &bearer), ("Sec-WebSocket-Protocol", "tidegate.echo")]),
            400,
        ),
        ("not HTTP", "\u{16}\u{3}\u{1} hello\r\n\r\n".to_owned(), 400),
        ("a head without end", format!("GET /ws HTTP/1.1\r\nX: {}", "x".repeat(20_000)), 431),
    ];
    for (name, request, status) in cases {
        let answer = Raw::connect(&gateway).http(&request);
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{name}: {answer:?}"));
        assert!(body["message"].as_str().unwrap().len() > 10, "{name}: {answer:?}");
    }
    assert_serves_others(&mut gateway).await;
}

#[tokio::test]
async fn without_a_valid_token_nobody_gets_in() {
    let mut gateway = Gateway::start();
    let other_gateway = Gateway::start();
    let short = gateway.token_for(1, 1, "1s");
    // The token has expired when its second is over; nothing else can be waited for.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let foreign = other_gateway.token(1, 1);
    let own = gateway.token(1, 1);
    let (signed, _) = own.rsplit_once('.').unwrap();
    let unsigned = format!("{}.{}.", "eyJhbGciOiJub25lIn0", own.split('.').nth(1).unwrap());
    let cases = [
        ("no token", None, "token"),
        ("rubbish", Some("rubbish".to_owned()), "token"),
        ("signed by another gateway", Some(foreign), "token"),
        ("signature cut off", Some(format!("{signed}.")), "token"),
        ("algorithm none", Some(unsigned), "token"),
        ("expired", Some(short), "expired"),
    ];
    for (name, token, word) in cases {
        let request = match token {
            Some(token) => upgrade(&[("Authorization", &format!("Bearer {token}"))]),
            None => upgrade(&[]),
        };
        let answer = Raw::connect(&gateway).http(&request);
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
        assert!(answer.body.contains(word), "{name} says what is wrong: {answer:?}");
    }
    for (name, request) in [
        ("in the query", request("GET", &format!("/ws?token={own}"), &UPGRADE)),
        (
            "among the subprotocols",
            upgrade(&[("Sec-WebSocket-Protocol", &format!("tidegate.v1.json, tidegate.token.{own}"))]),
        ),
    ] {
        assert_eq!(Raw::connect(&gateway).http(&request).status, 101, "a token {name}");
    }
    assert_serves_others(&mut gateway).await;
}

#[tokio::test]
async fn connections_that_say_nothing_or_half_a_request_disturb_nobody() {
    let mut gateway = Gateway::start();
    let silent: Vec<Raw> = (0..50).map(|_| Raw::connect(&gateway)).collect();
    let mut half: Vec<Raw> = (0..50).map(|_| Raw::connect(&gateway)).collect();
    for raw in &mut half {
        raw.write(b"GET /ws HTTP/1.1\r\nHost: ");
    }
    let mut midway = Raw::session(&gateway, 1, 1, JSON);
    midway.write(&header(whole(TEXT), 60_000));
    assert_serves_others(&mut gateway).await;
    drop((silent, half, midway));
    assert_serves_others(&mut gateway).await;
}
