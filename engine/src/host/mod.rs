//! What scripts ask of the engine besides their call: one service a noun, found by name in one table.
//!
//! A module of the prelude (`ctx-api/src/js/prelude/modules`) is the script's side of a service. The same table serves calls,
//! runs outside calls and `lockstep run`.

mod allowance;
mod arguments;
mod channel;
mod context;
mod email;
mod env;
mod helper;
mod jobs;
mod kv;
mod late;
mod lookup;
mod messages;
mod net;
mod pubsub;
mod rest;
mod scratch;
mod send;
mod smtp;
mod telephony;
mod uploads;
mod userspace;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
pub use lockstep_ctx_api::host::{HostCall, HostReply};
use lockstep_ctx_api::{ErrorCode, OpError, OpResult, Outcome};
use serde_json::Value;

pub use arguments::Arguments;
pub use channel::{Channel, FromPeer, Peer, ToPeer};
pub use context::RunContext;
pub use late::{Late, Served};
pub use messages::WorkerMessages;
pub use scratch::{Scratch, Witness, remove_left};

use crate::bus::Bus;
use crate::config::Config;
use crate::core::EventLog;
use crate::fetch::EgressPolicy;
use crate::jobs::Jobs;
use crate::script::Environment;
use crate::store::kv::Space;
use crate::store::{AccountDatabases, Store};
use jobs::JobService;
use kv::Kv;
use net::Net;
use pubsub::PubSub;
use userspace::Userspace;

/// A service and the name by which modules call it.
pub(crate) type NamedService = (&'static str, Arc<dyn HostService>);

/// What a service's function comes to.
pub type HostFuture = BoxFuture<'static, Result<HostReply, OpError>>;

/// Functions that scripts may call.
pub trait HostService: Send + Sync {
    /// Calls `function`. What it does has an order only from here on: two calls take effect in the order in which they are made,
    /// so what changes something is begun before the future is returned. Dropping the future gives the result up.
    ///
    /// `args` is what the module made of the script's arguments: to be checked like any input of a script.
    fn call(&self, context: &RunContext, function: &str, args: Arguments, body: Option<Bytes>) -> HostFuture;
}

/// The table of services; clones share it.
#[derive(Clone, Default)]
pub struct HostServices(Arc<BTreeMap<&'static str, Arc<dyn HostService>>>);

impl std::fmt::Debug for HostServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl HostServices {
    /// A table of these services.
    pub fn new(services: impl IntoIterator<Item = (&'static str, Arc<dyn HostService>)>) -> Self {
        Self(Arc::new(services.into_iter().collect()))
    }

    /// Carries out what a script asked for; its outcome.
    pub fn call(&self, context: &RunContext, call: HostCall) -> BoxFuture<'static, OpResult> {
        let label = call.label();
        let fail = |code, message| -> BoxFuture<'static, OpResult> { Box::pin(async move { Err(OpError::new(code, message)) }) };
        let Some(service) = self.0.get(call.service.as_str()) else {
            return fail(ErrorCode::Unsupported, format!("{label} is not available here"));
        };
        let args = match serde_json::from_str(&call.args) {
            Ok(Value::Array(args)) => args,
            Ok(_) => return fail(ErrorCode::TypeError, format!("{label}: the arguments are no list")),
            Err(error) => return fail(ErrorCode::TypeError, format!("{label}: the arguments cannot be read: {error}")),
        };
        let answer = service.call(context, &call.function, Arguments::new(label, args), call.body.map(Bytes::from));
        Box::pin(async move { answer.await.map(Outcome::Host) })
    }
}

/// A future that is ready.
pub fn answered(result: Result<HostReply, OpError>) -> HostFuture {
    Box::pin(std::future::ready(result))
}

/// The answer to a function that a service does not have.
pub fn no_such_function(args: &Arguments) -> HostFuture {
    answered(Err(OpError::new(ErrorCode::Unsupported, format!("{} does not exist", args.label()))))
}

/// Every service: one line each, by the name that modules call it.
pub(crate) fn services(
    config: &Config,
    store: &Store,
    databases: &AccountDatabases,
    bus: &Bus,
    jobs: &Jobs,
    events: &EventLog,
) -> Vec<NamedService> {
    vec![
        ("kv", Arc::new(Kv::new(store, events, Space::Texts, config.store.kv_bytes()))),
        ("ko", Arc::new(Kv::new(store, events, Space::Objects, config.store.kv_bytes()))),
        ("jobs", Arc::new(JobService::new(jobs))),
        ("channel", Arc::new(channel::Channels)),
        ("messages", Arc::new(messages::Messages::new(bus))),
        ("pubsub", Arc::new(PubSub::new(bus))),
        ("uploads", Arc::new(uploads::Uploads)),
        ("cxUserspace", Arc::new(Userspace::new(store, databases, config.store.userspace_bytes()))),
    ]
}

/// Variables of apps.
pub(crate) fn env_service(config: &Config, store: &Store, environment: &Environment) -> NamedService {
    ("env", Arc::new(env::Env::new(config, store, environment)))
}

/// The services that reach the running engine and other machines; e-mail templates lie under `scripts`.
///
/// # Errors
/// What the configuration says of a provider cannot be used.
pub(crate) fn providers(config: &Config, scripts: &Path, late: &Late, store: &Store) -> Result<Vec<NamedService>, String> {
    Ok(vec![
        ("helper", Arc::new(helper::Helper::new(config, late))),
        ("lookup", Arc::new(lookup::Lookup::new(config, store)?)),
        ("net", Arc::new(Net::new(EgressPolicy::new(config.security.clone())))),
        ("rest", Arc::new(rest::Rest::new(&config.rest, late)?)),
        ("send", Arc::new(send::Send::new(config, scripts, late)?)),
        ("telephony", Arc::new(telephony::Telephony::new(late))),
    ])
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod table_tests {
    use super::*;

    struct Echo;

    impl HostService for Echo {
        fn call(&self, context: &RunContext, function: &str, mut args: Arguments, body: Option<Bytes>) -> HostFuture {
            match function {
                "back" => {
                    let text = args.text("text");
                    let account = context.account.clone();
                    Box::pin(async move {
                        let value = format!("\"{account} {}\"", text?);
                        Ok(HostReply { value, body: body.map(|body| body.to_vec()) })
                    })
                }
                _ => no_such_function(&args),
            }
        }
    }

    fn call(service: &str, function: &str, args: &str) -> OpResult {
        let services = HostServices::new([("echo", Arc::new(Echo) as Arc<dyn HostService>)]);
        let call = HostCall {
            service: service.to_owned(),
            function: function.to_owned(),
            args: args.to_owned(),
            body: Some(vec![1, 2]),
            listens: false,
        };
        futures_util::future::FutureExt::now_or_never(services.call(&RunContext::default(), call)).expect("nothing waits")
    }

    #[test]
    fn a_service_answers_with_value_and_body() {
        let reply = HostReply { value: "\"default hello\"".to_owned(), body: Some(vec![1, 2]) };
        assert_eq!(call("echo", "back", r#"["hello"]"#), Ok(Outcome::Host(reply)));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let message = |service, function, args| call(service, function, args).expect_err("refused").to_string();
        assert_eq!(message("post", "send", "[]"), "Unsupported: post.send is not available here");
        assert_eq!(message("echo", "forth", "[]"), "Unsupported: echo.forth does not exist");
        assert_eq!(message("echo", "back", "{}"), "TypeError: echo.back: the arguments are no list");
        assert_eq!(message("echo", "back", "[7]"), "TypeError: echo.back: `text` must be a string, got a number");
    }
}
