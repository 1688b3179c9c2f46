//! `setEnvVar` and `getEnvVars`: variables of the script's app.

use bytes::Bytes;
use lockstep_ctx_api::host::HostReply;
use serde_json::{Map, Value, json};

use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};
use crate::script::Environment;
use crate::store::{Store, app_env};

/// Variables of apps.
pub(super) struct Env {
    store: Store,
    environment: Environment,
}

impl Env {
    pub(super) fn new(store: &Store, environment: &Environment) -> Self {
        Self { store: store.clone(), environment: environment.clone() }
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

    fn list(&self, context: &RunContext, args: Arguments) -> HostFuture {
        let (account, app) = (context.account.clone(), context.app.clone().unwrap_or_default());
        let listed = self.store.read(move |connection, _| app_env::list(connection, (&account, &app)));
        Box::pin(async move {
            let listed = listed.await.map_err(|error| error.into_op_error(args.label()))?;
            let shown = listed.into_iter().filter(|variable| !variable.flags.private).map(|variable| {
                let value = if variable.flags.protected { Value::Null } else { variable.value.into() };
                (variable.name, value)
            });
            Ok(HostReply::json(&json!(shown.collect::<Map<_, _>>())))
        })
    }
}

impl HostService for Env {
    fn call(&self, context: &RunContext, function: &str, args: Arguments, _body: Option<Bytes>) -> HostFuture {
        match function {
            "set" => self.set(context, args),
            "list" => self.list(context, args),
            _ => no_such_function(&args),
        }
    }
}
