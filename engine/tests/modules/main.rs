//! What scripts do with the `cx*` modules, against the real services.

mod harness;
mod jobs;
mod kv;
mod pubsub;
mod styles;
mod userspace;
