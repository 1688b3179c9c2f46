//! What readers of journals do not get to see.

use lockstep_ctx_api::journal::{Journal, REDACTED, Redactor, SecretNames};
use lockstep_ctx_api::op::Vars;

use crate::config::Config;

/// Shorter secrets are hidden by their names only: their few letters and digits stand everywhere.
const MIN_BYTES: usize = 6;

/// Hides what is secret by its name, and every secret of configuration and environment wherever it stands.
#[derive(Clone, Default)]
pub struct Redaction {
    /// The longest first: one may be a part of another.
    values: Vec<String>,
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
        redaction.add(config.secrets().map(|secret| secret.expose().to_owned()));
        redaction
    }

    /// As it applies to one journal, whose environment is secret, too.
    #[must_use]
    pub fn for_journal(&self, journal: &Journal) -> Self {
        self.with_env(&journal.header.run.env)
    }

    fn with_env(&self, env: &Vars) -> Self {
        let mut redaction = self.clone();
        // The names that the engine sets itself are not hidden: they tell which run it was.
        redaction.add(env.iter().filter(|(name, _)| SecretNames::hides_variable(name)).map(|(_, value)| value.clone()));
        redaction
    }

    fn add(&mut self, values: impl Iterator<Item = String>) {
        self.values.extend(values.filter(|value| value.len() >= MIN_BYTES && value != REDACTED));
        self.values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.values.dedup();
    }
}

impl Redactor for Redaction {
    fn redact(&self, name: &str, value: &str) -> Option<String> {
        let named = SecretNames.redact(name, value);
        let shown = named.as_deref().unwrap_or(value);
        let mut hidden: Option<String> = None;
        for secret in &self.values {
            let text = hidden.as_deref().unwrap_or(shown);
            if text.contains(secret.as_str()) {
                hidden = Some(text.replace(secret.as_str(), REDACTED));
            }
        }
        hidden.or(named)
    }
}

#[cfg(test)]
mod tests {
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
    fn what_is_no_secret_stays() {
        let redaction = redaction();
        for (name, value) in [("number", "+4412345678"), ("value", "1234"), ("text", "0123456789"), ("text", "")] {
            assert_eq!(redaction.redact(name, value), None, "{name}: {value}");
        }
    }
}
