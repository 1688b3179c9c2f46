//! `LOCKSTEP_SIP__LISTEN=…`: any key of the configuration from the environment.
//!
//! The name is the key's path in capitals, steps joined by two underscores; numbers count the file's entries
//! of a list (`LOCKSTEP_USER__0__PASSWORD`). A step means the key of the file that it fits in any case of letters; where the file has none,
//! names that are the user's own are as they are written. One step names a whole list or section (`LOCKSTEP_SCRIPT=[…]`); without such a value it is none
//! of ours (`LOCKSTEP_KEY` for `env:LOCKSTEP_KEY`).

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;
use super::error::{Place, Problem};
use super::locate::{self, Step};

const PREFIX: &str = "LOCKSTEP_";
/// The one name of the configuration's own that has capitals.
const USERSPACE_LOOKUP: &str = "userspaceLookup";

/// A value from the environment that stands for one in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Override {
    pub(super) name: String,
    /// As the variable has it, until it is applied.
    pub(super) path: Vec<Step>,
    value: String,
}

/// The variables that name a key, in the order of their names.
pub(super) fn overrides(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut found: Vec<Override> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX).filter(|rest| rest.contains("__") || is_composed(typed(&value).as_ref()))?;
            let path =
                path.split("__").map(|step| step.parse().map_or_else(|_| Step::Key(step.to_owned()), Step::Index)).collect();
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

/// A path as `table` spells it, and the value that stands there.
fn spelled<'a>(table: &'a Table, path: &[Step]) -> (Vec<Step>, Option<&'a Value>) {
    let mut spelled: Vec<Step> = Vec::with_capacity(path.len());
    let (mut keys, mut items, mut value) = (Some(table), None::<&Vec<Value>>, None);
    for step in path {
        let step = match step {
            Step::Index(index) => {
                value = items.and_then(|items| items.get(*index));
                Step::Index(*index)
            }
            Step::Key(written) => {
                let key = key_of(keys, written, &spelled);
                value = keys.and_then(|table| table.get(&key));
                Step::Key(key)
            }
        };
        (keys, items) = (value.and_then(Value::as_table), value.and_then(Value::as_array));
        spelled.push(step);
    }
    (spelled, value)
}

/// The key that is meant by `written` in a table, at which the path `to` has led.
fn key_of(table: Option<&Table>, written: &str, to: &[Step]) -> String {
    let keys = || table.into_iter().flat_map(Table::keys);
    let same = keys().find(|key| *key == written).or_else(|| keys().find(|key| key.eq_ignore_ascii_case(written)));
    if let Some(key) = same {
        return key.clone();
    }
    let is_spelled = match names(to).as_slice() {
        ["lookup"] if written.eq_ignore_ascii_case(USERSPACE_LOOKUP) => return USERSPACE_LOOKUP.to_owned(),
        // Names of users and providers are written in capitals like any key, unless they are given as they are.
        ["lookup"] | ["rest", "users"] | ["tts", "provider"] => written.contains(|c: char| c.is_ascii_lowercase()),
        [.., "env"] => true,
        names => names.contains(&"vars"),
    };
    if is_spelled { written.to_owned() } else { written.to_ascii_lowercase() }
}

fn names(path: &[Step]) -> Vec<&str> {
    let names = path.iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    });
    names.collect()
}

