//! Numbers of a bridge that go through our own routes: the core is asked for the gateways, which are then tried one after another.
//!
//! ```text
//!   bridge('44…') ──Find──► core: limits, routes, scripts ──► Answer ──► one `bridge` application a gateway ──► result
//! ```
//!
//! FreeSWITCH's own fail-over (`a|b`) goes on after every failure; ours stops at the callee's own word.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{BridgeArgs, BridgeStrategy, BridgeTarget, Headers, RING_TIME};
use lockstep_ctx_api::outcome::BridgeResult;
use lockstep_ctx_api::{EndedBy, Outcome};

use super::bridge::{Bridging, Turned};
use super::task::{Doing, Finish, Task};
use super::wire::Awaited;
use super::{FreeSwitchBackend, Settings};
use crate::call::{LookupId, Refusal, is_callees_word, preference, status_of};
use crate::class4::Fields;

/// How long a gateway may neither ring nor answer while there is another to try. FreeSWITCH does not tell of a `100 Trying`: it
/// is longer than for calls of our own.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whether the caller's private headers go on by themselves.
const COPY_HEADERS: &str = "sip_copy_custom_headers";

/// What the backend wants of the core.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteRequest {
    /// Where is this to be called? Answered by [`FreeSwitchBackend::routed`].
    Find {
        lookup: LookupId,
        target: String,
        caller_id: Option<String>,
    },
    /// The number is neither dialled nor talked to any more.
    Forget(LookupId),
    /// A gateway is being tried; the trials of a call are numbered.
    Tried {
        lookup: LookupId,
        trial: u32,
        gateway: i64,
        number: String,
        cli: String,
        price: Option<f64>,
    },
    Answered {
        trial: u32,
    },
    Over {
        trial: u32,
        code: u16,
        reason: String,
    },
}

/// Where a target is called.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAnswer {
    /// As this user or extension.
    Local(String),
    /// At these gateways, one after another, each but the last ringing for no longer than `ring`.
    Gateways {
        ways: Vec<Way>,
        ring: Option<Duration>,
    },
    Refused(Refusal),
}

/// A gateway to be tried, and what it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Which has found it.
    pub lookup: LookupId,
    pub gateway: i64,
    pub number: String,
    /// `number@host:port`, with parameters.
    pub address: String,
    pub cli: String,
    /// Fields that are left out, and those that are added then.
    pub fields: Vec<Arc<Fields>>,
    /// Price of a minute.
    pub price: Option<f64>,
}

/// A bridge whose targets are being looked up: those that are called one after another when their turn has come.
#[derive(Debug)]
pub(super) struct Routing {
    pub args: BridgeArgs,
    pub instead: Option<Outcome>,
    targets: Vec<Found>,
}

#[derive(Debug)]
enum Found {
    /// As the script wrote it.
    Written,
    ToAsk,
    Asked(LookupId),
    Answered(LookupId, RouteAnswer),
}

/// A bridge that tries one thing after another.
#[derive(Debug)]
pub(super) struct Hunt {
    args: BridgeArgs,
    /// Fields of every leg's INVITE that `header` has set.
    headers: Headers,
    turns: VecDeque<Turn>,
    /// Why targets have failed so far.
    failures: Vec<Option<Refusal>>,
    /// Of numbers that are, or may yet be, dialled or talked to.
    lookups: Vec<LookupId>,
    /// The target that is being looked up.
    asked: Option<(LookupId, usize)>,
    /// The target whose turn it is, and how long it may still take.
    target: Option<(usize, Instant)>,
    /// Gateways that are being tried.
    trials: Vec<Trial>,
    /// Legs dialled before.
    dialled: usize,
}

#[derive(Debug)]
struct Trial {
    number: u32,
    lookup: LookupId,
    leg: String,
}

/// What comes next.
enum Next {
    /// It has to be known where this target is called.
    Ask(usize),
    Dial(Box<Dialling>),
    Nobody,
}

/// A turn as a bridge.
struct Dialling {
    args: BridgeArgs,
    headers: Headers,
    turned: Turned,
    /// Which of its targets are gateways.
    ways: Vec<(usize, Way)>,
}

/// What is called at once.
type Turn = Vec<Called>;

#[derive(Debug)]
struct Called {
    target: usize,
    how: How,
}

#[derive(Debug)]
enum How {
    /// That is to be asked for.
    Unknown,
    Written(BridgeTarget),
    Gateway {
        way: Way,
        ring: Option<Duration>,
        is_last: bool,
    },
}

