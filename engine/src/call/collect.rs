//! Collecting digits: the state machine under `ivr` and `gather`.
//!
//! ```text
//!            start                digit (barge-in) / audio ends
//!   ───────► Prompting ─────────────────────────────► Listening ──┐ digit
//!               ▲                                        │  ▲─────┘
//!               │ tries left             too few, no match, time-out
//!               └──────────── Complaining ◄──────────────┤
//!                                  │ last try            │ max, terminator, time-out with enough digits
//!                                  ▼                     ▼
//!                                 Done                  Done
//! ```
//!
//! A digit stops the audio and counts. Type-ahead is used before any audio is started, so that a caller who knows the menu
//! never hears it. What is keyed beyond `max` stays for the next operation.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockstep_ctx_api::outcome::CollectStatus;
use lockstep_ctx_api::pattern::Pattern;

use super::digits::Digits;

/// The rules of one collecting operation.
#[derive(Debug)]
pub struct CollectRules {
    pub min: usize,
    pub max: usize,
    pub terminators: String,
    /// From the end of the audio to the first digit.
    pub first_digit: Duration,
    /// From one digit to the next.
    pub inter_digit: Duration,
    pub tries: u32,
    pub barge_in: bool,
    pub has_prompt: bool,
    pub has_invalid_prompt: bool,
    pub pattern: Option<Pattern>,
}

/// What the collector wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectStep {
    PlayPrompt,
    PlayInvalid,
    StopAudio,
    Done(Collected),
}

/// What was keyed, and whether it will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    pub status: CollectStatus,
    pub digits: String,
    pub terminator: Option<char>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Prompting,
    Listening { until: Option<Instant> },
    Complaining { last: CollectStatus },
    Done,
}

/// Collects the digits of one operation.
#[derive(Debug)]
pub struct Collector {
    rules: CollectRules,
    state: State,
    digits: String,
    terminator: Option<char>,
    tries_left: u32,
    steps: VecDeque<CollectStep>,
}

impl Collector {
    /// Begins to collect, with what was keyed ahead.
    pub fn start(now: Instant, mut rules: CollectRules, ahead: &mut Digits) -> Self {
        // Who asks for at most fewer keys than at least means exactly as many as at least.
        rules.max = rules.max.max(rules.min).max(1);
        let tries = rules.tries.max(1);
        let mut collector = Self {
            rules,
            state: State::Prompting,
            digits: String::new(),
            terminator: None,
            tries_left: tries,
            steps: VecDeque::new(),
        };
        // `1234#` into a field of four leaves the `#` behind: it ended the entry before this one, not this one.
        if collector.rules.min > 0 {
            while ahead.peek().is_some_and(|digit| collector.rules.terminators.contains(digit)) {
                ahead.take();
            }
        }
        collector.begin_try(now, ahead);
        collector
    }

    /// A key was pressed. What the collector does not want goes to `ahead`.
    pub fn digit(&mut self, now: Instant, digit: char, ahead: &mut Digits) {
        match self.state {
            State::Done => ahead.keep(digit),
            State::Prompting | State::Complaining { .. } if !self.rules.barge_in => ahead.keep(digit),
            State::Complaining { last } => {
                ahead.keep(digit);
                self.steps.push_back(CollectStep::StopAudio);
                if self.tries_left > 0 {
                    self.begin_try(now, ahead);
                } else {
                    self.finish(last);
                }
            }
            State::Prompting => {
                if self.rules.has_prompt {
                    self.steps.push_back(CollectStep::StopAudio);
                }
                self.take(now, digit, ahead);
            }
            State::Listening { .. } => self.take(now, digit, ahead),
        }
    }

