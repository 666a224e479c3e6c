//! What the benches share.

#![allow(dead_code, reason = "each bench uses its part")]

use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;
use tidegate_wire::frames::{Deliver, MessageKind, Send};

/// Measures `work`, which returns a checksum of what it made: printed, and the same each time, so that nothing is
/// optimised away or quietly skipped.
pub fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut work: impl FnMut() -> u64) {
    let expected = work();
    println!("{name}: checksum {expected:016x}");
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let sum = work();
            assert_eq!(sum, expected, "{name} made something else this time");
            sum
        });
    });
}

/// FNV-1a. Only over little, as it is part of what is measured.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Of a whole buffer: its length and both ends, whatever its size.
pub fn checksum_of_ends(bytes: &[u8]) -> u64 {
    let ends = bytes.first_chunk::<8>().into_iter().chain(bytes.last_chunk::<8>());
    ends.fold(bytes.len() as u64, |sum, end| sum.rotate_left(7) ^ u64::from_le_bytes(*end))
}

pub fn send(body_bytes: usize) -> Send {
    Send {
        conversation: 0x0190_0000_0000_7000_8000_0000_0000_0001,
        client_id: 0x0190_0000_0000_0000_0000_0000_0000_0002,
        client_time: 1_767_225_600_000,
        reply_to: 0,
        kind: MessageKind::Text as u8,
        body: vec![b'm'; body_bytes],
        client_ref: String::new(),
    }
}

pub fn deliver(body_bytes: usize) -> Deliver {
    let Send { conversation, client_id, client_time, reply_to, kind, body, client_ref } = send(body_bytes);
    Deliver {
        conversation,
        client_id,
        seq: 42,
        message_id: 7_155_000_000_000_000_000,
        sender: 1,
        created: client_time,
        client_time,
        reply_to,
        kind,
        body,
        client_ref,
    }
}
