//! `[scripts]`, `[[script]]`, `[[app]]` and the `// @lockstep` header comment: what runs, how, and within which limits.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use lockstep_ctx_api::wire::ScriptType;
use serde::{Deserialize, Deserializer};

use super::Secret;

/// `[scripts]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptsConfig {
    /// Relative to the configuration's folder.
    pub dir: PathBuf,
    /// Worker processes; 0: one per core.
    pub workers: u16,
    /// The folder of npm packages, with its package.json; relative to the configuration's folder. Absent: the scripts folder, else
    /// where the product is installed.
    pub packages: Option<PathBuf>,
    /// How long code may run on after its call has ended, seconds.
    pub after_end_s: u32,
}

impl Default for ScriptsConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("scripts"), workers: 0, packages: None, after_end_s: 10 }
    }
}

/// `[[app]]`: scripts that may require each other and share variables.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    pub name: String,
    #[serde(default = "super::default_account")]
    pub account: String,
    /// `process.env` of its scripts.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
}

/// `[[script]]`: everything that can be said of one script. Absent parts come from the script's header comment, then from
/// the defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptEntry {
    /// File name within the scripts folder.
    pub file: String,
    #[serde(rename = "type")]
    pub kind: Option<ScriptType>,
    pub app: Option<String>,
    pub class5_destination: Option<Class5Destination>,
    pub run: Option<GlobalRun>,
    /// `run` stands in the configuration, not in a header comment.
    #[serde(skip)]
    pub run_is_configured: bool,
    /// Wall time of a run, seconds; `None`: by what is run (contract, section 1).
    pub timeout_s: Option<f64>,
    /// CPU time of one event-loop turn.
    pub turn_ms: Option<u32>,
    pub concurrency: Option<u32>,
    pub memory_mb: Option<u32>,
    pub public: Option<Public>,
    pub schedule: Option<Schedule>,
    #[serde(default)]
    pub vars: toml::Table,
}

/// CPU time of one turn where a script says nothing, ms.
pub const DEFAULT_TURN_MS: u32 = 2_000;
/// Memory of a run where a script says nothing, MB.
pub const DEFAULT_MEMORY_MB: u32 = 100;
/// The longest wall time of a run where a script says nothing, s: a job's.
const LONGEST_RUN_S: f64 = 60.0;

impl ScriptEntry {
    /// An entry that says nothing but its file.
    pub fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            kind: None,
            app: None,
            class5_destination: None,
            run: None,
            run_is_configured: false,
            timeout_s: None,
            turn_ms: None,
            concurrency: None,
            memory_mb: None,
            public: None,
            schedule: None,
            vars: toml::Table::new(),
        }
    }

    /// Takes from `other` what this entry does not say itself.
    pub fn or(mut self, other: Self) -> Self {
        self.kind = self.kind.or(other.kind);
        self.app = self.app.or(other.app);
        self.class5_destination = self.class5_destination.or(other.class5_destination);
        self.run = self.run.or(other.run);
        self.timeout_s = self.timeout_s.or(other.timeout_s);
        self.turn_ms = self.turn_ms.or(other.turn_ms);
        self.concurrency = self.concurrency.or(other.concurrency);
        self.memory_mb = self.memory_mb.or(other.memory_mb);
        self.public = self.public.or(other.public);
        self.schedule = self.schedule.or(other.schedule);
        for (key, value) in other.vars {
            self.vars.entry(key).or_insert(value);
        }
        self
    }

    /// Keys that change nothing beside the others, as (key, sentence).
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let routes_calls = self.run.is_some_and(|run| run != GlobalRun::Disable);
        let idle = routes_calls && self.kind == Some(ScriptType::Worker);
        idle.then_some(("run", "has no effect on a worker: it is sent messages and routes no calls")).into_iter().collect()
    }

    /// What is more than a script has that says nothing, unless it stands in `granted`, as (key, sentence).
    pub(crate) fn beyond_defaults(&self, granted: Option<&Self>) -> Option<(&'static str, String)> {
        let is_granted = |key: fn(&Self) -> bool| granted.is_some_and(key);
        let keys = [
            ("timeout_s", self.timeout_s, LONGEST_RUN_S, is_granted(|entry| entry.timeout_s.is_some())),
            ("turn_ms", self.turn_ms.map(f64::from), DEFAULT_TURN_MS.into(), is_granted(|entry| entry.turn_ms.is_some())),
            ("concurrency", self.concurrency.map(f64::from), 1.0, is_granted(|entry| entry.concurrency.is_some())),
            ("memory_mb", self.memory_mb.map(f64::from), DEFAULT_MEMORY_MB.into(), is_granted(|entry| entry.memory_mb.is_some())),
        ];
        let found = keys.into_iter().find(|(_, wanted, most, granted)| !granted && wanted.is_some_and(|wanted| wanted > *most));
        found.map(|(key, _, most, _)| (key, format!("expected at most {most}: more a [[script]] of the operator's grants")))
    }

    /// What is out of range, as (key, sentence).
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.file.is_empty() || self.file.contains(['/', '\\']) || self.file.starts_with('.') {
            problems.push(("file", format!("expected the name of a file within the scripts folder, found `{}`", self.file)));
        }
        if self.timeout_s.is_some_and(|seconds| !(seconds > 0.0 && seconds <= 86_400.0)) {
            problems.push(("timeout_s", "expected more than 0 and at most 86400 seconds".to_owned()));
        }
        if self.turn_ms.is_some_and(|ms| !(10..=600_000).contains(&ms)) {
            problems.push(("turn_ms", "expected 10 to 600000 milliseconds".to_owned()));
        }
        if self.concurrency == Some(0) {
            problems.push(("concurrency", "expected at least 1".to_owned()));
        }
        if self.memory_mb.is_some_and(|mb| !(1..=4096).contains(&mb)) {
            problems.push(("memory_mb", "expected 1 to 4096 MB".to_owned()));
        }
        if self.kind == Some(ScriptType::Worker) && self.class5_destination.is_some() {
            let message = "expected none on a worker: it is sent messages, and no call reaches it";
            problems.push(("class5_destination", message.to_owned()));
        }
        if let Some(schedule) = &self.schedule {
            problems.extend(schedule.problem().map(|sentence| ("schedule", sentence)));
        }
        problems
    }
}

