//! `bridge`: carries out the steps of the dialling state machine on legs, audio and the caller.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{BridgeArgs, BridgeStrategy, Headers, MAX_BRIDGE_TARGETS, RING_TIME, RecordArgs, RecordFormat};
use lockstep_ctx_api::outcome::{BridgeResult, BridgeStatus};
use lockstep_ctx_api::{BackendOutput, CallEndedCause, EndedBy, Event, OpError, OpId, Outcome};
use lockstep_media::codec::Codec;
use lockstep_media::digit::Digit;
use lockstep_media::recording::RecordingId;
use lockstep_media::stream::{Command, DtmfId, DtmfMethod, DtmfRequest};
use lockstep_sip::message::Uri;

use super::end::{phrase, reason_header, refusal_parts};
use super::{NativeBackend, Task};
use crate::backend::set_headers::narrowed;
use crate::call::{
    AudioId, AudioOptions, AudioSource, Bridge, BridgeRules, BridgeStep, Dial, Hunt, Leg, LegId, LegState, Lookup, LookupId,
    Refusal, RouteId, Routes, Switchboard,
};

/// A key that is passed on is held for as long at least, whatever its INFO says.
const SHORTEST_KEY: Duration = Duration::from_millis(100);

/// A bridge under way.
#[derive(Debug)]
pub(super) struct BridgeTask {
    pub(super) bridge: Bridge,
    args: BridgeArgs,
    codecs: Vec<Codec>,
    /// Fields of every leg's INVITE that `header` has set; `None` until one is sent.
    set_headers: Option<Headers>,
    /// Those that variables stand for.
    variable_headers: Headers,
    lookups: BTreeMap<LookupId, usize>,
    /// By target, what was found for it by which look-up.
    found: BTreeMap<usize, (LookupId, Vec<RouteId>)>,
    ringback: Option<AudioId>,
    /// What is played to parties who are asked to accept, or told who calls.
    prompts: BTreeMap<AudioId, LegId>,
    /// The leg the caller hears: early media, or joined.
    heard: Option<LegId>,
    joined: Option<LegId>,
    /// Of the conversation; it ends with the bridge.
    recording: Option<RecordingId>,
    /// Whether gateways are among the targets.
    by_gateways: bool,
    /// A refusal in words for the caller.
    reply: Option<Refusal>,
}

impl BridgeTask {
    pub(super) fn plays_ringback(&self) -> bool {
        self.ringback.is_some()
    }

    pub(super) fn plays(&self, audio: AudioId) -> bool {
        self.ringback == Some(audio) || self.prompts.contains_key(&audio)
    }
}

impl<S: Switchboard> NativeBackend<S> {
    pub(super) fn start_bridge(&mut self, now: Instant, id: OpId, args: BridgeArgs) {
        let begun = self.dial(now, args);
        self.begin(id, begun);
    }

    fn dial(&mut self, now: Instant, mut args: BridgeArgs) -> Result<Task, OpError> {
        let range_error = |message: String| OpError::new(lockstep_ctx_api::ErrorCode::RangeError, message);
        if args.targets.is_empty() || args.targets.len() > MAX_BRIDGE_TARGETS {
            return Err(range_error(format!("bridge: expected 1 to {MAX_BRIDGE_TARGETS} targets, got {}", args.targets.len())));
        }
        let mut codecs = super::answer::codecs_by_name("bridge", &args.codecs, &self.setup.codecs)?;
        if args.codecs.is_empty()
            && let Some(spoken) = self.a.negotiated().map(|negotiated| negotiated.codec)
        {
            // The caller's codec first: what both legs speak need not be transcoded.
            codecs.sort_by_key(|codec| *codec != spoken);
        }
        // Before the far legs: they are opened beside it, on its media thread.
        self.a.open_ports(&mut self.board).map_err(|error| super::prefixed("bridge", error))?;
        let common = ring_time(args.timeout_ms).unwrap_or(RING_TIME);
        let ring_times = args
            .targets
            .iter()
            .map(|target| target.timeout_ms.and_then(ring_time).map_or(common, |own| own.min(common)))
            .collect();
        let rules = BridgeRules {
            ring_times,
            strategy: args.strategy,
            early_media: args.early_media,
            screen: args.screen.is_some(),
            whisper: args.whisper.is_some(),
            hangup_on: args.hangup_on.clone(),
            continue_on: args.continue_on,
        };
        args.caller_id = args.caller_id.or_else(|| self.vars.get("effective_caller_id_number").cloned());
        args.from_name = args.from_name.or_else(|| self.vars.get("effective_caller_id_name").cloned());
        let variable_headers = self.variable_headers.values().filter(|(name, _)| is_private_header(name)).cloned().collect();
        Ok(Task::Bridge(Box::new(BridgeTask {
            bridge: Bridge::start(now, rules, self.next_leg),
            args,
            codecs,
            set_headers: None,
            variable_headers,
            lookups: BTreeMap::new(),
            found: BTreeMap::new(),
            ringback: None,
            prompts: BTreeMap::new(),
            heard: None,
            joined: None,
            recording: None,
            by_gateways: false,
            reply: None,
        })))
    }

