//! A WebSocket stream means the same wherever the kernel cuts it, and what a naive reading of RFC 6455 says.
//! Guards: state lost or doubled between two reads; a refusal that depends on how bytes arrive.

use proptest::prelude::*;
use tidegate_wire::websocket::{CloseCode, Header, Opcode, close_payload, mask, masked};

use properties::{OwnedItem, codec_agrees, decode_in_pieces};

mod properties;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame of a client.
fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header::new(opcode, fin, payload.len(), Some(KEY)).to_vec();
    let at = bytes.len();
    bytes.extend_from_slice(payload);
    mask(&mut bytes[at..], KEY, 0);
    bytes
}

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let text = "Grüße, 世界 🌊";
    let bytes = text.as_bytes();
    let mut fragments = vec![frame(Opcode::Text, false, &bytes[..1])];
    for byte in &bytes[1..bytes.len() - 1] {
        fragments.push(frame(Opcode::Continuation, false, &[*byte]));
        fragments.push(frame(Opcode::Ping, true, &[*byte, 1]));
        fragments.push(frame(Opcode::Continuation, false, &[]));
    }
    fragments.push(frame(Opcode::Continuation, true, &bytes[bytes.len() - 1..]));
    fragments.push(frame(Opcode::Close, true, &close_payload(CloseCode::NORMAL, "bye — done")));
    vec![
        ("fragments with pings between", fragments.concat()),
        (
            "two messages and a ping",
            [
                masked(Opcode::Text, bytes, KEY).to_vec(),
                masked(Opcode::Binary, &[7; 200], KEY).to_vec(),
                masked(Opcode::Ping, b"", KEY).to_vec(),
                masked(Opcode::Text, b"", KEY).to_vec(),
            ]
            .concat(),
        ),
        ("a two-byte length", masked(Opcode::Binary, &[9; 300], KEY).to_vec()),
        (
            "text that goes wrong in the second fragment",
            [frame(Opcode::Text, false, b"ok \xe4\xb8"), frame(Opcode::Continuation, true, b"\x41")].concat(),
        ),
        ("text that ends within a character", frame(Opcode::Text, true, b"ok \xf0\x9f\x8c")),
        ("a surrogate", frame(Opcode::Text, true, b"\xed\xa0\x80 and more")),
        (
            "an unmasked frame after a good one",
            [frame(Opcode::Text, true, b"a"), vec![0x81, 0x01, b'b']].concat(),
        ),
        (
            "a message over the bound by its fragments",
            [frame(Opcode::Binary, false, &[1; 900]), frame(Opcode::Continuation, true, &[1; 101])].concat(),
        ),
        ("a control frame of 126 bytes", frame(Opcode::Ping, true, &[0; 126])),
        ("a fragmented ping", frame(Opcode::Ping, false, b"x")),
        ("a close with one byte", frame(Opcode::Close, true, &[3])),
        ("a continuation of nothing", frame(Opcode::Continuation, true, b"x")),
        (
            "a message within a message",
            [frame(Opcode::Text, false, b"a"), frame(Opcode::Binary, true, b"b")].concat(),
        ),
        ("a length of 64 bits that is too large", [&[0x82, 0xff][..], &[0xff; 12]].concat()),
        ("a length that is not minimal", [&[0x82, 0xfe, 0, 125][..], &[0; 129]].concat()),
    ]
}

#[test]
fn one_byte_at_a_time() {
    for (name, stream) in streams() {
        let whole = decode_in_pieces(true, 1000, &stream, &[stream.len()]);
        let pieces = vec![1; stream.len()];
        assert_eq!(decode_in_pieces(true, 1000, &stream, &pieces), whole, "{name}");
        codec_agrees(true, 1000, &stream, &[]);
    }
}

#[test]
fn every_pair_of_cuts() {
    for (name, stream) in streams() {
        let whole = decode_in_pieces(true, 1000, &stream, &[stream.len()]);
        for first in 0..=stream.len().min(120) {
            for second in 0..=(stream.len() - first).min(40) {
                let cut = decode_in_pieces(true, 1000, &stream, &[first, second, stream.len()]);
                assert_eq!(cut, whole, "{name}, cut into {first}, {second}, rest");
            }
        }
    }
}

#[test]
fn fragments_have_no_cap_and_pings_come_between() {
    let (_, stream) = streams().swap_remove(0);
    let outcome = decode_in_pieces(true, 1000, &stream, &[stream.len()]);
    let texts: Vec<_> = outcome.items.iter().filter(|item| matches!(item, OwnedItem::Text(_))).collect();
    assert_eq!(texts, [&OwnedItem::Text("Grüße, 世界 🌊".to_owned())]);
    assert_eq!(
        outcome.items.last(),
        Some(&OwnedItem::Close(Some(CloseCode::NORMAL), "bye — done".to_owned()))
    );

    let mut many = vec![frame(Opcode::Binary, false, b"")];
    many.extend((0..100_000).map(|_| frame(Opcode::Continuation, false, b"")));
    many.push(frame(Opcode::Continuation, true, b"end"));
    let stream = many.concat();
    let outcome = decode_in_pieces(true, 1000, &stream, &[stream.len()]);
    assert_eq!(outcome.items, [OwnedItem::Binary(b"end".to_vec())]);
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        4 => Just(0_u8), 4 => Just(1), 3 => Just(2), 1 => Just(8), 2 => Just(9), 1 => Just(10), 1 => 0_u8..16
    ];
    let payload = prop_oneof![
        3 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 120..300),
        1 => (3_u8..20, any::<u8>(), ".{0,3}")
            .prop_map(|(high, low, reason)| [&[high, low][..], reason.as_bytes()].concat()),
    ];
    (opcode, any::<bool>(), prop::bool::weighted(0.97), payload, any::<[u8; 4]>()).prop_map(
        |(opcode, fin, is_masked, payload, key)| {
            let key = is_masked.then_some(key);
            let mut bytes = Header::new(Opcode::Binary, fin || opcode >= 8, payload.len(), key).to_vec();
            bytes[0] = bytes[0] & 0x80 | opcode;
            let at = bytes.len();
            bytes.extend_from_slice(&payload);
            mask(&mut bytes[at..], key.unwrap_or_default(), 0);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn rows_of_frames_agree_with_the_reference(
        frames in prop::collection::vec(any_frame(), 0..8),
        cuts in prop::collection::vec(0_u8..30, 0..20),
        bound in 100_u32..700,
        lost in 0_usize..4,
    ) {
        let stream = frames.concat();
        codec_agrees(true, bound, &stream[..stream.len().saturating_sub(lost)], &cuts);
    }

    #[test]
    fn any_bytes_agree_with_the_reference(
        stream in prop::collection::vec(any::<u8>(), 0..80),
        cuts in prop::collection::vec(0_u8..10, 0..20),
        server in any::<bool>(),
    ) {
        codec_agrees(server, 1000, &stream, &cuts);
    }
}
