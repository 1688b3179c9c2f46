//! Dialling and joining: the state machine under `bridge`.
//!
//! It knows targets, attempts and times, not SIP or RTP: the backend carries out its steps and tells it what became of them.
//!
//! ```text
//!   target ──Resolve──► routes ──Dial──► Ringing ──answered──► [Screening] ──► [Whispering] ──► Joined ──► Done
//!                          ▲                │ failed               │ no key, or hung up
//!                          └── next route ──┴──────────────────────┘ … no target left: Done
//! ```
//!
//! * Parallel targets ring together and the first to be accepted wins; sequential ones ring in turn.
//! * A target that is a user rings at all its bindings; one that is a number tries its gateways in turn, going on unless the
//!   callee has spoken ([`is_callees_word`]): gateways say anything else of themselves.
//! * A 6xx of a binding speaks for the whole user (RFC 3261 16.7 step 5), but not for the other members of a group.
//! * The caller hears the first far end whose media arrives; until then a ring-back tone, once there is a media path at all.
//!   When that far end is gone or is asked to accept, the caller hears another whose media has arrived, or the tone again.

mod failure;
mod hearing;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lockstep_ctx_api::EndedBy;
use lockstep_ctx_api::op::{BridgeStrategy, ContinueOn};
use lockstep_ctx_api::outcome::{BridgeResult, BridgeStatus};

use super::LegId;
use failure::Failure;
pub(crate) use failure::{is_callees_word, preference, status_of};

/// How long a party who was asked to accept may think, from the end of the prompt.
const SCREEN_TIME: Duration = Duration::from_secs(10);

/// The most legs one bridge dials, over all its targets.
const MAX_ATTEMPTS: usize = 64;

/// The rules of one bridge.
#[derive(Clone, Debug)]
pub struct BridgeRules {
    /// How long each target may ring.
    pub ring_times: Vec<Duration>,
    pub strategy: BridgeStrategy,
    pub early_media: bool,
    pub screen: bool,
    pub whisper: bool,
    /// Digit of the caller that ends the bridge.
    pub hangup_on: Option<String>,
    pub continue_on: ContinueOn,
}

/// How the routes of a target are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hunt {
    /// All at once: the bindings of a user.
    Together,
    /// The next when one failed: the gateways of a number.
    InTurn {
        /// How long each but the last may ring; `None`: as long as the target may.
        ring: Option<Duration>,
    },
}

/// What the backend is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum BridgeStep {
    /// Find the routes of a target, and tell by `resolved`.
    Resolve {
        target: usize,
    },
    Dial {
        leg: LegId,
        target: usize,
        route: usize,
    },
    /// Give up a leg that rings, by CANCEL, or that was answered, by BYE.
    Drop {
        leg: LegId,
        /// Somebody else took the call (RFC 3326 tells phones not to list it as missed).
        elsewhere: bool,
    },
    /// A far end rings: the caller may be told.
    Ringing,
    /// Let the caller hear this far end before it answers.
    EarlyMedia {
        leg: LegId,
    },
    /// Ask the answering party to accept.
    Screen {
        leg: LegId,
    },
    /// Tell the answering party who calls.
    Whisper {
        leg: LegId,
    },
    Join {
        leg: LegId,
    },
    /// The bridge is over; no leg of it is left.
    Done {
        /// Without the name of the far leg, which the backend knows.
        result: BridgeResult,
        /// The far leg that was joined.
        joined: Option<LegId>,
        /// The call goes on.
        goes_on: bool,
        /// Who has ended it, or why it came to nothing: its caller, a callee, or the engine.
        by: EndedBy,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Ringing,
    Screening { until: Option<Instant> },
    Whispering,
    Joined { since: Instant },
}

