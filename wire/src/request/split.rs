//! A binary message cut into its frames.

use std::fmt;

use crate::header::{HEADER_BYTES, Header};

/// The frames of one binary message, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// `message` is the payload of one whole binary WebSocket message; an empty one has no frames.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }
}

impl<'a> Iterator for Frames<'a> {
    /// A header and the body it announces, without the padding.
    type Item = Result<(Header, &'a [u8]), FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let Some(header) = Header::read(rest) else {
            return Some(Err(FrameError::ShortHeader { bytes: rest.len() }));
        };
        let Some((frame, after)) = rest.split_at_checked(header.frame_bytes()) else {
            return Some(Err(FrameError::Overrun { header, bytes: rest.len() }));
        };
        self.rest = after;
        Some(Ok((header, &frame[HEADER_BYTES..HEADER_BYTES + header.length as usize])))
    }
}

/// The message is not a row of frames: nothing after this point can be trusted, so the connection is to be closed
/// with 1007 (RFC 6455 section 7.4.1: "data within a message that was not consistent with the type of the message").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Fewer bytes are left than a header has.
    ShortHeader { bytes: usize },
    /// The header announces more than is left.
    Overrun { header: Header, bytes: usize },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortHeader { bytes } => {
                write!(f, "{bytes} bytes left, a frame header has {HEADER_BYTES}: pad every body to 8")
            }
            Self::Overrun { header, bytes } => write!(
                f,
                "frame kind {:#06x} needs {} bytes with its padding, {bytes} are left",
                header.kind,
                header.frame_bytes()
            ),
        }
    }
}

impl std::error::Error for FrameError {}
