//! A call that lives beside others, and what it notices of them.

use std::ops::Range;
use std::time::Duration;

use crate::audio;
use crate::caller::Caller;
use crate::engine::Engine;

/// Plays the key that was pressed; `#` ends.
pub const SCRIPT: &str = "await ctx.answer();
for (;;) {
  const { value, status } = await ctx.gather({ min: 1, max: 1, terminators: '', timeout_ms: 50_000 });
  if (status !== 'success' || value === '#') break;
  await ctx.play(`ivr/${value}.wav`);
}
await ctx.play('ivr/goodbye.wav');";

/// A key must be answered sooner, whatever others do.
const ANSWERED: Duration = Duration::from_millis(150);
/// No gap in the audio may be longer, whatever others do.
const GAP: Duration = Duration::from_millis(40);
/// How often others do it at most, until a round shows that their neighbour notices nothing: so many in a row a machine that is
/// busy does not spoil.
pub const ROUNDS: usize = 24;

/// A caller of [`SCRIPT`].
pub struct Neighbour {
    caller: Caller,
    /// Octets of prompts that were heard.
    heard: usize,
    keys: usize,
}

/// What a caller noticed while one of its keys was answered.
#[derive(Clone, Copy, Debug)]
pub struct Noticed {
    /// From the end of the key to the begin of its prompt, as the engine tells it.
    pub answered: Duration,
    /// The longest gap within the prompt, as it came.
    pub gap: Duration,
}

impl Noticed {
    /// The least that was noticed in one round or another. A machine that is busy spoils some rounds, an engine that lets callers
    /// wait spoils all.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self { answered: self.answered.min(other.answered), gap: self.gap.min(other.gap) }
    }

    /// Whether nobody would have noticed that.
    pub fn is_nothing(self) -> bool {
        self.answered < ANSWERED && self.gap < GAP
    }
}

impl Neighbour {
    /// Calls a number that reaches [`SCRIPT`].
    pub async fn call(engine: &Engine, number: &str) -> Self {
        let mut caller = Caller::answered(engine, number).await;
        caller.events.tolerate_loss();
        Self { caller, heard: 0, keys: 0 }
    }

    /// Presses a key and hears its prompt, from begin to end.
    pub async fn asks(&mut self, engine: &Engine) -> Noticed {
        let key = ["1", "2", "3"][self.keys % 3];
        self.keys += 1;
        self.caller.call.press(key);
        let name = format!("{key}.wav");
        let end = self.caller.hears(&name, self.heard).await;
        let prompt = end - audio::prompt(&name).len()..end;
        self.heard = end;
        self.noticed(engine, prompt).await
    }

    async fn noticed(&self, engine: &Engine, prompt: Range<usize>) -> Noticed {
        let gap = self.caller.call.heard().with(|capture| capture.longest_gap(prompt));
        let timeline = engine.timeline(&self.caller.id).await;
        let last = |field: &str, value: &str, time: &str| -> Option<u64> {
            timeline["entries"].as_array()?.iter().rfind(|entry| entry[field] == value)?[time].as_u64()
        };
        let (key, play) = (last("kind", "dtmf", "at_ms"), last("name", "play", "started_ms"));
        let (Some(key), Some(play)) = (key, play) else { panic!("no key, or nothing was played: {timeline:#}") };
        assert!(play >= key, "the last key was not answered: {timeline:#}");
        Noticed { answered: Duration::from_millis(play - key), gap }
    }

    /// Takes its leave; everything was as if it had been alone.
    ///
    /// # Panics
    /// When it was not.
    pub async fn leaves(self, engine: &Engine) {
        self.caller.call.press("#");
        let story = self.caller.over(engine).await;
        story.assert_unbroken();
        assert_eq!(story.ended.code, 200, "{}", story.ended);
        assert!(story.logs().is_empty(), "its script was disturbed: {:?}", story.logs());
    }
}