/// What a caller dials to reach a script: the exact text, or a regular expression between slashes that matches all of it.
#[derive(Clone)]
pub enum Class5Destination {
    Exact(String),
    Pattern { source: String, regex: regex::Regex },
}

impl Class5Destination {
    /// Whether `dialled` reaches the script.
    pub fn matches(&self, dialled: &str) -> bool {
        match self {
            Self::Exact(text) => text == dialled,
            Self::Pattern { regex, .. } => regex.is_match(dialled),
        }
    }
}

impl std::str::FromStr for Class5Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a number, a name or `/regular expression/`, found nothing".to_owned());
        }
        let pattern = text.strip_prefix('/').and_then(|rest| rest.rsplit_once('/'));
        let source = match pattern {
            Some((source, "")) => source,
            Some((source, flags)) if flags.chars().all(|flag| "dgimsuvy".contains(flag)) => {
                return Err(format!("expected flags within the expression, such as `/(?i){source}/`, found `{text}`"));
            }
            Some(_) | None => return Ok(Self::Exact(text.to_owned())),
        };
        match regex::Regex::new(&format!("^(?:{source})$")) {
            Ok(regex) => Ok(Self::Pattern { source: source.to_owned(), regex }),
            Err(error) => Err(format!("`{text}` is not a regular expression: {}", last_line(&error.to_string()))),
        }
    }
}

/// The regex crate draws the pattern before it says what is wrong; the sentence stands last.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

impl fmt::Display for Class5Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Pattern { source, .. } => write!(f, "/{source}/"),
        }
    }
}

impl fmt::Debug for Class5Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for Class5Destination {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl<'de> Deserialize<'de> for Class5Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Class5Destination;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a name or `/regular expression/`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }

            // `class5_destination = 1000` is what everybody writes first.
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Class5Destination::Exact(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Where a script stands among the global routing scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GlobalRun {
    #[default]
    Disable,
    First,
    Last,
}

/// What of a script is served without a key at `/f/{uuid}/{fn}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Public {
    /// `true` or `false`.
    All(bool),
    /// These functions only.
    Functions(Vec<String>),
}

