//! What the codec refuses, with which close code, and what memory it holds.
//! Guards: a peer that makes the gateway keep memory; a conformance suite that disagrees with us.

use tidegate_wire::websocket::{
    self, CloseCode, Decoder, Header, Item, Opcode, close_payload, masked, message,
};

const KEY: [u8; 4] = [1, 2, 3, 4];

fn refusal(input: &[u8]) -> Option<u16> {
    Decoder::server(65_536).next(&mut input.to_vec()).err().map(|error| error.code.0)
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 section 5.7
    let mut hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let mut decoder = Decoder::server(100);
    assert_eq!(decoder.next(&mut hello), Ok((11, Some(Item::Text("Hello")))));
    assert_eq!(masked(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d])[..], {
        [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
    });

    let mut fragments = *b"\x01\x03Hel\x80\x02lo\x89\x05Hello";
    let mut decoder = Decoder::client(100);
    assert_eq!(decoder.next(&mut fragments), Ok((9, Some(Item::Text("Hello")))));
    assert_eq!(decoder.next(&mut fragments[9..]), Ok((7, Some(Item::Ping(b"Hello")))));

    assert_eq!(message(Opcode::Binary, &[0; 256])[..4], [0x82, 0x7e, 0x01, 0x00]);
    assert_eq!(message(Opcode::Binary, &[0; 65_536])[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_wrong_byte_is_refused_before_the_rest_arrives() {
    assert_eq!(refusal(&[0xc1]), Some(1002), "RSV1");
    assert_eq!(refusal(&[0xa1]), Some(1002), "RSV2");
    assert_eq!(refusal(&[0x91]), Some(1002), "RSV3");
    for opcode in (3..8).chain(11..16) {
        assert_eq!(refusal(&[0x80 | opcode]), Some(1002), "opcode {opcode}");
    }
    assert_eq!(refusal(&[0x80]), Some(1002), "continuation of nothing");
    assert_eq!(refusal(&[0x09]), Some(1002), "fragmented ping");
    assert_eq!(refusal(&[0x81, 0x01]), Some(1002), "unmasked");
    assert_eq!(refusal(&[0x89, 0xfe]), Some(1002), "ping of 126 bytes or more");
    assert_eq!(refusal(&[0x82, 0xfe, 0, 125]), Some(1002), "16-bit length below 126");
    assert_eq!(refusal(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), Some(1002), "64-bit length below 65536");
    assert_eq!(refusal(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Some(1002), "64-bit length, top bit");
    assert_eq!(refusal(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1]), Some(1009), "65537 announced");
    assert_eq!(refusal(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]), None, "65536 announced");
    let error = Decoder::client(100).next(&mut [0x81, 0x81]).expect_err("masked by a server");
    assert_eq!(error.code, CloseCode::PROTOCOL);
}

#[test]
fn bad_text_is_refused_within_its_frame() {
    let mut start = masked(Opcode::Text, &[b'a', 0xff, b'b', b'c', b'd', b'e'], KEY).to_vec();
    start.truncate(start.len() - 3);
    assert_eq!(refusal(&start), Some(1007));
}

#[test]
fn close_codes() {
    let with = |code: u16| refusal(&masked(Opcode::Close, &close_payload(CloseCode(code), "x"), KEY));
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(with(code), Some(1002), "{code}");
    }
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4401, 4999] {
        assert_eq!(with(code), None, "{code}");
    }
    assert_eq!(refusal(&masked(Opcode::Close, &[0x03], KEY)), Some(1002));
    assert_eq!(refusal(&masked(Opcode::Close, &[0x03, 0xe8, 0xff], KEY)), Some(1007));
    let mut empty = masked(Opcode::Close, &[], KEY).to_vec();
    let item = Decoder::server(10).next(&mut empty).map(|(_, item)| item.map(|item| format!("{item:?}")));
    assert_eq!(item, Ok(Some("Close { code: None, reason: \"\" }".to_owned())));
}

#[test]
fn a_long_close_reason_is_cut_at_a_character() {
    let frame = websocket::close(CloseCode::POLICY, &"é".repeat(100));
    assert_eq!(frame.len(), 2 + 2 + 122);
    let mut bytes = frame.to_vec();
    let reason = "é".repeat(61);
    let expected = Item::Close { code: Some(CloseCode::POLICY), reason: &reason };
    assert_eq!(Decoder::client(0).next(&mut bytes), Ok((126, Some(expected))));
}

#[test]
fn an_announcement_allocates_nothing_to_speak_of() {
    let mut decoder = Decoder::server(16 << 20);
    let mut start = Header::new(Opcode::Binary, true, 16 << 20, Some(KEY)).to_vec();
    start.push(0);
    let bytes = start.len();
    assert_eq!(decoder.next(&mut start), Ok((bytes, None)));
    assert!(decoder.held_bytes() < 1024, "{} bytes held for one byte received", decoder.held_bytes());
}

#[test]
fn what_arrived_bounds_what_is_held_and_the_end_frees_it() {
    let payload = vec![7; 1 << 20];
    let stream = masked(Opcode::Binary, &payload, KEY);
    let mut decoder = Decoder::server(16 << 20);
    let mut received = 0;
    let mut items = 0;
    for piece in stream.chunks(1000) {
        received += piece.len();
        let mut piece = piece.to_vec();
        let (used, item) = decoder.next(&mut piece).expect("a valid stream");
        let Some(item) = item else {
            assert!(decoder.held_bytes() <= 2 * received + 1024, "{} of {received}", decoder.held_bytes());
            continue;
        };
        assert_eq!(item, Item::Binary(&payload));
        items += 1;
        assert_eq!(decoder.next(&mut piece[used..]), Ok((0, None)));
    }
    assert_eq!(items, 1);
    assert!(decoder.is_idle());
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn a_ping_between_fragments_leaves_the_message_in_assembly() {
    let mut decoder = Decoder::client(100);
    let mut input = *b"\x01\x01a\x89\x00\x80\x01b";
    assert_eq!(decoder.next(&mut input), Ok((5, Some(Item::Ping(b"")))));
    assert!(!decoder.is_idle());
    assert_eq!(decoder.next(&mut input[5..]), Ok((3, Some(Item::Text("ab")))));
}