    /// The routes of a target were found, or there are none.
    pub fn resolved(&mut self, now: Instant, lookup: LookupId, result: Result<Routes, Refusal>) {
        if self.looks_up_callee(lookup) {
            self.callee_found(now, result);
        } else {
            self.route_found(now, lookup, result);
        }
        self.settle(now);
    }

    fn route_found(&mut self, now: Instant, lookup: LookupId, result: Result<Routes, Refusal>) {
        let wanted = match &mut self.task {
            Some((_, Task::Bridge(task))) => task.lookups.remove(&lookup).map(|target| (task, target)),
            Some(_) | None => None,
        };
        let Some((task, target)) = wanted else {
            // The bridge that wanted to know is over.
            let routes = result.map(|found| found.routes).unwrap_or_default();
            return self.board.forget_routes(lookup, &routes);
        };
        if let Err(refusal) = &result
            && refusal.reply_by.is_some()
        {
            task.reply = Some(refusal.clone());
        }
        task.by_gateways |= !matches!(&result, Ok(found) if found.hunt == Hunt::Together);
        let shape = result.as_ref().map(|found| (found.routes.len(), found.hunt));
        let routes = shape.map_err(|refusal| (refusal.code, refusal.reason.clone()));
        task.found.insert(target, (lookup, result.map(|found| found.routes).unwrap_or_default()));
        task.bridge.resolved(now, target, routes);
    }

    /// Carries out one step of the bridge; whether there was one.
    pub(super) fn bridge_step(&mut self, now: Instant) -> bool {
        let Some((_, Task::Bridge(task))) = &mut self.task else { return false };
        self.next_leg = task.bridge.next_leg();
        let Some(step) = task.bridge.poll_step() else { return false };
        match step {
            BridgeStep::Resolve { target } => self.look_up(now, target),
            BridgeStep::Dial { leg, target, route } => self.dial_leg(now, leg, target, route),
            BridgeStep::Drop { leg, elsewhere } => {
                let headers = if elsewhere { super::end::answered_elsewhere() } else { Headers::new() };
                self.drop_far(leg, headers);
            }
            BridgeStep::Ringing => self.far_end_rings(now),
            BridgeStep::EarlyMedia { leg } => {
                if self.a.state() >= LegState::Early || self.begin_early_media(now) {
                    self.hear(leg);
                } else {
                    self.ring_caller(now);
                }
            }
            BridgeStep::Screen { leg } => self.prompt_far(now, leg, true),
            BridgeStep::Whisper { leg } => self.prompt_far(now, leg, false),
            BridgeStep::Join { leg } => self.join_far(now, leg),
            BridgeStep::Done { result, joined, goes_on, by } => self.bridge_done(result, joined, goes_on, by),
        }
        true
    }

    fn look_up(&mut self, now: Instant, target: usize) {
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        if task.args.strategy == BridgeStrategy::Sequential {
            // The next one's turn has come: those before it are over.
            for (lookup, routes) in std::mem::take(&mut task.found).into_values() {
                self.board.forget_routes(lookup, &routes);
            }
        }
        let lookup = self.next_lookup;
        self.next_lookup = LookupId(lookup.0 + 1);
        let wanted = task.args.targets.get(target);
        let uri = wanted.map_or("", |target| target.uri.as_str());
        let own = wanted.and_then(|target| target.caller_id.as_deref());
        task.lookups.insert(lookup, target);
        match self.board.resolve(lookup, uri, own.or(task.args.caller_id.as_deref())) {
            Lookup::Ready(result) => self.route_found(now, lookup, result),
            Lookup::Later => {}
        }
    }

