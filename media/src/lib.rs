//! RTP core of Lockstep, sans-IO, and the pacing threads that do its IO.
//!
//! A [`stream::MediaStream`] is one leg's media. It has no clock and no socket: every method takes `now`, packets come
//! in through `handle_*`, commands through [`stream::Command`], and everything it wants done leaves through
//! [`stream::MediaStream::poll_output`]. Only `io` (and what `prompt` reads from disk) touches the world.

pub mod beneath;
mod cache;
pub mod codec;
pub mod digit;
pub mod dtmf;
mod dtmf_sender;
pub mod e_model;
mod echo;
mod forward;
pub mod io;
pub mod jitter_buffer;
mod latch;
pub mod playout;
pub mod prompt;
mod reception;
pub mod recording;
pub mod rtcp;
mod rtcp_session;
pub mod rtp;
pub mod sdp;
mod sender;
pub mod stream;
pub mod telephone_event;
pub mod tone;
