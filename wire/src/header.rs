//! The frame header, laid out by hand so that any language reads it without knowing rkyv.
//!
//! ```text
//!  0        4      6   7   8                16
//!  +--------+------+---+---+----------------+----------------+---------+
//!  | length | kind | v | f | request        | body           | 0..7 ×0 |
//!  +--------+------+---+---+----------------+----------------+---------+
//!    u32      u16    u8  u8  u64              length bytes     to a multiple of 8
//! ```
//! All little-endian. `length` is that of the body without the padding, so that the root of the archive
//! (which rkyv puts at its end) is found at `16 + length - size_of(root)`.

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;
/// The version of the bodies this crate writes.
pub const VERSION: u8 = 1;

/// What stands before every body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body, without padding.
    pub length: u32,
    /// One of the constants in [`crate::frames::kind`].
    pub kind: u16,
    /// Version of the body's layout.
    pub version: u8,
    /// Unknown bits are ignored.
    pub flags: u8,
    /// Chosen by the client, returned by the answer; 0 when nothing was asked.
    pub request: u64,
}

impl Header {
    /// Bytes of the whole frame: header, body, padding.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + (self.length as usize).next_multiple_of(8)
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.kind.to_le_bytes());
        bytes[6] = self.version;
        bytes[7] = self.flags;
        bytes[8..16].copy_from_slice(&self.request.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if fewer than [`HEADER_BYTES`] are there.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let [l0, l1, l2, l3, k0, k1, version, flags, request @ ..] = *bytes;
        Some(Self {
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            kind: u16::from_le_bytes([k0, k1]),
            version,
            flags,
            request: u64::from_le_bytes(request),
        })
    }
}
