//! The Lockstep engine.
