//! RFC 3261 core of Lockstep, sans-IO.
//!
//! Bytes go in with the time they arrived, outputs are polled: nothing here owns a clock, a socket or a task, except `transport` and
//! `resolve`. [`endpoint::Endpoint`] is the one entry point for a user agent; the modules below it can be used and tested alone.

pub mod auth;
pub mod dialog;
pub mod endpoint;
pub mod message;
pub mod net;
pub mod offer_answer;
pub mod outbound_registration;
pub mod registrar;
pub mod resolve;
pub mod transaction;
pub mod transport;
