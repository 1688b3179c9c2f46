//! The applications of the stand-in.

use std::collections::BTreeSet;
use std::path::Path;

use super::arguments::dial_string;
use super::channel::{Channel, TICK_MS};
use super::digits::Digits;
use super::setup::Peer;

/// What a peer does that nothing else is said of.
const USUAL: Peer = Peer::Answers { after_ms: 40, talks_ms: 1_000 };

/// An application that runs.
#[derive(Debug)]
pub(super) struct App {
    pub name: String,
    pub arg: String,
    pub uuid: Option<String>,
    pub is_locked: bool,
    pub response: String,
    pub state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Done,
    Until(u64),
    Audio { began: u64, until: u64 },
    Forever { is_breakable: bool },
    Digits(Box<Digits>),
    Bridge(Box<Bridge>),
}

/// `bridge`
#[derive(Debug)]
pub(super) struct Bridge {
    /// Groups that were not tried yet; each endpoint with its leg's id and behaviour.
    groups: Vec<Vec<(String, Peer)>>,
    ringing: Vec<(String, u64, Peer)>,
    timeout: u64,
    joined: Option<(String, u64)>,
    last_cause: String,
}

pub(super) fn is_known(name: &str) -> bool {
    const KNOWN: [&str; 27] = [
        "answer",
        "pre_answer",
        "ring_ready",
        "respond",
        "redirect",
        "hangup",
        "set",
        "unset",
        "playback",
        "speak",
        "play_and_get_digits",
        "flush_dtmf",
        "sleep",
        "park",
        "echo",
        "delay_echo",
        "record_session",
        "stop_record_session",
        "record_session_pause",
        "record_session_resume",
        "bridge",
        "send_dtmf",
        "block_dtmf",
        "unblock_dtmf",
        "break",
        "conference",
        "transfer",
    ];
    KNOWN.contains(&name)
}

impl App {
    /// When it next does something by itself.
    pub(super) fn due(&self) -> Option<u64> {
        match &self.state {
            State::Done => Some(0),
            State::Until(until) | State::Audio { until, .. } => Some(*until),
            State::Forever { .. } => None,
            State::Digits(digits) => Some(digits.due()),
            State::Bridge(bridge) => bridge.due(),
        }
    }

    /// The call ends while it runs.
    pub(super) fn cut_off(&mut self, channel: &mut Channel) {
        if let State::Audio { began, .. } = self.state {
            channel.played(began);
            self.response = "PLAYBACK ERROR".to_owned();
        }
        if let State::Bridge(bridge) = &self.state
            && bridge.joined.is_some()
        {
            channel.unbridged("NORMAL_CLEARING");
        }
    }
}

impl Bridge {
    fn due(&self) -> Option<u64> {
        if let Some((_, until)) = &self.joined {
            return Some(*until);
        }
        let ringing = self.ringing.iter().filter_map(|(_, at, peer)| (*peer != Peer::Rings).then_some(*at));
        ringing.chain([self.timeout]).min()
    }
}

