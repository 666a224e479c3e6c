#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../shard/tests/common/mod.rs"]
mod common;

fuzz_target!(|data: &[u8]| common::inputs::play(data));