impl Settings {
    /// A gateway as a target of a bridge.
    fn gateway(&self, way: &Way) -> String {
        match &self.gateways {
            Some(template) => template.replace("{gateway}", &way.gateway.to_string()).replace("{target}", &way.number),
            None => format!("sip:{}", way.address),
        }
    }
}

impl Routing {
    /// A bridge of `args`, if any of its targets is to be asked for.
    pub(super) fn of(args: &BridgeArgs, is_asked_for: impl Fn(&str) -> bool) -> Option<Self> {
        let found = |target: &BridgeTarget| if is_asked_for(&target.uri) { Found::ToAsk } else { Found::Written };
        let targets: Vec<Found> = args.targets.iter().map(found).collect();
        let routing = || Self { args: args.clone(), instead: None, targets };
        args.targets.iter().any(|target| is_asked_for(&target.uri)).then(routing)
    }

    /// Whether its targets are called one after another.
    fn is_in_turn(&self) -> bool {
        self.args.strategy == BridgeStrategy::Sequential || self.targets.len() == 1
    }

    /// What is to be called, in which order. All answers are here that are needed before anything is.
    fn hunt(self) -> (Hunt, Option<Outcome>) {
        let is_in_turn = self.is_in_turn();
        let Self { args, instead, targets } = self;
        let (mut failures, mut lookups) = (vec![None; targets.len()], Vec::new());
        let mut turns: VecDeque<Turn> = VecDeque::new();
        for (index, (found, target)) in targets.into_iter().zip(&args.targets).enumerate() {
            let called = match found {
                Found::Written => Ok(vec![How::Written(target.clone())]),
                Found::ToAsk | Found::Asked(_) => Ok(vec![How::Unknown]),
                Found::Answered(lookup, answer) => {
                    lookups.push(lookup);
                    called(target, answer)
                }
            };
            let called = called.unwrap_or_else(|refusal| {
                if let Some(failure) = failures.get_mut(index) {
                    *failure = Some(refusal);
                }
                Vec::new()
            });
            let mut called = called.into_iter().map(|how| Called { target: index, how });
            match turns.front_mut() {
                _ if is_in_turn => turns.extend(called.map(|called| vec![called])),
                // All ring at once: there is no turn of one of them to wait for.
                Some(turn) => turn.extend(called.next()),
                None => turns.extend(called.next().map(|called| vec![called])),
            }
        }
        let (headers, trials) = (Headers::new(), Vec::new());
        (Hunt { args, headers, turns, failures, lookups, asked: None, target: None, trials, dialled: 0 }, instead)
    }
}

/// How a target is called, one way after another, by what the core has found.
fn called(target: &BridgeTarget, answer: RouteAnswer) -> Result<Vec<How>, Refusal> {
    match answer {
        RouteAnswer::Local(uri) => Ok(vec![How::Written(BridgeTarget { uri, ..target.clone() })]),
        RouteAnswer::Gateways { ways, ring } => {
            let last = ways.len().saturating_sub(1);
            let ways = ways.into_iter().enumerate();
            Ok(ways.map(|(place, way)| How::Gateway { way, ring, is_last: place == last }).collect())
        }
        RouteAnswer::Refused(refusal) => Err(refusal),
    }
}

