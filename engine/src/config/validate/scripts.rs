//! Scripts, their apps, and what is dialled to reach them.

use std::collections::BTreeMap;

use super::{Report, entry};
use crate::config::{Config, DEFAULT_ACCOUNT, Destination, ScriptEntry};

/// The account that a script belongs to; `None`: its header comment may say an app of another one.
fn account_of<'a>(config: &'a Config, script: &ScriptEntry) -> Option<&'a str> {
    match &script.app {
        Some(name) => config.apps.iter().find(|app| app.name == *name).map(|app| app.account.as_str()),
        None => config.apps.iter().all(|app| app.account == DEFAULT_ACCOUNT).then_some(DEFAULT_ACCOUNT),
    }
}

pub(super) fn scripts(config: &Config, report: &mut Report) {
    report.duplicates("app", "name", config.apps.iter().map(|app| &app.name));
    for (index, app) in config.apps.iter().enumerate().filter(|(_, app)| ["", "-"].contains(&app.name.as_str())) {
        // Scripts without an app go by these.
        report.error(entry("app", index, "name"), format!("expected a name, found `{}`", app.name));
    }
    report.duplicates("script", "file", config.script_entries.iter().map(|script| &script.file));
    let destinations = config
        .script_entries
        .iter()
        .enumerate()
        .filter_map(|(index, script)| Some((index, account_of(config, script)?, script.class5_destination.as_ref()?)));
    let mut seen = BTreeMap::new();
    for (index, account, destination) in destinations {
        if let Some(first) = seen.insert((account, destination.to_string()), index) {
            let message = format!("`{destination}` already leads to script[{first}]");
            report.error(entry("script", index, "class5_destination"), message);
        }
    }
    for (index, application) in config.class5.iter().enumerate() {
        let destination = application.destination.to_string();
        if !matches!(application.to, Destination::Socket { .. }) {
            let message = "expected `socket:HOST:PORT [async] [full]`: a script says itself which destination is its own";
            report.error(entry("class5", index, "to"), message);
        }
        // Applications are the operator's.
        let is_theirs = |script: &&ScriptEntry| account_of(config, script).is_some_and(|name| name != DEFAULT_ACCOUNT);
        let scripts = config.script_entries.iter().filter(|script| !is_theirs(script));
        let scripts = scripts.filter_map(|script| script.class5_destination.as_ref());
        let earlier = config.class5.iter().take(index).map(|application| &application.destination);
        if scripts.chain(earlier).any(|other| other.to_string() == destination) {
            report.error(entry("class5", index, "destination"), format!("`{destination}` leads elsewhere already"));
        }
    }
    for (index, script) in config.script_entries.iter().enumerate() {
        for (key, message) in script.problems() {
            report.error(entry("script", index, key), message);
        }
        if let Some(app) = script.app.as_ref().filter(|app| !config.apps.iter().any(|known| known.name == **app)) {
            report.error(entry("script", index, "app"), format!("expected the name of an [[app]], found `{app}`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::validate::tests::{errors, keys};

    #[test]
    fn two_scripts_cannot_share_a_destination() {
        let text =
            "[[script]]\nfile = \"a.js\"\nclass5_destination = \"1\"\n[[script]]\nfile = \"b.js\"\nclass5_destination = \"1\"";
        assert_eq!(errors(text), [("script[1].class5_destination".to_owned(), "`1` already leads to script[0]".to_owned())]);
    }

    #[test]
    fn scripts_of_two_accounts_may_have_the_same_destination() {
        let accounts = "[[account]]\nname = \"north\"\n[[account]]\nname = \"south\"\n\
                        [[app]]\nname = \"n\"\naccount = \"north\"\n[[app]]\nname = \"s\"\naccount = \"south\"\n";
        let script = |file: &str, app: &str| format!("[[script]]\nfile = \"{file}\"\n{app}\nclass5_destination = \"1\"\n");
        let found = |scripts: &[String]| keys(&(accounts.to_owned() + &scripts.concat()));
        let (north, south) = (script("a.js", "app = \"n\""), script("b.js", "app = \"s\""));
        let (unsaid, unsaid_too) = (script("c.js", ""), script("d.js", ""));
        assert_eq!(found(&[north.clone(), south.clone()]), [""; 0]);
        assert_eq!(found(&[north.clone(), unsaid, unsaid_too]), [""; 0], "their header comments say whose they are");
        assert_eq!(found(&[north.clone(), script("b.js", "app = \"n\"")]), ["script[1].class5_destination"]);
        let application = "[[class5]]\ndestination = \"1\"\nto = \"socket:127.0.0.1:1\"\n".to_owned();
        assert_eq!(found(&[north, application]), [""; 0], "it is the operator's");
    }

    #[test]
    fn an_application_has_a_class_5_destination_of_its_own() {
        let socket = "to = \"socket:127.0.0.1:1 async full\"";
        let class5 = |destination: &str, to: &str| format!("[[class5]]\ndestination = {destination}\n{to}\n");
        assert_eq!(keys(&class5("4000", socket)), [""; 0]);
        assert_eq!(keys(&class5("\"4000\"", "to = \"class5:1000\"")), ["class5[0].to"]);
        assert_eq!(keys(&(class5("\"4\"", socket) + &class5("4", socket))), ["class5[1].destination"]);
    }
}
