//! Bodies into bytes and back: the only place that calls rkyv.

use std::mem::MaybeUninit;

use rkyv::api::low::{self, LowSerializer, LowValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::de::pooling::Unpool;
use rkyv::rancor::{Error, Failure, Panic, Strategy};
use rkyv::ser::allocator::SubAllocator;
use rkyv::{Archive, Deserialize, Portable, Serialize};

use crate::header::{HEADER_BYTES, Header, VERSION};

/// The serializer of every body. Writing to memory cannot fail, and no body needs scratch space: its lists hold
/// plain numbers.
pub(crate) type Writer<'a> = LowSerializer<Vec<u8>, SubAllocator<'a>, Panic>;

/// Appends one whole frame: header, archive of `body`, padding.
pub(crate) fn append<T>(out: &mut Vec<u8>, kind: u16, request: u64, body: &T)
where
    T: for<'a> Serialize<Writer<'a>>,
{
    append_with(out, kind, request, |out| {
        let mut scratch: [MaybeUninit<u8>; 0] = [];
        low::to_bytes_in_with_alloc(body, out, SubAllocator::new(&mut scratch))
            .unwrap_or_else(|never| match never {})
    });
}

/// Appends a frame without a body.
pub(crate) fn append_empty(out: &mut Vec<u8>, kind: u16, request: u64) {
    append_with(out, kind, request, |out| out);
}

/// Reads an archive in place, after checking every byte of it that will be looked at. The failure says nothing: what rkyv
/// would say holds addresses of this process, which are nobody's business outside.
pub(crate) fn access<T>(body: &[u8]) -> Result<&T, Failure>
where
    T: Portable + for<'a> CheckBytes<LowValidator<'a, Failure>>,
{
    low::access::<T, Failure>(body)
}

/// Copies an archive into its owned form, after the same checks. For clients: the error may hold addresses.
pub(crate) fn read<T>(body: &[u8]) -> Result<T, Error>
where
    T: Archive,
    T::Archived: for<'a> CheckBytes<LowValidator<'a, Error>> + Deserialize<T, Strategy<Unpool, Error>>,
{
    low::from_bytes::<T, Error>(body)
}

fn append_with(out: &mut Vec<u8>, kind: u16, request: u64, write: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    *out = write(std::mem::take(out));
    let length = out.len() - at - HEADER_BYTES;
    let length = u32::try_from(length).expect("a body is bounded by the message bound, far below 4 GiB");
    let header = Header { length, kind, version: VERSION, flags: 0, request };
    out[at..at + HEADER_BYTES].copy_from_slice(&header.to_bytes());
    out.resize(at + header.frame_bytes(), 0);
}
