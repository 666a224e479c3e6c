//! RFC 6455 written once more, as plainly as possible: whole stream in memory, copies everything, no early refusal.

use tidegate_wire::websocket::{CloseCode, Item};

/// What a stream means: its items up to the first refusal or close.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub items: Vec<OwnedItem>,
    pub refused: Option<CloseCode>,
    /// The stream ends within a frame or a message.
    pub incomplete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedItem {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
}

impl From<Item<'_>> for OwnedItem {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Text(text) => Self::Text(text.to_owned()),
            Item::Binary(payload) => Self::Binary(payload.to_vec()),
            Item::Ping(payload) => Self::Ping(payload.to_vec()),
            Item::Pong(payload) => Self::Pong(payload.to_vec()),
            Item::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

pub fn decode_naively(server: bool, bound: u32, mut stream: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut message: Option<(u8, Vec<u8>)> = None;
    while let Some((frame, rest)) = cut_frame(stream) {
        stream = rest;
        match frame.and_then(|frame| judge(frame, server, bound, &mut message)) {
            Ok(Some(item)) => {
                let close = matches!(item, OwnedItem::Close(..));
                outcome.items.push(item);
                if close {
                    return outcome;
                }
            }
            Ok(None) => {}
            Err(code) => {
                outcome.refused = Some(CloseCode(code));
                return outcome;
            }
        }
    }
    outcome.incomplete = !stream.is_empty() || message.is_some();
    outcome
}

struct Frame {
    first: u8,
    masked: bool,
    payload: Vec<u8>,
}

/// The first frame and what follows; `None` if it is not whole.
fn cut_frame(stream: &[u8]) -> Option<(Result<Frame, u16>, &[u8])> {
    let (first, second) = (*stream.first()?, *stream.get(1)?);
    let (length, mut at) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(stream.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(stream.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let minimal = match second & 0x7f {
        126 => length >= 126,
        127 => length >= 0x1_0000,
        _ => true,
    };
    if !minimal || length >> 63 == 1 {
        return Some((Err(1002), stream));
    }
    let masked = second & 0x80 != 0;
    let key = if masked { stream.get(at..at + 4)? } else { &[0; 4] };
    at += if masked { 4 } else { 0 };
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    let payload = stream.get(at..end)?.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
    Some((Ok(Frame { first, masked, payload }), &stream[end..]))
}

fn judge(
    frame: Frame,
    server: bool,
    bound: u32,
    message: &mut Option<(u8, Vec<u8>)>,
) -> Result<Option<OwnedItem>, u16> {
    let (opcode, fin) = (frame.first & 0x0f, frame.first & 0x80 != 0);
    let control = opcode >= 8;
    let known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
    let in_order = control || (opcode == 0) == message.is_some();
    if frame.first & 0x70 != 0 || !known || !in_order || frame.masked != server {
        return Err(1002);
    }
    if control {
        if !fin || frame.payload.len() > 125 {
            return Err(1002);
        }
        return match opcode {
            8 => close(&frame.payload).map(Some),
            9 => Ok(Some(OwnedItem::Ping(frame.payload))),
            _ => Ok(Some(OwnedItem::Pong(frame.payload))),
        };
    }
    let (kind, data) = message.get_or_insert((opcode, Vec::new()));
    data.extend(frame.payload);
    if data.len() > bound as usize {
        return Err(1009);
    }
    if *kind == 1 {
        match std::str::from_utf8(data) {
            Err(error) if fin || error.error_len().is_some() => return Err(1007),
            _ => {}
        }
    }
    if !fin {
        return Ok(None);
    }
    Ok(message.take().map(|(kind, data)| match kind {
        1 => OwnedItem::Text(String::from_utf8(data).expect("checked above")),
        _ => OwnedItem::Binary(data),
    }))
}

fn close(payload: &[u8]) -> Result<OwnedItem, u16> {
    match payload {
        [] => Ok(OwnedItem::Close(None, String::new())),
        [_] => Err(1002),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000 | 1001 | 1002 | 1003 | 1007..=1014 | 3000..=4999) {
                return Err(1002);
            }
            let reason = String::from_utf8(reason.to_vec()).map_err(|_| 1007_u16)?;
            Ok(OwnedItem::Close(Some(CloseCode(code)), reason))
        }
    }
}