impl Channel {
    /// Begins an application.
    pub(super) fn start(&mut self, app: &App) -> State {
        let set = |channel: &mut Self, name: &str, value: &str| {
            channel.variables.insert(name.to_owned(), value.to_owned());
        };
        match app.name.as_str() {
            "answer" => {
                self.answer();
                State::Done
            }
            "pre_answer" => {
                self.early_media();
                State::Done
            }
            "ring_ready" => {
                let event = self.event("CHANNEL_PROGRESS");
                self.fire(event);
                State::Done
            }
            "respond" | "redirect" => {
                self.response = Some(app.arg.clone());
                self.hang_up("NORMAL_CLEARING");
                State::Done
            }
            "hangup" => {
                let cause = if app.arg.is_empty() { "NORMAL_CLEARING" } else { app.arg.as_str() };
                self.hang_up(cause);
                State::Done
            }
            "set" => {
                if let Some((name, value)) = app.arg.split_once('=') {
                    set(self, name, value);
                }
                State::Done
            }
            "unset" => {
                self.variables.remove(&app.arg);
                State::Done
            }
            "playback" => self.start_audio(&app.arg),
            "speak" => {
                let words = app.arg.splitn(3, '|').collect::<Vec<_>>();
                match words.as_slice() {
                    [_, _, text] => self.start_audio(&format!("silence_stream://{}", text.len() * 60)),
                    _ => {
                        self.hang_up("DESTINATION_OUT_OF_ORDER");
                        State::Done
                    }
                }
            }
            "play_and_get_digits" => self.start_digits(&app.arg),
            "flush_dtmf" => {
                self.digits.clear();
                State::Done
            }
            "sleep" => State::Until(self.now + app.arg.parse::<u64>().unwrap_or(0)),
            "echo" | "park" | "conference" => State::Forever { is_breakable: true },
            "delay_echo" => State::Forever { is_breakable: false },
            "record_session" => {
                self.record("start", &app.arg);
                State::Done
            }
            "stop_record_session" => {
                self.record("stop", &app.arg);
                State::Done
            }
            "bridge" => self.start_bridge(&app.arg),
            "block_dtmf" => {
                self.blocks_digits = true;
                State::Done
            }
            "unblock_dtmf" => {
                self.blocks_digits = false;
                State::Done
            }
            "break" => {
                self.break_top();
                State::Done
            }
            _ => State::Done,
        }
    }

    fn answer(&mut self) {
        if self.answer_state == "answered" {
            return;
        }
        self.answer_state = "answered";
        let event = self.event("CHANNEL_ANSWER");
        self.fire(event);
        self.variables.insert("endpoint_disposition".to_owned(), "ANSWER".to_owned());
    }

    pub(super) fn early_media(&mut self) {
        if self.answer_state == "ringing" {
            self.answer_state = "early";
            let event = self.event("CHANNEL_PROGRESS_MEDIA");
            self.fire(event);
        }
    }

    /// How long a source lasts; `None` when there is no such thing.
    pub(super) fn length_of(&self, source: &str) -> Option<u64> {
        if let Some(list) = source.strip_prefix("file_string://") {
            return list.split('!').map(|part| self.length_of(part)).sum();
        }
        if let Some(ms) = source.strip_prefix("silence_stream://") {
            return ms.parse().ok();
        }
        if let Some(steps) = source.strip_prefix("tone_stream://") {
            let step = |step: &str| {
                let inside = step.strip_prefix("%(")?.strip_suffix(')')?;
                let mut numbers = inside.split(',').map(|number| number.parse::<u64>().ok());
                Some(numbers.next()?? + numbers.next()??)
            };
            return steps.split(';').map(step).sum();
        }
        if let Some(text) = source.strip_prefix("say:") {
            return Some(text.len() as u64 * 60);
        }
        let source = source.split("@@").next().unwrap_or_default();
        if let Some(length) = self.setup.files.get(source) {
            return Some(*length);
        }
        // 16 bits at 8,000 a second behind 44 bytes of header.
        let size = std::fs::metadata(Path::new(source)).ok()?.len();
        Some(size.saturating_sub(44) / 16)
    }

    fn start_audio(&mut self, source: &str) -> State {
        self.early_media();
        self.variables.remove("playback_terminator_used");
        match self.length_of(source) {
            Some(length) => State::Audio { began: self.now, until: self.now + length.max(1) },
            None => State::Until(self.now),
        }
    }

    pub(super) fn played(&mut self, began: u64) {
        let ms = self.now.saturating_sub(began);
        self.variables.insert("playback_last_offset_pos".to_owned(), (ms * 8).to_string());
        self.variables.insert("playback_ms".to_owned(), ms.div_ceil(2_048).saturating_mul(2_048).to_string());
    }

