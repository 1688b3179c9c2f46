//! An operation under way: the applications it takes, one after another, and what its result is made of.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockstep_ctx_api::outcome::{PlayReason, Played};
use lockstep_ctx_api::{ErrorCode, OpError, OpId, OpResult, Outcome};

use super::bridge::Bridging;
use super::collect::Collecting;
use super::hunt::Routing;
use crate::esl::Event;

/// One step of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Sets channel variables, or removes them.
    Set(Vec<(String, Option<String>)>),
    /// Sets channel variables until the operation is over, or lends others.
    Lend(Vec<(String, String)>),
    Execute {
        app: &'static str,
        arg: String,
        /// How long it runs by itself, where that is known.
        lasts: Option<Duration>,
    },
    /// Nothing is asked of the media server.
    Wait(Duration),
}

impl Step {
    pub(super) fn execute(app: &'static str, arg: impl Into<String>) -> Self {
        Self::Execute { app, arg: arg.into(), lasts: None }
    }

    pub(super) fn set(name: &str, value: impl Into<String>) -> Self {
        Self::Set(vec![(name.to_owned(), Some(value.into()))])
    }
}

/// What an operation is once it is mapped.
#[derive(Debug)]
pub(super) struct Plan {
    pub steps: VecDeque<Step>,
    pub finish: Finish,
}

/// What an operation's result is made of.
#[derive(Debug)]
pub(super) enum Finish {
    Unit,
    Play(Playing),
    Collect(Collecting),
    /// It is not known yet where the targets of a bridge are called.
    Routing(Box<Routing>),
    Bridge(Box<Bridging>),
    /// The media server cannot be told to stop it.
    Unstoppable,
}

/// Audio, played once or again and again.
#[derive(Debug)]
pub(super) struct Playing {
    /// One round.
    pub round: Vec<Step>,
    /// Rounds after this one; `None`: until stopped.
    pub left: Option<u32>,
    pub played_ms: u64,
    /// As it was when the round began: one that plays nothing must not be repeated as fast as it can.
    pub before_ms: u64,
}

/// What a running operation waits for.
#[derive(Debug)]
pub(super) enum Doing {
    /// Nothing yet.
    Idle,
    Executing(Executing),
    Waiting(Instant),
}

/// An application that runs.
#[derive(Debug)]
pub(super) struct Executing {
    /// Counts the applications of the call.
    pub number: u64,
    /// What its completion carries.
    pub uuid: String,
    pub app: &'static str,
    /// The connection broke before the media server had said that it has got it.
    pub is_doubtful: bool,
    /// The media server has said that it runs.
    pub has_begun: bool,
    /// When to ask whether it is over.
    pub check_at: Instant,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Task {
    pub id: OpId,
    pub name: &'static str,
    pub steps: VecDeque<Step>,
    pub finish: Finish,
    pub doing: Doing,
    /// Its signal was aborted, or something cuts it off: it settles then at the latest.
    pub stop_by: Option<Instant>,
}

/// What comes after an application.
#[derive(Debug)]
pub(super) enum Next {
    Go,
    Done(OpResult),
}

impl Playing {
    /// One application of a round is over.
    pub(super) fn executed(&mut self, name: &str, event: &Event) -> Next {
        let response = event.get("Application-Response").unwrap_or_default();
        let source = event.get("Application-Data").unwrap_or_default();
        let failed = |code, why: &str| {
            let source = source.rsplit('/').next().unwrap_or_default();
            Next::Done(Err(OpError::new(code, format!("{name}: {source}: {why}"))))
        };
        match response {
            "FILE NOT FOUND" => return failed(ErrorCode::NotFound, "no such file on the media server"),
            "PLAYBACK ERROR" => return failed(ErrorCode::MediaError, "the media server cannot play it"),
            _ => {}
        }
        self.played_ms += played_ms(event);
        match event.variable("playback_terminator_used").and_then(|used| used.chars().next()) {
            Some(digit) => Next::Done(Ok(self.outcome(Some(digit)))),
            None => Next::Go,
        }
    }

    /// The steps of another round, if there is one.
    pub(super) fn again(&mut self) -> Option<Vec<Step>> {
        match &mut self.left {
            None => {}
            Some(0) => return None,
            Some(left) => *left -= 1,
        }
        Some(self.round.clone())
    }

    pub(super) fn outcome(&self, digit: Option<char>) -> Outcome {
        let reason = if digit.is_some() { PlayReason::Dtmf } else { PlayReason::Completed };
        Outcome::Played(Played { played_ms: self.played_ms, reason, digit })
    }
}

/// How much of a file was played: the offset in samples is exact, the milliseconds count whole blocks that were read.
fn played_ms(event: &Event) -> u64 {
    let number = |name: &str| event.variable(name).and_then(|value| value.parse::<u64>().ok());
    let rate = number("write_rate").or_else(|| number("read_rate")).filter(|rate| *rate > 0).unwrap_or(8_000);
    match number("playback_last_offset_pos") {
        Some(samples) => samples.saturating_mul(1_000) / rate,
        None => number("playback_ms").unwrap_or(0),
    }
}
