//! Host operations: what a `cx*` module asks of a service of the engine.
//!
//! A module is a small file of JavaScript that names a service, one of its functions, and the arguments. Whatever lives long is
//! pulled: a function such as `next` stays pending until there is something, so that no kind of event is needed besides outcomes.

use serde::{Deserialize, Serialize};

/// The longest arguments and body of one call together, in bytes: with room for the frame that carries them.
pub const MAX_CALL_BYTES: usize = 8 << 20;

/// The longest arguments of one call without its body, in bytes: the engine reads them between two packets of signalling. The largest
/// value that the store takes fits, with every quotation mark and line break in it escaped.
pub const MAX_ARGS_BYTES: usize = 3 << 20;
/// The most values the arguments may hold, for the same reason.
pub const MAX_ARGS_VALUES: usize = 50_000;

/// One call of a function of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostCall {
    /// Key in the engine's table of services, such as `kv`.
    pub service: String,
    pub function: String,
    /// A JSON array.
    pub args: String,
    #[serde(with = "crate::octets::opt")]
    pub body: Option<Vec<u8>>,
    /// It waits for something that may never come (`pubsub.next`): a run whose function is over does not wait for it.
    pub listens: bool,
}

impl HostCall {
    /// How messages and logs name it: `kv.get`.
    pub fn label(&self) -> String {
        format!("{}.{}", self.service, self.function)
    }
}

/// What a service answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostReply {
    /// JSON; empty for `undefined`.
    pub value: String,
    /// With one, the promise resolves with `{value, body}`, otherwise with the value.
    #[serde(with = "crate::octets::opt")]
    pub body: Option<Vec<u8>>,
}

impl HostReply {
    /// `undefined`.
    pub fn undefined() -> Self {
        Self::default()
    }

    /// A value without a body.
    pub fn json(value: &serde_json::Value) -> Self {
        Self { value: value.to_string(), body: None }
    }
}
