//! What the end-to-end tests share: starting an engine, calling it, an outside peer, reading what it printed.

pub mod audio;
pub mod baresip;
pub mod bench;
pub mod caller;
pub mod client;
pub mod engine;
pub mod event_socket;
pub mod freeswitch;
pub mod http;
pub mod neighbour;
pub mod sipp;
pub mod wav;
pub mod wire;
