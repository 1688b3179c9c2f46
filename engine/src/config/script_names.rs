//! Where the configuration names scripts. Only the scripts folder can say whether they are there.

use super::error::Place;
use super::locate::{self, Step};
use super::{Config, Destination, Problem};
use crate::provisioning::Owners;

/// What a key expects to find in the scripts folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A script that can be run: by name.
    Script(String),
    /// What a caller can be led to by a number of the account: a script's Class 5 destination, or its name.
    Class5 { name: String, account: String },
    /// A file of the folder.
    File(String),
}

/// A key that names a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedScript {
    pub(super) place: Place,
    pub(super) key: String,
    pub wanted: Wanted,
}

impl NamedScript {
    /// The finding that `message` is about this key.
    pub fn problem(&self, message: String) -> Problem {
        Problem { place: self.place.clone(), key: self.key.clone(), message }
    }
}

/// Every key that names a script, in the order of the lists.
pub(super) fn find(config: &Config) -> Vec<(Vec<Step>, Wanted)> {
    let key = |name: &str| Step::Key(name.to_owned());
    let mut found = Vec::new();
    for (index, script) in config.script_entries.iter().enumerate() {
        found.push((vec![key("script"), Step::Index(index), key("file")], Wanted::File(script.file.clone())));
    }
    let drivers = [("did", &config.drivers.did), ("alert", &config.drivers.alert)];
    for (name, script) in drivers {
        found.extend(script.iter().map(|script| (vec![key("drivers"), key(name)], Wanted::Script(script.clone()))));
    }
    for (index, route) in config.routes.iter().enumerate() {
        let path = || vec![key("route"), Step::Index(index), key("script")];
        found.extend(route.script.iter().map(|script| (path(), Wanted::Script(script.clone()))));
    }
    let owners = Owners::of(config);
    for (index, did) in config.dids.iter().enumerate() {
        let path = |name: &str| vec![key("did"), Step::Index(index), key(name)];
        found.extend(did.script.iter().map(|script| (path("script"), Wanted::Script(script.clone()))));
        for (at, destination) in did.destinations.iter().enumerate() {
            if let Destination::Class5(name) = destination
                && !config.class5.iter().any(|application| application.destination.matches(name))
            {
                let path = path("destinations").into_iter().chain([Step::Index(at)]).collect();
                let account = owners.of_did(did).to_owned();
                found.push((path, Wanted::Class5 { name: name.clone(), account }));
            }
        }
    }
    found
}

impl Config {
    /// Whether a script that `is_called` so is meant by a key that is not this account's: a name that the folder lacks yet is kept
    /// for whoever the configuration means.
    pub(crate) fn means_script_of_others(&self, account: &str, is_called: impl Fn(&str) -> bool) -> bool {
        let is_own_app = |name: &String| self.apps.iter().any(|app| app.name == *name && app.account == account);
        let owners = &Owners::of(self);
        let others_dids = || self.dids.iter().filter(move |did| owners.of_did(did) != account);
        let led_to = others_dids().flat_map(|did| &did.destinations).filter_map(|to| match to {
            Destination::Class5(name) => Some(name),
            Destination::User(_) | Destination::External(_) | Destination::Sip(_) | Destination::Socket { .. } => None,
        });
        let entries = self.script_entries.iter().filter(|entry| !entry.app.as_ref().is_some_and(is_own_app));
        let drivers = self.drivers.did.iter().chain(&self.drivers.alert);
        let routes = self.routes.iter().filter_map(|route| route.script.as_ref());
        let names = drivers.chain(routes).chain(others_dids().filter_map(|did| did.script.as_ref())).chain(led_to);
        names.chain(entries.map(|entry| &entry.file)).any(|name| is_called(name))
    }

    /// Every key that names a script, such as `did[0].script`.
    pub(crate) fn named_scripts(&self) -> impl Iterator<Item = (String, Wanted)> {
        find(self).into_iter().map(|(path, wanted)| (locate::render(&path), wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_for_whom_the_configuration_means() {
        let config: Config = toml::from_str(
            r#"
            [drivers]
            did = "carrier"
            alert = "alarm"
            [[app]]
            name = "norths"
            account = "north"
            [[route]]
            prefix = ""
            gateways = []
            script = "hook"
            [[did]]
            number = "1"
            account = "north"
            script = "filter"
            destinations = ["class5:menu", "user:anna"]
            [[script]]
            file = "audit.js"
            [[script]]
            file = "tuned.js"
            app = "norths"
            "#,
        )
        .unwrap();
        let kept = |account: &str| {
            let names = ["carrier", "alarm", "hook", "filter", "menu", "anna", "audit.js", "tuned.js"];
            names.into_iter().filter(|name| config.means_script_of_others(account, |meant| meant == *name)).collect::<Vec<_>>()
        };
        assert_eq!(kept("north"), ["carrier", "alarm", "hook", "audit.js"]);
        assert_eq!(kept("south"), ["carrier", "alarm", "hook", "filter", "menu", "audit.js", "tuned.js"]);
    }
}
