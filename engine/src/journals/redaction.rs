//! What readers of journals do not get to see.

use std::collections::BTreeSet;

use lockstep_ctx_api::journal::{Journal, REDACTED, Redactor, SecretNames, secrets_of};
use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::wire::Bundle;
use rustc_hash::FxHashMap;
use url::Url;

use crate::check;
use crate::config::Config;

/// Octets that every secret begins with.
type Beginning = [u8; SecretNames::MIN_BYTES];

/// Hides what is secret by its name, and every secret of configuration and environment wherever it stands.
#[derive(Clone, Default)]
pub struct Redaction {
    /// Secrets, and what is shown in their places. The longest first: one may be a part of another.
    values: Vec<(String, String)>,
    /// Where among them those are that begin so: there may be one for each of a hundred thousand users.
    beginnings: FxHashMap<Beginning, Vec<usize>>,
    /// Of these, values of variables that may be no secrets, as [`Config::settings`] has them.
    settings: BTreeSet<String>,
    /// Values of variables that are none, since the program itself names them.
    words: BTreeSet<String>,
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redaction({} values)", self.values.len())
    }
}

impl Redaction {
    /// The secrets of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut redaction = Self::default();
        redaction.add(config.secrets().map(|secret| (secret.expose().to_owned(), REDACTED.to_owned())));
        redaction.settings = config.settings().into_iter().map(str::to_owned).collect();
        redaction
    }

    /// As it applies to one journal: its environment is secret, too, and so is what came in under the name of a credential, but for what
    /// the texts that were run name.
    #[must_use]
    pub fn for_journal(&self, journal: &Journal, bundle: Option<&Bundle>) -> Self {
        let env = &journal.header.run.env;
        let mut redaction = self.with_env(env);
        let mut found = secrets_of(journal);
        let is_file = |value: &String| *value == journal.header.script || journal.header.sources.contains_key(value);
        found.retain(|value| {
            is_telling(value) && !is_file(value) && !redaction.candidates(value).any(|(known, _)| known == value)
        });
        redaction.add(found.iter().map(|value| (value.clone(), REDACTED.to_owned())));
        if let Some(bundle) = bundle {
            let mut wanted = self.settings_with(env);
            wanted.extend(found.iter().map(String::as_str));
            let words = words_of(bundle, &wanted);
            redaction.values.retain(|(value, _)| !words.contains(value.as_str()));
            redaction.words = words.into_iter().map(str::to_owned).collect();
            redaction.index();
        }
        redaction
    }

    /// Values that may be no secrets, those of a run's environment included.
    fn settings_with<'v>(&'v self, env: &'v Vars) -> BTreeSet<&'v str> {
        let (credentials, settings): (Vec<_>, Vec<_>) = env.iter().partition(|(name, _)| SecretNames::is_credential(name));
        let is_secret = |value: &str| {
            credentials.iter().any(|(_, credential)| *credential == value)
                || !self.settings.contains(value) && self.values.iter().any(|(secret, _)| secret == value)
        };
        let settings = settings.into_iter().map(|(_, value)| value.as_str()).chain(self.settings.iter().map(String::as_str));
        settings.filter(|&value| value.len() >= SecretNames::MIN_BYTES && !is_secret(value)).collect()
    }

    fn with_env(&self, env: &Vars) -> Self {
        let mut redaction = self.clone();
        let mut hosts = Vec::new();
        // The names that the engine sets itself are not hidden: they tell which run it was.
        let hidden = env.iter().filter(|(name, value)| SecretNames::hides_variable(name, value));
        redaction.add(hidden.map(|(_, value)| (value.clone(), stand_in(value, &mut hosts))));
        redaction
    }

    /// What is added counts before what is there.
    fn add(&mut self, values: impl Iterator<Item = (String, String)>) {
        let is_secret = |value: &str| value.len() >= SecretNames::MIN_BYTES && value != REDACTED && !is_stand_in(value);
        let added: Vec<_> = values.filter(|(value, _)| is_secret(value)).collect();
        self.values = added.into_iter().chain(std::mem::take(&mut self.values)).collect();
        self.values.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.values.dedup_by(|(later, _), (earlier, _)| later == earlier);
        self.index();
    }

    fn index(&mut self) {
        self.beginnings.clear();
        for (at, (value, _)) in self.values.iter().enumerate() {
            if let Some(beginning) = value.as_bytes().first_chunk() {
                self.beginnings.entry(*beginning).or_default().push(at);
            }
        }
    }

    /// The secrets of which a text may hold one, in their order.
    fn candidates(&self, text: &str) -> impl Iterator<Item = &(String, String)> {
        let windows = text
            .as_bytes()
            .windows(SecretNames::MIN_BYTES)
            .filter_map(|window| window.first_chunk::<{ SecretNames::MIN_BYTES }>());
        let found: BTreeSet<usize> = windows.filter_map(|window| self.beginnings.get(window)).flatten().copied().collect();
        found.into_iter().filter_map(|at| self.values.get(at))
    }
}

