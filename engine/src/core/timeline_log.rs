//! Writing a call's timeline while the call lives.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lockstep_ctx_api::event::Event;
use lockstep_ctx_api::journal::{SecretNames, redact_text};
use lockstep_ctx_api::op::{DtmfMethod, Op, Prompt};
use lockstep_ctx_api::wire::{Location, LogLevel, LogLine};
use lockstep_ctx_api::{OpId, OpResult, Outcome};

use lockstep_media::codec::Codec;
use lockstep_media::e_model::{Conditions, mean_opinion_score, rating};
use lockstep_media::stream::StreamStats;

use super::timeline::{Direction, MAX_ENTRIES, MediaEntry, OperationEntry, TimelineEntry, What};

/// How many of a call's entries are kept for SIP messages, events and errors.
const RESERVED: usize = 200;
/// The longest detail of an entry, in characters.
const MAX_DETAIL: usize = 160;
/// The longest arguments that watchers get: names of files are whole.
const MAX_SUMMARY: usize = 1_024;

/// A timeline in the making. Times are milliseconds since the Unix epoch, stored relative to the call's start.
#[derive(Debug)]
pub(crate) struct TimelineLog {
    started_at: u64,
    entries: Vec<TimelineEntry>,
    /// Operations that have not ended: where their entries are.
    open: BTreeMap<OpId, usize>,
    dropped: u64,
}

impl TimelineLog {
    /// An empty log of a call that began at `started_at`.
    pub(crate) fn new(started_at: u64) -> Self {
        Self { started_at, entries: Vec::new(), open: BTreeMap::new(), dropped: 0 }
    }

    /// What was written, and how much was not kept.
    pub(crate) fn entries(&self) -> (&[TimelineEntry], u64) {
        (&self.entries, self.dropped)
    }

    /// Gives up the entries.
    pub(crate) fn into_entries(self) -> (Vec<TimelineEntry>, u64) {
        (self.entries, self.dropped)
    }

    /// A script issued an operation.
    pub(crate) fn issued(&mut self, at: u64, id: OpId, op: &Op, line: Option<&Location>) -> Option<&TimelineEntry> {
        let entry = OperationEntry {
            id: id.to_string(),
            name: op.name(),
            detail: shortened(detail(op), MAX_DETAIL),
            line: line.map(ToString::to_string),
            started_ms: None,
            ended_ms: None,
            result: None,
            ok: None,
        };
        let place = self.entries.len();
        self.push(at, What::Operation(entry))?;
        self.open.insert(id, place);
        self.entries.get(place)
    }

    /// An operation left the queue.
    pub(crate) fn started(&mut self, at: u64, id: OpId) {
        let at = at.saturating_sub(self.started_at);
        if let Some(operation) = self.operation(id) {
            operation.started_ms = Some(at);
        }
    }

    /// An operation settled.
    pub(crate) fn ended(&mut self, at: u64, id: OpId, result: &OpResult) -> Option<&TimelineEntry> {
        let at = at.saturating_sub(self.started_at);
        let operation = self.operation(id)?;
        operation.ended_ms = Some(at);
        operation.ok = Some(result.is_ok());
        let text = match result {
            Ok(outcome) => outcome_text(outcome),
            Err(error) => error.to_string(),
        };
        operation.result = Some(shortened(text, MAX_DETAIL));
        let place = self.open.remove(&id)?;
        self.entries.get(place)
    }

    /// A SIP message came or went.
    pub(crate) fn sip(&mut self, at: u64, direction: Direction, leg: String, summary: String) -> Option<&TimelineEntry> {
        self.push(at, What::Sip { direction, leg, summary: shortened(summary, MAX_DETAIL) })
    }

    /// The media of a leg are closed.
    pub(crate) fn media(&mut self, at: u64, leg: String, stats: &StreamStats) -> Option<&TimelineEntry> {
        self.push(at, What::Media(media_entry(leg, stats)))
    }

