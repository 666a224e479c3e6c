//! Proves: over random operations (sends, repeats, creates, reconnects, slow sockets, refusals, failures of the store,
//! crashes, in any order of delivery) every session has every message once and in order, and every request one answer.
//! Guards: the interleavings nobody thought of. A failure prints its operations, shrunk.

mod common;

use common::model::{Op, play};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn short_runs(shards in 1u16..=4, ops in prop::collection::vec(any::<Op>(), 1..250)) {
        play(shards, &ops);
    }
}

#[test]
fn long_runs() {
    for seed in 1..=12u64 {
        let mut random = seed;
        let ops: Vec<Op> = (0..4000)
            .map(|_| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((random >> 32) as u32).to_le_bytes()
            })
            .collect();
        println!("seed {seed}");
        play(1 + (seed % 4) as u16, &ops);
    }
}
