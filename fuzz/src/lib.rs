//! What is fuzzed, as plain functions: `fuzz_targets/` hands them to libFuzzer, each crate's tests to `cargo test`.

#[cfg(feature = "esl")]
pub mod esl;
pub mod media;
pub mod sip;
pub mod wire;
