//! What is fuzzed, as plain functions: `fuzz_targets/` hands them to libFuzzer, each crate's `tests/fuzz.rs` to `cargo test`.

pub mod media;
pub mod sip;
pub mod wire;