#[derive(Clone, Debug)]
struct Leg {
    target: usize,
    attempt: Attempt,
    /// For the caller; so it does while its party is asked to accept.
    rings: bool,
    /// Its media has arrived before it answered.
    has_media: bool,
    /// While it rings: the next route is tried then.
    give_up_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetState {
    Waiting,
    Resolving,
    Ringing,
    Failed,
}

#[derive(Clone, Debug)]
struct Target {
    state: TargetState,
    ring_until: Option<Instant>,
    hunt: Hunt,
    /// Routes not tried yet.
    routes: VecDeque<usize>,
    failure: Option<Failure>,
}

/// One `bridge` operation from the first INVITE to the last BYE.
#[derive(Debug)]
pub struct Bridge {
    rules: BridgeRules,
    targets: Vec<Target>,
    legs: BTreeMap<LegId, Leg>,
    next_leg: LegId,
    dialled: usize,
    /// The leg whose early media the caller hears.
    heard: Option<LegId>,
    /// Since the caller last heard a far end, if ever.
    told_ringing: bool,
    done: bool,
    steps: VecDeque<BridgeStep>,
}

impl Bridge {
    /// Begins to dial. Legs are numbered from `next_leg` on.
    pub fn start(now: Instant, rules: BridgeRules, next_leg: LegId) -> Self {
        let targets = rules
            .ring_times
            .iter()
            .map(|_| Target {
                state: TargetState::Waiting,
                ring_until: None,
                hunt: Hunt::Together,
                routes: VecDeque::new(),
                failure: None,
            })
            .collect();
        let mut bridge = Self {
            rules,
            targets,
            legs: BTreeMap::new(),
            next_leg,
            dialled: 0,
            heard: None,
            told_ringing: false,
            done: false,
            steps: VecDeque::new(),
        };
        bridge.advance(now);
        bridge
    }

    /// The first leg number this bridge has not used.
    pub fn next_leg(&self) -> LegId {
        self.next_leg
    }

    /// The leg that is joined with the caller.
    pub fn joined(&self) -> Option<LegId> {
        self.legs.iter().find(|(_, leg)| matches!(leg.attempt, Attempt::Joined { .. })).map(|(id, _)| *id)
    }

    /// The target that a leg was dialled for.
    pub fn target_of(&self, leg: LegId) -> Option<usize> {
        self.legs.get(&leg).map(|leg| leg.target)
    }

    /// Whether this digit of the caller ends the bridge.
    pub fn ends_on(&self, digit: char) -> bool {
        self.joined().is_some() && self.rules.hangup_on.as_deref().is_some_and(|digits| digits.contains(digit))
    }

    /// The routes of a target: how many, and how they are tried; or why there is none.
    pub fn resolved(&mut self, now: Instant, target: usize, routes: Result<(usize, Hunt), (u16, String)>) {
        let Some(state) = self.targets.get_mut(target).filter(|state| state.state == TargetState::Resolving) else {
            return;
        };
        match routes {
            Ok((count, hunt)) => {
                state.state = TargetState::Ringing;
                state.hunt = hunt;
                state.routes = (0..count).collect();
                self.dial_next(now, target);
            }
            Err((code, reason)) => {
                state.state = TargetState::Failed;
                state.failure = Some(Failure { code, reason, by: EndedBy::Engine });
                self.advance(now);
            }
        }
    }

    /// A far end answered.
    pub fn answered(&mut self, now: Instant, leg: LegId) {
        if !self.is(leg, |attempt| matches!(attempt, Attempt::Ringing)) {
            return;
        }
        if self.rules.screen {
            self.ask(leg, Attempt::Screening { until: None }, BridgeStep::Screen { leg });
        } else {
            self.accept(now, leg);
        }
    }

    /// The prompt of `Screen` or `Whisper` has ended, or could not be played.
    pub fn prompt_ended(&mut self, now: Instant, leg: LegId) {
        match self.legs.get(&leg).map(|leg| leg.attempt) {
            Some(Attempt::Screening { until: None }) => {
                self.set(leg, Attempt::Screening { until: now.checked_add(SCREEN_TIME) });
            }
            Some(Attempt::Whispering) => self.join(now, leg),
            Some(Attempt::Screening { until: Some(_) } | Attempt::Ringing | Attempt::Joined { .. }) | None => {}
        }
    }

