//! The Lockstep engine: calls driven by scripts over SIP and RTP.
//!
//! Arrows point down: `cli`, `api` → `script` → `core` → `backend` → `call` → the `sip` and `media` crates.

pub mod call;
pub mod core;
pub mod config;
pub mod script;
