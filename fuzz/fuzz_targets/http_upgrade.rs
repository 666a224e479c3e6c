#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "its tests stand in the engine")]
#[path = "../../engine/src/handshake.rs"]
mod handshake;
#[path = "../../engine/tests/handshake_property/mod.rs"]
mod handshake_property;

fuzz_target!(|data: &[u8]| handshake_property::http_upgrade(data));
