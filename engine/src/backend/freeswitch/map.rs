//! Operations as applications of FreeSWITCH.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{AnswerArgs, BridgeArgs, BridgeTarget, EchoArgs, Headers, Op, PlayArgs};
use lockstep_ctx_api::op::{RingArgs, SendDtmfArgs, TtsArgs};
use lockstep_ctx_api::{BackendOutput, CallState, ErrorCode, OpError, OpId, Outcome};

use super::bridge::Turned;
use super::hunt::Routing;
use super::sound::Voice;
use super::task::{Doing, Finish, Plan, Playing, Step};
use super::{FreeSwitchBackend, argument, bridge};
use crate::backend::set_headers::narrowed;

/// `w` and `W` among digits to be sent.
const SHORT_PAUSE_MS: u64 = 500;
const LONG_PAUSE_MS: u64 = 1_000;

impl FreeSwitchBackend {
    /// Starts an operation.
    pub(super) fn map(&mut self, now: Instant, id: OpId, op: Op) {
        let name = op.name();
        match op {
            Op::Set(args) => self.set(now, id, args),
            Op::SetHeader(args) => {
                let set = self.headers.set(args.name, args.value);
                self.complete(id, set);
            }
            Op::BlockDtmf(args) => self.block_dtmf(now, id, &args.digits),
            Op::UnblockDtmf => self.block_dtmf(now, id, ""),
            Op::Record(args) => self.record(now, id, &args),
            Op::RecordControl(args) => self.control_recording(now, id, &args),
            Op::Answer(args) => {
                let plan = self.answer(args);
                self.begin(now, id, name, plan);
            }
            Op::Ring(args) => {
                let plan = self.ring(args);
                self.begin(now, id, name, plan);
            }
            Op::EarlyMedia => {
                let plan = match self.before_answer(name) {
                    Ok(()) => self.with_headers("sip_ph_", Headers::new(), "pre_answer"),
                    Err(_) if self.answered_before => Ok(nothing()),
                    Err(error) => Err(error),
                };
                self.begin(now, id, name, plan);
            }
            Op::Play(args) => {
                let plan = self.play(args);
                self.begin(now, id, name, plan);
            }
            Op::Tts(args) => {
                let plan = self.tts(args);
                self.begin(now, id, name, plan);
            }
            Op::Ivr(args) => {
                let plan = self.settings.ivr(args);
                self.begin(now, id, name, plan);
            }
            Op::Gather(args) => {
                let plan = self.settings.gather(args, &self.voice());
                self.begin(now, id, name, plan);
            }
            Op::SendDtmf(args) => self.begin(now, id, name, send_dtmf(&args)),
            Op::Echo(args) => self.begin(now, id, name, Ok(echo(&args))),
            Op::Bridge(args) => {
                let plan = self.bridge(id, args, None);
                self.begin(now, id, name, plan);
            }
            Op::Sleep(args) => {
                let wait = Step::Wait(Duration::from_millis(args.duration_ms));
                let plan = match now.checked_add(Duration::from_millis(args.duration_ms)) {
                    Some(_) => Ok(Plan { steps: [wait].into(), finish: Finish::Unit }),
                    None => Err(OpError::new(ErrorCode::RangeError, "sleep: too long")),
                };
                self.begin(now, id, name, plan);
            }
            Op::Reject(args) => self.reject(now, id, args),
            Op::Redirect(args) => self.redirect(now, id, &args),
            Op::Hangup(args) => self.hangup(now, id, args),
            Op::Fetch(_) | Op::Host(_) => {
                let message = format!("{name} is not an operation of a call");
                self.complete(id, Err(OpError::new(ErrorCode::Unsupported, message)));
            }
        }
    }

    fn voice(&self) -> Voice {
        let of = |variable: &str, setting: &Option<String>| self.vars.get(variable).cloned().or_else(|| setting.clone());
        Voice { engine: of("tts_engine", &self.settings.tts_engine), voice: of("tts_voice", &self.settings.tts_voice) }
    }

    fn before_answer(&self, operation: &str) -> Result<(), OpError> {
        if self.state >= CallState::Answered { Err(OpError::invalid_state(operation, self.state.name())) } else { Ok(()) }
    }

