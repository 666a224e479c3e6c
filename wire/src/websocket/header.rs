//! The header of one WebSocket frame (RFC 6455 section 5.2), read and written.

use std::ops::Deref;

use super::close::{CloseCode, ProtocolError};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    #[must_use]
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Bytes of the longest header: 2 + 8 of length + 4 of masking key.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// "All control frames MUST have a payload length of 125 bytes or less" (RFC 6455 section 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// A header as bytes, ready to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl Header {
    /// The header of an unfragmented frame as a server sends it.
    #[must_use]
    pub fn unmasked(opcode: Opcode, payload_bytes: usize) -> Self {
        Self::new(opcode, true, payload_bytes, None)
    }

    /// Any header; `key` masks, as every frame of a client must be.
    #[must_use]
    pub fn new(opcode: Opcode, fin: bool, payload_bytes: usize, key: Option<[u8; 4]>) -> Self {
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[0] = opcode as u8 | if fin { FIN } else { 0 };
        // "The minimal number of bytes MUST be used to encode the length" (RFC 6455 section 5.2).
        let mut len = match payload_bytes {
            0..=125 => {
                bytes[1] = payload_bytes as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
                10
            }
        };
        if let Some(key) = key {
            bytes[1] |= MASKED;
            bytes[len..len + 4].copy_from_slice(&key);
            len += 4;
        }
        Self { bytes, len: len as u8 }
    }
}

impl Deref for Header {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What the next header must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub masked: bool,
    /// A message was begun and not finished.
    pub message_open: bool,
    /// Payload bytes that the message bound still allows.
    pub bytes_left: u64,
}

/// A header that was received whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub opcode: Opcode,
    pub fin: bool,
    pub key: [u8; 4],
    pub payload_bytes: u64,
    /// Bytes the header itself took.
    pub bytes: usize,
}

impl Received {
    /// Reads a header from the start of `input`; `None` while it is incomplete. Refuses as soon as a byte is wrong, even
    /// if more are missing.
    pub fn read(input: &[u8], expected: &Expected) -> Result<Option<Self>, ProtocolError> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let (opcode, fin) = first_byte(first)?;
        check_order(opcode, expected.message_open)?;
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        let masked = second & MASKED != 0;
        check_masked(masked, expected.masked)?;
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(protocol("a control frame has at most 125 bytes (RFC 6455 section 5.5)"));
        }
        let Some((payload_bytes, rest)) = length(short, rest)? else { return Ok(None) };
        if !opcode.is_control() && payload_bytes > expected.bytes_left {
            return Err(ProtocolError { code: CloseCode::TOO_BIG, reason: "the message is over the bound" });
        }
        let (key, rest) = match (masked, rest.split_first_chunk()) {
            (false, _) => ([0; 4], rest),
            (true, Some((key, rest))) => (*key, rest),
            (true, None) => return Ok(None),
        };
        Ok(Some(Self { opcode, fin, key, payload_bytes, bytes: input.len() - rest.len() }))
    }
}

fn check_order(opcode: Opcode, message_open: bool) -> Result<(), ProtocolError> {
    match opcode {
        Opcode::Continuation if !message_open => {
            Err(protocol("a continuation without a message to continue (RFC 6455 section 5.4)"))
        }
        Opcode::Text | Opcode::Binary if message_open => {
            Err(protocol("a new message before the last fragment of the one before (RFC 6455 section 5.4)"))
        }
        _ => Ok(()),
    }
}

fn check_masked(masked: bool, expected: bool) -> Result<(), ProtocolError> {
    match (masked, expected) {
        (false, true) => Err(protocol("a client masks every frame (RFC 6455 section 5.1)")),
        (true, false) => Err(protocol("a server masks no frame (RFC 6455 section 5.1)")),
        _ => Ok(()),
    }
}

fn first_byte(byte: u8) -> Result<(Opcode, bool), ProtocolError> {
    if byte & RESERVED != 0 {
        return Err(protocol("a reserved bit is set and no extension was agreed (RFC 6455 section 5.2)"));
    }
    let opcode = match byte & 0x0f {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xa => Opcode::Pong,
        _ => return Err(protocol("the opcode is reserved (RFC 6455 section 5.2)")),
    };
    let fin = byte & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(protocol("a control frame is never fragmented (RFC 6455 section 5.5)"));
    }
    Ok((opcode, fin))
}

fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    // "Note that in all cases, the minimal number of bytes MUST be used to encode the length" (RFC 6455 section 5.2).
    const NOT_MINIMAL: &str = "the length is not in its shortest form (RFC 6455 section 5.2)";
    let (value, rest, minimum) = match short {
        126 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest, 126),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest, 0x1_0000),
            None => return Ok(None),
        },
        _ => (u64::from(short), rest, 0),
    };
    if value < minimum {
        return Err(protocol(NOT_MINIMAL));
    }
    if value >> 63 != 0 {
        return Err(protocol("the most significant bit of a length is 0 (RFC 6455 section 5.2)"));
    }
    Ok(Some((value, rest)))
}

fn protocol(reason: &'static str) -> ProtocolError {
    ProtocolError { code: CloseCode::PROTOCOL, reason }
}