    fn start_bridge(&mut self, arg: &str) -> State {
        self.bridged.push(self.variables.clone());
        let behaviour = |address: &str| {
            if let Some(cause) = address.strip_prefix("error/") {
                return Peer::Fails { after_ms: 0, cause: cause.to_owned() };
            }
            let known = self.setup.peers.iter().find(|(part, _)| address.contains(part.as_str()));
            known.map_or(USUAL, |(_, peer)| peer.clone())
        };
        let mut ring_ms = 60_000;
        let mut seen = BTreeSet::new();
        let groups: Vec<Vec<(String, Peer)>> = dial_string(arg)
            .iter()
            .map(|group| {
                group
                    .iter()
                    .map(|endpoint| {
                        if let Some(seconds) = endpoint.variables.get("leg_timeout").and_then(|s| s.parse::<u64>().ok()) {
                            ring_ms = seconds * 1_000;
                        }
                        let leg = endpoint.variables.get("origination_uuid").cloned().unwrap_or_default();
                        seen.insert(endpoint.address.clone());
                        (leg, behaviour(&endpoint.address))
                    })
                    .collect()
            })
            .collect();
        self.variables.insert("dialled".to_owned(), seen.into_iter().collect::<Vec<_>>().join(" "));
        for name in ["originate_disposition", "bridge_uuid", "last_bridge_hangup_cause"] {
            self.variables.remove(name);
        }
        let bridge =
            Bridge { groups, ringing: Vec::new(), timeout: self.now + ring_ms, joined: None, last_cause: "NO_ANSWER".into() };
        let mut bridge = Box::new(bridge);
        self.ring_next(&mut bridge, ring_ms);
        State::Bridge(bridge)
    }

    fn ring_next(&mut self, bridge: &mut Bridge, ring_ms: u64) {
        if bridge.groups.is_empty() {
            return;
        }
        bridge.timeout = self.now + ring_ms;
        bridge.ringing = bridge
            .groups
            .remove(0)
            .into_iter()
            .map(|(leg, peer)| {
                let at = match &peer {
                    Peer::Answers { after_ms, .. } | Peer::Fails { after_ms, .. } => self.now + after_ms,
                    Peer::Rings => u64::MAX,
                };
                (leg, at, peer)
            })
            .collect();
    }

    /// The innermost application has something to do.
    pub(super) fn step_top(&mut self) {
        let Some(mut app) = self.stack.pop() else { return };
        app.state = match std::mem::replace(&mut app.state, State::Done) {
            State::Until(_) if matches!(app.name.as_str(), "playback" | "speak") => {
                app.response = "FILE NOT FOUND".to_owned();
                State::Done
            }
            State::Audio { began, .. } => {
                self.played(began);
                app.response = "FILE PLAYED".to_owned();
                State::Done
            }
            State::Digits(digits) => self.step_digits(digits),
            State::Bridge(bridge) => self.step_bridge(bridge),
            State::Until(_) | State::Done => State::Done,
            State::Forever { is_breakable } => State::Forever { is_breakable },
        };
        if self.is_over() {
            return;
        }
        self.stack.push(app);
        self.finish_what_is_done();
    }

    fn step_bridge(&mut self, mut bridge: Box<Bridge>) -> State {
        if bridge.joined.is_some() {
            self.unbridged("NORMAL_CLEARING");
            return State::Done;
        }
        let due = bridge.ringing.iter().position(|(_, at, _)| *at <= self.now);
        match due.map(|at| bridge.ringing.remove(at)) {
            Some((leg, _, Peer::Answers { talks_ms, .. })) => {
                bridge.ringing.clear();
                self.answer();
                self.variables.insert("originate_disposition".to_owned(), "SUCCESS".to_owned());
                self.variables.insert("bridge_uuid".to_owned(), leg.clone());
                let mut event = self.event("CHANNEL_BRIDGE");
                event.push("Bridge-A-Unique-ID", &self.setup.uuid);
                event.push("Bridge-B-Unique-ID", &leg);
                event.push("Other-Leg-Unique-ID", &leg);
                self.fire(event);
                bridge.joined = Some((leg, self.now + talks_ms));
                State::Bridge(bridge)
            }
            Some((_, _, Peer::Fails { cause, .. })) => {
                bridge.last_cause = cause;
                self.next_group(bridge)
            }
            Some((_, _, Peer::Rings)) | None => {
                bridge.ringing.clear();
                bridge.last_cause = "NO_ANSWER".to_owned();
                self.next_group(bridge)
            }
        }
    }

