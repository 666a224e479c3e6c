#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../wire/tests/properties/mod.rs"]
mod properties;

fuzz_target!(|data: &[u8]| properties::frame_body(data));
