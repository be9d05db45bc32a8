#![no_main]

#[path = "../../overlay-store/tests/support/fuzz.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::split(bytes));