    fn next_group(&mut self, mut bridge: Box<Bridge>) -> State {
        if !bridge.ringing.is_empty() {
            return State::Bridge(bridge);
        }
        if !bridge.groups.is_empty() {
            self.ring_next(&mut bridge, 60_000);
            return State::Bridge(bridge);
        }
        self.variables.insert("originate_disposition".to_owned(), bridge.last_cause.clone());
        self.variables.insert("last_bridge_hangup_cause".to_owned(), bridge.last_cause.clone());
        if self.variable("continue_on_fail") != Some("true") {
            let cause = bridge.last_cause.clone();
            self.hang_up(&cause);
        }
        State::Done
    }

    pub(super) fn unbridged(&mut self, cause: &str) {
        self.variables.insert("bridge_hangup_cause".to_owned(), cause.to_owned());
        let event = self.event("CHANNEL_UNBRIDGE");
        self.fire(event);
    }

    /// Somebody ends a leg of the bridge; whether it was one.
    pub(super) fn end_leg(&mut self, uuid: &str, cause: &str) -> bool {
        let (now, tick) = (self.now, self.tick());
        for app in &mut self.stack {
            let State::Bridge(bridge) = &mut app.state else { continue };
            if let Some((leg, until)) = &mut bridge.joined
                && leg == uuid
            {
                *until = tick;
                return true;
            }
            if let Some(ringing) = bridge.ringing.iter_mut().find(|(leg, _, _)| leg == uuid) {
                ringing.1 = now;
                ringing.2 = Peer::Fails { after_ms: 0, cause: cause.to_owned() };
                return true;
            }
        }
        false
    }

    /// `uuid_break`: what plays stops at the next tick.
    pub(super) fn break_top(&mut self) {
        let tick = self.tick();
        let Some(app) = self.stack.last_mut() else { return };
        match &mut app.state {
            State::Audio { until, .. } | State::Until(until) => *until = tick,
            State::Forever { is_breakable: true } => app.state = State::Until(tick),
            State::Digits(digits) => digits.break_off(tick),
            State::Forever { is_breakable: false } | State::Bridge(_) | State::Done => {}
        }
    }

    /// A key was pressed: the innermost application may want it.
    pub(super) fn key_for_top(&mut self) {
        let stops = self.variable("playback_terminators").unwrap_or("*").to_owned();
        let Some(mut app) = self.stack.pop() else { return };
        app.state = match std::mem::replace(&mut app.state, State::Done) {
            State::Audio { began, until } => {
                let digit = self.digits.back().copied();
                match digit.filter(|digit| stops != "none" && (stops == "any" || stops.contains(*digit))) {
                    Some(digit) => {
                        self.digits.pop_back();
                        self.played(began);
                        self.variables.insert("playback_terminator_used".to_owned(), digit.to_string());
                        app.response = "FILE PLAYED".to_owned();
                        State::Done
                    }
                    None => State::Audio { began, until },
                }
            }
            State::Digits(mut digits) if !digits.is_told_off() => {
                if self.take_digits(&mut digits) {
                    self.end_try(digits, false)
                } else {
                    State::Digits(digits)
                }
            }
            other => other,
        };
        self.stack.push(app);
        self.finish_what_is_done();
    }

    /// `uuid_record` and its applications.
    pub(super) fn record(&mut self, action: &str, path: &str) -> String {
        match action {
            "start" => self.recordings.push(path.to_owned()),
            "stop" => {
                let Some(at) = self.recordings.iter().position(|own| own == path) else {
                    return "-ERR Cannot stop record session!\n".to_owned();
                };
                self.recordings.remove(at);
                self.variables.insert("record_ms".to_owned(), "1060".to_owned());
            }
            "pause" | "resume" if self.recordings.iter().any(|own| own == path) => {}
            _ => return format!("-ERR Cannot {action} recording session!\n"),
        }
        "+OK Success\n".to_owned()
    }
}

// Applications start and stop at ticks only.
const _: () = assert!(TICK_MS == 20);
