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
        let set = self.store.write_then(
            move |connection, now| app_env::set(connection, now, (&owner.0, &owner.1), (&key, &value), None),
            move |variable| environment.put(&account, &app, variable.clone()),
        );
        Box::pin(async move {
            set.await.map_err(|error| error.into_op_error(args.label()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Clock;

    #[tokio::test]
    async fn runs_have_what_was_set_last_also_when_who_set_it_did_not_wait() {
        let (store, environment) = (Store::in_memory(Clock::system()).unwrap(), Environment::default());
        let env = Env::new(&Config::default(), &store, &environment);
        let context = RunContext::default();
        for value in ["first", "last"] {
            let args = Arguments::new("env.set".to_owned(), vec![json!("KEY"), json!(value)]);
            drop(env.call(&context, "set", args, None));
        }
        // What is written later is answered later.
        store.write(|_, _| Ok(())).await.unwrap();
        let shown = environment.shown(None, &context.account, None);
        assert_eq!(shown, BTreeMap::from([("KEY".to_owned(), Some("last".to_owned()))]));
    }
}
