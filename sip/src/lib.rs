//! RFC 3261 core of Lockstep, sans-IO.

pub mod auth;
