//! `ivr` and `gather`: digits.

use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{BridgeArgs, BridgeTarget, GatherArgs, IvrArgs, Prompt};
use lockstep_ctx_api::outcome::{CollectStatus, GatherVia, Gathered, IvrResult};
use lockstep_ctx_api::pattern::Pattern;
use lockstep_ctx_api::{ErrorCode, OpError, OpId, Outcome};
use lockstep_media::digit::DigitSet;

use super::{NativeBackend, Task};
use crate::call::{AudioId, AudioOptions, AudioSource, CollectRules, CollectStep, Collected, Collector, LegId, Switchboard};

/// A collecting operation under way.
#[derive(Debug)]
pub(super) struct CollectTask {
    pub(super) collector: Collector,
    kind: Kind,
    prompt: Option<AudioSource>,
    invalid: Option<AudioSource>,
    /// Keys end the audio on the media thread itself, which therefore watches for them instead of looking at its next tick.
    stop_on: DigitSet,
    playing: Option<AudioId>,
}

#[derive(Debug)]
enum Kind {
    Ivr { transfer_on_failure: Option<String> },
    Gather,
}

impl CollectTask {
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ivr { .. } => "ivr",
            Kind::Gather => "gather",
        }
    }

    pub(super) fn plays(&self, audio: AudioId) -> bool {
        self.playing == Some(audio)
    }
}

impl<S: Switchboard> NativeBackend<S> {
    pub(super) fn start_ivr(&mut self, now: Instant, id: OpId, args: IvrArgs) {
        let file = |name: Option<String>| name.map(|name| AudioSource::Files(vec![name]));
        let time = Duration::from_millis(args.timeout_ms);
        let rules = CollectRules {
            min: args.min as usize,
            max: args.max as usize,
            terminators: args.terminators,
            first_digit: time,
            inter_digit: time,
            tries: args.tries,
            barge_in: true,
            has_prompt: args.file.is_some(),
            has_invalid_prompt: args.invalid_file.is_some(),
            pattern: None,
        };
        let kind = Kind::Ivr { transfer_on_failure: args.transfer_on_failure };
        self.start_collecting(now, id, rules, args.regexp, kind, args.flush, file(args.file), file(args.invalid_file));
    }

    pub(super) fn start_gather(&mut self, now: Instant, id: OpId, args: GatherArgs) {
        if args.speech.is_some() {
            let message = "gather: no speech recogniser is configured; leave out `speech` to gather digits";
            return self.complete(id, Err(OpError::new(ErrorCode::NotConfigured, message)));
        }
        let rules = CollectRules {
            min: args.min as usize,
            max: args.max as usize,
            terminators: args.terminators,
            first_digit: Duration::from_millis(args.timeout_ms),
            inter_digit: Duration::from_millis(args.inter_digit_timeout_ms),
            tries: args.tries,
            barge_in: args.barge_in,
            has_prompt: args.prompt.is_some(),
            has_invalid_prompt: args.invalid_prompt.is_some(),
            pattern: None,
        };
        let (prompt, invalid) = (args.prompt.map(source), args.invalid_prompt.map(source));
        self.start_collecting(now, id, rules, args.regexp, Kind::Gather, args.flush, prompt, invalid);
    }

    #[expect(clippy::too_many_arguments, reason = "the two operations differ in all of them and share the rest")]
    fn start_collecting(
        &mut self,
        now: Instant,
        id: OpId,
        rules: CollectRules,
        regexp: Option<String>,
        kind: Kind,
        flush: bool,
        prompt: Option<AudioSource>,
        invalid: Option<AudioSource>,
    ) {
        let name = match kind {
            Kind::Ivr { .. } => "ivr",
            Kind::Gather => "gather",
        };
        // Looked at first: an operation that cannot begin costs no compiling.
        let pattern = self.audio_path(now, name).and_then(|()| pattern(name, regexp.as_deref()));
        let begun = pattern.map(|pattern| {
            let rules = CollectRules { pattern, ..rules };
            if flush {
                self.digits.flush();
            }
            let stop_on = if rules.barge_in { DigitSet::ALL } else { DigitSet::NONE };
            let collector = Collector::start(now, rules, &mut self.digits);
            Task::Collect(Box::new(CollectTask { collector, kind, prompt, invalid, stop_on, playing: None }))
        });
        self.begin(id, begun);
    }

    /// Carries out one step of the collector; whether there was one.
    pub(super) fn collect_step(&mut self, now: Instant) -> bool {
        let codec = self.a.codec();
        let Some((_, Task::Collect(task))) = &mut self.task else { return false };
        let Some(step) = task.collector.poll_step() else { return false };
        match step {
            CollectStep::PlayPrompt | CollectStep::PlayInvalid => {
                let source = if step == CollectStep::PlayPrompt { &task.prompt } else { &task.invalid };
                let options = AudioOptions { stop_on: task.stop_on, ..AudioOptions::PLAIN };
                task.playing = source.as_ref().map(|source| self.audio.start(&mut self.board, LegId::A, codec, source, options));
            }
            CollectStep::StopAudio => {
                if let Some(audio) = task.playing.take() {
                    self.audio.stop(&mut self.board, audio);
                }
            }
            CollectStep::Done(collected) => self.collected(now, collected),
        }
        true
    }

    pub(super) fn collect_audio_ended(&mut self, now: Instant, result: Result<(), OpError>) {
        let Some((_, Task::Collect(task))) = &mut self.task else { return };
        task.playing = None;
        match result {
            Ok(()) => task.collector.audio_ended(now, &mut self.digits),
            Err(error) => self.complete_task(Err(error)),
        }
    }

    pub(super) fn stop_collecting(&mut self, task: &CollectTask) {
        if let Some(audio) = task.playing {
            self.audio.stop(&mut self.board, audio);
        }
    }

    fn collected(&mut self, now: Instant, collected: Collected) {
        let Some((id, Task::Collect(task))) = self.task.take() else { return };
        let failed = collected.status != CollectStatus::Success;
        match task.kind {
            Kind::Ivr { transfer_on_failure: Some(target) } if failed => {
                // The call ends with that, and so does the operation.
                self.start_bridge(now, id, BridgeArgs::to(vec![BridgeTarget { uri: target, ..BridgeTarget::default() }]));
            }
            Kind::Ivr { .. } => {
                let result = IvrResult { status: collected.status, value: collected.digits };
                self.complete(id, Ok(Outcome::Ivr(result)));
            }
            Kind::Gather => {
                let gathered = Gathered {
                    status: collected.status,
                    via: GatherVia::Dtmf,
                    value: collected.digits.clone(),
                    digits: collected.digits,
                    terminator: collected.terminator,
                    speech: None,
                };
                self.complete(id, Ok(Outcome::Gathered(gathered)));
            }
        }
    }
}

fn source(prompt: Prompt) -> AudioSource {
    match prompt {
        Prompt::Play(sources) => AudioSource::Files(sources),
        Prompt::Tts(args) => AudioSource::Speech(Box::new(args)),
    }
}

fn pattern(operation: &str, source: Option<&str>) -> Result<Option<Pattern>, OpError> {
    source
        .map(|source| {
            Pattern::new(source)
                .map_err(|error| OpError::new(ErrorCode::TypeError, format!("{operation}: regexp {source:?}: {error}")))
        })
        .transpose()
}