    /// The party on a leg pressed a key.
    pub fn far_digit(&mut self, now: Instant, leg: LegId) {
        if self.is(leg, |attempt| matches!(attempt, Attempt::Screening { .. })) {
            self.accept(now, leg);
        }
    }

    /// A leg came to nothing: a final response, no response, or a BYE of the far end before it was joined or after; `by` a callee or
    /// the engine.
    pub fn leg_over(&mut self, now: Instant, leg: LegId, code: u16, reason: &str, by: EndedBy) {
        let Some(over) = self.legs.remove(&leg) else { return };
        match over.attempt {
            Attempt::Joined { since } => self.finish_joined(now, leg, since, by),
            Attempt::Whispering => self.fail_target(now, over.target, Failure::unavailable(by)),
            Attempt::Screening { .. } => self.fail_attempt(now, over.target, Failure::unavailable(by)),
            Attempt::Ringing => self.fail_attempt(now, over.target, Failure { code, reason: reason.to_owned(), by }),
        }
        self.hear_another();
    }

    /// The caller's digit ends a joined bridge as its normal end.
    pub fn end(&mut self, now: Instant) {
        if let Some(leg) = self.joined()
            && let Some(Leg { attempt: Attempt::Joined { since }, .. }) = self.legs.remove(&leg)
        {
            self.steps.push_back(BridgeStep::Drop { leg, elsewhere: false });
            self.finish_joined(now, leg, since, EndedBy::Caller);
        }
    }

    /// Drops every leg without a result: the operation was aborted, or the caller is gone.
    pub fn abandon(&mut self) {
        self.drop_legs(None, false);
        self.done = true;
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.done {
            return;
        }
        let due = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let slow: Vec<LegId> = self
            .legs
            .iter()
            .filter(|(_, leg)| match leg.attempt {
                Attempt::Screening { until } => due(until),
                Attempt::Ringing => due(leg.give_up_at),
                Attempt::Whispering | Attempt::Joined { .. } => false,
            })
            .map(|(id, _)| *id)
            .collect();
        for leg in slow {
            self.steps.push_back(BridgeStep::Drop { leg, elsewhere: false });
            let Some(over) = self.legs.remove(&leg) else { continue };
            let failure = match over.attempt {
                Attempt::Ringing => Failure::too_late(),
                Attempt::Screening { .. } | Attempt::Whispering | Attempt::Joined { .. } => Failure::unavailable(EndedBy::Engine),
            };
            self.fail_attempt(now, over.target, failure);
        }
        let late: Vec<usize> = (0..self.targets.len())
            .filter(|&target| {
                self.targets.get(target).is_some_and(|target| {
                    matches!(target.state, TargetState::Resolving | TargetState::Ringing) && due(target.ring_until)
                })
            })
            .collect();
        for target in late {
            self.ring_time_over(now, target);
        }
        self.hear_another();
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        let screens = self.legs.values().filter_map(|leg| match leg.attempt {
            Attempt::Screening { until } => until,
            Attempt::Ringing => leg.give_up_at,
            Attempt::Whispering | Attempt::Joined { .. } => None,
        });
        let rings = self.targets.iter().filter_map(|target| match target.state {
            TargetState::Resolving | TargetState::Ringing => target.ring_until,
            TargetState::Waiting | TargetState::Failed => None,
        });
        screens.chain(rings).min()
    }

    /// The next thing to do.
    pub fn poll_step(&mut self) -> Option<BridgeStep> {
        self.steps.pop_front()
    }

    fn is(&self, leg: LegId, test: impl Fn(Attempt) -> bool) -> bool {
        self.legs.get(&leg).is_some_and(|leg| test(leg.attempt))
    }

