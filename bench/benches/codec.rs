//! The WebSocket codec on what clients send. Each round copies the bytes into a receive buffer first, as the kernel
//! would: unmasking changes them.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{checksum_of_ends, measure};
use tidegate_wire::websocket::{self, CLIENT_MESSAGE_BYTES_MAX, Decoder, Item, Opcode};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec decode");
    let small = websocket::masked(Opcode::Binary, &[7; 100], KEY);
    let large = websocket::masked(Opcode::Binary, &[7; 4096], KEY);
    let cases = [
        ("100 B in place", small.to_vec(), small.len()),
        ("16 x 100 B in one read", small.repeat(16), small.len() * 16),
        ("4 KiB in place", large.to_vec(), large.len()),
        ("4 KiB in 8 fragments", fragments(&[7; 4096], 8), usize::MAX),
        ("4 KiB in 3 reads", large.to_vec(), 1500),
        (
            "4 KiB of text",
            websocket::masked(Opcode::Text, "größer ".repeat(512).as_bytes(), KEY).to_vec(),
            usize::MAX,
        ),
    ];
    for (name, bytes, read_bytes) in cases {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut buffer = bytes.clone();
        let mut decoder = Decoder::server(CLIENT_MESSAGE_BYTES_MAX);
        measure(&mut group, name, || {
            buffer.copy_from_slice(&bytes);
            let sum = buffer
                .chunks_mut(read_bytes.min(bytes.len()))
                .fold(0, |sum, read| sum ^ drain(&mut decoder, read));
            assert!(decoder.is_idle(), "every message is complete");
            sum
        });
    }
    group.finish();
}

/// All messages in one read.
fn drain(decoder: &mut Decoder, read: &mut [u8]) -> u64 {
    let (mut at, mut sum) = (0, 0_u64);
    loop {
        let (used, item) = decoder.next(&mut read[at..]).expect("valid frames");
        at += used;
        match item {
            Some(Item::Binary(payload)) => sum = sum.rotate_left(9) ^ checksum_of_ends(payload),
            Some(Item::Text(text)) => sum = sum.rotate_left(9) ^ checksum_of_ends(text.as_bytes()),
            Some(other) => panic!("{other:?} was not sent"),
            None => return sum,
        }
    }
}

/// One binary message as so many masked frames.
fn fragments(payload: &[u8], count: usize) -> Vec<u8> {
    let pieces: Vec<&[u8]> = payload.chunks(payload.len() / count).collect();
    let mut bytes = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let at = bytes.len();
        bytes.extend_from_slice(&websocket::masked(Opcode::Binary, piece, KEY));
        // First byte of a frame: FIN in bit 7, opcode in bits 0 to 3; 0 continues (RFC 6455 section 5.2).
        bytes[at] = match index {
            0 => 0x02,
            _ if index + 1 == pieces.len() => 0x80,
            _ => 0x00,
        };
    }
    bytes
}

criterion_group!(benches, decode);
criterion_main!(benches);
