//! What a frame is refused for, and that the refusal says what was wrong, with what value, and what to do.
//! Guards: a client left without an answer it can act on; bytes from outside that panic.

use proptest::prelude::*;
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{History, MessageKind, Send, kind};
use tidegate_wire::header::{HEADER_BYTES, Header};
use tidegate_wire::json;
use tidegate_wire::request::{FrameError, Frames, HistoryRange, Refusal, Request, parse};

mod properties;
mod samples;

const CONVERSATION: &str = "0190a6e2-7c3b-7def-8000-0123456789ab";

fn header(kind: u16, length: usize) -> Header {
    Header { length: length as u32, kind, version: 1, flags: 0, request: 0 }
}

fn refuse(frame: &ClientFrame) -> Refusal {
    let bytes = frame.encode(0);
    let (header, body) = Frames::new(&bytes).next().expect("a frame").expect("a valid frame");
    parse(&header, body).expect_err("refused")
}

fn send() -> Send {
    match &samples::client_frames()[2].2 {
        ClientFrame::Send(send) => send.clone(),
        other => panic!("{other:?} where the sample of a send should be"),
    }
}

fn refuse_json(text: &str) -> (u64, u16, String) {
    let (request, refusal) = json::read(text).expect_err(text);
    (request, refusal.code, refusal.message)
}

#[test]
fn bodies_of_a_send() {
    let text_of = |characters: usize, unit: &str| Send { body: unit.repeat(characters).into(), ..send() };
    for unit in ["a", "ö", "世", "🌊"] {
        assert_eq!(refuse(&ClientFrame::Send(text_of(4001, unit))).code, 413, "{unit}");
        let bytes = ClientFrame::Send(text_of(4000, unit)).encode(0);
        let (header, body) = Frames::new(&bytes).next().expect("a frame").expect("a valid frame");
        assert!(parse(&header, body).is_ok(), "{unit}");
    }
    let refusal = refuse(&ClientFrame::Send(text_of(4001, "世")));
    assert!(refusal.message.contains("4001") && refusal.message.contains("4000"), "{refusal}");

    let media = Send { kind: MessageKind::MediaRef as u8, ..text_of(4001, "a") };
    assert_eq!(refuse(&ClientFrame::Send(media)).code, 413);
    let refusal = refuse(&ClientFrame::Send(Send { body: vec![b'a', b'b', 0xff], ..send() }));
    assert_eq!(refusal.code, 400);
    assert!(refusal.message.contains("byte 2 of 3"), "{refusal}");

    let opaque = Send { kind: MessageKind::Opaque as u8, body: vec![0xff; 40_000], ..send() };
    let bytes = ClientFrame::Send(opaque).encode(0);
    let (header, body) = Frames::new(&bytes).next().expect("a frame").expect("a valid frame");
    assert!(matches!(parse(&header, body), Ok(Request::Send(send)) if send.body.len() == 40_000));
}

#[test]
fn a_broken_archive_is_described_without_our_addresses() {
    let bytes = ClientFrame::Send(send()).encode(0);
    let (header, body) = Frames::new(&bytes).next().expect("a frame").expect("a valid frame");
    for cut in 1..body.len() {
        let refusal = parse(&header, &body[cut..]).expect_err("a body that is cut short");
        assert_eq!(refusal.code, 400);
        let length = format!("{}-byte body", body.len() - cut);
        assert!(refusal.message.starts_with("send: ") && refusal.message.contains(&length), "{refusal}");
        assert!(!refusal.message.contains("0x"), "{refusal}");
    }
}

#[test]
fn kinds_and_client_ids_of_a_send() {
    for kind in [0, 2, 5, 255] {
        let refusal = refuse(&ClientFrame::Send(Send { kind, ..send() }));
        assert_eq!(refusal.code, 400);
        assert!(refusal.message.contains(&format!("kind is {kind}")), "{refusal}");
    }
    for client_ref in ["white space", "ümlaut", "a/b", "line\nbreak", &"x".repeat(65)] {
        let refusal = refuse(&ClientFrame::Send(Send { client_ref: client_ref.into(), ..send() }));
        assert_eq!(refusal.code, 400, "{client_ref}");
        assert!(!refusal.message.contains('\n'), "{refusal}");
    }
}

#[test]
fn bounds_of_a_history() {
    let history = |before_seq, after_seq| History { conversation: 1, before_seq, after_seq, limit: 9 };
    let refusal = refuse(&ClientFrame::History(history(7, 3)));
    assert_eq!(refusal.code, 400);
    assert!(refusal.message.contains("before_seq is 7 and after_seq is 3"), "{refusal}");
    let bytes = ClientFrame::History(history(7, 0)).encode(0);
    let (header, body) = Frames::new(&bytes).next().expect("a frame").expect("a valid frame");
    let Ok(Request::History { range, .. }) = parse(&header, body) else { panic!("not a history") };
    assert_eq!(range, HistoryRange::Before(tidegate_wire::Sequence(7)), "above 0 excludes nothing");
}