    /// Something happened to the call.
    pub(crate) fn event(&mut self, at: u64, event: &Event) -> Option<&TimelineEntry> {
        let detail = match event {
            Event::Dtmf { digit, duration_ms, method } => {
                let method = match method {
                    DtmfMethod::Rfc4733 => "rfc4733",
                    DtmfMethod::Info => "info",
                    DtmfMethod::Inband => "inband",
                };
                return self.push(at, What::Dtmf { digit: *digit, method, duration_ms: *duration_ms });
            }
            Event::Facts(_) => return None,
            Event::Hold | Event::Unhold => String::new(),
            Event::Bridge { bleg } | Event::Unbridge { bleg } => bleg.clone(),
            Event::MediaTimeout { silent_ms, bleg: None } => format!("{silent_ms} ms"),
            Event::MediaTimeout { silent_ms, bleg: Some(bleg) } => format!("{silent_ms} ms of {bleg}"),
        };
        self.push(at, What::Event { name: event.name().unwrap_or_default(), detail })
    }

    /// A line of the script's log.
    pub(crate) fn log(&mut self, at: u64, line: &LogLine) -> Option<&TimelineEntry> {
        self.push(at, logged(line))
    }

    /// Takes the open operations out that are theirs: others may go by the same ids from now on.
    pub(crate) fn part(&mut self, is_theirs: impl Fn(OpId) -> bool) -> BTreeMap<OpId, usize> {
        self.open.extract_if(.., |id, _| is_theirs(*id)).collect()
    }

    /// Has these open in place of those, which are handed back.
    pub(crate) fn swap_open(&mut self, open: &mut BTreeMap<OpId, usize>) {
        std::mem::swap(&mut self.open, open);
    }

    fn push(&mut self, at: u64, what: What) -> Option<&TimelineEntry> {
        if self.entries.len() >= room_for(&what) {
            self.dropped += 1;
            return None;
        }
        self.entries.push(TimelineEntry { at_ms: at.saturating_sub(self.started_at), what });
        self.entries.last()
    }

    fn operation(&mut self, id: OpId) -> Option<&mut OperationEntry> {
        match &mut self.entries.get_mut(*self.open.get(&id)?)?.what {
            What::Operation(operation) => Some(operation),
            What::Sip { .. } | What::Dtmf { .. } | What::Event { .. } | What::Media(_) | What::Log { .. } => None,
        }
    }
}

/// How full the timeline may be for an entry of this kind: however much a script floods it with, how the call went on and
/// why it ended still finds room.
fn room_for(what: &What) -> usize {
    match what {
        What::Operation(_) | What::Dtmf { .. } | What::Log { level: LogLevel::Debug | LogLevel::Info | LogLevel::Warn, .. } => {
            MAX_ENTRIES - RESERVED
        }
        What::Sip { .. } | What::Event { .. } | What::Media(_) | What::Log { level: LogLevel::Error, .. } => MAX_ENTRIES,
    }
}

/// What a packet waits besides its way: it is filled, then evened out against jitter.
const PACKET_TIME: Duration = Duration::from_millis(20);

fn media_entry(leg: String, stats: &StreamStats) -> MediaEntry {
    let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    let lost = u64::try_from(stats.packets_lost).unwrap_or(0);
    let expected = stats.packets_received + lost;
    let mos = (stats.packets_received > 0).then(|| {
        let way = stats.round_trip.unwrap_or_default() / 2;
        // Every codec that is built in is G.711: its two laws sound alike.
        let conditions =
            Conditions { codec: Codec::Pcmu, loss: lost as f64 / expected as f64, delay: way + PACKET_TIME + 2 * stats.jitter };
        (mean_opinion_score(rating(&conditions)) * 100.0).round() / 100.0
    });
    MediaEntry {
        leg,
        sent: stats.packets_sent,
        received: stats.packets_received,
        lost,
        jitter_ms: ms(stats.jitter),
        mos,
        remote_lost: u64::try_from(stats.remote_packets_lost).unwrap_or(0),
        remote_jitter_ms: ms(stats.remote_jitter),
        round_trip_ms: stats.round_trip.map(ms),
    }
}

fn shortened(mut text: String, max: usize) -> String {
    if let Some((cut, _)) = text.char_indices().nth(max) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// A line of a script's log, as much of it as an entry holds.
pub(crate) fn logged(line: &LogLine) -> What {
    let text = line.text.chars().take(MAX_DETAIL * 4).collect();
    What::Log { level: line.level, text, line: line.at.as_ref().map(ToString::to_string) }
}

/// A value as readers of timelines see it: without what its name, or names in it, say is secret.
fn shown<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    redact_text(&SecretNames, name, value).map_or(Cow::Borrowed(value), Cow::Owned)
}

/// Sources of audio, which may be URLs.
fn sources(sources: &[String]) -> String {
    sources.iter().map(|source| shown("", source)).collect::<Vec<_>>().join(", ")
}

