//! Reading the file, the environment over it, and checking the whole.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeTable;
use toml::{Spanned, Table};

use super::environment::Override;
use super::error::{ConfigError, Place, Problem};
use super::locate::{self, Step};
use super::{Config, FILE_NAME, NamedScript, environment, script_names, validate};

/// The largest file read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A checked configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// The folder relative paths start from.
    pub dir: PathBuf,
    /// What was accepted but deserves a word: keys that have no effect yet, risky choices.
    pub warnings: Vec<Problem>,
    /// Keys that name scripts.
    pub named_scripts: Vec<NamedScript>,
    /// Where its values come from.
    pub places: Places,
}

/// Where the values of a configuration come from: a problem of one may show only when it is used.
#[derive(Clone, Debug, Default)]
pub struct Places {
    path: PathBuf,
    text: String,
    overrides: Vec<Override>,
}

impl Places {
    /// The finding that `message` is about `key`, such as `store.path`.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let steps: Vec<Step> = key.split('.').map(|step| Step::Key(step.to_owned())).collect();
        let (document, _) = DeTable::parse_recoverable(&self.text);
        Problem { place: self.of(&document, &steps), key: key.to_owned(), message: message.into() }
    }

    /// What is wrong with the file and the variables over it, `all` of which together give `error`.
    fn problem_of_all(&self, document: &Spanned<DeTable<'_>>, all: &Table, error: toml::de::Error) -> Problem {
        // Written as one file it has places, from which the key is known.
        let written = toml::to_string(all).unwrap_or_default();
        let error = toml::from_str::<Config>(&written).err().unwrap_or(error);
        let (parsed, _) = DeTable::parse_recoverable(&written);
        let key = error.span().map(|span| locate::path_at(&parsed, &span)).unwrap_or_default();
        let within = self.overrides.iter().find(|change| !key.is_empty() && change.path.starts_with(&key));
        let place = match (self.of(document, &key), within) {
            // The file has no such section: the variables have begun it.
            (Place::Absent(_), Some(change)) => Place::Variable(change.name.clone()),
            (place, _) => place,
        };
        Problem { place, key: locate::render(&key), message: one_line(error.message()) }
    }

    fn of(&self, document: &Spanned<DeTable<'_>>, key: &[Step]) -> Place {
        match self.overrides.iter().find(|change| key.starts_with(&change.path)) {
            Some(change) => Place::Variable(change.name.clone()),
            None => place_of_key(&self.path, &self.text, document, key),
        }
    }
}

impl Loaded {
    /// `path` as seen from the configuration's folder.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }
}

impl Config {
    /// Loads `dir/lockstep.toml`, defaults where it is absent, with the process's environment over it.
    pub fn load(dir: &Path) -> Result<Loaded, ConfigError> {
        // A variable that is not UTF-8 cannot name a key of ours or hold a value for it.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::load_with(dir, variables)
    }

    /// As [`Config::load`], with these variables for the environment.
    pub fn load_with(dir: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
        let path = dir.join(FILE_NAME);
        if !dir.is_dir() {
            let error = std::io::Error::new(std::io::ErrorKind::NotFound, "no such folder");
            return Err(ConfigError::Unreadable { path: dir.to_owned(), error });
        }
        let text = match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_FILE => {
                let error = std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("more than {MAX_FILE} bytes"));
                return Err(ConfigError::Unreadable { path, error });
            }
            Ok(_) => {
                let read = std::fs::read(&path).map_err(|error| ConfigError::Unreadable { path: path.clone(), error })?;
                text_of(&path, read).map_err(|problem| ConfigError::Invalid(vec![problem]))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError::Unreadable { path, error }),
        };
        let Parsed { config, warnings, named_scripts, places } = parse(&path, &text, variables).map_err(ConfigError::Invalid)?;
        Ok(Loaded { config, dir: dir.to_owned(), warnings, named_scripts, places })
    }
}

/// What a text says, and what deserves a word.
#[derive(Debug)]
struct Parsed {
    config: Config,
    warnings: Vec<Problem>,
    named_scripts: Vec<NamedScript>,
    places: Places,
}

