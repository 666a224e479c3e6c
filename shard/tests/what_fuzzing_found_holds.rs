//! Proves: the inputs that fuzzing found interesting, and every one that ever failed, hold in an ordinary test run, and so
//! do inputs of random bytes.
//! Guards: a crash that comes back. `SEED=write` puts the starting inputs there.

mod common;

use std::path::{Path, PathBuf};

use common::inputs::{frame_bodies, play};
use proptest::prelude::*;

#[test]
fn the_corpus() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/shard_inputs");
    if std::env::var_os("SEED").is_some_and(|value| value == "write") {
        seed(&directory);
    }
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", directory.display());
    for input in inputs {
        println!("{}", input.display());
        play(&std::fs::read(&input).expect("a readable input"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(data in prop::collection::vec(any::<u8>(), 0..600)) {
        play(&data);
    }
}

const GROUP: u8 = 7;
const SETTLE: u8 = 22;
const COMMIT: u8 = 13;
const NEWS: u8 = 15;

fn seed(directory: &Path) {
    std::fs::create_dir_all(directory).expect("a writable corpus");
    let write = |name: &str, parts: &[&[u8]]| {
        std::fs::write(directory.join(format!("seed_{name}")), parts.concat()).expect("a writable corpus");
    };
    // One shard; users 1 and 2 say hello; 1 makes a group with 2.
    let start: &[u8] = &[0, 0, 0, 0, 1, 3, 0, 0, 3, 1, 0, SETTLE, GROUP, 0, 1, COMMIT, 0, NEWS, SETTLE];
    let chat: &[u8] =
        &[5, 0, 0, 1, SETTLE, COMMIT, 3, NEWS, SETTLE, 5, 1, 0, 2, SETTLE, COMMIT, 3, NEWS, SETTLE];
    write("chat", &[start, chat, chat]);
    write("chat_on_three_shards", &[&[2], &start[1..], chat, &[8, 1, 0, 1, 20, 255, SETTLE]]);
    write("refused", &[start, chat, &[5, 0, 0, 9, 5, 1, 0, 9, SETTLE, 14, 1, NEWS, NEWS, SETTLE], chat]);
    write("crash_and_repeat", &[start, chat, &[24, 0, 0, 5, 0, 0, 1, 5, 0, 0, 1, 17, 18, 16, 18, SETTLE]]);
    write("slow_reader", &[start, &[10, 1, 255], chat, chat, &[11, 1, SETTLE], chat]);
    write("replaced", &[start, chat, &[0, 1, 3, 2, 1, 0, 1, 21, 0, 21, 64, 21, 128, 21, 192, SETTLE]]);
    write("history", &[start, chat, &[9, 16, 0, 1, 9, 81, 0, 2, 9, 145, 0, 0, 9, 200, 0, 0, SETTLE]]);
    write("drain", &[start, chat, &[25, SETTLE]]);
    for (name, frame) in frame_bodies() {
        let length = [frame.len() as u8];
        write(&format!("raw_{name}"), &[start, &[2, 0], &length, &frame, &[2, 1, 3, 0, 9, 1, SETTLE]]);
    }
}