    fn set(&mut self, leg: LegId, attempt: Attempt) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.attempt = attempt;
        }
    }

    /// Starts the targets whose turn it is; reports failure when none is left.
    fn advance(&mut self, now: Instant) {
        if self.done || self.winner().is_some() {
            return;
        }
        for index in 0..self.targets.len() {
            if self.rules.strategy == BridgeStrategy::Sequential && self.is_trying() {
                break;
            }
            let ring_time = self.rules.ring_times.get(index).copied().unwrap_or_default();
            if let Some(target) = self.targets.get_mut(index).filter(|target| target.state == TargetState::Waiting) {
                target.state = TargetState::Resolving;
                target.ring_until = now.checked_add(ring_time);
                self.steps.push_back(BridgeStep::Resolve { target: index });
            }
        }
        if self.targets.iter().all(|target| target.state == TargetState::Failed) {
            self.finish_failed();
        }
    }

    fn is_trying(&self) -> bool {
        self.targets.iter().any(|target| matches!(target.state, TargetState::Resolving | TargetState::Ringing))
    }

    fn winner(&self) -> Option<LegId> {
        self.legs.iter().find(|(_, leg)| matches!(leg.attempt, Attempt::Whispering | Attempt::Joined { .. })).map(|(id, _)| *id)
    }

    fn dial_next(&mut self, now: Instant, index: usize) {
        let Some(target) = self.targets.get_mut(index) else { return };
        let count = match target.hunt {
            Hunt::Together => target.routes.len(),
            Hunt::InTurn { .. } => target.routes.len().min(1),
        };
        let room = MAX_ATTEMPTS.saturating_sub(self.dialled);
        let routes: Vec<usize> = target.routes.drain(..count).take(room).collect();
        let give_up_at = match target.hunt {
            Hunt::InTurn { ring: Some(ring) } if !target.routes.is_empty() => now.checked_add(ring),
            Hunt::InTurn { .. } | Hunt::Together => None,
        };
        if routes.is_empty() {
            target.state = TargetState::Failed;
            target.failure.get_or_insert_with(|| Failure::unavailable(EndedBy::Engine));
            return self.advance(now);
        }
        for route in routes {
            let leg = self.next_leg;
            self.next_leg = LegId(leg.0 + 1);
            self.dialled += 1;
            self.legs.insert(leg, Leg { target: index, attempt: Attempt::Ringing, rings: false, has_media: false, give_up_at });
            self.steps.push_back(BridgeStep::Dial { leg, target: index, route });
        }
    }

    fn accept(&mut self, now: Instant, leg: LegId) {
        self.drop_legs(Some(leg), true);
        let winner = self.legs.get(&leg).map(|leg| leg.target);
        for (index, target) in self.targets.iter_mut().enumerate() {
            target.ring_until = None;
            if Some(index) != winner && matches!(target.state, TargetState::Resolving | TargetState::Ringing) {
                target.state = TargetState::Failed;
            }
        }
        if self.rules.whisper {
            self.ask(leg, Attempt::Whispering, BridgeStep::Whisper { leg });
        } else {
            self.join(now, leg);
        }
    }

    /// Prompts a party who has answered; the caller, who is not to hear that, is told that it rings.
    fn ask(&mut self, leg: LegId, attempt: Attempt, step: BridgeStep) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.attempt = attempt;
            leg.rings = true;
        }
        self.steps.push_back(step);
        self.hear_another();
    }

    fn join(&mut self, now: Instant, leg: LegId) {
        self.heard = None;
        self.set(leg, Attempt::Joined { since: now });
        self.steps.push_back(BridgeStep::Join { leg });
    }

    fn drop_legs(&mut self, keep: Option<LegId>, elsewhere: bool) {
        let dropped: Vec<LegId> = self.legs.keys().copied().filter(|leg| Some(*leg) != keep).collect();
        for leg in dropped {
            self.legs.remove(&leg);
            self.steps.push_back(BridgeStep::Drop { leg, elsewhere });
        }
    }

    fn fail_attempt(&mut self, now: Instant, index: usize, failure: Failure) {
        let code = failure.code;
        let in_turn = self.targets.get(index).is_some_and(|target| matches!(target.hunt, Hunt::InTurn { .. }));
        if if in_turn { is_callees_word(code) } else { code >= 600 } {
            self.drop_legs_of(index);
            return self.fail_target(now, index, failure);
        }
        let others = self.legs.values().any(|leg| leg.target == index);
        let Some(target) = self.targets.get_mut(index) else { return };
        if target.failure.as_ref().is_none_or(|known| preference(code) < preference(known.code)) {
            target.failure = Some(failure);
        }
        if others {
            return;
        }
        if in_turn && !target.routes.is_empty() {
            return self.dial_next(now, index);
        }
        target.state = TargetState::Failed;
        self.advance(now);
    }

    fn fail_target(&mut self, now: Instant, index: usize, failure: Failure) {
        if let Some(target) = self.targets.get_mut(index) {
            target.state = TargetState::Failed;
            target.failure = Some(failure);
        }
        self.advance(now);
    }

    fn drop_legs_of(&mut self, target: usize) {
        let dropped: Vec<LegId> = self.legs.iter().filter(|(_, leg)| leg.target == target).map(|(id, _)| *id).collect();
        for leg in dropped {
            self.legs.remove(&leg);
            self.steps.push_back(BridgeStep::Drop { leg, elsewhere: false });
        }
    }

    fn ring_time_over(&mut self, now: Instant, index: usize) {
        let ringing: Vec<LegId> = self
            .legs
            .iter()
            .filter(|(_, leg)| leg.target == index && leg.attempt == Attempt::Ringing)
            .map(|(id, _)| *id)
            .collect();
        for leg in ringing {
            self.legs.remove(&leg);
            self.steps.push_back(BridgeStep::Drop { leg, elsewhere: false });
        }
        let Some(target) = self.targets.get_mut(index) else { return };
        target.ring_until = None;
        target.routes.clear();
        target.failure = Some(Failure::too_late());
        // A party who is being asked to accept has answered in time.
        if !self.legs.values().any(|leg| leg.target == index) {
            self.fail_target(now, index, Failure::too_late());
        }
    }

    fn finish_joined(&mut self, now: Instant, leg: LegId, since: Instant, by: EndedBy) {
        let duration = now.saturating_duration_since(since);
        self.done(
            BridgeResult {
                status: BridgeStatus::Completed,
                code: 200,
                reason: "OK".into(),
                duration_ms: super::millis(duration),
                bleg: None,
            },
            Some(leg),
            matches!(self.rules.continue_on, ContinueOn::Always | ContinueOn::Completed),
            by,
        );
    }

    fn finish_failed(&mut self) {
        let mut failures = self.targets.iter().filter_map(|target| target.failure.as_ref());
        let decisive = match self.rules.strategy {
            BridgeStrategy::Parallel => failures.min_by_key(|failure| preference(failure.code)),
            BridgeStrategy::Sequential => failures.next_back(),
        };
        let unavailable = || Failure::unavailable(EndedBy::Engine);
        let Failure { code, reason, by } = decisive.cloned().unwrap_or_else(unavailable);
        self.done(
            BridgeResult { status: status_of(code), code, reason, duration_ms: 0, bleg: None },
            None,
            matches!(self.rules.continue_on, ContinueOn::Always | ContinueOn::Fail),
            by,
        );
    }

    fn done(&mut self, result: BridgeResult, joined: Option<LegId>, goes_on: bool, by: EndedBy) {
        if !self.done {
            self.done = true;
            self.steps.push_back(BridgeStep::Done { result, joined, goes_on, by });
        }
    }
}

#[cfg(test)]
mod tests;