/// Parses and checks `text`; `path` is only named in messages.
fn parse(path: &Path, text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Parsed, Vec<Problem>> {
    let at = |error: &toml::de::Error| place_in_file(path, text, error.span());
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        let problem =
            |error: &toml::de::Error| Problem { place: at(error), key: String::new(), message: one_line(error.message()) };
        return Err(syntax_errors.iter().map(problem).collect());
    }
    let mut overrides = environment::overrides(variables);
    let mut config = match toml::from_str::<Config>(text) {
        Ok(config) => config,
        // A variable may have it.
        Err(error) if !overrides.is_empty() && environment::is_incomplete(&error) => Config::default(),
        Err(error) => {
            let key = error.span().map(|span| locate::render(&locate::path_at(&document, &span))).unwrap_or_default();
            return Err(vec![Problem { place: at(&error), key, message: one_line(error.message()) }]);
        }
    };

    let mut table: Table = if overrides.is_empty() { Table::new() } else { toml::from_str(text).unwrap_or_default() };
    let problems: Vec<_> = overrides.iter_mut().filter_map(|change| environment::apply(&mut table, change).err()).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let places = Places { path: path.to_owned(), text: text.to_owned(), overrides };
    if !places.overrides.is_empty() {
        config = Config::deserialize(table.clone()).map_err(|error| vec![places.problem_of_all(&document, &table, error)])?;
    }

    let place = |key: &[Step]| places.of(&document, key);
    let located = |finding: validate::Finding| Problem {
        place: place(&finding.path),
        key: locate::render(&finding.path),
        message: finding.message,
    };
    let report = validate::validate(&config);
    let mut warnings = report.warnings;
    warnings.extend(validate::without_effect(&config));
    if report.errors.is_empty() {
        let named = |(path, wanted): (Vec<Step>, _)| NamedScript { place: place(&path), key: locate::render(&path), wanted };
        let named_scripts = script_names::find(&config).into_iter().map(named).collect();
        let warnings = warnings.into_iter().map(located).collect();
        Ok(Parsed { config, warnings, named_scripts, places })
    } else {
        Err(report.errors.into_iter().map(located).collect())
    }
}

fn place_in_file(path: &Path, text: &str, span: Option<std::ops::Range<usize>>) -> Place {
    let Some(span) = span else { return Place::Absent(path.to_owned()) };
    let (line, column) = locate::line_column(text, span.start);
    Place::File { path: path.to_owned(), line, column }
}

fn text_of(path: &Path, octets: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(octets).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..end).unwrap_or_default());
        let place = place_in_file(path, &before, Some(end..end));
        Problem { place, key: String::new(), message: "expected text in UTF-8".to_owned() }
    })
}

fn place_of_key(path: &Path, text: &str, document: &Spanned<DeTable<'_>>, key: &[Step]) -> Place {
    place_in_file(path, text, locate::span_of(document, key))
}