    /// The audio asked for last has ended by itself.
    pub fn audio_ended(&mut self, now: Instant, ahead: &mut Digits) {
        match self.state {
            State::Prompting => {
                self.state = State::Listening { until: now.checked_add(self.rules.first_digit) };
                self.take_ahead(now, ahead);
            }
            State::Complaining { .. } if self.tries_left > 0 => self.begin_try(now, ahead),
            State::Complaining { last } => self.finish(last),
            State::Listening { .. } | State::Done => {}
        }
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant, ahead: &mut Digits) {
        let State::Listening { until: Some(until) } = self.state else { return };
        if now < until {
            return;
        }
        if self.digits.is_empty() || self.digits.len() < self.rules.min {
            self.fail(now, CollectStatus::Timeout, ahead);
        } else {
            self.judge(now, ahead);
        }
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Listening { until } => until,
            State::Prompting | State::Complaining { .. } | State::Done => None,
        }
    }

    /// The next thing to do.
    pub fn poll_step(&mut self) -> Option<CollectStep> {
        self.steps.pop_front()
    }

    fn begin_try(&mut self, now: Instant, ahead: &mut Digits) {
        self.tries_left = self.tries_left.saturating_sub(1);
        self.digits.clear();
        self.terminator = None;
        let skip_prompt = self.rules.barge_in && ahead.peek().is_some();
        if self.rules.has_prompt && !skip_prompt {
            self.state = State::Prompting;
            self.steps.push_back(CollectStep::PlayPrompt);
        } else {
            self.state = State::Listening { until: now.checked_add(self.rules.first_digit) };
            self.take_ahead(now, ahead);
        }
    }

    fn take_ahead(&mut self, now: Instant, ahead: &mut Digits) {
        while matches!(self.state, State::Listening { .. }) {
            let Some(digit) = ahead.take() else { return };
            self.take(now, digit, ahead);
        }
    }

    fn take(&mut self, now: Instant, digit: char, ahead: &mut Digits) {
        if self.rules.terminators.contains(digit) {
            self.terminator = Some(digit);
            return self.judge(now, ahead);
        }
        self.digits.push(digit);
        if self.digits.len() >= self.rules.max {
            self.judge(now, ahead);
        } else {
            self.state = State::Listening { until: now.checked_add(self.rules.inter_digit) };
        }
    }

    fn judge(&mut self, now: Instant, ahead: &mut Digits) {
        let enough = self.digits.len() >= self.rules.min;
        let fits = self.rules.pattern.as_ref().is_none_or(|pattern| pattern.matches(&self.digits));
        if enough && fits {
            self.finish(CollectStatus::Success);
        } else {
            self.fail(now, CollectStatus::Invalid, ahead);
        }
    }

    fn fail(&mut self, now: Instant, status: CollectStatus, ahead: &mut Digits) {
        if self.rules.has_invalid_prompt {
            self.state = State::Complaining { last: status };
            self.steps.push_back(CollectStep::PlayInvalid);
        } else if self.tries_left > 0 {
            self.begin_try(now, ahead);
        } else {
            self.finish(status);
        }
    }

    fn finish(&mut self, status: CollectStatus) {
        self.state = State::Done;
        self.steps.push_back(CollectStep::Done(Collected {
            status,
            digits: std::mem::take(&mut self.digits),
            terminator: self.terminator,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIO: bool = true;

    fn rules(min: usize, max: usize) -> CollectRules {
        CollectRules {
            min,
            max,
            terminators: "#".into(),
            first_digit: Duration::from_secs(5),
            inter_digit: Duration::from_secs(2),
            tries: 1,
            barge_in: true,
            has_prompt: AUDIO,
            has_invalid_prompt: false,
            pattern: None,
        }
    }

    /// A collector, its type-ahead and a clock that only the test moves.
    struct Desk {
        now: Instant,
        ahead: Digits,
        collector: Collector,
    }

    impl Desk {
        fn open(rules: CollectRules, keyed_ahead: &str) -> Self {
            #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
            let now = Instant::now();
            let mut ahead = Digits::default();
            keyed_ahead.chars().for_each(|digit| ahead.keep(digit));
            let collector = Collector::start(now, rules, &mut ahead);
            Self { now, ahead, collector }
        }

        fn key(&mut self, digits: &str) {
            for digit in digits.chars() {
                self.collector.digit(self.now, digit, &mut self.ahead);
            }
        }

        fn audio_ends(&mut self) {
            self.collector.audio_ended(self.now, &mut self.ahead);
        }

        fn wait(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
            self.collector.handle_timeout(self.now, &mut self.ahead);
        }

        fn steps(&mut self) -> Vec<CollectStep> {
            std::iter::from_fn(|| self.collector.poll_step()).collect()
        }
    }

    fn done(status: CollectStatus, digits: &str, terminator: Option<char>) -> CollectStep {
        CollectStep::Done(Collected { status, digits: digits.into(), terminator })
    }

    use CollectStatus::{Invalid, Success, Timeout};
    use CollectStep::{PlayInvalid, PlayPrompt, StopAudio};

    #[test]
    fn a_digit_stops_the_audio_and_counts() {
        let mut desk = Desk::open(rules(1, 2), "");
        assert_eq!(desk.steps(), [PlayPrompt]);
        desk.key("1");
        assert_eq!(desk.steps(), [StopAudio]);
        desk.key("2");
        assert_eq!(desk.steps(), [done(Success, "12", None)]);
    }

    #[test]
    fn the_time_out_counts_from_the_end_of_the_audio() {
        let mut desk = Desk::open(rules(1, 1), "");
        desk.wait(60_000);
        assert_eq!(desk.steps(), [PlayPrompt]);
        desk.audio_ends();
        desk.wait(4_999);
        assert_eq!(desk.steps(), []);
        desk.wait(1);
        assert_eq!(desk.steps(), [done(Timeout, "", None)]);
    }

    #[test]
    fn each_digit_restarts_the_inter_digit_time() {
        let mut desk = Desk::open(rules(2, 4), "");
        desk.key("1");
        desk.wait(1_999);
        desk.key("2");
        desk.wait(1_999);
        assert_eq!(desk.steps(), [PlayPrompt, StopAudio]);
        desk.wait(1);
        assert_eq!(desk.steps(), [done(Success, "12", None)]);
    }

    #[test]
    fn too_few_digits_at_the_time_out_is_a_time_out_that_tells_them() {
        let mut desk = Desk::open(rules(3, 4), "");
        desk.key("12");
        desk.wait(2_000);
        assert_eq!(desk.steps(), [PlayPrompt, StopAudio, done(Timeout, "12", None)]);
    }

    #[test]
    fn a_terminator_ends_the_entry_and_is_told_apart() {
        let mut desk = Desk::open(rules(1, 9), "");
        desk.key("12#");
        assert_eq!(desk.steps(), [PlayPrompt, StopAudio, done(Success, "12", Some('#'))]);
    }

    #[test]
    fn a_terminator_alone_is_invalid_unless_nothing_is_asked_for() {
        let mut desk = Desk::open(rules(1, 9), "");
        desk.key("#");
        assert_eq!(desk.steps().last(), Some(&done(Invalid, "", Some('#'))));
        let mut desk = Desk::open(rules(0, 9), "");
        desk.key("#");
        assert_eq!(desk.steps().last(), Some(&done(Success, "", Some('#'))));
    }

    #[test]
    fn type_ahead_comes_first_and_spares_the_prompt() {
        let mut desk = Desk::open(rules(4, 4), "12345");
        assert_eq!(desk.steps(), [done(Success, "1234", None)]);
        assert_eq!(desk.ahead.take(), Some('5'));
    }

    #[test]
    fn a_terminator_left_over_from_the_entry_before_is_dropped() {
        let mut desk = Desk::open(rules(1, 1), "#7");
        assert_eq!(desk.steps(), [done(Success, "7", None)]);
    }

    #[test]
    fn max_below_min_means_min() {
        let mut desk = Desk::open(rules(4, 1), "");
        desk.key("345");
        assert_eq!(desk.steps(), [PlayPrompt, StopAudio]);
        desk.key("6");
        assert_eq!(desk.steps(), [done(Success, "3456", None)]);
    }

    #[test]
    fn a_wrong_entry_plays_the_invalid_prompt_and_asks_again() {
        let mut desk = Desk::open(
            CollectRules { tries: 2, has_invalid_prompt: true, pattern: Some(Pattern::new("[12]").unwrap()), ..rules(1, 1) },
            "",
        );
        desk.key("9");
        assert_eq!(desk.steps(), [PlayPrompt, StopAudio, PlayInvalid]);
        desk.audio_ends();
        assert_eq!(desk.steps(), [PlayPrompt]);
        desk.audio_ends();
        desk.wait(5_000);
        assert_eq!(desk.steps(), [PlayInvalid]);
        desk.audio_ends();
        assert_eq!(desk.steps(), [done(Timeout, "", None)]);
    }

    #[test]
    fn the_last_invalid_prompt_is_over_when_the_entry_is() {
        let wrong = || CollectRules { has_invalid_prompt: true, pattern: Some(Pattern::new("1").unwrap()), ..rules(1, 1) };
        let mut desk = Desk::open(wrong(), "");
        desk.key("95");
        assert_eq!(desk.steps(), [PlayPrompt, StopAudio, PlayInvalid, StopAudio, done(Invalid, "9", None)]);
        let mut desk = Desk::open(CollectRules { barge_in: false, ..wrong() }, "");
        desk.audio_ends();
        desk.key("95");
        assert_eq!(desk.steps(), [PlayPrompt, PlayInvalid], "it is heard to its end");
        desk.audio_ends();
        assert_eq!(desk.steps(), [done(Invalid, "9", None)]);
        assert_eq!(desk.ahead.take(), Some('5'));
    }

    #[test]
    fn a_digit_during_the_invalid_prompt_belongs_to_the_next_try() {
        let mut desk = Desk::open(
            CollectRules { tries: 2, has_invalid_prompt: true, pattern: Some(Pattern::new("[12]").unwrap()), ..rules(1, 1) },
            "9",
        );
        assert_eq!(desk.steps(), [PlayInvalid]);
        desk.key("2");
        assert_eq!(desk.steps(), [StopAudio, done(Success, "2", None)]);
    }

    #[test]
    fn without_barge_in_the_prompt_ends_before_digits_count() {
        let mut desk = Desk::open(CollectRules { barge_in: false, ..rules(1, 1) }, "");
        desk.key("5");
        assert_eq!(desk.steps(), [PlayPrompt]);
        desk.audio_ends();
        assert_eq!(desk.steps(), [done(Success, "5", None)]);
    }
}
