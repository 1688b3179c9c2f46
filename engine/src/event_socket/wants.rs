//! What a client wants to be told: formats, event names, subclasses, filters.

use std::collections::BTreeSet;

use regex::Regex;

use super::events::LogLine;
use crate::esl::Event;

/// Filters one client may set.
const MAX_FILTERS: usize = 256;
/// Subclasses one client may ask for.
const MAX_SUBCLASSES: usize = 256;

/// The events clients may ask for by name.
const NAMES: &[&str] = &[
    "CHANNEL_CREATE",
    "CHANNEL_OUTGOING",
    "CHANNEL_STATE",
    "CHANNEL_CALLSTATE",
    "CHANNEL_PROGRESS",
    "CHANNEL_PROGRESS_MEDIA",
    "CHANNEL_ANSWER",
    "CHANNEL_HOLD",
    "CHANNEL_UNHOLD",
    "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE",
    "CHANNEL_EXECUTE",
    "CHANNEL_EXECUTE_COMPLETE",
    "CHANNEL_PARK",
    "CHANNEL_UNPARK",
    "CHANNEL_APPLICATION",
    "CHANNEL_ORIGINATE",
    "CHANNEL_HANGUP",
    "CHANNEL_HANGUP_COMPLETE",
    "CHANNEL_DESTROY",
    "CHANNEL_UUID",
    "CHANNEL_DATA",
    "CALL_UPDATE",
    "DTMF",
    "DETECTED_SPEECH",
    "PLAYBACK_START",
    "PLAYBACK_STOP",
    "RECORD_START",
    "RECORD_STOP",
    "MESSAGE",
    "TALK",
    "NOTALK",
    "API",
    "BACKGROUND_JOB",
    "HEARTBEAT",
    "RELOADXML",
    "CUSTOM",
    "STARTUP",
    "SHUTDOWN",
    "MODULE_LOAD",
    "MODULE_UNLOAD",
    "SHUTDOWN_REQUESTED",
    "PRESENCE_IN",
    "PRESENCE_OUT",
    "ADD_SCHEDULE",
    "DEL_SCHEDULE",
    "EXE_SCHEDULE",
    "RE_SCHEDULE",
    "SESSION_HEARTBEAT",
    "LOG",
    "GENERAL",
    "COMMAND",
];

/// Names of events that are about a channel.
fn is_of_a_channel(name: &str) -> bool {
    name.starts_with("CHANNEL_")
        || name.starts_with("PLAYBACK_")
        || name.starts_with("RECORD_")
        || matches!(name, "DTMF" | "DETECTED_SPEECH" | "CALL_UPDATE" | "MESSAGE" | "TALK" | "NOTALK")
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    #[default]
    Plain,
    Json,
    Xml,
}

impl Format {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "plain" => Some(Self::Plain),
            "json" => Some(Self::Json),
            "xml" => Some(Self::Xml),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Json => "json",
            Self::Xml => "xml",
        }
    }
}

#[derive(Clone, Debug)]
enum Matcher {
    Text(String),
    Pattern(Regex),
}

#[derive(Clone, Debug)]
struct Filter {
    header: String,
    /// As the client wrote it, to find it again.
    value: String,
    wanted: bool,
    matcher: Matcher,
}

impl Filter {
    fn matches(&self, event: &Event) -> bool {
        event.get(&self.header).is_some_and(|value| match &self.matcher {
            Matcher::Text(text) => text.eq_ignore_ascii_case(value),
            Matcher::Pattern(pattern) => pattern.is_match(value),
        })
    }
}

/// What one client wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    pub(super) format: Format,
    all: bool,
    names: BTreeSet<&'static str>,
    subclasses: BTreeSet<String>,
    filters: Vec<Filter>,
    /// Only events of this channel.
    own: Option<String>,
    /// Every event of this channel, whatever else is asked for.
    diverted: Option<String>,
    /// Names of events that may be told at all; `None`: every one.
    allowed: Option<Vec<String>>,
    /// Log lines up to this level.
    log_level: Option<u8>,
}

impl Wants {
    /// Adds what `event FORMAT …` names; how many names were understood.
    pub(super) fn add(&mut self, names: &str) -> usize {
        let mut known = 0;
        let mut after_custom = false;
        for word in names.split_whitespace() {
            if after_custom {
                if self.subclasses.len() < MAX_SUBCLASSES {
                    self.subclasses.insert(word.to_owned());
                    known += 1;
                }
            } else if word.eq_ignore_ascii_case("ALL") {
                self.all = true;
                known += 1;
            } else if let Some(name) = NAMES.iter().find(|name| name.eq_ignore_ascii_case(word)) {
                after_custom = *name == "CUSTOM";
                self.names.insert(name);
                known += 1;
            }
        }
        known
    }

