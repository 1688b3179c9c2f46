//! Secrets: values that are used and never shown.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The largest file a secret is read from, in bytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// A password or key. Written in place, as `env:NAME`, or as `file:/absolute/path` (a final line break is dropped).
///
/// `Debug` shows nothing of it, there is no `Display`, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps `value` as it is, without looking at `env:` or `file:`.
    pub fn literal(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether somebody has offered it. All of it is compared: the time taken says nothing but its length.
    pub fn is(&self, offered: &str) -> bool {
        let (own, offered) = (self.0.as_bytes(), offered.as_bytes());
        own.len() == offered.len() && own.iter().zip(offered).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    /// Whether there is nothing to keep secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Quoted)
    }
}

/// Reads a text, and says nothing of what a value is that is none: a PIN without its quotes is one all the same.
struct Quoted;

impl Quoted {
    fn refused<E: Error>() -> E {
        E::custom("expected a text in quotes")
    }
}

impl Visitor<'_> for Quoted {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Secret::try_from(text.to_owned()).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Secret, E> {
        Err(Self::refused())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(Self::refused())
    }
}

impl TryFrom<String> for Secret {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            return match std::env::var(name) {
                Ok(value) => Ok(Self(value)),
                Err(std::env::VarError::NotPresent) => Err(format!("environment variable {name} is not set")),
                Err(std::env::VarError::NotUnicode(_)) => Err(format!("environment variable {name} is not UTF-8")),
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            return read_file(Path::new(path)).map(Self);
        }
        Ok(Self(text))
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    if !path.is_absolute() {
        return Err(format!("expected an absolute path after `file:`, found `{}`", path.display()));
    }
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_SECRET_FILE {
        return Err(format!("{} has {size} bytes, at most {MAX_SECRET_FILE} expected of a secret", path.display()));
    }
    let mut text = std::fs::read_to_string(path).map_err(unreadable)?;
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::literal("hunter2")), "Secret(…)");
    }

    #[test]
    fn a_value_that_is_no_text_is_not_shown_either() {
        for value in ["48151623", "-48151623", "4815.1623", "true", "2024-08-15", "[48151623]", "{ a = 48151623 }"] {
            let text = format!("[[user]]\nname = \"1\"\npassword = {value}");
            let said = toml::from_str::<crate::config::Config>(&text).unwrap_err();
            let said = said.message();
            assert!(!["4815", "1623", "true", "2024"].iter().any(|part| said.contains(part)), "{value}: {said}");
        }
        let said = toml::from_str::<crate::config::Config>("[[user]]\nname = \"1\"\npassword = 1").unwrap_err();
        assert_eq!(said.message(), "expected a text in quotes");
    }

    #[test]
    fn only_the_whole_of_it_is_it() {
        let secret = Secret::literal("hunter2");
        let offered = ["hunter2", "hunter", "hunter22", "Hunter2", ""];
        assert_eq!(offered.map(|offered| secret.is(offered)), [true, false, false, false, false]);
    }

    #[test]
    fn reads_a_file_without_its_line_break() {
        let path = std::env::temp_dir().join(format!("lockstep-secret-{}", std::process::id()));
        std::fs::write(&path, "s3cret\n").unwrap();
        let secret = Secret::try_from(format!("file:{}", path.display())).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.expose(), "s3cret");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Secret::try_from("env:LOCKSTEP_NO_SUCH_VARIABLE".to_owned()).unwrap_err();
        assert_eq!(error, "environment variable LOCKSTEP_NO_SUCH_VARIABLE is not set");
    }

    #[test]
    fn a_relative_file_is_refused() {
        assert!(Secret::try_from("file:keys/a".to_owned()).unwrap_err().contains("absolute path"));
    }
}
