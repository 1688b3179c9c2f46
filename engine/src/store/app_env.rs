//! Variables of apps: what `setEnvVar` and `/v1/apps/{app}/env` keep.
//!
//! Every function works within a read or write of the [`Store`](super::Store).

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use lockstep_ctx_api::ErrorCode;

use super::error::StoreError;

/// Variables of one app.
const MAX_VARIABLES: usize = 1_000;
/// The longest name and the longest value, in bytes.
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 32 << 10;
/// Names that say who a script is.
const RESERVED: [&str; 4] = ["APP_ID", "EXEC_HOST", "CORRELATION_ID", "JOB_ID"];
/// What such names begin with.
const RESERVED_PREFIX: &str = "SCRIPTFORGE_";

/// What may be done with a variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flags {
    /// The value is in `process.env` and nowhere else: it cannot be read back.
    pub protected: bool,
    /// Scripts do not find it in `getEnvVars`; keys need the scope `admin` to see it.
    pub private: bool,
    /// Scripts cannot change it.
    pub locked: bool,
    /// It counts where `[[app]] env` says nothing.
    pub default: bool,
}

impl Flags {
    fn bits(self) -> u8 {
        u8::from(self.protected) | u8::from(self.private) << 1 | u8::from(self.locked) << 2 | u8::from(self.default) << 3
    }

    fn of_bits(bits: u8) -> Self {
        Self { protected: bits & 1 != 0, private: bits & 2 != 0, locked: bits & 4 != 0, default: bits & 8 != 0 }
    }
}

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: String,
    pub flags: Flags,
    pub updated_ms: u64,
}

/// Whose variables: an account's app; the empty one is that of scripts without an app.
pub type Owner<'a> = (&'a str, &'a str);

/// Every variable there is: account, app, variable.
pub fn all(connection: &Connection) -> Result<Vec<(String, String, Variable)>, StoreError> {
    let sql = "SELECT name, value, flags, updated_ms, account, app FROM app_env";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map([], |row| Ok((row.get(4)?, row.get(5)?, read(row)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The variables of an app, by name.
pub fn list(connection: &Connection, (account, app): Owner<'_>) -> Result<Vec<Variable>, StoreError> {
    let sql = "SELECT name, value, flags, updated_ms FROM app_env WHERE account = ? AND app = ? ORDER BY name";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![account, app], read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Sets a variable. A script keeps the flags that are there, and changes no locked one.
pub fn set(
    connection: &Connection,
    now: u64,
    owner: Owner<'_>,
    (name, value): (&str, &str),
    flags: Option<Flags>,
) -> Result<Variable, StoreError> {
    check(name, value)?;
    let (account, app) = owner;
    let known = list(connection, owner)?;
    let before = known.iter().find(|variable| variable.name == name);
    if flags.is_none() && before.is_some_and(|before| before.flags.locked) {
        return Err(StoreError::refused(ErrorCode::InvalidState, format!("'{name}' is locked")));
    }
    if before.is_none() && known.len() >= MAX_VARIABLES {
        return Err(StoreError::refused(ErrorCode::LimitError, format!("the app has {MAX_VARIABLES} variables already")));
    }
    let flags = flags.or_else(|| before.map(|before| before.flags)).unwrap_or_default();
    let sql = "INSERT INTO app_env (account, app, name, value, flags, updated_ms) VALUES (?, ?, ?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET value = excluded.value, flags = excluded.flags, updated_ms = excluded.updated_ms";
    connection.prepare_cached(sql)?.execute(params![account, app, name, value, flags.bits(), now])?;
    Ok(Variable { name: name.to_owned(), value: value.to_owned(), flags, updated_ms: now })
}

/// Removes a variable; whether there was one.
pub fn remove(connection: &Connection, (account, app): Owner<'_>, name: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM app_env WHERE account = ? AND app = ? AND name = ?";
    Ok(connection.prepare_cached(sql)?.execute(params![account, app, name])? > 0)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Variable> {
    Ok(Variable { name: row.get(0)?, value: row.get(1)?, flags: Flags::of_bits(row.get(2)?), updated_ms: row.get(3)? })
}

fn check(name: &str, value: &str) -> Result<(), StoreError> {
    let is_word = name.chars().enumerate().all(|(at, c)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit()));
    if name.is_empty() || name.len() > MAX_NAME || !is_word {
        let message = format!("expected a name of 1 to {MAX_NAME} letters, digits and `_`, got '{name}'");
        return Err(StoreError::refused(ErrorCode::RangeError, message));
    }
    if RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX) {
        return Err(StoreError::refused(ErrorCode::RangeError, format!("'{name}' is the engine's own")));
    }
    if value.len() > MAX_VALUE || value.contains('\0') {
        let message = format!("a value may have {MAX_VALUE} bytes and no NUL, got {} bytes", value.len());
        return Err(StoreError::refused(ErrorCode::LimitError, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Clock, Store};
    use super::*;

    const OWNER: Owner<'static> = ("default", "sales");

    #[tokio::test]
    async fn a_script_changes_values_but_neither_flags_nor_what_is_locked() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let set = async |value: &'static str, flags: Option<Flags>| {
            store
                .write(move |db, now| set(db, now, OWNER, ("KEY", value), flags))
                .await
                .map(|variable| (variable.value, variable.flags))
        };
        let protected = Flags { protected: true, ..Flags::default() };
        let locked = Flags { locked: true, ..protected };
        assert_eq!(set("1", Some(protected)).await.unwrap(), ("1".to_owned(), protected));
        assert_eq!(set("2", None).await.unwrap(), ("2".to_owned(), protected));
        assert_eq!(set("3", Some(locked)).await.unwrap().1, locked);
        assert_eq!(set("4", None).await.unwrap_err().to_string(), "'KEY' is locked");
        let kept = store.read(|db, _| list(db, OWNER)).await.unwrap();
        assert_eq!((kept.len(), kept[0].value.as_str(), kept[0].flags), (1, "3", locked));
        assert_eq!(store.read(|db, _| list(db, ("default", ""))).await.unwrap(), [], "another app has its own");
    }

    #[tokio::test]
    async fn names_and_values_have_bounds() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let long = "x".repeat(MAX_VALUE + 1);
        let own = [("APP_ID", "v"), ("JOB_ID", "v"), ("SCRIPTFORGE_X", "v")];
        let wrong = [("", "v"), ("1A", "v"), ("A-B", "v"), ("A", long.as_str()), ("A", "\0")];
        for (name, value) in own.into_iter().chain(wrong) {
            let (name, value) = (name.to_owned(), value.to_owned());
            assert!(store.write(move |db, now| set(db, now, OWNER, (&name, &value), None)).await.is_err());
        }
    }
}
