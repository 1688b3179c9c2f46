//! `LOCKSTEP_SIP__LISTEN=…`: any key of the configuration from the environment.
//!
//! The name is the key's path in capitals, steps joined by two underscores; numbers count the file's entries
//! of a list (`LOCKSTEP_USER__0__PASSWORD`). One step names a whole list or section (`LOCKSTEP_SCRIPT=[…]`); without such a value it is none
//! of ours (`LOCKSTEP_KEY` for `env:LOCKSTEP_KEY`).

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;
use super::error::{Place, Problem};
use super::locate::{self, Step};

const PREFIX: &str = "LOCKSTEP_";

/// A value from the environment that stands for one in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Override {
    pub(super) name: String,
    pub(super) path: Vec<Step>,
    value: String,
}

/// The variables that name a key, in the order of their names.
pub(super) fn overrides(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut found: Vec<Override> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX).filter(|rest| rest.contains("__") || is_composed(typed(&value).as_ref()))?;
            let path = path
                .split("__")
                .map(|step| step.parse().map_or_else(|_| Step::Key(step.to_ascii_lowercase()), Step::Index))
                .collect();
            Some(Override { name, path, value })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// What a text is as a TOML value.
fn typed(text: &str) -> Option<Value> {
    toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut table| table.remove("v"))
}

/// Whether it is plainly a list or a table.
fn is_composed(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Array(_) | Value::Table(_)))
}

/// Puts `change` into `table`: as the TOML value it may be, else as text, else as a list of texts parted by commas, whichever
/// the key takes.
pub(super) fn apply(table: &mut Table, change: &Override) -> Result<(), Problem> {
    let problem = |message| Problem { place: Place::Variable(change.name.clone()), key: locate::render(&change.path), message };
    let text = Value::String(change.value.clone());
    let list = Value::Array(change.value.split(',').map(|part| Value::String(part.trim().to_owned())).collect());
    let typed = typed(&change.value);
    // A value that is plainly a list or a table was meant as one: what is wrong within it is the reason.
    let is_composed = is_composed(typed.as_ref());
    let mut first_error = None;
    let readings = [(false, Some(text)), (is_composed, typed), (false, Some(list))];
    for (is_reason, candidate) in readings.into_iter().filter_map(|(is_reason, value)| Some((is_reason, value?))) {
        let mut changed = table.clone();
        insert(&mut changed, &change.path, candidate).map_err(problem)?;
        match Config::deserialize(changed.clone()) {
            Ok(_) => {
                *table = changed;
                return Ok(());
            }
            Err(error) => {
                if first_error.is_none() || is_reason {
                    first_error = Some(error);
                }
            }
        }
    }
    let message = first_error.map(|error| error.message().trim_end().to_owned()).unwrap_or_default();
    Err(problem(message))
}

fn insert(table: &mut Table, path: &[Step], value: Value) -> Result<(), String> {
    let Some((Step::Key(key), rest)) = path.split_first() else {
        return Err("expected the name of a key".to_owned());
    };
    match rest {
        [] => {
            table.insert(key.clone(), value);
            Ok(())
        }
        [Step::Key(_), ..] => match table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => insert(inner, rest, value),
            other => Err(format!("`{key}` is no table but a value of type {}", other.type_str())),
        },
        [Step::Index(index), rest @ ..] => match table.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(items) => insert_item(key, items, *index, rest, value),
            other => Err(format!("`{key}` is no list but a value of type {}", other.type_str())),
        },
    }
}

fn insert_item(key: &str, items: &mut [Value], index: usize, rest: &[Step], value: Value) -> Result<(), String> {
    let count = items.len();
    match (items.get_mut(index), rest) {
        (None, _) => Err(format!("expected the number of an entry in the file, which has {count} of `{key}`, found {index}")),
        (Some(item), []) => {
            *item = value;
            Ok(())
        }
        (Some(Value::Table(inner)), rest) => insert(inner, rest, value),
        (Some(other), _) => Err(format!("`{key}[{index}]` is no table but a value of type {}", other.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(file: &str, name: &str, value: &str) -> Result<Config, Problem> {
        let mut table: Table = toml::from_str(file).unwrap();
        for change in overrides([(name.to_owned(), value.to_owned())]) {
            apply(&mut table, &change)?;
        }
        Ok(Config::deserialize(table).unwrap())
    }

    #[test]
    fn a_list_may_be_toml_or_parted_by_commas() {
        for value in ["udp:127.0.0.1:0, tcp:127.0.0.1:0", "[\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]"] {
            assert_eq!(applied("", "LOCKSTEP_SIP__LISTEN", value).unwrap().sip.listen.len(), 2, "{value}");
        }
    }

    #[test]
    fn a_single_value_serves_as_a_list() {
        let config = applied("", "LOCKSTEP_SIP__LISTEN", "udp:127.0.0.1:0").unwrap();
        assert_eq!(config.sip.listen[0].to_string(), "udp:127.0.0.1:0");
    }

    #[test]
    fn text_that_looks_like_a_number_stays_text() {
        let config = applied("[[user]]\nname = \"1\"\npassword = \"x\"", "LOCKSTEP_USER__0__PASSWORD", "1234").unwrap();
        assert_eq!(config.users[0].password.expose(), "1234");
    }

    #[test]
    fn numbers_and_switches_are_read_as_such() {
        assert_eq!(applied("", "LOCKSTEP_MEDIA__THREADS", "2").unwrap().media.threads, 2);
    }

    #[test]
    fn errors_name_the_variable() {
        let problem = applied("", "LOCKSTEP_MEDIA__PORTS", "many").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "LOCKSTEP_MEDIA__PORTS: media.ports: expected a port range such as `20000-29999`, found `many`"
        );
        assert!(applied("", "LOCKSTEP_SIP__LISTNE", "x").unwrap_err().to_string().contains("unknown field `listne`"));
    }

    #[test]
    fn one_step_names_a_whole_list_or_section_and_else_nothing_of_ours() {
        let scripts =
            applied("[[script]]\nfile = \"a.js\"", "LOCKSTEP_SCRIPT", r#"[{ file = "b.js" }, { file = "c.js" }]"#).unwrap();
        assert_eq!(scripts.script_entries.iter().map(|entry| entry.file.as_str()).collect::<Vec<_>>(), ["b.js", "c.js"]);
        assert_eq!(applied("", "LOCKSTEP_MEDIA", "{ threads = 2 }").unwrap().media.threads, 2);
        assert!(applied("", "LOCKSTEP_SCRPT", "[]").unwrap_err().to_string().contains("unknown field `scrpt`"));
        for (name, value) in [("LOCKSTEP_KEY", "x"), ("LOCKSTEP_USER", "bob"), ("LOCKSTEP_KEY", "[x"), ("LOCKSTEP_PORT", "5060")]
        {
            assert_eq!(overrides([(name.to_owned(), value.to_owned())]), [], "{name}={value}");
        }
    }
}
