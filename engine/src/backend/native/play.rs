//! `play` and `tts`.

use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{PlayArgs, TtsArgs};
use lockstep_ctx_api::outcome::{PlayReason, Played};
use lockstep_ctx_api::{OpError, OpId, Outcome};
use lockstep_media::digit::DigitSet;

use super::{NativeBackend, Task};
use crate::call::{AudioEnd, AudioOptions, AudioSource, AudioStop, LegId, Switchboard, millis};

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
        let options = AudioOptions {
            repeat: args.repeat,
            start: Duration::from_millis(args.start_ms),
            gain_db: gain(args.volume_db),
            stop_on: DigitSet::from_keys(&args.stop_on),
        };
        let audio = self.audio.start(&mut self.board, LegId::A, self.a.codec(), source, options);
        self.task = Some((id, Task::Play(audio)));
    }

    pub(super) fn play_ended(&mut self, result: Result<AudioEnd, OpError>) {
        self.complete_task(result.map(|end| {
            let digit = match end.how {
                AudioStop::Digit(digit) => Some(digit),
                AudioStop::Completed | AudioStop::Stopped => None,
            };
            let reason = if digit.is_some() { PlayReason::Dtmf } else { PlayReason::Completed };
            Outcome::Played(Played { played_ms: millis(end.played), reason, digit })
        }));
    }
}

/// Decibels as the media take them; what is no number changes nothing.
fn gain(db: f64) -> f32 {
    if db.is_finite() { db.clamp(-60.0, 30.0) as f32 } else { 0.0 }
}
