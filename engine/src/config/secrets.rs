//! Every secret a configuration holds, for those who must not show one.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_ctx_api::journal::{Redactor as _, SecretNames};

use super::{Config, Secret};

impl Config {
    /// All of them, in no particular order.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.credentials().chain(self.apps.iter().flat_map(|app| app.env.values())).filter(|secret| !secret.is_empty())
    }

    /// Values of apps' variables that are secrets for want of a better knowledge: no name says so, and they are none elsewhere.
    pub fn settings(&self) -> BTreeSet<&str> {
        let mut credentials: BTreeSet<&str> = self.credentials().map(Secret::expose).collect();
        let mut settings = BTreeSet::new();
        for (name, value) in self.apps.iter().flat_map(|app| &app.env) {
            let kind = if SecretNames::is_credential(name) { &mut credentials } else { &mut settings };
            kind.insert(value.expose());
        }
        settings.difference(&credentials).copied().collect()
    }

    /// All but the variables of apps.
    fn credentials(&self) -> impl Iterator<Item = &Secret> {
        let single = [&self.event_socket.password, &self.cluster.nats, &self.security.secret, &self.journal.key]
            .into_iter()
            .chain(self.email.iter().map(|email| &email.password))
            .chain(self.gateways.iter().map(|gateway| &gateway.password))
            .chain(self.customers.iter().map(|customer| &customer.password))
            .flatten();
        let headers = self
            .tts
            .provider
            .values()
            .map(|provider| &provider.headers)
            .chain(self.sms.iter().map(|sms| &sms.headers))
            .chain(self.notify.iter().map(|notify| &notify.headers))
            .chain(self.lookup.values().map(|provider| &provider.headers));
        single
            .chain(self.api.keys.iter().map(|key| &key.key))
            .chain(self.freeswitches.iter().map(|server| &server.password))
            .chain(self.event_socket.users.iter().map(|user| &user.password))
            .chain(self.users.iter().map(|user| &user.password))
            .chain(self.rest.users.values().map(|user| &user.token))
            .chain(headers.flat_map(credentials))
    }
}

/// Header fields of requests that are credentials by their names: a media type is no secret, although it may be written as one.
fn credentials(headers: &BTreeMap<String, Secret>) -> impl Iterator<Item = &Secret> {
    headers.iter().filter(|(name, _)| SecretNames.redact(name, "").is_some()).map(|(_, value)| value)
}