    /// One application, with the headers set so far and those given.
    fn with_headers(&mut self, prefix: &str, headers: Headers, app: &'static str) -> Result<Plan, OpError> {
        let variables = self.header_variables(prefix, &narrowed(self.headers.fields().clone(), &headers))?;
        self.headers.take();
        let mut steps = Vec::new();
        if !variables.is_empty() {
            steps.push(Step::Set(variables));
        }
        steps.push(Step::execute(app, ""));
        Ok(Plan { steps: steps.into(), finish: Finish::Unit })
    }

    fn answer(&mut self, args: AnswerArgs) -> Result<Plan, OpError> {
        if self.state == CallState::Answered && std::mem::take(&mut self.answered_before) {
            return Ok(nothing());
        }
        self.before_answer("answer")?;
        let codecs: Vec<&str> =
            args.codecs.iter().map(|codec| argument::word("answer", "codec", codec, "-_.@")).collect::<Result<_, _>>()?;
        let codecs = codecs.join(",");
        let mut plan = self.with_headers("sip_rh_", args.headers, "answer")?;
        if !codecs.is_empty() {
            plan.steps.push_front(Step::set("absolute_codec_string", codecs));
        }
        Ok(plan)
    }

    fn ring(&mut self, args: RingArgs) -> Result<Plan, OpError> {
        if self.answered_before {
            return Ok(nothing());
        }
        self.before_answer("ring")?;
        self.with_headers("sip_ph_", args.headers, "ring_ready")
    }

    fn play(&mut self, args: PlayArgs) -> Result<Plan, OpError> {
        if args.start_ms > 0 && args.sources.len() > 1 {
            let message = "play: FreeSWITCH starts one file at an offset, not several";
            return Err(OpError::new(ErrorCode::Unsupported, message));
        }
        let mut round = Vec::new();
        for source in &args.sources {
            let mut sound = self.settings.sound("play", source)?;
            if args.start_ms > 0 && sound.name.starts_with('/') {
                // In samples at the channel's rate.
                let rate = self.vars.get("write_rate").and_then(|rate| rate.parse::<u64>().ok()).unwrap_or(8_000);
                sound.name.push_str(&format!("@@{}", args.start_ms.saturating_mul(rate) / 1_000));
            }
            round.push(Step::Execute { app: "playback", arg: sound.name, lasts: sound.length });
        }
        audio(round, &args)
    }

    fn tts(&mut self, args: TtsArgs) -> Result<Plan, OpError> {
        let speech = self.voice().of(&args)?;
        if speech.text.is_empty() {
            return Ok(Plan { steps: [Step::Wait(Duration::ZERO)].into(), finish: playing(Vec::new(), 1) });
        }
        let arg = format!("{}|{}|{}", speech.engine, speech.voice, speech.text);
        audio(vec![Step::execute("speak", arg)], &args.play)
    }

    fn bridge(&mut self, id: OpId, mut args: BridgeArgs, instead: Option<Outcome>) -> Result<Plan, OpError> {
        if let Some(Err(error)) = args.ringback.as_ref().map(|source| self.settings.sound("bridge", source)) {
            // A tone of the script's choice that cannot be played gives way to the usual one.
            self.outputs.push_back(BackendOutput::Warning(error.message));
            args.ringback = None;
        }
        let variable = |name: &str| self.vars.get(name).filter(|value| !value.is_empty()).cloned();
        let name = || variable("effective_caller_id_name");
        let is_asked_for = |target: &str| self.settings.has_routes && self.settings.is_name(target);
        if let Some(mut routing) = Routing::of(&args, is_asked_for) {
            bridge::check(&args)?;
            routing.instead = instead;
            // FreeSWITCH heeds these by itself where it is not told which number to show, which routes tell it.
            let number = || variable("effective_caller_id_number").filter(|number| bridge::number_of(number).is_ok());
            routing.args.caller_id = routing.args.caller_id.or_else(number);
            routing.args.from_name = routing.args.from_name.or_else(name);
            return Ok(Plan { steps: VecDeque::new(), finish: Finish::Routing(Box::new(routing)) });
        }
        if args.caller_id.is_some() || args.targets.iter().any(|target| target.caller_id.is_some()) {
            args.from_name = args.from_name.or_else(name);
        }
        let plan = self.settings.bridge(&self.channel, id, &args, self.headers.fields(), instead, &Turned::default())?;
        self.headers.take();
        Ok(plan)
    }

