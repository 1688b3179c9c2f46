//! The JavaScript side, driven frame by frame.

mod copies;
mod cost;
mod determinism;
mod ending;
mod globals;
mod harness;
mod host_calls;
mod lazy_data;
mod limits;
mod locale;
mod lockstep;
mod operations;
mod parse_args;
mod styles;
mod warm;
mod warm_apps;