impl Redactor for Redaction {
    fn redact(&self, name: &str, value: &str) -> Option<String> {
        if is_stand_in(value) || name == SecretNames::ENVIRONMENT && self.words.contains(value) {
            return None;
        }
        let whole = self.candidates(value).find(|(secret, shown)| secret == value && shown != REDACTED);
        if let Some((_, shown)) = whole {
            return Some(shown.clone());
        }
        // Before the names within a value: a secret may be a URL with names of its own.
        let mut hidden: Option<String> = None;
        for (secret, stand_in) in self.candidates(value) {
            let text = hidden.as_deref().unwrap_or(value);
            if text.contains(secret.as_str()) {
                hidden = Some(text.replace(secret.as_str(), stand_in));
            }
        }
        SecretNames.redact(name, hidden.as_deref().unwrap_or(value)).or(hidden)
    }
}

/// Whether a text can be told from the words, numbers and addresses of a journal.
fn is_telling(value: &str) -> bool {
    let is_word = !value.contains(|char: char| !char.is_ascii_alphabetic());
    let is_number = !value.contains(|char: char| char.is_ascii_alphabetic()) || value.parse::<f64>().is_ok();
    !is_word && !is_number && !value.contains("://")
}

/// Those of `wanted` that a program names. Whoever has its texts knows them.
fn words_of<'w>(bundle: &Bundle, wanted: &BTreeSet<&'w str>) -> BTreeSet<&'w str> {
    let packages = bundle.packages.bundles.values().map(|package| ("package.js", &package.source));
    let files = bundle.files.iter().map(|(file, source)| (file.as_str(), source));
    files.chain(packages).flat_map(|(file, source)| check::words(file, source, wanted)).collect()
}

/// What is shown for a value of the environment. In the place of a URL or a host stands one that leads nowhere: a script that makes URLs of
/// it does so in a replay, too. `hosts`: those before it.
fn stand_in(value: &str, hosts: &mut Vec<String>) -> String {
    let Some(url) = url_of(value) else { return REDACTED.to_owned() };
    let host = url.host_str().unwrap_or_default();
    let place = hosts.iter().position(|known| known == host).unwrap_or(hosts.len());
    if place == hosts.len() {
        hosts.push(host.to_owned());
    }
    in_form_of(value, &url, &(place + 1).to_string())
}

/// Whether a value is what [`stand_in`] makes of one.
fn is_stand_in(value: &str) -> bool {
    if !value.contains("redacted-") {
        return false;
    }
    let Some(url) = url_of(value) else { return false };
    let number = url.host_str().and_then(|host| host.strip_prefix("redacted-")?.strip_suffix(".invalid"));
    number.is_some_and(|number| number.bytes().all(|octet| octet.is_ascii_digit()) && in_form_of(value, &url, number) == value)
}

/// A URL without anything of `url` but its scheme and port, which has a path and a query where that has them.
fn in_form_of(value: &str, url: &Url, number: &str) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let authority = format!("redacted-{number}.invalid{port}");
    let Some((_, rest)) = value.split_once("://") else { return authority };
    let path = match url.path() {
        "/" if !rest.contains('/') => "",
        "/" => "/",
        path if path.ends_with('/') => "/redacted/",
        _ => "/redacted",
    };
    let query = if url.query().is_some() { "?redacted=1" } else { "" };
    format!("{}://{authority}{path}{query}", url.scheme())
}

