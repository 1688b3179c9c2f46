//! Calls to a real engine, from a real softphone, over real sockets; one file a behaviour.

mod demo_call;
mod refusals;
mod unawaited;
mod worker_death;