    /// Takes back what `nixevent …` names; how many names were understood.
    pub(super) fn remove(&mut self, names: &str) -> usize {
        let mut known = 0;
        let mut after_custom = false;
        for word in names.split_whitespace() {
            if after_custom {
                known += usize::from(self.subclasses.remove(word));
            } else if word.eq_ignore_ascii_case("ALL") {
                self.forget();
                known += 1;
            } else if let Some(name) = NAMES.iter().find(|name| name.eq_ignore_ascii_case(word)) {
                if std::mem::take(&mut self.all) {
                    self.names.extend(NAMES);
                }
                after_custom = *name == "CUSTOM";
                self.names.remove(name);
                known += 1;
            }
        }
        known
    }

    /// Takes back everything; whether there was anything.
    pub(super) fn forget(&mut self) -> bool {
        let any = self.all || !self.names.is_empty();
        self.all = false;
        self.names.clear();
        self.subclasses.clear();
        any
    }

    /// The events of one channel, and of no other. Those of its files come to who names them.
    pub(super) fn only_of(&mut self, channel: &str) {
        self.own = Some(channel.to_owned());
        let is_of_a_file = |name: &str| name.starts_with("PLAYBACK_") || name.starts_with("RECORD_");
        self.names.extend(NAMES.iter().filter(|name| is_of_a_channel(name) && !is_of_a_file(name)));
    }

    /// Only events of these names are ever told, in capitals; `None`: no such limit.
    pub(super) fn allow_only(&mut self, names: Option<Vec<String>>) {
        self.allowed = names;
    }

    /// Events of this channel come whatever else is asked for; `None`: no more.
    pub(super) fn divert(&mut self, channel: Option<String>) {
        self.diverted = channel;
    }

    /// Log lines up to this level; `None`: none. Whether there were any before.
    pub(super) fn log(&mut self, level: Option<u8>) -> bool {
        std::mem::replace(&mut self.log_level, level).is_some()
    }

