//! The inputs that fuzzing found interesting, and every one that ever failed, hold in an ordinary test run.
//! Guards: a crash that comes back. `SEED=write` puts the starting inputs there.

use std::path::{Path, PathBuf};

use tidegate_wire::server::{Encoding, encode};
use tidegate_wire::websocket::{Header, Opcode, mask};

mod properties;
mod samples;

#[test]
fn codec() {
    replay("codec", properties::codec);
}

#[test]
fn frame_body() {
    replay("frame_body", properties::frame_body);
}

#[test]
fn json() {
    replay("json", |data| {
        if let Ok(text) = std::str::from_utf8(data) {
            properties::json(text);
        }
    });
}

fn replay(target: &str, property: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    if std::env::var_os("SEED").is_some_and(|value| value == "write") {
        seed(target, &directory);
    }
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", directory.display());
    for input in inputs {
        println!("{}", input.display());
        property(&std::fs::read(&input).expect("a readable input"));
    }
}

fn seed(target: &str, directory: &Path) {
    std::fs::create_dir_all(directory).expect("a writable corpus");
    let write = |name: &str, data: &[u8]| {
        std::fs::write(directory.join(format!("seed_{name}")), data).expect("a writable corpus");
    };
    match target {
        "codec" => codec_seeds(&write),
        "frame_body" => {
            for (name, request, frame) in samples::client_frames() {
                write(name, &frame.encode(request));
            }
            for (name, request, frame) in samples::server_frames() {
                let message = encode(Encoding::Binary, request, &frame);
                write(name, &message[if message.len() < 126 { 2 } else { 4 }..]);
            }
        }
        _ => {
            let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
            for (name, ..) in samples::client_frames() {
                write(name, &std::fs::read(golden.join(format!("{name}.json"))).expect("golden file"));
            }
        }
    }
}

fn codec_seeds(write: &impl Fn(&str, &[u8])) {
    let frame = |opcode, fin, payload: &[u8]| {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut bytes = Header::new(opcode, fin, payload.len(), Some(key)).to_vec();
        let at = bytes.len();
        bytes.extend_from_slice(payload);
        mask(&mut bytes[at..], key, 0);
        bytes
    };
    let stream = |settings: u8, cuts: &[u8], frames: &[Vec<u8>]| {
        [&[settings, cuts.len() as u8], cuts, &frames.concat()].concat()
    };
    let text = "Grüße 世界 🌊".as_bytes();
    write("text", &stream(4, &[2, 5], &[frame(Opcode::Text, true, text)]));
    write(
        "fragments",
        &stream(
            4,
            &[0, 0, 3, 9],
            &[
                frame(Opcode::Text, false, &text[..8]),
                frame(Opcode::Ping, true, b"?"),
                frame(Opcode::Continuation, false, b""),
                frame(Opcode::Continuation, true, &text[8..]),
                frame(Opcode::Close, true, &[0x03, 0xe8, b'b', b'y', b'e']),
            ],
        ),
    );
    write("sixteen_bit_length", &stream(2, &[1, 200], &[frame(Opcode::Binary, true, &[9; 300])]));
    write("sixty_four_bit_length", &stream(6, &[255; 20], &[frame(Opcode::Binary, true, &[9; 70_000])]));
    write("over_the_bound", &stream(0, &[], &[frame(Opcode::Binary, true, &[9; 126])]));
    write("from_a_server", &[&[5, 1, 3][..], b"\x01\x03Hel\x80\x02lo\x8a\x00\x88\x02\x0f\xa1"].concat());
}