/// Puts `change` into `table`: as the text it is, else as the TOML value it may be, else as a list of texts parted by commas, whichever
/// the key takes. Variables of scripts take anything: there it is the TOML value first, unless the file has a text.
pub(super) fn apply(table: &mut Table, change: &mut Override) -> Result<(), Problem> {
    let (path, before) = spelled(table, &change.path);
    let is_typed_first = names(&path).contains(&"vars") && !before.is_some_and(Value::is_str);
    change.path = path;
    let change = &*change;
    let problem = |message| Problem { place: Place::Variable(change.name.clone()), key: locate::render(&change.path), message };
    let text = Value::String(change.value.clone());
    let list = Value::Array(change.value.split(',').map(|part| Value::String(part.trim().to_owned())).collect());
    let typed = typed(&change.value);
    // A value that is plainly a list or a table was meant as one: what is wrong within it is the reason.
    let is_composed = is_composed(typed.as_ref());
    let mut first_error = None;
    let mut readings = [(false, Some(text)), (is_composed, typed), (false, Some(list))];
    if is_typed_first {
        readings.swap(0, 1);
    }
    for (is_reason, candidate) in readings.into_iter().filter_map(|(is_reason, value)| Some((is_reason, value?))) {
        let mut changed = table.clone();
        insert(&mut changed, &change.path, candidate).map_err(problem)?;
        match Config::deserialize(around(&changed, &change.path)).map(drop) {
            // What it lacks, another variable may have.
            Err(error) if !is_incomplete(&error) => {
                if first_error.is_none() || is_reason {
                    first_error = Some(error);
                }
            }
            Ok(()) | Err(_) => {
                *table = changed;
                return Ok(());
            }
        }
    }
    let message = first_error.map(|error| error.message().trim_end().to_owned()).unwrap_or_default();
    Err(problem(message))
}

/// Whether nothing is wrong but that a key is not there.
pub(super) fn is_incomplete(error: &toml::de::Error) -> bool {
    error.message().starts_with("missing field")
}

/// Of `table` the section, or the entry of a list, that `path` leads into: what others lack says nothing of it.
fn around(table: &Table, path: &[Step]) -> Table {
    let Some(Step::Key(key)) = path.first() else { return Table::new() };
    let part = match (table.get(key), path.get(1)) {
        (Some(Value::Array(items)), Some(Step::Index(index))) => items.get(*index).map(|item| Value::Array(vec![item.clone()])),
        (part, _) => part.cloned(),
    };
    part.map(|part| (key.clone(), part)).into_iter().collect()
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
        for mut change in overrides([(name.to_owned(), value.to_owned())]) {
            apply(&mut table, &mut change)?;
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
    fn keys_that_have_capitals_are_found_in_any_case_and_names_of_ones_own_are_as_they_are_written() {
        let app = "[[app]]\nname = \"a\"\nenv = { API_URL = \"x\" }";
        let env = |name: &str| {
            let config = applied(app, name, "y").unwrap();
            config.apps[0].env.iter().map(|(key, value)| format!("{key}={}", value.expose())).collect::<Vec<_>>()
        };
        assert_eq!(env("LOCKSTEP_APP__0__ENV__API_URL"), ["API_URL=y"]);
        assert_eq!(env("LOCKSTEP_APP__0__ENV__api_url"), ["API_URL=y"]);
        assert_eq!(env("LOCKSTEP_APP__0__ENV__API_KEY"), ["API_KEY=y", "API_URL=x"]);
        for (name, key) in [
            ("LOCKSTEP_LOOKUP__USERSPACELOOKUP__AREA", "userspaceLookup"),
            ("LOCKSTEP_LOOKUP__userspaceLookup__AREA", "userspaceLookup"),
            ("LOCKSTEP_LOOKUP__HLR__AREA", "hlr"),
            ("LOCKSTEP_LOOKUP__hlrLookup__AREA", "hlrLookup"),
        ] {
            assert_eq!(applied("", name, "x").unwrap().lookup.keys().collect::<Vec<_>>(), [key], "{name}");
        }
    }

    #[test]
    fn variables_of_scripts_are_of_the_type_that_they_look_like_or_that_the_file_has() {
        let route = "[[route]]\nprefix = \"44\"\ngateways = [1]\nvars = { blocked = true, code = \"1\" }";
        let var = |name: &str, key: &str, value: &str| {
            applied(route, &format!("LOCKSTEP_ROUTE__0__VARS__{name}"), value).unwrap().routes[0].vars[key].clone()
        };
        assert_eq!(var("BLOCKED", "blocked", "false"), Value::Boolean(false));
        assert_eq!(var("CODE", "code", "7"), Value::String("7".to_owned()));
        assert_eq!(var("rate", "rate", "6"), Value::Integer(6));
        assert_eq!(var("Area", "Area", "north"), Value::String("north".to_owned()));
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
