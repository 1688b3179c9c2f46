//! The JavaScript side, driven frame by frame.

mod harness;
mod lockstep;
mod styles;