    fn dial_leg(&mut self, now: Instant, id: LegId, target: usize, route: usize) {
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        let Some(route) = task.found.get(&target).and_then(|(_, routes)| routes.get(route)).copied() else { return };
        let Some(own) = task.args.targets.get(target) else { return };
        let set = task.set_headers.as_ref().unwrap_or_else(|| self.headers.fields());
        let places = [set, &task.args.headers, &fields_of(&own.uri), &own.headers];
        let headers = places.into_iter().fold(task.variable_headers.clone(), narrowed);
        let dial = Dial {
            route,
            caller_id: own.caller_id.clone().or_else(|| task.args.caller_id.clone()),
            from_name: own.from_name.clone().or_else(|| task.args.from_name.clone()),
            headers,
        };
        let mut leg = Leg::outbound(id);
        match leg.dial(&mut self.board, Some(LegId::A), task.codecs.clone(), dial) {
            Ok(()) => {
                task.set_headers.get_or_insert_with(|| self.headers.take());
                self.far.insert(id, leg);
            }
            Err(error) => {
                leg.over(&mut self.board);
                task.bridge.leg_over(now, id, 503, &error.message, EndedBy::Engine);
            }
        }
    }

    fn drop_far(&mut self, id: LegId, headers: Headers) {
        self.unhear(id);
        if let Some(mut leg) = self.far.remove(&id) {
            leg.hang_up(&mut self.board, headers);
        }
        self.audio.leg_over(&mut self.board, id);
        self.end_asides(id, &OpError::aborted("play"));
    }

    /// Tells the caller that it rings, in whatever way the caller can be told.
    fn far_end_rings(&mut self, now: Instant) {
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        let wanted = task.args.ringback.clone();
        if self.a.state() < LegState::Early && (wanted.is_none() || !self.begin_early_media(now)) {
            return self.ring_caller(now);
        }
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        if task.heard.is_none() && task.ringback.is_none() && self.a.has_media_path() {
            let source = AudioSource::Files(vec![wanted.unwrap_or_else(|| self.setup.ringback.clone())]);
            let options = AudioOptions { repeat: 0, ..AudioOptions::PLAIN };
            task.ringback = Some(self.audio.start(&mut self.board, LegId::A, self.a.codec(), &source, options));
        }
    }

    fn ring_caller(&mut self, now: Instant) {
        if self.a.state() == LegState::New {
            self.a.ring(&mut self.board, Headers::new());
            self.tell_facts(now);
        }
    }

    /// Whether the caller hears something from here on: an INVITE without an offer has no audio before the answer.
    fn begin_early_media(&mut self, now: Instant) -> bool {
        let begun = self.a.start_early_media(&mut self.board, Headers::new()).is_ok();
        self.tell_facts(now);
        begun
    }

    fn stop_ringback(&mut self) {
        if let Some((_, Task::Bridge(task))) = &mut self.task
            && let Some(audio) = task.ringback.take()
        {
            self.audio.stop(&mut self.board, audio);
        }
    }

    fn hear(&mut self, leg: LegId) {
        self.stop_ringback();
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        let before = task.heard.replace(leg);
        if before != Some(leg) {
            if let Some(before) = before {
                self.board.part(LegId::A, before);
            }
            self.board.join(LegId::A, leg);
        }
    }

    pub(super) fn unhear(&mut self, leg: LegId) {
        if let Some((_, Task::Bridge(task))) = &mut self.task
            && task.heard.take_if(|heard| *heard == leg).is_some()
        {
            self.board.part(LegId::A, leg);
        }
    }

    fn prompt_far(&mut self, now: Instant, leg: LegId, screen: bool) {
        // A party who accepts before the question is over is not asked to its end.
        self.stop_prompts(leg);
        self.unhear(leg);
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        let file = if screen { &task.args.screen } else { &task.args.whisper };
        let (Some(file), Some(far)) = (file, self.far.get(&leg)) else {
            return task.bridge.prompt_ended(now, leg);
        };
        let source = AudioSource::Files(vec![file.clone()]);
        let audio = self.audio.start(&mut self.board, leg, far.codec(), &source, AudioOptions::PLAIN);
        task.prompts.insert(audio, leg);
    }

    fn stop_prompts(&mut self, leg: LegId) {
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        for (audio, _) in task.prompts.extract_if(.., |_, to| *to == leg) {
            self.audio.stop(&mut self.board, audio);
        }
    }