impl Hunt {
    /// The next bridge, or what has to be known before.
    fn next(&mut self, now: Instant, settings: &Settings, caller_headers: &Headers) -> Next {
        loop {
            let Some(turn) = self.turns.pop_front() else { return Next::Nobody };
            let whole = |target: &BridgeTarget| target.timeout_ms.filter(|ms| *ms > 0).unwrap_or(self.args.timeout_ms);
            let Some(first) = turn.first() else { continue };
            if matches!(first.how, How::Unknown) {
                return Next::Ask(first.target);
            }
            let (first, is_alone) = (first.target, turn.len() == 1);
            if is_alone && self.target.is_none_or(|(target, _)| target != first) {
                let ms = self.args.targets.get(first).map_or(0, whole);
                let time = if ms == 0 { RING_TIME } else { Duration::from_millis(ms) };
                self.target = now.checked_add(time).map(|until| (first, until));
            }
            let left = self.target.filter(|_| is_alone).map(|(_, until)| until.saturating_duration_since(now));
            if left.is_some_and(|left| left.is_zero()) {
                self.give_up(first, Refusal::new(408, "Request Timeout"));
                continue;
            }
            let mut args = BridgeArgs { targets: Vec::new(), ..self.args.clone() };
            let mut turned = Turned { place: self.dialled, ..Turned::default() };
            let (mut set, mut ways) = (self.headers.clone(), Vec::new());
            for called in turn {
                let Some(mut target) = self.args.targets.get(called.target).cloned() else { continue };
                match called.how {
                    How::Unknown => continue,
                    How::Written(written) => target = written,
                    How::Gateway { way, ring, is_last } => {
                        let ring = ring.filter(|_| !is_last);
                        let time = left.map(|left| ring.map_or(left, |ring| ring.min(left)));
                        target.timeout_ms = time.map(crate::call::millis).or(target.timeout_ms);
                        turned.patience = (!is_last && is_alone).then_some(PATIENCE);
                        let is_removed = |name: &str| way.fields.iter().any(|fields| fields.removes(name));
                        if is_alone && way.fields.iter().any(|fields| !fields.remove.is_empty()) {
                            // What is to go must not be copied: the rest is named one by one.
                            turned.names_headers = true;
                            let copied = caller_headers.iter().filter(|(name, _)| is_copied(name)).cloned();
                            set = copied.chain(set).collect();
                            set.retain(|(name, _)| !is_removed(name));
                            args.headers.retain(|(name, _)| !is_removed(name));
                        }
                        target.headers.retain(|(name, _)| !is_removed(name));
                        target.headers.extend(way.fields.iter().flat_map(|fields| &fields.add).cloned());
                        target.caller_id = Some(way.cli.clone());
                        target.uri = settings.gateway(&way);
                        ways.push((args.targets.len(), way));
                    }
                }
                args.targets.push(target);
            }
            self.dialled += args.targets.len();
            return Next::Dial(Box::new(Dialling { args, headers: set, turned, ways }));
        }
    }

    /// The core has found where a target is called, whose turn it is.
    fn found(&mut self, target: usize, answer: RouteAnswer) {
        let Some(wanted) = self.args.targets.get(target) else { return };
        match called(wanted, answer) {
            Ok(ways) => ways.into_iter().rev().for_each(|how| self.turns.push_front(vec![Called { target, how }])),
            Err(refusal) => self.give_up(target, refusal),
        }
    }

    /// Look-ups of numbers that are dialled no more, but for those of `ways`, whose turn it is; they are left out from now on.
    fn settled_lookups(&mut self, ways: &[(usize, Way)]) -> Vec<LookupId> {
        let Self { lookups, turns, .. } = self;
        let left = turns.iter().flatten().filter_map(|called| match &called.how {
            How::Gateway { way, .. } => Some(way.lookup),
            How::Unknown | How::Written(_) => None,
        });
        let needed: Vec<LookupId> = ways.iter().map(|(_, way)| way.lookup).chain(left).collect();
        lookups.extract_if(.., |lookup| !needed.contains(lookup)).collect()
    }

    /// A turn has come to nothing. What the callee has said itself no other gateway can better.
    fn fail(&mut self, target: usize, code: u16, reason: &str) {
        if is_callees_word(code) {
            return self.give_up(target, Refusal::new(code, reason));
        }
        let Some(known) = self.failures.get_mut(target) else { return };
        if known.as_ref().is_none_or(|known| preference(code) < preference(known.code)) {
            *known = Some(Refusal::new(code, reason));
        }
    }

    fn give_up(&mut self, target: usize, why: Refusal) {
        self.turns.retain(|turn| turn.iter().any(|called| called.target != target));
        if let Some(known) = self.failures.get_mut(target) {
            *known = Some(why);
        }
    }

    /// Why nobody was reached.
    fn failure(&self) -> Refusal {
        let mut failures = self.failures.iter().flatten();
        let decisive = match self.args.strategy {
            BridgeStrategy::Parallel => failures.min_by_key(|failure| preference(failure.code)),
            BridgeStrategy::Sequential => failures.next_back(),
        };
        decisive.cloned().unwrap_or_else(|| Refusal::new(480, "Temporarily Unavailable"))
    }

    /// Whether `leg` is one of those being tried, and which.
    fn trial_of(&self, leg: &str) -> Option<u32> {
        self.trials.iter().find(|trial| trial.leg == leg).map(|trial| trial.number)
    }
}

fn find(args: &BridgeArgs, target: &BridgeTarget, lookup: LookupId) -> RouteRequest {
    let caller_id = target.caller_id.clone().or_else(|| args.caller_id.clone());
    RouteRequest::Find { lookup, target: target.uri.clone(), caller_id }
}

/// A gateway is not tried any more: another one has answered, or nobody is to be reached.
fn cancelled(trial: u32) -> RouteRequest {
    RouteRequest::Over { trial, code: 487, reason: "Request Terminated".to_owned() }
}

