//! The Lockstep engine: calls driven by scripts over SIP and RTP.
//!
//! Arrows point down: `cli`, `api` → `core` → `script`, `backend` → `call` → the `sip` and `media` crates.

pub mod alerts;
pub mod allocator;
pub mod api;
pub mod backend;
mod background;
mod block_on;
pub mod bus;
pub mod call;
pub mod cdr;
pub mod check;
pub mod class4;
pub mod cli;
pub mod config;
pub mod core;
mod coverage;
pub mod esl;
pub mod event_socket;
pub mod fetch;
mod flow;
pub mod form;
pub mod freeswitch;
pub mod host;
mod http_template;
pub mod jobs;
pub mod journals;
mod json;
pub mod log;
mod markup;
pub mod packages;
pub mod phone;
pub mod platform;
pub mod provisioning;
mod replay;
mod report;
pub mod runs;
pub mod schedule;
pub mod script;
mod security_key;
pub mod simulation;
pub mod store;
mod testing;
pub mod tts;
mod typescript;