#[test]
fn versions_and_kinds() {
    let bytes = ClientFrame::Ping.encode(0);
    let (ping, _) = Frames::new(&bytes).next().expect("a frame").expect("a valid frame");
    let refusal = parse(&Header { version: 2, ..ping }, &[]).expect_err("version 2");
    assert_eq!(refusal.code, 400);
    assert!(refusal.message.contains("version 2"), "{refusal}");
    assert_eq!(parse(&Header { flags: 0xff, ..ping }, &[]), Ok(Request::Ping), "unknown flags are ignored");
    for unknown in [0, kind::PING + 1, kind::WELCOME, kind::PONG, u16::MAX] {
        let header = Header { version: 9, ..header(unknown, 3) };
        assert_eq!(parse(&header, b"???"), Ok(Request::Unknown { kind: unknown }));
    }
    let unsupported = [kind::EDIT, kind::DELETE, kind::REACT].into_iter().chain(kind::OPEN..=kind::PRESENCE);
    for unsupported in unsupported.chain(kind::INVITE..=kind::LIST) {
        assert_eq!(parse(&header(unsupported, 3), b"???"), Ok(Request::Unsupported { kind: unsupported }));
    }
}

#[test]
fn messages_that_are_no_row_of_frames() {
    let ping = ClientFrame::Ping.encode(7);
    let send = ClientFrame::Send(send()).encode(8);
    let message = [&ping[..], &send, &ping].concat();
    assert_eq!(Frames::new(&message).filter(Result::is_ok).count(), 3);
    let boundaries = [0, ping.len(), ping.len() + send.len(), message.len()];
    for end in 0..message.len() {
        let results: Vec<_> = Frames::new(&message[..end]).collect();
        let whole = boundaries.iter().filter(|boundary| (1..=end).contains(*boundary)).count();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), whole, "cut at {end}");
        match results.last() {
            Some(Err(FrameError::ShortHeader { bytes })) => assert!(*bytes < HEADER_BYTES),
            Some(Err(FrameError::Overrun { header, bytes })) => assert!(header.frame_bytes() > *bytes),
            Some(Ok(_)) | None => assert!(boundaries.contains(&end), "cut at {end}"),
        }
    }
    let huge = header(kind::SEND, u32::MAX as usize).to_bytes();
    assert!(matches!(Frames::new(&huge).next(), Some(Err(FrameError::Overrun { .. }))));
}

#[test]
fn json_fields() {
    let case = |text: &str, request: u64, code: u16, says: &[&str]| {
        let (got_request, got_code, message) = refuse_json(text);
        assert_eq!((got_request, got_code), (request, code), "{text}: {message}");
        for part in says {
            assert!(message.contains(part), "{text}: {message}");
        }
    };
    case("", 0, 400, &["not a JSON object"]);
    case("[1]", 0, 400, &[]);
    case("{\"type\":\"ping\"} x", 0, 400, &["not a JSON object"]);
    case("{\"request\":5}", 5, 400, &["type is missing"]);
    case("{\"type\":3,\"request\":5}", 5, 400, &["type is 3"]);
    case("{\"type\":\"ping\",\"request\":-1}", 0, 400, &["request is -1"]);
    case("{\"type\":\"ping\",\"request\":1.5}", 0, 400, &["request is 1.5"]);
    case(
        "{\"type\":\"hello\",\"request\":4,\"cursors\":[{\"conversation\":\"home\",\"last_seq\":1}]}",
        4,
        400,
        &["hello", "cursors.conversation", "\"home\""],
    );
    case(
        &format!("{{\"type\":\"hello\",\"cursors\":[{{\"conversation\":\"{CONVERSATION}\"}}]}}"),
        0,
        400,
        &["cursors.last_seq is missing"],
    );
    case("{\"type\":\"hello\",\"request\":6,\"cursors\":7}", 6, 400, &[]);
    case("{\"type\":\"received\",\"up_to_seq\":1}", 0, 400, &["received: conversation is missing"]);
    case("{\"type\":\"create\",\"kind\":\"crowd\"}", 0, 400, &["create: kind is \"crowd\"", "group"]);
    case("{\"type\":\"create\",\"kind\":\"group\",\"members\":[\"2\",\"bob\"]}", 0, 400, &["\"bob\""]);
    case("{\"type\":\"create\",\"kind\":\"group\",\"members\":[18446744073709551616]}", 0, 400, &["members"]);
    case(
        "{\"type\":\"create\",\"kind\":\"group\",\"members\":[\"18446744073709551616\"]}",
        0,
        400,
        &["2^64"],
    );
    case("{\"type\":\"renew\",\"token\":7}", 0, 400, &["renew: token is 7"]);

    let send = |fields: &str| {
        format!("{{\"type\":\"send\",\"request\":9,\"conversation\":\"{CONVERSATION}\",{fields}}}")
    };
    case(&send("\"client_id\":\"a\",\"kind\":\"text\""), 9, 400, &["body is missing"]);
    case(&send("\"client_id\":\"a\",\"kind\":\"system\",\"body\":\"\""), 9, 400, &["system"]);
    case(&send("\"client_id\":\"a\",\"kind\":\"loud\",\"body\":\"\""), 9, 400, &["kind is \"loud\""]);
    case(&send("\"client_id\":\"\",\"kind\":\"text\",\"body\":\"\""), 9, 400, &["client_id is \"\""]);
    case(&send("\"client_id\":\"a b\",\"kind\":\"text\",\"body\":\"\""), 9, 400, &["client_id is \"a b\""]);
    case(&send("\"client_id\":\"a\",\"kind\":\"opaque\",\"body\":\"*\""), 9, 400, &["base64"]);
    case(&send("\"client_id\":\"a\",\"kind\":\"text\",\"body\":{}"), 9, 400, &["body is an object"]);
    case(&send("\"client_id\":\"a\",\"kind\":\"text\",\"body\":\"\",\"reply_to\":[]"), 9, 400, &["reply_to"]);
    let long = "世".repeat(4001);
    case(&send(&format!("\"client_id\":\"a\",\"kind\":\"text\",\"body\":\"{long}\"")), 9, 413, &["4001"]);
}