/// Fields that FreeSWITCH hands on by itself.
fn is_copied(name: &str) -> bool {
    ["x-", "p-"].iter().any(|start| name.get(..2).is_some_and(|own| own.eq_ignore_ascii_case(start)))
}

/// A failure of a gateway as scripts hear of it: neither its wish for credentials nor where it points to is for the caller.
fn told(code: u16) -> u16 {
    match code {
        300..=399 => 480,
        401 | 407 => 502,
        _ => code,
    }
}

impl FreeSwitchBackend {
    /// What the backend wants of the core.
    pub fn take_route_request(&mut self) -> Option<RouteRequest> {
        self.route_requests.pop_front()
    }

    /// Asks where the targets of a bridge are called that are called at once.
    pub(super) fn ask_for_routes(&mut self, now: Instant) {
        let Some(Finish::Routing(routing)) = self.task.as_mut().map(|task| &mut task.finish) else { return };
        if routing.is_in_turn() {
            return self.begin_hunt(now);
        }
        for (found, target) in routing.targets.iter_mut().zip(&routing.args.targets) {
            if matches!(found, Found::ToAsk) {
                self.lookups += 1;
                let lookup = LookupId(self.lookups);
                *found = Found::Asked(lookup);
                self.route_requests.push_back(find(&routing.args, target, lookup));
            }
        }
    }

    /// The core has found where a target is called.
    pub fn routed(&mut self, now: Instant, lookup: LookupId, answer: RouteAnswer) {
        let Some(task) = &mut self.task else { return };
        let routing = match &mut task.finish {
            Finish::Routing(routing) => routing,
            Finish::Bridge(bridging) => {
                let Some(hunt) = &mut bridging.hunt else { return };
                let Some((_, target)) = hunt.asked.take_if(|(asked, _)| *asked == lookup) else { return };
                hunt.found(target, answer);
                return self.next_turn(now);
            }
            Finish::Unit | Finish::Play(_) | Finish::Collect(_) | Finish::Unstoppable => return,
        };
        for found in &mut routing.targets {
            if matches!(found, Found::Asked(asked) if *asked == lookup) {
                *found = Found::Answered(lookup, answer);
                break;
            }
        }
        if !routing.targets.iter().any(|found| matches!(found, Found::Asked(_))) {
            self.begin_hunt(now);
        }
    }

    fn begin_hunt(&mut self, now: Instant) {
        let Some(task) = &mut self.task else { return };
        let Finish::Routing(routing) = std::mem::replace(&mut task.finish, Finish::Unit) else { return };
        let (continue_on, (hunt, instead)) = (routing.args.continue_on, routing.hunt());
        let mut bridging = Bridging::new(continue_on, instead);
        bridging.hunt = Some(hunt);
        task.finish = Finish::Bridge(Box::new(bridging));
        self.next_turn(now);
    }

    /// Tries what comes next, or gives up.
    fn next_turn(&mut self, now: Instant) {
        let Some(task) = &mut self.task else { return };
        let Finish::Bridge(bridging) = &mut task.finish else { return };
        let Some(hunt) = &mut bridging.hunt else { return };
        let is_first = hunt.dialled == 0;
        if is_first {
            hunt.headers.clone_from(self.headers.fields());
        }
        let next = hunt.next(now, &self.settings, &self.channel.headers);
        let chosen: &[(usize, Way)] = match &next {
            Next::Dial(dialling) => &dialling.ways,
            Next::Ask(_) | Next::Nobody => &[],
        };
        // What was tried makes room for what is asked for now.
        self.route_requests.extend(hunt.settled_lookups(chosen).into_iter().map(RouteRequest::Forget));
        let Dialling { args, headers, turned, ways } = match next {
            Next::Dial(dialling) => *dialling,
            Next::Ask(index) => {
                let Some(target) = hunt.args.targets.get(index) else { return };
                self.lookups += 1;
                let lookup = LookupId(self.lookups);
                self.route_requests.push_back(find(&hunt.args, target, lookup));
                hunt.asked = Some((lookup, index));
                hunt.lookups.push(lookup);
                task.doing = Doing::Idle;
                return;
            }
            Next::Nobody => {
                let Refusal { code, reason, reply_by, .. } = hunt.failure();
                let result = BridgeResult { status: status_of(code), code, reason, duration_ms: 0, bleg: None };
                return self.bridge_concluded(now, result, reply_by.unwrap_or(EndedBy::Callee));
            }
        };
        match self.settings.bridge(&self.channel, task.id, &args, &headers, None, &turned) {
            Ok(plan) => {
                let Finish::Bridge(planned) = plan.finish else { return };
                if is_first {
                    self.headers.take();
                }
                hunt.trials.clear();
                for (place, way) in ways {
                    let Some(leg) = planned.legs.get(place) else { continue };
                    self.trials += 1;
                    let Way { lookup, gateway, number, cli, price, .. } = way;
                    let trial = self.trials;
                    hunt.trials.push(Trial { number: trial, lookup, leg: leg.clone() });
                    self.route_requests.push_back(RouteRequest::Tried { lookup, trial, gateway, number, cli, price });
                }
                (bridging.legs, bridging.record) = (planned.legs, planned.record);
                (task.steps, task.doing) = (plan.steps, Doing::Waiting(now));
                self.copy_headers(now, !turned.names_headers);
                self.advance(now);
            }
            Err(error) => self.complete_task(now, Err(error)),
        }
    }

