//! What the end-to-end tests share: starting an engine, running an outside peer, reading what it printed.

pub mod bench;
pub mod engine;