/// The arguments in a few words. Header values and bodies stay out: they may be secret.
pub(crate) fn detail(op: &Op) -> String {
    let mut text = String::new();
    let written = match op {
        Op::Set(args) => match &args.value {
            Some(value) => write!(text, "{}={}", args.key, shown(&args.key, value)),
            None => write!(text, "{}=(none)", args.key),
        },
        Op::SetHeader(args) => write!(text, "{}", args.name),
        Op::BlockDtmf(args) => write!(text, "{}", args.digits),
        Op::Record(args) => write!(text, "{}", args.name),
        Op::RecordControl(args) => write!(text, "{}", args.recording),
        Op::Play(args) => write!(text, "{}", sources(&args.sources)),
        Op::Tts(args) => write!(text, "{:?}", args.text),
        Op::Ivr(args) => {
            let file = args.file.as_deref().map_or(Cow::Borrowed("-"), |file| shown("", file));
            write!(text, "{file} {}-{}", args.min, args.max)
        }
        Op::Gather(args) => match &args.prompt {
            Some(Prompt::Play(files)) => write!(text, "{} {}-{}", sources(files), args.min, args.max),
            Some(Prompt::Tts(tts)) => write!(text, "{:?} {}-{}", tts.text, args.min, args.max),
            None => write!(text, "{}-{}", args.min, args.max),
        },
        Op::SendDtmf(args) => write!(text, "{} keys", args.digits.chars().count()),
        Op::Echo(args) => write!(text, "{} ms", args.delay_ms),
        Op::Bridge(args) => {
            let targets: Vec<&str> = args.targets.iter().map(|target| target.uri.as_str()).collect();
            write!(text, "{}", targets.join(", "))
        }
        Op::Sleep(args) => write!(text, "{} ms", args.duration_ms),
        Op::Reject(args) => write!(text, "{} {}", args.code, args.reason.as_deref().unwrap_or_default()),
        Op::Redirect(args) => write!(text, "{} {}", args.code, args.contacts.join(", ")),
        Op::Hangup(args) => match args.code {
            Some(code) => write!(text, "{code} {}", args.reason.as_deref().unwrap_or_default()),
            None => Ok(()),
        },
        // A query may hold a key.
        Op::Fetch(args) => {
            let url = args.url.split('?').next().unwrap_or_default();
            write!(text, "{} {}", args.method, shown("", url))
        }
        Op::Host(call) => write!(text, "{}", call.label()),
        Op::UnblockDtmf | Op::Answer(_) | Op::Ring(_) | Op::EarlyMedia => Ok(()),
    };
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
    text
}

/// The same, as much of it as those who watch get.
pub(super) fn summary(op: &Op) -> String {
    shortened(detail(op), MAX_SUMMARY)
}

