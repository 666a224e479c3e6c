//! The damaged logs that fuzzing found interesting, and every one that ever failed, hold in an ordinary test run, and so
//! do some hundred that are drawn here (`TIDEGATE_DAMAGES` sets how many).
//! Guards: an open that panics, invents records, or keeps silent about lost ones. `SEED=write` puts the starting inputs
//! into the corpus.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

mod recovery_property;

#[test]
fn every_input_of_the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/log_recovery");
    if std::env::var_os("SEED").is_some_and(|value| value == "write") {
        seed(&corpus);
    }
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", corpus.display());
    for input in inputs {
        println!("{}", input.display());
        recovery_property::log_recovery(&std::fs::read(&input).unwrap());
    }
}

#[test]
fn drawn_damage_holds() {
    let drawn = std::env::var("TIDEGATE_DAMAGES").map_or(600, |n| n.parse().expect("a number"));
    for seed in 0..drawn {
        let mut random = StdRng::seed_from_u64(seed);
        let groups = random.random_range(0..16_u8);
        let mut data = vec![random.random_range(0..4), random.random(), groups];
        data.extend((0..groups).map(|_| random.random::<u8>()));
        for _ in 0..random.random_range(0..5) {
            let place: u16 = random.random_range(0..4096);
            // Often where something is: at the start of a block.
            let place = if random.random() { place & !511 | place & 15 } else { place };
            let [low, high] = place.to_le_bytes();
            data.extend([random.random(), random.random(), low, high, random.random(), random.random()]);
        }
        println!("seed {seed}: {data:?}");
        recovery_property::log_recovery(&data);
    }
}

fn seed(corpus: &Path) {
    std::fs::create_dir_all(corpus).unwrap();
    let sizes: [u8; 8] = [100, 255, 40, 255, 7, 254, 200, 1];
    let write = |name: &str, settings: u8, checkpoint: u8, damages: &[[u8; 6]]| {
        let data = [&[settings, checkpoint, 8][..], &sizes, &damages.concat()].concat();
        std::fs::write(corpus.join(format!("seed_{name}")), data).unwrap();
    };
    write("whole", 0, 0, &[]);
    write("whole_recycled", 2, 9, &[]);
    write("bit", 0, 0, &[[0, 0, 0, 2, 1, 0]]);
    write("bit_in_the_store", 0, 6, &[[0, 0, 0, 2, 1, 0]]);
    write("zeroed_blocks", 0, 0, &[[1, 0, 0, 2, 64, 0]]);
    write("short_file", 0, 0, &[[2, 0, 100, 2, 0, 0]]);
    write("grown_file", 0, 0, &[[3, 1, 0, 0, 65, 0]]);
    write("missing_segment", 0, 0, &[[4, 0, 0, 0, 0, 0]]);
    write("misplaced_write", 0, 0, &[[5, 0, 0, 0, 64, 16]]);
    write("copied_file", 0, 0, &[[7, 0, 0, 0, 0, 2]]);
    write("forged_header", 1, 0, &[[6, 0, 4, 0, 1, 0], [0xFF; 6], [0xFF; 6]]);
    write("forged_row", 1, 0, &[[6, 0, 12, 0, 1, 0], [9; 6]]);
    write("forged_recycled", 3, 5, &[[1, 0, 4, 0, 1, 0], [5, 1, 0, 0, 64, 8]]);
}