    fn join_far(&mut self, now: Instant, leg: LegId) {
        self.stop_prompts(leg);
        let Some((id, Task::Bridge(task))) = &mut self.task else { return };
        let id = *id;
        task.joined = Some(leg);
        // The other targets are not dialled any more.
        let target = task.bridge.target_of(leg);
        for (_, (lookup, routes)) in task.found.extract_if(.., |other, _| Some(*other) != target) {
            self.board.forget_routes(lookup, &routes);
        }
        for lookup in std::mem::take(&mut task.lookups).into_keys() {
            self.board.forget_routes(lookup, &[]);
        }
        let record = task.args.record.clone();
        if self.a.state() < LegState::Answering && !self.originated {
            let headers = self.headers.fields().clone();
            if let Err(error) = self.a.answer(&mut self.board, headers, &self.setup.codecs.clone()) {
                return self.caller_unanswerable(&error);
            }
            self.headers.take();
            self.tell_facts(now);
        }
        self.hear(leg);
        let bleg = self.far_name(leg);
        self.outputs.push_back(BackendOutput::Event(Event::Bridge { bleg }));
        if let Some(name) = record {
            // A recording that cannot be written does not cost the caller the conversation.
            let args = RecordArgs { format: RecordFormat::of(&name), name, stereo: true, ..RecordArgs::default() };
            let opened = self.open_recording(id, None, args);
            let Some((_, Task::Bridge(task))) = &mut self.task else { return };
            match opened {
                Ok(recording) => task.recording = Some(recording),
                Err(error) => self.warn(format!("bridge: not recorded: {}", error.message)),
            }
        }
    }

    /// The callee is on the line and the caller cannot be answered: no ports, or no codec.
    fn caller_unanswerable(&mut self, error: &OpError) {
        if let Some((id, Task::Bridge(task))) = self.task.take() {
            self.abandon_bridge(*task);
            self.complete(id, Err(super::prefixed("bridge", error.clone())));
        }
    }

    fn bridge_done(&mut self, mut result: BridgeResult, joined: Option<LegId>, goes_on: bool, by: EndedBy) {
        self.stop_ringback();
        let Some((id, Task::Bridge(mut task))) = self.task.take() else { return };
        self.release(&mut task);
        if let Some(leg) = task.heard {
            self.board.part(LegId::A, leg);
        }
        if let Some(leg) = joined {
            let bleg = self.far_name(leg);
            result.bleg = Some(bleg.clone());
            self.outputs.push_back(BackendOutput::Event(Event::Unbridge { bleg }));
        }
        let reply = task.reply.filter(|known| (known.code, &known.reason) == (result.code, &result.reason));
        // Why a target cannot be called is for the script and the log; the caller gets the standard phrase.
        let told = of_callee(result.code, task.by_gateways);
        let (shown, text) = reply.as_ref().map_or((told, phrase(told)), |reply| (reply.code, reply.reason.as_str()));
        if goes_on {
            self.refused = (result.status != BridgeStatus::Completed).then(|| (shown, text.to_owned()));
            self.complete(id, Ok(Outcome::Bridged(result)));
            return;
        }
        // The script is not to go on: the operation settles as everything does that is pending when the call ends.
        let cause = if result.status == BridgeStatus::Completed {
            self.a.hang_up(&mut self.board, Headers::new());
            // Of a call of ours, who dials in the bridge is the callee.
            let by = if by == EndedBy::Caller && self.originated { EndedBy::Callee } else { by };
            CallEndedCause { code: 200, reason: "Normal Clearing".into(), by }
        } else {
            if self.a.state() < LegState::Answering && !self.originated {
                let (text, mut headers) = refusal_parts(shown, text);
                let retry_after = reply.as_ref().and_then(|reply| reply.retry_after);
                headers.extend(retry_after.map(|seconds| ("Retry-After".to_owned(), seconds.to_string())));
                self.a.refuse(&mut self.board, shown, text, headers);
            } else {
                self.a.hang_up(&mut self.board, vec![reason_header(shown, text)]);
            }
            let by = reply.and_then(|reply| reply.reply_by).unwrap_or(by);
            CallEndedCause { code: result.code, reason: result.reason, by }
        };
        self.complete(id, Err(OpError::call_ended(cause.clone())));
        self.finish(cause);
    }

    /// What the last bridge would have told the caller, had it ended the call: asked for once.
    pub fn take_refusal(&mut self) -> Option<(u16, String)> {
        self.refused.take()
    }

    /// Hangs up every far leg and stops what the bridge plays. The task has been taken out already.
    pub(super) fn abandon_bridge(&mut self, mut task: BridgeTask) {
        if let Some(audio) = task.ringback.take() {
            self.audio.stop(&mut self.board, audio);
        }
        self.release(&mut task);
        if let Some(leg) = task.heard.take() {
            self.board.part(LegId::A, leg);
        }
        if let Some(leg) = task.joined.take() {
            let bleg = self.far_name(leg);
            self.outputs.push_back(BackendOutput::Event(Event::Unbridge { bleg }));
        }
        task.bridge.abandon();
        for leg in self.far.keys().copied().collect::<Vec<_>>() {
            self.drop_far(leg, Headers::new());
        }
    }

