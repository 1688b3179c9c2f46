//! Variables of apps as runs get them: those of the configuration, and those that scripts and the API have set.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use lockstep_ctx_api::op::Vars;

use crate::config::Secret;
use crate::store::app_env::{self, Variable};
use crate::store::{Store, StoreError};

/// Variables of apps, by account and app, then by name.
type Apps = BTreeMap<(String, String), BTreeMap<String, Variable>>;

/// Variables of every app. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Environment(Arc<RwLock<Apps>>);

impl Environment {
    /// What a store has kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(store: &Store) -> Result<Self, StoreError> {
        let environment = Self::default();
        for (account, app, variable) in crate::block_on::block_on(store.read(|connection, _| app_env::all(connection)))? {
            environment.put(&account, &app, variable);
        }
        Ok(environment)
    }

    /// Takes over what was set, for runs that start from now on.
    pub fn put(&self, account: &str, app: &str, variable: Variable) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry((account.to_owned(), app.to_owned())).or_default().insert(variable.name.clone(), variable);
    }

    /// Forgets a variable.
    pub fn remove(&self, account: &str, app: &str, name: &str) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&(account.to_owned(), app.to_owned())) {
            own.remove(name);
        }
    }

    /// Adds an app's variables to those of the configuration; a default one only where there is none.
    pub fn extend(&self, vars: &mut Vars, account: &str, app: Option<&str>) {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(&(account.to_owned(), app.unwrap_or_default().to_owned()));
        for variable in own.into_iter().flat_map(BTreeMap::values) {
            if !variable.flags.default || !vars.contains_key(&variable.name) {
                vars.insert(variable.name.clone(), variable.value.clone());
            }
        }
    }

    /// What scripts of an app are shown of its variables: each as a run that starts now has it, without private ones; `None` in place
    /// of a protected value. `configured`: its `[[app]] env`.
    pub fn shown(
        &self,
        configured: Option<&BTreeMap<String, Secret>>,
        account: &str,
        app: Option<&str>,
    ) -> BTreeMap<String, Option<String>> {
        let configured = configured.into_iter().flatten();
        let mut shown: BTreeMap<_, _> = configured.map(|(name, value)| (name.clone(), Some(value.expose().to_owned()))).collect();
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(&(account.to_owned(), app.unwrap_or_default().to_owned()));
        for variable in own.into_iter().flat_map(BTreeMap::values) {
            if variable.flags.private {
                shown.remove(&variable.name);
            } else if variable.flags.protected {
                shown.insert(variable.name.clone(), None);
            } else if !variable.flags.default || !shown.contains_key(&variable.name) {
                shown.insert(variable.name.clone(), Some(variable.value.clone()));
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::app_env::Flags;

    #[test]
    fn scripts_are_shown_what_runs_have_but_what_is_private_or_protected() {
        let configured: BTreeMap<String, Secret> =
            ["URL", "REGION", "INNER", "KEY"].map(|name| (name.to_owned(), Secret::literal("configured"))).into();
        let environment = Environment::default();
        for (name, flags) in [
            ("URL", Flags::default()),
            ("REGION", Flags { default: true, ..Flags::default() }),
            ("ZONE", Flags { default: true, ..Flags::default() }),
            ("INNER", Flags { private: true, ..Flags::default() }),
            ("KEY", Flags { protected: true, ..Flags::default() }),
        ] {
            let variable = Variable { name: name.to_owned(), value: "set".to_owned(), flags, updated_ms: 0 };
            environment.put("default", "sales", variable);
        }
        let shown = environment.shown(Some(&configured), "default", Some("sales"));
        let shown: Vec<_> = shown.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(shown, [("KEY", None), ("REGION", Some("configured")), ("URL", Some("set")), ("ZONE", Some("set"))]);
        assert!(environment.shown(None, "default", None).is_empty(), "scripts without an app have none");
    }
}
