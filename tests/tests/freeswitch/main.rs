//! Calls on FreeSWITCH: the backend and a running engine against a stand-in that is built from recorded conversations.

mod conformance;
mod desk;
mod engine;
mod fleet;
mod fuzz;
mod hostile_arguments;
mod hostile_frames;
mod lost;
mod numbers;
mod operations;
