//! What scripts do with the `cx*` modules, against the real services.

mod harness;
mod kv;
mod pubsub;
mod userspace;
