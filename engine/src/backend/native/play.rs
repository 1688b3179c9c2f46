//! `play` and `tts`: as operations of the queue, and beside it into a conversation.

use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{Op, PlayArgs, TtsArgs};
use lockstep_ctx_api::outcome::{PlayReason, Played};
use lockstep_ctx_api::{OpError, OpId, Outcome};
use lockstep_media::digit::DigitSet;

use super::{NativeBackend, Task};
use crate::call::{AudioEnd, AudioId, AudioOptions, AudioSource, AudioStop, Leg, LegId, Switchboard, millis};

impl<S: Switchboard> NativeBackend<S> {
    pub(super) fn start_play(&mut self, now: Instant, id: OpId, mut args: PlayArgs) {
        let source = AudioSource::Files(std::mem::take(&mut args.sources));
        self.play_to_caller(now, id, "play", &source, &args);
    }

    pub(super) fn start_tts(&mut self, now: Instant, id: OpId, args: TtsArgs) {
        let options = args.play.clone();
        self.play_to_caller(now, id, "tts", &AudioSource::Speech(Box::new(args)), &options);
    }

    fn play_to_caller(&mut self, now: Instant, id: OpId, name: &str, source: &AudioSource, args: &PlayArgs) {
        if let Err(error) = self.audio_path(now, name) {
            return self.complete(id, Err(error));
        }
        let audio = self.audio.start(&mut self.board, LegId::A, self.a.codec(), source, options(args));
        self.task = Some((id, Task::Play(audio)));
    }

    pub(super) fn play_ended(&mut self, result: Result<AudioEnd, OpError>) {
        self.complete_task(result.map(outcome));
    }

    /// Whether the caller talks to another party.
    pub fn is_bridged(&self) -> bool {
        self.joined || matches!(&self.task, Some((_, Task::Bridge(task))) if task.bridge.joined().is_some())
    }

    /// Plays `play` or `tts` into a conversation, beside the queue: to the caller, or with `far` to the party that a bridge of
    /// this call has brought. Who hears it does not hear the other one meanwhile. Anything else does not complete well.
    pub fn play_aside(&mut self, now: Instant, id: OpId, op: Op, far: bool) {
        let (source, args) = match op {
            Op::Play(mut args) => (AudioSource::Files(std::mem::take(&mut args.sources)), args),
            Op::Tts(args) => {
                let play = args.play.clone();
                (AudioSource::Speech(Box::new(args)), play)
            }
            other => return self.complete(id, Err(OpError::invalid_state(other.name(), "in a conversation"))),
        };
        let far_leg = match &self.task {
            Some((_, Task::Bridge(task))) => task.bridge.joined(),
            Some(_) | None => None,
        };
        let leg = if far { far_leg } else { Some(LegId::A).filter(|_| self.is_bridged()) };
        let codec = leg.and_then(|leg| if leg == LegId::A { Some(&self.a) } else { self.far.get(&leg) }).map(Leg::codec);
        let (Some(leg), Some(codec)) = (leg, codec) else {
            return self.complete(id, Err(OpError::invalid_state("play", "not bridged")));
        };
        let audio = self.audio.start(&mut self.board, leg, codec, &source, options(&args));
        self.asides.insert(audio, (leg, id));
        self.settle(now);
    }

    /// Stops what [`play_aside`](Self::play_aside) has begun.
    pub fn cancel_aside(&mut self, id: OpId) {
        let playing = self.asides.iter().find(|(_, (_, playing))| *playing == id).map(|(audio, _)| *audio);
        if let Some(audio) = playing {
            self.asides.remove(&audio);
            self.audio.stop(&mut self.board, audio);
            self.complete(id, Err(OpError::aborted("play")));
        }
    }

    /// A piece of audio has ended; whether it was played beside the queue.
    pub(super) fn aside_ended(&mut self, audio: AudioId, result: &Result<AudioEnd, OpError>) -> bool {
        let Some((_, id)) = self.asides.remove(&audio) else { return false };
        self.complete(id, result.clone().map(outcome));
        true
    }

    /// A leg is gone, and nobody hears what was played to it.
    pub(super) fn end_asides(&mut self, gone: LegId, error: &OpError) {
        for (_, (_, id)) in self.asides.extract_if(.., |_, (leg, _)| *leg == gone).collect::<Vec<_>>() {
            self.complete(id, Err(error.clone()));
        }
    }
}

fn options(args: &PlayArgs) -> AudioOptions {
    AudioOptions {
        repeat: args.repeat,
        start: Duration::from_millis(args.start_ms),
        gain_db: gain(args.volume_db),
        stop_on: DigitSet::from_keys(&args.stop_on),
    }
}

fn outcome(end: AudioEnd) -> Outcome {
    let digit = match end.how {
        AudioStop::Digit(digit) => Some(digit),
        AudioStop::Completed | AudioStop::Stopped => None,
    };
    let reason = if digit.is_some() { PlayReason::Dtmf } else { PlayReason::Completed };
    Outcome::Played(Played { played_ms: millis(end.played), reason, digit })
}

/// Decibels as the media take them; what is no number changes nothing.
fn gain(db: f64) -> f32 {
    if db.is_finite() { db.clamp(-60.0, 60.0) as f32 } else { 0.0 }
}
