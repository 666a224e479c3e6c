//! One WebSocket message in one allocation: room is left in front, and the header is put there once the length of
//! what follows is known.

use bytes::Bytes;

use crate::websocket::{Header, Opcode};

/// The longest header of an unmasked frame.
const HEADER_BYTES_MAX: usize = 10;

/// A whole unmasked message whose payload is what `write` appends.
pub(crate) fn build(opcode: Opcode, payload_hint: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    build_framed(opcode, payload_hint, write).0
}

/// The same, with the index at which the payload starts.
pub(crate) fn build_framed(
    opcode: Opcode,
    payload_hint: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> (Bytes, usize) {
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + payload_hint);
    out.extend_from_slice(&[0; HEADER_BYTES_MAX]);
    write(&mut out);
    let header = Header::unmasked(opcode, out.len() - HEADER_BYTES_MAX);
    let start = HEADER_BYTES_MAX - header.len();
    out[start..HEADER_BYTES_MAX].copy_from_slice(&header);
    (Bytes::from(out).slice(start..), header.len())
}

/// Appends a whole unmasked message, for several messages in one buffer.
pub(crate) fn append(out: &mut Vec<u8>, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES_MAX]);
    write(out);
    let payload_at = at + HEADER_BYTES_MAX;
    let header = Header::unmasked(opcode, out.len() - payload_at);
    out.copy_within(payload_at.., at + header.len());
    out[at..at + header.len()].copy_from_slice(&header);
    out.truncate(out.len() - (HEADER_BYTES_MAX - header.len()));
}