    /// An application of a hunt has come to nothing: what is next is tried.
    pub(super) fn turn_failed(&mut self, now: Instant, code: u16, reason: &str) {
        let Some(Finish::Bridge(bridging)) = self.task.as_mut().map(|task| &mut task.finish) else { return };
        let Some(hunt) = &mut bridging.hunt else { return };
        for Trial { number: trial, .. } in std::mem::take(&mut hunt.trials) {
            self.route_requests.push_back(RouteRequest::Over { trial, code, reason: reason.to_owned() });
        }
        let code = told(code);
        match hunt.target {
            Some((target, _)) => hunt.fail(target, code, reason),
            // Of all that rang at once only the outcome of the whole is known.
            None => (0..hunt.failures.len()).for_each(|target| hunt.fail(target, code, reason)),
        }
        self.next_turn(now);
    }

    /// A leg has answered and is joined with the call: the others are dialled no more.
    pub(super) fn trial_answered(&mut self, leg: &str) {
        let Some(Finish::Bridge(bridging)) = self.task.as_mut().map(|task| &mut task.finish) else { return };
        let Some(hunt) = bridging.hunt.as_mut().filter(|_| bridging.legs.iter().any(|own| own == leg)) else { return };
        for trial in hunt.trials.extract_if(.., |trial| trial.leg != leg) {
            self.route_requests.push_back(cancelled(trial.number));
        }
        let talks = hunt.trials.first().map(|trial| trial.lookup);
        let others = hunt.lookups.extract_if(.., |lookup| talks != Some(*lookup));
        self.route_requests.extend(others.map(RouteRequest::Forget));
        if let Some(trial) = hunt.trial_of(leg) {
            self.route_requests.push_back(RouteRequest::Answered { trial });
        }
    }

    /// The operation is over, or the call: nothing of it is tried or looked up any more.
    pub(super) fn settle_hunt(&mut self, now: Instant, task: &mut Task) {
        let (lookups, trials, joined) = match &mut task.finish {
            Finish::Routing(routing) => {
                let asked = |found: &Found| match found {
                    Found::Asked(lookup) | Found::Answered(lookup, _) => Some(*lookup),
                    Found::Written | Found::ToAsk => None,
                };
                (routing.targets.iter().filter_map(asked).collect(), Vec::new(), None)
            }
            Finish::Bridge(bridging) => match bridging.hunt.take() {
                Some(hunt) => {
                    let joined = bridging.joined.as_ref().and_then(|(leg, _)| hunt.trial_of(leg));
                    (hunt.lookups, hunt.trials, joined)
                }
                None => return,
            },
            Finish::Unit | Finish::Play(_) | Finish::Collect(_) | Finish::Unstoppable => return,
        };
        for Trial { number: trial, .. } in trials {
            let over = || RouteRequest::Over { trial, code: 200, reason: "OK".to_owned() };
            self.route_requests.push_back(if joined == Some(trial) { over() } else { cancelled(trial) });
        }
        self.route_requests.extend(lookups.into_iter().map(RouteRequest::Forget));
        self.copy_headers(now, true);
    }

    /// Whether FreeSWITCH is to hand the caller's private headers on by itself, as it did before.
    fn copy_headers(&mut self, now: Instant, copies: bool) {
        if self.is_ended || self.copies_headers == copies {
            return;
        }
        self.copies_headers = copies;
        let before = self.channel.variables.get(COPY_HEADERS).map(String::as_str);
        // The name has no line end, nor has a value that FreeSWITCH itself has sent.
        let _ = self.wire.set(now, COPY_HEADERS, if copies { before } else { Some("false") }, Awaited::Nothing);
    }
}
