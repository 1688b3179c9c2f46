//! Media servers that carry out a call's operations. Each implements
//! [`CallBackend`](lockstep_ctx_api::CallBackend).

pub mod freeswitch;
pub mod native;
mod set_headers;