    /// Gives back what only the bridge has a use for.
    fn release(&mut self, task: &mut BridgeTask) {
        if let Some(recording) = task.recording.take() {
            self.stop_recording(recording);
        }
        for (lookup, routes) in std::mem::take(&mut task.found).into_values() {
            self.board.forget_routes(lookup, &routes);
        }
        for lookup in std::mem::take(&mut task.lookups).into_keys() {
            self.board.forget_routes(lookup, &[]);
        }
    }

    pub(super) fn bridge_audio_ended(&mut self, now: Instant, audio: AudioId, result: Result<(), OpError>) {
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        let mut rings_on = false;
        if task.ringback == Some(audio) {
            task.ringback = None;
            // One of the script's choice that cannot be played gives way to that of the configuration.
            rings_on = result.is_err() && task.args.ringback.take().is_some();
        } else if let Some(leg) = task.prompts.remove(&audio) {
            task.bridge.prompt_ended(now, leg);
        }
        if let Err(error) = result {
            self.warn(format!("bridge: {}", error.message));
        }
        if rings_on {
            self.far_end_rings(now);
        }
    }

    /// A key of the caller while a bridge runs; whether the bridge took it. One that came by INFO was held for `by_info` ms; the
    /// audio carries any other to whom the caller hears, in early media as well.
    pub(super) fn bridge_took_digit(&mut self, now: Instant, digit: char, by_info: Option<u32>) -> bool {
        let Some((_, Task::Bridge(task))) = &mut self.task else { return false };
        let is_joined = task.joined.is_some();
        if task.bridge.ends_on(digit) {
            task.bridge.end(now);
        } else if let Some((leg, duration_ms)) = task.heard.zip(by_info) {
            self.pass_key(leg, digit, duration_ms);
        }
        is_joined
    }

    /// A key of a far end while a bridge runs.
    pub(super) fn far_digit(&mut self, now: Instant, leg: LegId, digit: char, by_info: Option<u32>) {
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        if task.heard != Some(leg) {
            task.bridge.far_digit(now, leg);
        } else if let Some(duration_ms) = by_info {
            self.pass_key(LegId::A, digit, duration_ms);
        }
    }

    /// A key that came by INFO goes on as telephone events, or as tones where the other side has none.
    pub(crate) fn pass_key(&mut self, to: LegId, digit: char, duration_ms: u32) {
        let Some(digit) = Digit::from_char(digit) else { return };
        let request = DtmfRequest {
            digits: vec![digit],
            duration: Duration::from_millis(duration_ms.into()).max(SHORTEST_KEY),
            gap: Duration::from_millis(50),
            method: DtmfMethod::TelephoneEvent,
        };
        self.board.media(to, Command::SendDtmf { id: DtmfId(0), request });
    }

    /// Whether the caller talks to that far end.
    pub(super) fn is_joined(&self, leg: LegId) -> bool {
        matches!(&self.task, Some((_, Task::Bridge(task))) if task.joined == Some(leg))
    }

    pub(super) fn far_name(&self, leg: LegId) -> String {
        format!("{}-{}", self.setup.call_id, leg.0)
    }
}

/// What a target's URI says behind its question mark.
pub(super) fn fields_of(target: &str) -> Headers {
    let Ok(Uri::Sip(uri)) = Uri::parse(target) else { return Headers::new() };
    uri.fields().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// What the caller is told of a far end's final response. What is said of our request (its method, body, extensions, timers, dialog)
/// is nothing that the caller has sent. Redirections are not followed and their Contacts not handed on, since a
/// caller must not learn of a way around the gateways; credentials that a gateway wants are ours to give, not the caller's. A 503
/// would say that we are out of service (RFC 3261 21.5.4), and a proxy makes 500 of it (16.7 step 6). As a UAS we may be plainer: 502
/// is a failure downstream (21.5.3), and a user or a script that is out of service is not available (21.4.18).
fn of_callee(code: u16, by_gateways: bool) -> u16 {
    match code {
        ..=399 => 480,
        401 | 407 => 502,
        405 | 413..=417 | 420..=423 | 481 | 482 | 491 | 493 | 494 | 501 | 503 | 505 | 513 | 580 if by_gateways => 502,
        405 | 413..=417 | 420..=423 | 481 | 482 | 491 | 493 | 494 | 501 | 503 | 505 | 513 | 580 => 480,
        other => other,
    }
}

fn ring_time(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

/// Header fields that scripts may pass on by variable: private ones, so that none that runs the protocol is touched.
fn is_private_header(name: &str) -> bool {
    name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-") || start.eq_ignore_ascii_case("p-"))
}