/// A value that scripts make URLs of: one itself, or a host, with or without a port.
fn url_of(value: &str) -> Option<Url> {
    if value.contains(char::is_whitespace) {
        return None;
    }
    let url = if value.contains("://") {
        Url::parse(value).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "ws" | "wss"))?
    } else {
        let text = format!("http://{value}/");
        Url::parse(&text).ok().filter(|url| value.contains('.') && url.path() == "/" && url.as_str() == text)?
    };
    (url.username().is_empty() && url.password().is_none() && url.fragment().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use lockstep_ctx_api::journal::redact_text;

    use super::*;

    fn redaction() -> Redaction {
        let config: Config = toml::from_str(
            "[api]\nkeys = [{ key = \"a-long-key-of-ours\", scopes = [\"admin\"] }]\n[[user]]\nname = \"1001\"\npassword = \"1234\"",
        )
        .unwrap();
        let env = [("DB".into(), "postgres-hush".into()), ("CORRELATION_ID".into(), "0123456789".into())];
        Redaction::of(&config).with_env(&env.into())
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let redaction = redaction();
        for (name, value, shown) in [
            ("url", "https://h/?key=a-long-key-of-ours&x=postgres-hush", "https://h/?key=[redacted]&x=[redacted]"),
            ("Authorization", "Bearer abc", "[redacted]"),
            ("text", "postgres-hush", "[redacted]"),
        ] {
            assert_eq!(redaction.redact(name, value).as_deref(), Some(shown), "{name}: {value}");
        }
    }

    #[test]
    fn urls_and_hosts_of_the_environment_are_shown_as_others() {
        let env = [
            ("A", "https://api.example.com/v1"),
            ("B", "api.example.com"),
            ("C", "http://10.0.0.7:8080"),
            ("D", "wss://api.example.com/hook/T0/?key=1"),
            ("E", "https://user:pass@db.example.com"),
            ("F", "eyJh.eyJz.SflK"),
            ("G", "https://hook.example.com/x?token=hush"),
        ];
        let env: Vars = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let config: Config = toml::from_str("[[app]]\nname = \"a\"\nenv = { A = \"https://api.example.com/v1\" }").unwrap();
        let redaction = Redaction::of(&config).with_env(&env);
        for (name, value, shown) in [
            ("env", "https://api.example.com/v1", "https://redacted-1.invalid/redacted"),
            ("env", "api.example.com", "redacted-1.invalid"),
            ("env", "http://10.0.0.7:8080", "http://redacted-2.invalid:8080"),
            ("env", "wss://api.example.com/hook/T0/?key=1", "wss://redacted-1.invalid/redacted/?redacted=1"),
            ("env", "https://user:pass@db.example.com", "[redacted]"),
            ("env", "eyJh.eyJz.SflK", "[redacted]"),
            ("url", "https://api.example.com/v1/x", "https://redacted-1.invalid/redacted/x"),
            ("url", "https://api.example.com/v2", "https://redacted-1.invalid/v2"),
            ("url", "http://10.0.0.7:8080/", "http://redacted-2.invalid:8080/"),
            ("url", "https://hook.example.com/x?token=hush&b=1", "https://redacted-3.invalid/redacted?redacted=1&b=1"),
            ("x-token", "https://api.example.com/v1/x", "[redacted]"),
            ("x-token", "https://redacted-1.invalid/x", "[redacted]"),
        ] {
            assert_eq!(redaction.redact(name, value).as_deref(), Some(shown), "{name}: {value}");
            if name == "env" {
                let env = [("A".to_owned(), shown.to_owned())].into();
                let again = Redaction::default().with_env(&env).redact(name, shown);
                assert!(again.is_none_or(|again| again == shown), "what is hidden stays as it is: {shown}");
            }
        }
    }

    #[test]
    fn names_in_json_are_looked_at_where_secrets_stand_in_it() {
        let env =
            [("HOST", "api.example.com"), ("NAME", "client_secret"), ("PIN", "123456"), ("KEY", r#"{"b":"x", "a":"hush"}"#)];
        let env: Vars = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let redaction = Redaction::default().with_env(&env);
        for (text, shown) in [
            (r#"{"host":"api.example.com","token":"hush"}"#, r#"{"host":"redacted-1.invalid","token":"[redacted]"}"#),
            (
                r#"["user:token","hush","https://api.example.com/"]"#,
                r#"["user:token","[redacted]","https://redacted-1.invalid/"]"#,
            ),
            (r#"{"client_secret":"hush"}"#, r#"{"[redacted]":"[redacted]"}"#),
            (r#"{"pin":123456}"#, r#"{"pin":[redacted]}"#),
            (r#"{"b":"x", "a":"hush"}"#, "[redacted]"),
        ] {
            assert_eq!(redact_text(&redaction, "body", text).as_deref(), Some(shown), "{text}");
        }
    }

    #[test]
    fn values_are_settings_where_neither_a_name_nor_another_secret_says_otherwise() {
        let config: Config = toml::from_str(
            "[[user]]\nname = \"1001\"\npassword = \"welcome1\"\n[[app]]\nname = \"a\"\n\
             env = { MODE = \"answer\", API_TOKEN = \"voicemail\", GREETING = \"welcome1\", LANG2 = \"en\" }",
        )
        .unwrap();
        let env = [("PLACE", "reception"), ("A", "welcome1"), ("B", "voicemail"), ("C", "swordfish"), ("DOOR_PIN", "swordfish")];
        let env: Vars = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(Redaction::of(&config).settings_with(&env), BTreeSet::from(["answer", "reception"]));
    }

    #[test]
    fn words_numbers_and_addresses_are_hidden_in_their_places_only() {
        for (value, expected) in [
            ("hush-1", true),
            ("a1b2c3", true),
            ("swordfish", false),
            ("+4412345678", false),
            ("1e100", false),
            ("https://h/a1", false),
        ] {
            assert_eq!(is_telling(value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let redaction = redaction();
        for (name, value) in [("number", "+4412345678"), ("value", "1234"), ("text", "0123456789"), ("text", "")] {
            assert_eq!(redaction.redact(name, value), None, "{name}: {value}");
        }
    }
}
