//! The Lockstep engine: calls driven by scripts over SIP and RTP.
//!
//! Arrows point down: `cli`, `api` → `script` → `core` → `backend` → `call` → the `sip` and `media` crates.

pub mod backend;
pub mod call;
pub mod core;
pub mod config;
pub mod fetch;
pub mod script;
pub mod tts;
mod typescript;
pub mod api;
pub mod check;
pub mod cli;
pub mod log;
pub mod phone;