/// An outcome in a few words.
pub(crate) fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unit => "ok".to_owned(),
        Outcome::Played(played) => match played.digit {
            Some(digit) => format!("{} ms, stopped by {digit}", played.played_ms),
            None => format!("{} ms", played.played_ms),
        },
        Outcome::Ivr(result) => format!("{:?} {:?}", result.status, result.value),
        Outcome::Gathered(result) => format!("{:?} {:?}", result.status, result.value),
        Outcome::Recording { file } => file.clone(),
        Outcome::Recorded { file, duration_ms } => format!("{file}, {duration_ms} ms"),
        Outcome::Bridged(result) => format!("{:?} {} {}, {} ms", result.status, result.code, result.reason, result.duration_ms),
        Outcome::Host(_) => "ok".to_owned(),
        Outcome::Fetched(response) => format!("{} {}, {} bytes", response.status, response.status_text, response.body.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_ctx_api::op::{FetchArgs, FetchRedirect, PlayArgs, SetArgs, SleepArgs};

    fn id(ordinal: u32) -> OpId {
        OpId { turn: 0, ordinal }
    }

    #[test]
    fn an_operation_is_one_line_with_its_start_end_and_result() {
        let mut log = TimelineLog::new(1_000);
        log.issued(1_000, id(0), &Op::Sleep(SleepArgs { duration_ms: 5 }), None);
        log.started(1_010, id(0));
        log.ended(1_015, id(0), &Ok(Outcome::Unit));
        let (entries, dropped) = log.entries();
        let What::Operation(operation) = &entries[0].what else { panic!("expected an operation") };
        assert_eq!((operation.name, operation.detail.as_str()), ("sleep", "5 ms"));
        assert_eq!((operation.started_ms, operation.ended_ms, dropped), (Some(10), Some(15), 0));
    }

    #[test]
    fn how_media_came_through_is_told_with_its_score() {
        let mut log = TimelineLog::new(0);
        let stats = StreamStats {
            packets_sent: 50,
            packets_received: 98,
            packets_lost: 2,
            jitter: Duration::from_micros(1_250),
            remote_packets_lost: -1,
            round_trip: Some(Duration::from_millis(40)),
            ..StreamStats::default()
        };
        log.media(5, "a".into(), &stats);
        log.media(5, "b".into(), &StreamStats { packets_received: 100, ..StreamStats::default() });
        log.media(5, "c".into(), &StreamStats::default());
        let media: Vec<&MediaEntry> = log
            .entries()
            .0
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Media(media) => Some(media),
                _ => None,
            })
            .collect();
        assert_eq!((media[0].lost, media[0].remote_lost, media[0].jitter_ms, media[0].round_trip_ms), (2, 0, 1.3, Some(40.0)));
        assert!(media[0].mos.unwrap() < 3.5 && media[1].mos == Some(4.41) && media[2].mos.is_none(), "{media:?}");
    }

    #[test]
    fn a_timeline_is_bounded() {
        let mut log = TimelineLog::new(0);
        for ordinal in 0..(MAX_ENTRIES - RESERVED) as u32 + 3 {
            log.issued(0, id(ordinal), &Op::UnblockDtmf, None);
        }
        assert_eq!((log.entries().0.len(), log.entries().1), (MAX_ENTRIES - RESERVED, 3));
        for _ in 0..MAX_ENTRIES {
            log.event(0, &Event::Hold);
        }
        assert_eq!(log.entries().0.len(), MAX_ENTRIES);
    }

    #[test]
    fn why_a_call_ended_finds_room_in_a_flooded_timeline() {
        let mut log = TimelineLog::new(0);
        for ordinal in 0..MAX_ENTRIES as u32 {
            log.issued(0, id(ordinal), &Op::UnblockDtmf, None);
        }
        log.log(0, &LogLine { level: LogLevel::Error, text: "why".into(), at: None });
        log.sip(0, Direction::Out, "a".into(), "BYE".into());
        let last: Vec<_> = log.entries().0.iter().rev().take(2).collect();
        assert!(matches!(&last[1].what, What::Log { text, .. } if text == "why"), "{last:?}");
        assert!(matches!(&last[0].what, What::Sip { .. }), "{last:?}");
    }

    #[test]
    fn what_is_secret_by_its_name_is_hidden() {
        let set = |key: &str, value: Option<&str>| {
            detail(&Op::Set(SetArgs { key: key.into(), value: value.map(str::to_owned), skip_write: false }))
        };
        assert_eq!(set("password", Some("hush")), "password=[redacted]");
        assert_eq!(set("user", Some(r#"{"token":"hush"}"#)), r#"user={"token":"[redacted]"}"#);
        assert_eq!((set("a", Some("b")), set("token", None)), ("a=b".to_owned(), "token=(none)".to_owned()));
        let play = PlayArgs { sources: vec!["ivr/a.wav".into(), "https://h/b.wav?token=hush".into()], ..PlayArgs::default() };
        assert_eq!(detail(&Op::Play(play)), "ivr/a.wav, https://h/b.wav?token=[redacted]");
    }

    #[test]
    fn watchers_get_names_of_files_whole_and_of_long_texts_the_beginning() {
        let summary = |source: String| summary(&Op::Play(PlayArgs { sources: vec![source], ..PlayArgs::default() }));
        assert_eq!(summary("x".repeat(1_000)), "x".repeat(1_000));
        assert_eq!(summary("x".repeat(1 << 20)).chars().count(), MAX_SUMMARY + 1);
    }

    #[test]
    fn what_a_url_asks_is_left_out() {
        let fetch = FetchArgs {
            method: "GET".into(),
            url: "https://ann:hush@h/x?key=secret".into(),
            headers: Vec::new(),
            body: None,
            redirect: FetchRedirect::Follow,
            timeout_ms: None,
        };
        assert_eq!(detail(&Op::Fetch(fetch)), "GET https://[redacted]@h/x");
    }
}
