//! `setEnvVar` and `getEnvVars`: variables of the script's app.

use std::collections::BTreeMap;

use bytes::Bytes;
use lockstep_ctx_api::host::HostReply;
use serde_json::json;

use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};
use crate::config::{Config, Secret};
use crate::script::Environment;
use crate::store::{Store, app_env};

/// Variables of apps.
pub(super) struct Env {
    store: Store,
    environment: Environment,
    /// `[[app]] env`, by app.
    configured: BTreeMap<String, BTreeMap<String, Secret>>,
}

impl Env {
    pub(super) fn new(config: &Config, store: &Store, environment: &Environment) -> Self {
        let configured = config.apps.iter().map(|app| (app.name.clone(), app.env.clone())).collect();
        Self { store: store.clone(), environment: environment.clone(), configured }
    }

    fn set(&self, context: &RunContext, mut args: Arguments) -> HostFuture {
        let read = args.text("key").and_then(|key| Ok((key, args.text("value")?)));
        let (key, value) = match read {
            Ok(read) => read,
            Err(error) => return answered(Err(error)),
        };
        let (account, app) = (context.account.clone(), context.app.clone().unwrap_or_default());
        let environment = self.environment.clone();
        let owner = (account.clone(), app.clone());
        let set =
            self.store.write(move |connection, now| app_env::set(connection, now, (&owner.0, &owner.1), (&key, &value), None));
        Box::pin(async move {
            let variable = set.await.map_err(|error| error.into_op_error(args.label()))?;
            environment.put(&account, &app, variable);
            Ok(HostReply::undefined())
        })
    }

    fn list(&self, context: &RunContext) -> HostFuture {
        let app = context.app.as_deref();
        let configured = app.and_then(|app| self.configured.get(app));
        let shown = self.environment.shown(configured, &context.account, app);
        answered(Ok(HostReply::json(&json!(shown))))
    }
}

impl HostService for Env {
    fn call(&self, context: &RunContext, function: &str, args: Arguments, _body: Option<Bytes>) -> HostFuture {
        match function {
            "set" => self.set(context, args),
            "list" => self.list(context),
            _ => no_such_function(&args),
        }
    }
}
