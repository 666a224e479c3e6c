#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../storage/tests/recovery_property/mod.rs"]
mod recovery_property;

fuzz_target!(|data: &[u8]| recovery_property::log_recovery(data));
