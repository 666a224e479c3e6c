//! Every frame has the bytes and the JSON text that were released, in both directions.
//! Guards: a field that moves, a dependency that changes its layout, a JSON name or form that drifts.
//!
//! `GOLDEN=write cargo test -p tidegate-wire --test golden` writes the gateway's JSON and all binary files anew; that is a
//! new version of the protocol once a version is released. Clients' JSON files are written by hand.

use std::fmt::Write as _;
use std::path::PathBuf;

use tidegate_wire::header::{HEADER_BYTES, Header};
use tidegate_wire::json;
use tidegate_wire::request::{Frames, Request, parse};
use tidegate_wire::server::{Delivery, Encoding, ServerFrame, deliver_stored, encode};
use tidegate_wire::websocket::{Decoder, Item};

mod samples;

#[test]
fn client_frames_encode_to_their_golden_bytes() {
    for (name, request, frame) in samples::client_frames() {
        check_binary(name, &frame.encode(request));
    }
}

#[test]
fn client_json_reads_as_the_golden_bytes_do() {
    for (name, request, _) in samples::client_frames() {
        let bytes = std::fs::read(path(name, "bin")).expect("golden file");
        let (header, body) = only_frame(&bytes);
        let binary = parse(&header, body).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let text = std::fs::read_to_string(path(name, "json")).expect("golden file");
        let (json_request, json) = json::read(&text).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        assert_eq!(header.request, request, "{name}");
        assert_eq!(json_request, request, "{name}");
        assert_eq!(json.view(), binary, "{name}");
        assert!(!matches!(binary, Request::Unknown { .. } | Request::Unsupported { .. }), "{name}");
    }
}

#[test]
fn server_frames_encode_to_their_golden_bytes_and_text() {
    for (name, request, frame) in samples::server_frames() {
        let message = encode(Encoding::Binary, request, &frame).to_vec();
        check_binary(name, &payload(&message));
        let message = encode(Encoding::Json, request, &frame).to_vec();
        check(name, "json", &[payload(&message), b"\n".to_vec()].concat());
    }
}

#[test]
fn server_golden_bytes_decode_to_their_frames() {
    for (name, request, frame) in samples::server_frames() {
        let bytes = std::fs::read(path(name, "bin")).expect("golden file");
        let (header, body) = only_frame(&bytes);
        assert_eq!((header.kind, header.request), (frame.kind(), request), "{name}");
        assert_eq!(ServerFrame::decode(&header, body).as_ref(), Ok(&frame), "{name}");
    }
}

#[test]
fn a_delivery_is_the_deliver_frame_in_all_its_forms() {
    for (name, deliver) in [("deliver", samples::deliver()), ("deliver_opaque", samples::deliver_opaque())] {
        let frame = ServerFrame::Deliver(deliver.clone());
        let delivery = Delivery::encode(&deliver);
        assert_eq!(delivery.message(), &encode(Encoding::Binary, 0, &frame), "{name}");
        assert_eq!(delivery.json(), encode(Encoding::Json, 0, &frame), "{name}");
        assert_eq!(payload(delivery.message()), delivery.frame(), "{name}");
        check_binary(name, &delivery.frame());
    }
}

#[test]
fn stored_frames_are_sent_as_they_were_delivered() {
    let deliveries =
        [samples::deliver(), samples::deliver_opaque()].map(|deliver| Delivery::encode(&deliver));
    let stored = [deliveries[0].frame(), deliveries[1].frame()];
    let binary = deliver_stored(Encoding::Binary, &stored);
    assert_eq!(payload(&binary), stored.concat());
    let json = deliver_stored(Encoding::Json, &stored);
    assert_eq!(json, [deliveries[0].json(), deliveries[1].json()].concat());
    assert!(deliver_stored(Encoding::Binary, &[]).is_empty());
    assert!(deliver_stored(Encoding::Json, &[]).is_empty());
}

#[test]
fn every_golden_file_belongs_to_a_frame() {
    let names: Vec<&str> = samples::client_frames()
        .iter()
        .map(|(name, ..)| *name)
        .chain(samples::server_frames().iter().map(|(name, ..)| *name))
        .collect();
    for entry in std::fs::read_dir(directory()).expect("golden directory") {
        let file = entry.expect("golden file").path();
        let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(names.contains(&stem.as_str()), "{} belongs to no frame", file.display());
    }
}

/// The payload of one whole message.
fn payload(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let bytes = message.len();
    let mut decoder = Decoder::client(1 << 20);
    match decoder.next(&mut message).expect("a valid message") {
        (used, Some(Item::Binary(payload))) if used == bytes => payload.to_vec(),
        (used, Some(Item::Text(payload))) if used == bytes => payload.as_bytes().to_vec(),
        other => panic!("not one message: {other:?}"),
    }
}

fn only_frame(bytes: &[u8]) -> (Header, &[u8]) {
    let mut frames = Frames::new(bytes);
    let frame = frames.next().expect("one frame").expect("a valid frame");
    assert_eq!(frames.next(), None, "one frame only");
    frame
}

fn check_binary(name: &str, bytes: &[u8]) {
    check(name, "bin", bytes);
    check(name, "hex", hex(bytes).as_bytes());
}

/// Header, then rows of 16 bytes: for reading beside `PROTOCOL.md`.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, row) in bytes.chunks(HEADER_BYTES).enumerate() {
        write!(text, "{:04x} ", index * HEADER_BYTES).expect("writing to a string");
        for byte in row {
            write!(text, " {byte:02x}").expect("writing to a string");
        }
        text.push('\n');
    }
    text
}

fn check(name: &str, extension: &str, bytes: &[u8]) {
    let path = path(name, extension);
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, bytes).expect("golden file is writable");
    }
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(
        String::from_utf8_lossy(&golden),
        String::from_utf8_lossy(bytes),
        "{} differs: a released body never changes, give it a new kind or version",
        path.display()
    );
    assert_eq!(golden, bytes, "{}", path.display());
}

fn path(name: &str, extension: &str) -> PathBuf {
    directory().join(format!("{name}.{extension}"))
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}