#[test]
fn json_of_another_time_is_skipped_not_refused() {
    for text in [
        "{\"type\":\"hologram\",\"request\":3}",
        "{\"type\":\"hologram\",\"request\":3,\"cursors\":\"none\",\"members\":{\"a\":1},\"kind\":[1]}",
    ] {
        let (request, read) = json::read(text).expect("skipped");
        assert_eq!((request, read.view()), (3, Request::Unknown { kind: 0 }), "{text}");
    }
    let (_, read) = json::read("{\"type\":\"typing\",\"conversation\":5}").expect("unsupported");
    assert_eq!(read.view(), Request::Unsupported { kind: kind::TYPING });
    let (_, read) =
        json::read("{\"type\":\"ping\",\"limit\":{\"deep\":[null]},\"other\":1}").expect("a ping");
    assert_eq!(read.view(), Request::Ping);
}

#[test]
fn every_single_byte_changed_in_every_golden_frame() {
    for (name, request, frame) in samples::client_frames() {
        let golden = frame.encode(request);
        for at in 0..golden.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut message = golden.to_vec();
                message[at] ^= flip;
                properties::frame_body(&message);
            }
        }
        assert!(!golden.is_empty(), "{name}");
    }
    for (_, request, frame) in samples::server_frames() {
        let message = tidegate_wire::server::encode(tidegate_wire::Encoding::Binary, request, &frame);
        let start = if message.len() < 126 { 2 } else { 4 };
        let golden = &message[start..];
        for at in 0..golden.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut message = golden.to_vec();
                message[at] ^= flip;
                properties::frame_body(&message);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_body_of_any_kind(kind in 0_u16..0x20, server in any::<bool>(), body in prop::collection::vec(any::<u8>(), 0..120)) {
        let kind = if server { kind | 0x100 } else { kind };
        let mut message = header(kind, body.len()).to_bytes().to_vec();
        message.extend_from_slice(&body);
        message.resize(message.len().next_multiple_of(8), 0);
        properties::frame_body(&message);
    }

    #[test]
    fn any_message(message in prop::collection::vec(any::<u8>(), 0..200)) {
        properties::frame_body(&message);
    }

    #[test]
    fn any_text(text in ".{0,200}") {
        properties::json(&text);
    }

    #[test]
    fn any_object(fields in prop::collection::vec(
        (
            prop::sample::select(vec!["type", "request", "conversation", "client_id", "kind", "body", "cursors",
                "members", "up_to_seq", "before_seq", "limit", "name", "other"]),
            prop::sample::select(vec!["\"send\"", "\"hello\"", "\"create\"", "\"group\"", "\"text\"", "1", "-1", "1e400",
                "1e3", "[]", "[1]", "[{}]", "{}", "null", "true", "\"\\ud800\"", "\"0190a6e2-7c3b-7def-8000-0123456789ab\""]),
        ), 0..10)) {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        properties::json(&format!("{{{}}}", fields.join(",")));
    }
}