    /// Adds a filter.
    pub(super) fn filter(&mut self, header: &str, value: &str) -> Result<(), &'static str> {
        if self.filters.len() >= MAX_FILTERS {
            return Err("too many filters");
        }
        let mut wanted = true;
        let text = value.trim_start_matches(|c: char| {
            match c {
                '+' => wanted = true,
                '-' => wanted = false,
                ' ' => {}
                _ => return false,
            }
            true
        });
        let matcher = match text.strip_prefix('/') {
            Some(rest) => {
                let (pattern, flags) = rest.rsplit_once('/').unwrap_or((rest, ""));
                let pattern = regex::RegexBuilder::new(pattern)
                    .case_insensitive(flags.contains('i'))
                    .size_limit(1 << 16)
                    .build()
                    .map_err(|_| "invalid regular expression")?;
                Matcher::Pattern(pattern)
            }
            None => Matcher::Text(text.to_owned()),
        };
        self.filters.push(Filter { header: header.to_owned(), value: value.to_owned(), wanted, matcher });
        Ok(())
    }

    /// Takes filters on a header back: the one with this value, or all.
    pub(super) fn unfilter(&mut self, header: &str, value: Option<&str>) {
        if header.eq_ignore_ascii_case("all") && value.is_none() {
            return self.filters.clear();
        }
        self.filters.retain(|filter| {
            !filter.header.eq_ignore_ascii_case(header) || value.is_some_and(|value| !value.eq_ignore_ascii_case(&filter.value))
        });
    }

    /// Whether events of other channels than its own, or of none, may be wanted.
    pub(super) fn is_general(&self) -> bool {
        let any = self.all || !self.names.is_empty();
        let of_its_channel = self.own.is_some() && !self.all && self.names.iter().all(|name| is_of_a_channel(name));
        (any && !of_its_channel) || self.log_level.is_some()
    }

    /// Whether the client is told of an event.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let channel = event.get("Unique-ID");
        if self.allowed.as_ref().is_some_and(|names| !names.iter().any(|name| name == event.name())) {
            return false;
        }
        if self.diverted.is_some() && channel == self.diverted.as_deref() {
            return true;
        }
        let name = event.name();
        let asked = self.all
            || (self.names.contains(name)
                && (name != "CUSTOM" || event.get("Event-Subclass").is_none_or(|subclass| self.subclasses.contains(subclass))));
        let own = self.own.is_none() || channel == self.own.as_deref() || !is_of_a_channel(name);
        asked && own && self.passes(event)
    }

    /// Filters of which one that fits lets an event through, unless one of those with a `-` fits.
    fn passes(&self, event: &Event) -> bool {
        let mut fitting = self.filters.iter().filter(|filter| filter.matches(event));
        self.filters.is_empty() || (fitting.clone().any(|filter| filter.wanted) && fitting.all(|filter| filter.wanted))
    }

    /// Whether the client is told of a line of a log.
    pub(super) fn wants_line(&self, line: &LogLine) -> bool {
        self.log_level.is_some_and(|level| line.level <= level) && self.own.as_ref().is_none_or(|own| *own == line.call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, fields: &[(&str, &str)]) -> Event {
        let mut event = Event::new(name);
        for (name, value) in fields {
            event.push(name, value);
        }
        event
    }

    fn wants(names: &str) -> Wants {
        let mut wants = Wants::default();
        wants.add(names);
        wants
    }

    #[test]
    fn what_was_named_comes_and_nothing_else() {
        let wants = wants("CHANNEL_ANSWER dtmf NO_SUCH_EVENT CUSTOM sofia::register");
        assert!(wants.wants(&event("CHANNEL_ANSWER", &[])));
        assert!(wants.wants(&event("DTMF", &[])));
        assert!(!wants.wants(&event("CHANNEL_HANGUP", &[])));
        assert!(wants.wants(&event("CUSTOM", &[("Event-Subclass", "sofia::register")])));
        assert!(!wants.wants(&event("CUSTOM", &[("Event-Subclass", "conference::maintenance")])));
        assert_eq!(Wants::default().add("NO_SUCH_EVENT"), 0);
    }

    #[test]
    fn all_is_all_and_single_events_can_be_taken_out_of_it() {
        let mut wants = wants("all");
        assert!(wants.wants(&event("CUSTOM", &[("Event-Subclass", "x")])));
        wants.remove("HEARTBEAT");
        assert!(!wants.wants(&event("HEARTBEAT", &[])));
        assert!(wants.wants(&event("CHANNEL_CREATE", &[])));
        assert!(wants.forget());
        assert!(!wants.wants(&event("CHANNEL_CREATE", &[])));
        assert!(!wants.forget());
    }

    #[test]
    fn one_filter_that_fits_is_enough() {
        let mut wants = wants("ALL");
        wants.filter("Unique-ID", "one").unwrap();
        wants.filter("Event-Name", "HEARTBEAT").unwrap();
        assert!(wants.wants(&event("DTMF", &[("Unique-ID", "one")])));
        assert!(wants.wants(&event("HEARTBEAT", &[])));
        assert!(!wants.wants(&event("DTMF", &[("Unique-ID", "two")])));
        wants.unfilter("unique-id", Some("one"));
        assert!(!wants.wants(&event("DTMF", &[("Unique-ID", "one")])));
        wants.unfilter("all", None);
        assert!(wants.wants(&event("DTMF", &[("Unique-ID", "two")])));
    }

    #[test]
    fn a_filter_can_exclude_and_can_be_a_pattern() {
        let mut wants = wants("ALL");
        wants.filter("Event-Name", "/^CHANNEL_/").unwrap();
        wants.filter("Event-Name", "-CHANNEL_STATE").unwrap();
        assert!(wants.wants(&event("CHANNEL_ANSWER", &[])));
        assert!(!wants.wants(&event("CHANNEL_STATE", &[])));
        assert!(!wants.wants(&event("HEARTBEAT", &[])));
        assert!(wants.filter("Event-Name", "/(/").is_err());
    }

    #[test]
    fn what_is_not_allowed_never_comes() {
        let mut wants = wants("ALL");
        wants.allow_only(Some(vec!["HEARTBEAT".to_owned()]));
        wants.divert(Some("one".to_owned()));
        assert!(wants.wants(&event("HEARTBEAT", &[])));
        assert!(!wants.wants(&event("DTMF", &[("Unique-ID", "one")])));
    }

    #[test]
    fn a_client_may_ask_for_one_channel_alone() {
        let mut wants = Wants::default();
        wants.only_of("one");
        assert!(wants.wants(&event("DTMF", &[("Unique-ID", "one")])));
        assert!(!wants.wants(&event("DTMF", &[("Unique-ID", "two")])));
        wants.divert(Some("two".into()));
        assert!(wants.wants(&event("DTMF", &[("Unique-ID", "two")])));
    }

    #[test]
    fn files_of_its_channel_come_to_who_names_them() {
        let mut wants = Wants::default();
        wants.only_of("one");
        assert!(!wants.wants(&event("PLAYBACK_STOP", &[("Unique-ID", "one")])));
        wants.add("PLAYBACK_STOP");
        assert!(wants.wants(&event("PLAYBACK_STOP", &[("Unique-ID", "one")])));
        assert!(!wants.wants(&event("PLAYBACK_STOP", &[("Unique-ID", "two")])));
    }
}
