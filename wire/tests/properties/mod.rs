//! What must hold for any bytes from a socket. Shared by the fuzz targets, the replay of their corpora, and the
//! property tests.
#![allow(dead_code, reason = "each of them uses its part")]

use tidegate_wire::json;
use tidegate_wire::request::{Frames, Request, parse};
use tidegate_wire::server::{DeliverView, ServerFrame};
use tidegate_wire::websocket::{Decoder, Item};

pub use reference::{Outcome, OwnedItem, decode_naively};

mod reference;

/// The stream means the same however the kernel cuts it, and what the naive reference says it means.
///
/// `data`: one byte of settings (bit 0: client; bits 1 and 2: message bound), one byte n, n bytes of cut distances, the
/// stream.
pub fn codec(data: &[u8]) {
    let [settings, count, rest @ ..] = data else { return };
    let (cuts, stream) = rest.split_at(usize::from(*count).min(rest.len()));
    let bound = [125, 1000, 65_536, 16 << 20][usize::from(*settings >> 1 & 3)];
    let server = settings & 1 == 0;
    codec_agrees(server, bound, stream, cuts);
}

pub fn codec_agrees(server: bool, bound: u32, stream: &[u8], cuts: &[u8]) {
    let whole = decode_in_pieces(server, bound, stream, &[stream.len()]);
    let mut pieces: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) + 1).collect();
    pieces.push(stream.len());
    assert_eq!(decode_in_pieces(server, bound, stream, &pieces), whole, "cut into {pieces:?}");
    let reference = decode_naively(server, bound, stream);
    assert_eq!(whole.items, reference.items);
    // The real one may refuse a frame before it is whole; it never accepts what the reference refuses.
    if let Some(code) = reference.refused {
        assert_eq!(whole.refused, Some(code));
    } else {
        assert!(whole.refused.is_none() || reference.incomplete, "refused whole frames: {:?}", whole.refused);
    }
}

/// Feeds `stream` in pieces of these lengths, the way the engine does.
pub fn decode_in_pieces(server: bool, bound: u32, stream: &[u8], pieces: &[usize]) -> Outcome {
    let mut decoder = if server { Decoder::server(bound) } else { Decoder::client(bound) };
    let mut outcome = Outcome::default();
    let mut rest = stream;
    for piece in pieces {
        let (input, after) = rest.split_at((*piece).min(rest.len()));
        rest = after;
        let mut input = input.to_vec();
        let mut at = 0;
        loop {
            match decoder.next(&mut input[at..]) {
                Ok((used, item)) => {
                    at += used;
                    let Some(item) = item else { break };
                    outcome.items.push(OwnedItem::from(item));
                    // A close ends what a stream means.
                    if matches!(item, Item::Close { .. }) {
                        return outcome;
                    }
                }
                Err(error) => {
                    outcome.refused = Some(error.code);
                    return outcome;
                }
            }
        }
        assert_eq!(at, input.len(), "no item means that all input is used");
        let held_most = 1024 + 2 * stream.len();
        assert!(decoder.held_bytes() <= held_most, "{} held of {}", decoder.held_bytes(), stream.len());
    }
    outcome.incomplete = !decoder.is_idle();
    outcome
}

/// Any binary message is a row of frames or refused, and every frame is understood or refused, by gateway and client.
pub fn frame_body(message: &[u8]) {
    let mut bytes = 0;
    for frame in Frames::new(message) {
        let Ok((header, body)) = frame else { return };
        bytes += header.frame_bytes();
        assert_eq!(body.len(), header.length as usize);
        match parse(&header, body) {
            Ok(request) => touch(&request),
            Err(refusal) => assert!(matches!(refusal.code, 400 | 413) && !refusal.message.is_empty()),
        }
        if let Ok(ServerFrame::Page(page)) = ServerFrame::decode(&header, body) {
            for deliver in DeliverView::read_all(&page.frames).flatten() {
                touch_bytes(deliver.body);
            }
        }
    }
    assert_eq!(bytes, message.len(), "without an error the frames cover the message");
}

/// Any text is a frame or refused.
pub fn json(text: &str) {
    match json::read(text) {
        Ok((_, request)) => touch(&request.view()),
        Err((_, refusal)) => assert!(matches!(refusal.code, 400 | 413) && !refusal.message.is_empty()),
    }
}

/// Reads every byte of a request, so that a view past the end of its frame is found.
fn touch(request: &Request<'_>) {
    match request {
        Request::Hello { cursors, client } => {
            assert_eq!(cursors.iter().count(), cursors.len());
            touch_bytes(client.as_bytes());
        }
        Request::Sync { cursors } => assert_eq!(cursors.iter().count(), cursors.len()),
        Request::Send(send) => {
            touch_bytes(send.body);
            assert!(send.client_ref.len() <= 64 && send.client_ref.is_ascii());
        }
        Request::Create { members, name, .. } => {
            assert_eq!(members.iter().count(), members.len());
            touch_bytes(name.as_bytes());
        }
        Request::Renew { token } => touch_bytes(token.as_bytes()),
        Request::Received { .. }
        | Request::Read { .. }
        | Request::History { .. }
        | Request::Ping
        | Request::Unsupported { .. }
        | Request::Unknown { .. } => {}
    }
}

fn touch_bytes(bytes: &[u8]) {
    std::hint::black_box(bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
}
