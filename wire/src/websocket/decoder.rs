//! The receiving half of a WebSocket connection.

use super::close::{self, CloseCode, ProtocolError};
use super::header::{Expected, Opcode, Received};
use super::mask::mask;
use super::partial::{Completed, Partial};

/// Turns received bytes into [`Item`]s. 16 bytes, and nothing else while no frame or message is incomplete.
///
/// ```
/// use tidegate_wire::websocket::{self, Decoder, Item, Opcode};
///
/// let mut decoder = Decoder::server(65536);
/// let mut input = websocket::masked(Opcode::Text, b"hello", [1, 2, 3, 4]).to_vec();
/// let mut at = 0;
/// loop {
///     let (used, item) = decoder.next(&mut input[at..])?;
///     at += used;
///     let Some(item) = item else { break };
///     assert_eq!(item, Item::Text("hello"));
/// }
/// assert!(decoder.is_idle());
/// # Ok::<(), websocket::ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    message_bytes_max: u32,
    role: Role,
}

const _: () = assert!(size_of::<Decoder>() <= 16, "every connection holds one");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// What a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A text message; valid UTF-8.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// At most 125 bytes, to be returned in a pong.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The peer closes: answer with a close frame if none was sent, then close. Bytes after it mean nothing.
    Close {
        code: Option<CloseCode>,
        reason: &'a str,
    },
}

impl Decoder {
    /// Reads what clients send: every frame must be masked.
    #[must_use]
    pub fn server(message_bytes_max: u32) -> Self {
        Self { partial: None, message_bytes_max, role: Role::Server }
    }

    /// Reads what a server sends: no frame may be masked.
    #[must_use]
    pub fn client(message_bytes_max: u32) -> Self {
        Self { partial: None, message_bytes_max, role: Role::Client }
    }

    /// The next item, and how many bytes of `input` are used up. Call it with the rest of the input until it gives no
    /// item: then all input is used, and what the last item occupied has been freed. Bytes before the used mark may
    /// have been unmasked in place.
    ///
    /// # Errors
    /// The peer broke RFC 6455 or sent more than the message bound; the decoder must not be called again.
    pub fn next<'a>(&'a mut self, input: &'a mut [u8]) -> Result<(usize, Option<Item<'a>>), ProtocolError> {
        self.release();
        let mut used = 0;
        loop {
            if !self.has_frame() {
                let Some(header) = self.header(input, &mut used)? else {
                    return Ok((input.len(), None));
                };
                let payload = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
                let whole = header.opcode.is_control() || (header.fin && !self.has_message());
                if whole && payload <= input.len() - used {
                    let end = used + payload;
                    return in_place(&header, &mut input[used..end]).map(|item| (end, Some(item)));
                }
                self.partial.get_or_insert_default().begin(&header);
            }
            let partial = self.partial.as_mut().expect("a frame in progress is in the partial");
            used += partial.take(&mut input[used..])?;
            match partial.complete()? {
                Completed::Nothing => {
                    debug_assert_eq!(used, input.len(), "an incomplete frame takes all input");
                    return Ok((used, None));
                }
                Completed::Fragment => {}
                Completed::Item => {
                    let partial = self.partial.as_ref().expect("the item that completed is in the partial");
                    return partial.item().map(|item| (used, Some(item)));
                }
            }
        }
    }

    /// Whether no frame or message is incomplete; then no memory is held either.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Bytes of memory held for what is incomplete.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.held_bytes())
    }

    fn has_frame(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.has_frame())
    }

    fn has_message(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.has_message())
    }

    /// Forgets the item handed out before.
    fn release(&mut self) {
        if self.partial.as_mut().is_some_and(|partial| partial.release()) {
            self.partial = None;
        }
    }

    /// Reads a header from what is left of `input`, keeping an incomplete one for the next call.
    fn header(&mut self, input: &[u8], used: &mut usize) -> Result<Option<Received>, ProtocolError> {
        let expected = Expected {
            masked: self.role == Role::Server,
            message_open: self.has_message(),
            bytes_left: u64::from(self.message_bytes_max)
                - self.partial.as_ref().map_or(0, |partial| partial.message_bytes()) as u64,
        };
        let input = &input[*used..];
        if let Some(partial) = &mut self.partial {
            let (taken, header) = partial.header(input, &expected)?;
            *used += taken;
            self.release();
            return Ok(header);
        }
        let header = Received::read(input, &expected)?;
        match &header {
            Some(header) => *used += header.bytes,
            None if input.is_empty() => {}
            None => self.partial.get_or_insert_default().keep_header(input),
        }
        Ok(header)
    }
}

fn in_place<'a>(header: &Received, payload: &'a mut [u8]) -> Result<Item<'a>, ProtocolError> {
    mask(payload, header.key, 0);
    item(header.opcode, payload)
}

/// A complete payload as what its opcode says it is.
pub(super) fn item(opcode: Opcode, payload: &[u8]) -> Result<Item<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Text => Item::Text(simdutf8::basic::from_utf8(payload).map_err(|_| NOT_UTF8)?),
        Opcode::Binary | Opcode::Continuation => Item::Binary(payload),
        Opcode::Ping => Item::Ping(payload),
        Opcode::Pong => Item::Pong(payload),
        Opcode::Close => {
            let (code, reason) = close::read(payload)?;
            Item::Close { code, reason }
        }
    })
}

/// "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a valid UTF-8
/// stream, that endpoint MUST _Fail the WebSocket Connection_" (RFC 6455 section 8.1).
pub(super) const NOT_UTF8: ProtocolError =
    ProtocolError { code: CloseCode::INVALID, reason: "the text is not UTF-8 (RFC 6455 section 8.1)" };
