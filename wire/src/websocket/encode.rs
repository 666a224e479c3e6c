//! Whole frames to send.

use bytes::Bytes;

use super::close::{CloseCode, close_payload};
use super::header::{CONTROL_BYTES_MAX, Header, Opcode};
use super::mask::mask;

/// A server's close frame; a reason over 123 bytes is cut at a character.
#[must_use]
pub fn close(code: CloseCode, reason: &str) -> Bytes {
    control(Opcode::Close, &close_payload(code, reason))
}

/// A server's close frame without a code: the answer to one without a code.
#[must_use]
pub fn close_empty() -> Bytes {
    control(Opcode::Close, &[])
}

/// A server's ping.
///
/// # Panics
/// If the payload is over 125 bytes.
#[must_use]
pub fn ping(payload: &[u8]) -> Bytes {
    control(Opcode::Ping, payload)
}

/// A server's pong: the payload is that of the ping it answers.
///
/// # Panics
/// If the payload is over 125 bytes; that of a received ping never is.
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    control(Opcode::Pong, payload)
}

/// A server's unfragmented message.
#[must_use]
pub fn message(opcode: Opcode, payload: &[u8]) -> Bytes {
    frame(opcode, payload, None)
}

/// A client's unfragmented frame. "The masking key needs to be unpredictable" (RFC 6455 section 5.3): the caller draws
/// a fresh one for every frame. For a close, the payload comes from [`close_payload`].
///
/// # Panics
/// If a control frame's payload is over 125 bytes.
#[must_use]
pub fn masked(opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Bytes {
    frame(opcode, payload, Some(key))
}

fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    frame(opcode, payload, None)
}

fn frame(opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) -> Bytes {
    assert!(
        !opcode.is_control() || payload.len() <= CONTROL_BYTES_MAX,
        "{opcode:?} payload of {} bytes",
        payload.len()
    );
    let header = Header::new(opcode, true, payload.len(), key);
    let mut out = Vec::with_capacity(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[header.len()..], key, 0);
    }
    Bytes::from(out)
}