    /// Hands the caller over to `target` as the end of an operation whose result stands.
    pub(super) fn transfer_after(&mut self, now: Instant, target: &str, outcome: Outcome) {
        let Some(id) = self.task.as_ref().map(|task| task.id) else { return };
        let args = BridgeArgs::to(vec![BridgeTarget { uri: target.to_owned(), ..BridgeTarget::default() }]);
        match self.bridge(id, args, Some(outcome.clone())) {
            Ok(plan) => {
                if let Some(task) = &mut self.task {
                    (task.steps, task.finish, task.doing) = (plan.steps, plan.finish, Doing::Waiting(now));
                }
                self.advance(now);
            }
            Err(error) => {
                tracing::warn!(call = %self.call_id, %error, "transfer_on_failure");
                self.complete_task(now, Ok(outcome));
            }
        }
    }
}

fn playing(round: Vec<Step>, repeat: u32) -> Finish {
    // The first round is the plan's own.
    let left = repeat.checked_sub(1);
    Finish::Play(Playing { round, left, played_ms: 0, before_ms: 0 })
}

fn audio(round: Vec<Step>, args: &PlayArgs) -> Result<Plan, OpError> {
    if args.volume_db != 0.0 {
        return Err(OpError::new(ErrorCode::Unsupported, "play: FreeSWITCH has no `volume_db`"));
    }
    let stop_on = match args.stop_on.as_str() {
        "" => "none",
        keys => argument::word("play", "stop_on", keys, "*#")?,
    };
    let mut steps = vec![Step::set("playback_terminators", stop_on)];
    steps.extend(round.iter().cloned());
    let finish = playing(round, args.repeat);
    Ok(Plan { steps: steps.into(), finish })
}

/// What is done already.
fn nothing() -> Plan {
    Plan { steps: VecDeque::new(), finish: Finish::Unit }
}

/// `send_dtmf` returns at once; the keys take their time.
fn send_dtmf(args: &SendDtmfArgs) -> Result<Plan, OpError> {
    use lockstep_ctx_api::op::DtmfMethod;
    match args.method {
        None | Some(DtmfMethod::Rfc4733) => {}
        Some(DtmfMethod::Info | DtmfMethod::Inband) => {
            let message = "sendDtmf: FreeSWITCH sends keys as its SIP profile says; leave out `method`";
            return Err(OpError::new(ErrorCode::Unsupported, message));
        }
    }
    let is_sendable = |c: char| c.is_ascii_digit() || matches!(c.to_ascii_uppercase(), '*' | '#' | 'A'..='D' | 'W');
    if args.digits.is_empty() || args.digits.len() > 255 || !args.digits.chars().all(is_sendable) {
        let message = "sendDtmf: expected 1 to 255 of 0-9 * # A-D w W";
        return Err(OpError::new(ErrorCode::RangeError, message));
    }
    let key = u64::from(args.duration_ms) + u64::from(args.gap_ms);
    let total = args.digits.chars().map(|digit| match digit {
        'w' => SHORT_PAUSE_MS,
        'W' => LONG_PAUSE_MS,
        _ => key,
    });
    let wait = Step::Wait(Duration::from_millis(total.sum()));
    let send = Step::execute("send_dtmf", format!("{}@{}", args.digits, args.duration_ms));
    Ok(Plan { steps: [send, wait].into(), finish: Finish::Unit })
}

fn echo(args: &EchoArgs) -> Plan {
    match args.delay_ms {
        0 => Plan { steps: [Step::execute("echo", "")].into(), finish: Finish::Unit },
        delay => Plan { steps: [Step::execute("delay_echo", delay.to_string())].into(), finish: Finish::Unstoppable },
    }
}
