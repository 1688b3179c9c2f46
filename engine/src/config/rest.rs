//! `[rest]`: which management interface `cxRest` asks, and as whom.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Secret;

/// `[rest]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestConfig {
    /// Absent: the interface of this engine.
    pub base_url: Option<String>,
    /// By the name that scripts give to `cxRest.auth`.
    pub users: BTreeMap<String, RestUser>,
}

/// A user of `cxRest`: `"TOKEN"`, or `{ token = "TOKEN", account = "NAME" }`.
#[derive(Clone, Debug, PartialEq)]
pub struct RestUser {
    /// The bearer token.
    pub token: Secret,
    /// Whose scripts may ask as this user; `*`: everybody's.
    pub account: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    token: Secret,
    #[serde(default = "super::default_account")]
    account: String,
}

impl<'de> Deserialize<'de> for RestUser {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable)
    }
}

/// Reads either form; what is wrong with a token is said as it is.
struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = RestUser;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token, or `{ token = …, account = … }`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RestUser, E> {
        let token = Secret::try_from(text.to_owned()).map_err(E::custom)?;
        Ok(RestUser { token, account: super::default_account() })
    }

    // A token without its quotes is not shown.
    fn visit_i64<E: Error>(self, _: i64) -> Result<RestUser, E> {
        Err(E::custom("expected a token in quotes, or `{ token = …, account = … }`"))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<RestUser, A::Error> {
        let Table { token, account } = Table::deserialize(MapAccessDeserializer::new(table))?;
        Ok(RestUser { token, account })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_ACCOUNT;

    #[test]
    fn a_user_is_a_token_or_says_whose_it_is() {
        let read = |text: &str| toml::from_str::<RestConfig>(text).map_err(|error| error.to_string());
        let config = read("users = { ops = \"t1\", north = { token = \"t2\", account = \"north\" } }").unwrap();
        let user = |token: &str, account: &str| Some(RestUser { token: Secret::literal(token), account: account.to_owned() });
        assert_eq!(config.users.get("ops").cloned(), user("t1", DEFAULT_ACCOUNT));
        assert_eq!(config.users.get("north").cloned(), user("t2", "north"));
        for (wrong, said) in [
            ("users = { ops = \"env:NO_SUCH_VARIABLE\" }", "NO_SUCH_VARIABLE is not set"),
            ("users = { ops = 1 }", "a token in quotes, or"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