impl<'de> Deserialize<'de> for Public {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Public;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of function names")
            }

            fn visit_bool<E: serde::de::Error>(self, all: bool) -> Result<Self::Value, E> {
                Ok(Public::All(all))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
                let mut functions = Vec::new();
                while let Some(name) = names.next_element()? {
                    functions.push(name);
                }
                Ok(Public::Functions(functions))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// When a script runs by itself: every minute that is in all of the lists; an empty list leaves its part open.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    #[serde(default)]
    pub minutes: Vec<u8>,
    #[serde(default)]
    pub hours: Vec<u8>,
    /// Days of the month.
    #[serde(default)]
    pub days: Vec<u8>,
    #[serde(default)]
    pub weekdays: Vec<Weekday>,
    /// IANA name.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Whether a run that was due while the engine was down runs once on start.
    #[serde(default = "yes")]
    pub catch_up: bool,
}

impl Schedule {
    fn problem(&self) -> Option<String> {
        let outside = |name: &str, list: &[u8], range: std::ops::RangeInclusive<u8>| {
            list.iter()
                .find(|n| !range.contains(n))
                .map(|found| format!("{name}: expected {} to {}, found {found}", range.start(), range.end()))
        };
        outside("minutes", &self.minutes, 0..=59)
            .or_else(|| outside("hours", &self.hours, 0..=23))
            .or_else(|| outside("days", &self.days, 1..=31))
            .or_else(|| {
                jiff::tz::TimeZone::get(&self.timezone).is_err().then(|| {
                    format!(
                        "timezone: expected an IANA name such as `Europe/London`, found `{}`, which no zone is called",
                        self.timezone
                    )
                })
            })
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn yes() -> bool {
    true
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_destination() {
        let destination: Class5Destination = "/afwd_[a-z0-9]+/".parse().unwrap();
        assert!(destination.matches("afwd_12"));
        assert!(!destination.matches("xafwd_12"));
        assert!(!destination.matches("afwd_12 "));
    }

    #[test]
    fn alternatives_in_a_pattern_are_anchored_too() {
        let destination: Class5Destination = "/1|2/".parse().unwrap();
        assert!(!destination.matches("12"));
        assert!(destination.matches("2"));
    }

    #[test]
    fn a_broken_pattern_says_why() {
        let error = "/a(/".parse::<Class5Destination>().unwrap_err();
        assert_eq!(error, "`/a(/` is not a regular expression: unclosed group");
    }

    #[test]
    fn flags_behind_a_pattern_are_told_where_they_belong() {
        let error = "/menu/i".parse::<Class5Destination>().unwrap_err();
        assert_eq!(error, "expected flags within the expression, such as `/(?i)menu/`, found `/menu/i`");
        assert!("/(?i)menu/".parse::<Class5Destination>().unwrap().matches("MENU"));
        assert!("/a/room".parse::<Class5Destination>().unwrap().matches("/a/room"));
    }

    #[test]
    fn the_first_entry_wins_and_the_second_fills_in() {
        let mut first = ScriptEntry::new("a.js");
        first.turn_ms = Some(5);
        let mut second = ScriptEntry::new("a.js");
        second.turn_ms = Some(7);
        second.memory_mb = Some(16);
        let merged = first.or(second);
        assert_eq!((merged.turn_ms, merged.memory_mb), (Some(5), Some(16)));
    }

    #[test]
    fn a_time_zone_that_does_not_exist_is_named() {
        let problem = |zone: &str| {
            let schedule = Schedule { timezone: zone.to_owned(), ..toml::from_str("").unwrap() };
            schedule.problem()
        };
        for zone in ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"] {
            assert_eq!(problem(zone), None);
        }
        for zone in ["Mars/X", "Europe/Berln", "", "../etc/passwd", "+02:00"] {
            let said = problem(zone).unwrap_or_default();
            assert!(said.starts_with("timezone: ") && said.contains(&format!("`{zone}`")), "{zone}: {said}");
        }
    }

    #[test]
    fn no_call_reaches_a_worker() {
        let mut entry = ScriptEntry::new("a.js");
        entry.class5_destination = Some("5013".parse().unwrap());
        assert_eq!(entry.problems(), []);
        entry.kind = Some(ScriptType::Worker);
        assert_eq!(entry.problems().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["class5_destination"]);
    }

    #[test]
    fn limits_out_of_range_are_named() {
        let mut entry = ScriptEntry::new("../a.js");
        entry.timeout_s = Some(0.0);
        entry.schedule =
            Some(Schedule { minutes: vec![60], hours: vec![], days: vec![], weekdays: vec![], timezone: utc(), catch_up: true });
        let keys: Vec<_> = entry.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["file", "timeout_s", "schedule"]);
    }
}
