#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../wire/tests/properties/mod.rs"]
mod properties;

fuzz_target!(|text: &str| properties::json(text));
