//! What a connection keeps of an incomplete header, frame or message.

use super::close::ProtocolError;
use super::decoder::{Item, NOT_UTF8, item};
use super::header::{Expected, HEADER_BYTES_MAX, Opcode, Received};
use super::mask::mask;

/// The incomplete rest of the input. Grows with the bytes that arrive, not with the length a header announces.
#[derive(Debug, Default)]
pub(super) struct Partial {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    frame: Option<Frame>,
    /// The message in assembly: [`Opcode::Text`] or [`Opcode::Binary`].
    message: Option<Opcode>,
    data: Vec<u8>,
    /// Bytes of `data` known to be UTF-8; short of its end by at most an incomplete character.
    valid_bytes: usize,
    control: Vec<u8>,
    handed_out: Option<Opcode>,
}

#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    key: [u8; 4],
    payload_bytes: u64,
    received_bytes: u64,
}

/// What the bytes taken last completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// More bytes of this frame are to come.
    Nothing,
    /// A frame, but not its message.
    Fragment,
    /// See [`Partial::item`].
    Item,
}

impl Partial {
    pub fn has_frame(&self) -> bool {
        self.frame.is_some()
    }

    pub fn has_message(&self) -> bool {
        self.message.is_some()
    }

    pub fn message_bytes(&self) -> usize {
        self.data.len()
    }

    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.data.capacity() + self.control.capacity()
    }

    /// Keeps the start of a header; `bytes` are fewer than a header has.
    pub fn keep_header(&mut self, bytes: &[u8]) {
        self.header[..bytes.len()].copy_from_slice(bytes);
        self.header_bytes = bytes.len();
    }

    /// Goes on reading a header: how many bytes of `input` it took, and the header once it is whole.
    pub fn header(
        &mut self,
        input: &[u8],
        expected: &Expected,
    ) -> Result<(usize, Option<Received>), ProtocolError> {
        let before = self.header_bytes;
        let count = input.len().min(HEADER_BYTES_MAX - before);
        self.header[before..before + count].copy_from_slice(&input[..count]);
        match Received::read(&self.header[..before + count], expected)? {
            Some(header) => {
                self.header_bytes = 0;
                Ok((header.bytes - before, Some(header)))
            }
            None => {
                self.header_bytes = before + count;
                Ok((count, None))
            }
        }
    }

    pub fn begin(&mut self, header: &Received) {
        if matches!(header.opcode, Opcode::Text | Opcode::Binary) {
            self.message = Some(header.opcode);
        }
        self.frame = Some(Frame {
            opcode: header.opcode,
            fin: header.fin,
            key: header.key,
            payload_bytes: header.payload_bytes,
            received_bytes: 0,
        });
    }

    /// Takes what belongs to the frame in progress; how many bytes that was. Refuses text that cannot become UTF-8.
    pub fn take(&mut self, input: &mut [u8]) -> Result<usize, ProtocolError> {
        let Some(frame) = &mut self.frame else { return Ok(0) };
        let missing = usize::try_from(frame.payload_bytes - frame.received_bytes).unwrap_or(usize::MAX);
        let count = input.len().min(missing);
        let chunk = &mut input[..count];
        mask(chunk, frame.key, frame.received_bytes);
        frame.received_bytes += count as u64;
        if frame.opcode.is_control() {
            self.control.extend_from_slice(chunk);
            return Ok(count);
        }
        grow(&mut self.data, count, if frame.fin { missing } else { usize::MAX });
        self.data.extend_from_slice(chunk);
        if self.message == Some(Opcode::Text) {
            self.validate()?;
        }
        Ok(count)
    }

    /// Ends the frame in progress if all of it is there.
    pub fn complete(&mut self) -> Result<Completed, ProtocolError> {
        let Some(frame) = self.frame.take_if(|frame| frame.received_bytes == frame.payload_bytes) else {
            return Ok(Completed::Nothing);
        };
        if frame.opcode.is_control() {
            self.handed_out = Some(frame.opcode);
            return Ok(Completed::Item);
        }
        if !frame.fin {
            return Ok(Completed::Fragment);
        }
        self.handed_out = self.message.take();
        Ok(Completed::Item)
    }

    /// What [`Partial::complete`] completed; stays until [`Partial::release`].
    pub fn item(&self) -> Result<Item<'_>, ProtocolError> {
        let opcode = self.handed_out.expect("only called when an item is complete");
        item(opcode, if opcode.is_control() { &self.control } else { &self.data })
    }

    /// Forgets the item handed out before; whether nothing incomplete is left.
    pub fn release(&mut self) -> bool {
        match self.handed_out.take() {
            Some(opcode) if opcode.is_control() => self.control = Vec::new(),
            Some(_) => {
                self.data = Vec::new();
                self.valid_bytes = 0;
            }
            None => {}
        }
        self.header_bytes == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Looks at each byte once, and again at those of a character that was incomplete.
    fn validate(&mut self) -> Result<(), ProtocolError> {
        match simdutf8::compat::from_utf8(&self.data[self.valid_bytes..]) {
            Ok(_) => self.valid_bytes = self.data.len(),
            Err(error) if error.error_len().is_none() => self.valid_bytes += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

/// Makes room for `arriving` bytes: twice what is there, so that many small reads copy little, but no more than the
/// `announced` bytes that the message can still get.
fn grow(data: &mut Vec<u8>, arriving: usize, announced: usize) {
    const FIRST_BYTES: usize = 512;
    if data.capacity() - data.len() < arriving {
        data.reserve_exact(arriving.max(data.len()).max(FIRST_BYTES).min(announced));
    }
}