fn one_line(message: &str) -> String {
    message.trim().replace('\n', ", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let problems = parse(Path::new("lockstep.toml"), text, []).expect_err("the text is wrong");
        problems.iter().map(Problem::to_string).collect()
    }

    fn warnings(text: &str) -> Vec<String> {
        let parsed = parse(Path::new("lockstep.toml"), text, []).expect("the text is right");
        parsed.warnings.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn nothing_at_all_is_a_whole_configuration() {
        let parsed = parse(Path::new("x"), "", []).unwrap();
        assert_eq!(parsed.config, Config::default());
        assert_eq!(parsed.warnings, []);
    }

    #[test]
    fn a_value_of_the_wrong_shape_names_line_key_and_expectation() {
        assert_eq!(
            errors("[sip]\nlisten = [\"udp:0.0.0.0:5060\", \"tpc:0.0.0.0:5060\"]\n"),
            ["lockstep.toml:2:10: sip.listen: expected `udp:ADDRESS:PORT` (or tcp, tls, ws, wss), found `tpc:0.0.0.0:5060`"]
        );
    }

    #[test]
    fn an_unknown_key_is_an_error_that_lists_the_known_ones() {
        let found = errors("[media]\nport = \"1-2\"\n");
        assert!(
            found[0].starts_with("lockstep.toml:2:1: media.port: unknown field `port`, expected one of `ports`"),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_no_utf_8_has_a_place() {
        let problem = text_of(Path::new("lockstep.toml"), b"[sip]\nrealm = \"\xE4\"\n".to_vec()).unwrap_err();
        assert_eq!(problem.to_string(), "lockstep.toml:2:10: expected text in UTF-8");
    }

    #[test]
    fn a_missing_key_names_its_table() {
        let found = errors("[[user]]\nname = \"1001\"\n");
        assert!(found[0].starts_with("lockstep.toml:1:1: user[0]: missing field `password`"), "{found:?}");
    }

    #[test]
    fn text_that_is_no_toml_is_placed() {
        let found = errors("[sip]\nlisten = \n");
        assert!(found[0].starts_with("lockstep.toml:2:"), "{found:?}");
    }

    #[test]
    fn nobody_is_named_on_the_event_socket_who_could_not_log_in() {
        let socket = "[event_socket]\nlisten = \"127.0.0.1:0\"\npassword = \"a\\nb\"\n";
        let user = "[[event_socket.user]]\nname = \"wall:board\"\npassword = \"a\\rb\"\n";
        let found = errors(&format!("{socket}{user}"));
        let places: Vec<_> = found.iter().map(|problem| problem.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            places,
            [
                "lockstep.toml:3:12: event_socket.password:",
                "lockstep.toml:5:8: event_socket.user[0].name:",
                "lockstep.toml:6:12: event_socket.user[0].password:"
            ]
        );
    }

    #[test]
    fn what_contradicts_itself_is_placed_too() {
        let found = errors("[[user]]\nname = \"1\"\npassword = \"a\"\n[[user]]\nname = \"1\"\npassword = \"b\"\n");
        assert_eq!(found, ["lockstep.toml:5:8: user[1].name: `1` is already the name of user[0]"]);
    }

    #[test]
    fn what_shows_only_when_it_is_used_is_placed_too() {
        let variables = [("LOCKSTEP_SIP__LISTEN".to_owned(), "udp:127.0.0.1:5060".to_owned())];
        let parsed = parse(Path::new("lockstep.toml"), "\n[store]\npath = \"/proc/x\"\n", variables).unwrap();
        let said = |key: &str| parsed.places.problem(key, "cannot be used").to_string();
        assert_eq!(said("store.path"), "lockstep.toml:3:8: store.path: cannot be used");
        assert_eq!(said("sip.listen"), "LOCKSTEP_SIP__LISTEN: sip.listen: cannot be used");
        assert_eq!(said("scripts.dir"), "lockstep.toml: scripts.dir: cannot be used");
    }

    #[test]
    fn a_script_that_is_named_is_placed() {
        let parsed = parse(Path::new("lockstep.toml"), "[[script]]\nfile = \"nope.js\"\n", []).unwrap();
        let named: Vec<_> = parsed.named_scripts.iter().map(|named| named.problem("gone".to_owned()).to_string()).collect();
        assert_eq!(named, ["lockstep.toml:2:8: script[0].file: gone"]);
    }

    #[test]
    fn a_variable_at_fault_is_named_instead_of_the_file() {
        let variables = [("LOCKSTEP_API__LISTEN".to_owned(), "0.0.0.0:80".to_owned())];
        let problems = parse(Path::new("lockstep.toml"), "[api]\nlisten = \"127.0.0.1:80\"\n", variables).unwrap_err();
        assert!(problems[0].to_string().starts_with("LOCKSTEP_API__LISTEN: api.listen: "), "{problems:?}");
    }

    #[test]
    fn a_section_may_be_put_together_from_the_file_and_several_variables() {
        let read = |text: &str, variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let parsed = parse(Path::new("lockstep.toml"), text, variables);
            parsed.map(|parsed| parsed.config).map_err(|problems| problems.iter().map(Problem::to_string).collect::<Vec<_>>())
        };
        let users = "[[user]]\nname = \"1001\"\n[[user]]\nname = \"1002\"\n";
        let threads = ("LOCKSTEP_MEDIA__THREADS", "2");
        let passwords = [threads, ("LOCKSTEP_USER__0__PASSWORD", "a"), ("LOCKSTEP_USER__1__PASSWORD", "1234")];
        let config = read(users, &passwords).unwrap();
        let known: Vec<_> = config.users.iter().map(|user| user.password.expose()).collect();
        assert_eq!((known, config.media.threads), (vec!["a", "1234"], 2));
        let sms = [
            ("LOCKSTEP_SMS__BODY", "{}"),
            ("LOCKSTEP_SMS__HEADERS", "{ A = \"b\" }"),
            ("LOCKSTEP_SMS__TIMEOUT_MS", "700"),
            ("LOCKSTEP_SMS__URL", "http://a.example/"),
        ];
        let found = read("", &sms).unwrap().sms.unwrap();
        assert_eq!((found.url.as_str(), found.timeout_ms, found.headers.len()), ("http://a.example/", 700, 1));
        assert_eq!(read("", &sms[..1]).unwrap_err(), ["LOCKSTEP_SMS__BODY: sms: missing field `url`"]);
        assert_eq!(read(users, &passwords[..2]).unwrap_err(), ["lockstep.toml:3:1: user[1]: missing field `password`"]);
    }

    #[test]
    fn a_key_without_effect_yet_is_said() {
        let found = warnings("[cluster]\nnats = \"nats://127.0.0.1\"\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("lockstep.toml:2:8: cluster.nats: has no effect"), "{found:?}");
    }

    #[test]
    fn the_documented_example_is_accepted() {
        let text = include_str!("example.toml");
        let parsed = parse(Path::new("example.toml"), text, []).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(parsed.config.dids[0].destinations.len(), 3);
    }
}
