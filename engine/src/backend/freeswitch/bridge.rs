//! `bridge`: dial strings, and what became of them.

use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{
    BridgeArgs, BridgeStrategy, BridgeTarget, ContinueOn, Headers, MAX_BRIDGE_TARGETS, RING_TIME, RecordFormat,
};
use lockstep_ctx_api::outcome::{BridgeResult, BridgeStatus};
use lockstep_ctx_api::{CallEndedCause, EndedBy, ErrorCode, OpError, OpId, Outcome};
use uuid::Uuid;

use super::argument;
use super::cause::{code_of, phrase};
use super::channel::Channel;
use super::hunt::Hunt;
use super::lent::EXPORTS;
use super::task::{Finish, Plan, Step};
use super::{Settings, answer_time};
use crate::backend::set_headers::narrowed;
use crate::esl::Event;

/// Our own names of the legs are made from the call's.
const LEGS: Uuid = Uuid::from_u128(0x6a1d_27e4_1f0c_4a55_9a3b_0c6f_52f1_7a10);

/// What a bridge leaves behind that its result is read from.
const LEFT_BEHIND: [&str; 4] =
    ["originate_disposition", "bridge_hangup_cause", "last_bridge_hangup_cause", "last_bridge_proto_specific_hangup_cause"];

/// The user of From where no number is to be shown.
const ANONYMOUS: &str = "anonymous";

/// A bridge under way.
#[derive(Debug)]
pub(super) struct Bridging {
    /// Ids of the legs being called.
    pub legs: Vec<String>,
    /// The leg that answered, and since when the two are joined.
    pub joined: Option<(String, Instant)>,
    /// How long they were.
    pub lasted: Duration,
    pub record: Option<String>,
    continue_on: ContinueOn,
    /// Given back instead of the bridge's own result: the bridge is the end of another operation.
    pub instead: Option<Outcome>,
    /// What is tried next should this come to nothing.
    pub hunt: Option<Hunt>,
}

/// What a bridge needs that is one of several of an operation.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// How many legs were dialled before.
    pub place: usize,
    /// How long the callee may neither ring nor answer.
    pub patience: Option<Duration>,
    /// The caller's own header fields are among those given, as far as they are to go on.
    pub names_headers: bool,
}

/// What comes after a bridge.
#[derive(Debug)]
pub(super) enum After {
    /// The script goes on with this.
    Resolve(Outcome),
    /// The call is over.
    End(CallEndedCause),
}

impl Settings {
    /// Dials and joins.
    pub(super) fn bridge(
        &self,
        channel: &Channel,
        id: OpId,
        args: &BridgeArgs,
        set_headers: &Headers,
        instead: Option<Outcome>,
        turned: &Turned,
    ) -> Result<Plan, OpError> {
        check(args)?;
        let ring = match args.timeout_ms {
            0 => RING_TIME,
            ms => Duration::from_millis(ms),
        };
        let mut legs = Vec::new();
        let mut strings = Vec::new();
        for (place, target) in args.targets.iter().enumerate() {
            let leg = Uuid::new_v5(&LEGS, format!("{} {id} {}", channel.uuid, turned.place + place).as_bytes()).to_string();
            let variables = leg_variables(args, target, (leg.as_str(), channel.from.as_str()), ring, turned.patience)?;
            strings.push(format!("{variables}{}", self.endpoint(channel, &target.uri)?));
            legs.push(leg);
        }
        let (separator, turns) = match args.strategy {
            BridgeStrategy::Parallel => (",", 1),
            BridgeStrategy::Sequential => ("|", u64::try_from(strings.len()).unwrap_or(1)),
        };
        let recording = |name: &String| self.recording("bridge", name, RecordFormat::of(name).extension());
        let record = args.record.as_ref().map(recording).transpose()?.map(|(path, _)| path);
        let mut variables = self.call_variables(args)?;
        // What an earlier bridge has left would be taken for this one's, should its completion get lost.
        variables.extend(LEFT_BEHIND.map(|name| (name.to_owned(), None)));
        let mut steps = vec![Step::Set(variables), Step::Lend(lent_variables(args, set_headers, &channel.from)?)];
        steps.push(Step::Execute {
            app: "bridge",
            arg: format!("{}{}", self.confirmation(args)?, strings.join(separator)),
            lasts: Some(answer_time(crate::call::millis(ring), turns)),
        });
        let bridging = Bridging { legs, record, ..Bridging::new(args.continue_on, instead) };
        Ok(Plan { steps: steps.into(), finish: Finish::Bridge(Box::new(bridging)) })
    }

    /// Variables of the calling channel that every bridge sets.
    fn call_variables(&self, args: &BridgeArgs) -> Result<Vec<(String, Option<String>)>, OpError> {
        // FreeSWITCH would ask whoever sends early media to accept, who cannot hear the question before the answer.
        let hears_early_media = args.early_media && args.screen.is_none();
        let mut variables = vec![
            // Whether the call goes on is for the script to say, not for the media server.
            ("continue_on_fail".to_owned(), Some("true".to_owned())),
            ("hangup_after_bridge".to_owned(), Some("false".to_owned())),
            ("ignore_early_media".to_owned(), Some((!hears_early_media).to_string())),
            ("bridge_terminate_key".to_owned(), args.hangup_on.clone()),
        ];
        let ringback = args.ringback.as_ref().map(|source| self.sound("bridge", source)).transpose()?;
        variables.push(("ringback".to_owned(), Some(ringback.map_or("%(2000,4000,440,480)".to_owned(), |sound| sound.name))));
        Ok(variables)
    }

    /// `{…}`: whoever answers hears `screen` and has to press 1.
    fn confirmation(&self, args: &BridgeArgs) -> Result<String, OpError> {
        let Some(source) = &args.screen else { return Ok(String::new()) };
        let file = self.sound("bridge", source)?.name;
        let file = argument::word("bridge", "screen", &file, "-_./+@:")?;
        Ok(format!("{{group_confirm_key=1,group_confirm_file={file}}}"))
    }

    /// Whether a target is neither a URI nor an endpoint nor a user of ours: an extension or a number.
    pub(super) fn is_name(&self, target: &str) -> bool {
        let is_uri = ["sip:", "sips:"].iter().any(|scheme| target.starts_with(scheme));
        !is_uri && !target.contains('/') && !self.known_users.contains(target)
    }

    /// Where a target is called: a `sip:` URI, a user of ours, a number, or an endpoint as FreeSWITCH writes it.
    fn endpoint(&self, channel: &Channel, target: &str) -> Result<String, OpError> {
        const EXTRA: &str = "-_.+*#@";
        if target.contains(":_:") {
            // FreeSWITCH would take it for several dial strings.
            return Err(OpError::new(ErrorCode::RangeError, "bridge: target: expected one endpoint, found several"));
        }
        if let Some(address) = target.strip_prefix("sip:").or_else(|| target.strip_prefix("sips:")) {
            let address = argument::word("bridge", "target", address, "-_.+*#@:[]~;=%")?;
            let profile = self.profile.as_ref().or_else(|| channel.variables.get("sofia_profile_name"));
            let profile = argument::word("bridge", "SIP profile", profile.map_or("external", String::as_str), "-_.")?;
            return Ok(format!("sofia/{profile}/{address}"));
        }
        if target.contains('/') {
            // `error/USER_BUSY`, `user/1001@example.com`, `sofia/gateway/carrier/4420…`: one endpoint, never a list of them.
            return Ok(argument::word("bridge", "target", target, "-_.+*#@:/~")?.to_owned());
        }
        let name = argument::word("bridge", "target", target, EXTRA)?;
        let template = if self.known_users.contains(name) { &self.users } else { &self.dial };
        let context = argument::word("bridge", "context", &channel.context, "-_.").unwrap_or("default");
        Ok(template.replace("{target}", name).replace("{context}", context))
    }
}

/// Variables of the calling channel for the legs of this bridge alone: header fields, and what is shown of the caller. What they hold may
/// be any text: it goes through no dial string.
fn lent_variables(args: &BridgeArgs, set_headers: &Headers, caller: &str) -> Result<Vec<(String, String)>, OpError> {
    let mut headers = narrowed(set_headers.clone(), &args.headers);
    let (mut name, mut number) = (args.from_name.as_deref(), args.caller_id.as_deref());
    if let [only] = args.targets.as_slice() {
        headers = narrowed(headers, &only.headers);
        name = only.from_name.as_deref().or(name);
        number = only.caller_id.as_deref().or(number);
    }
    let (mut variables, mut exported) = (Vec::new(), Vec::new());
    for (name, value) in headers {
        let name = format!("sip_h_{}", argument::word("bridge", "name of a header", &name, "-_.")?);
        variables.push((name.clone(), argument::literal("bridge", "value of a header", &value)?.to_owned()));
        exported.push(name);
    }
    if let Some(name) = name.or_else(|| name_beside(number?, caller)) {
        variables.push(("effective_caller_id_name".to_owned(), argument::spoken(name)));
    }
    if let Some(number) = &args.caller_id {
        variables.push(("effective_caller_id_number".to_owned(), number_of(number)?.to_owned()));
    }
    if !exported.is_empty() {
        variables.push((EXPORTS.to_owned(), exported.join(",")));
    }
    Ok(variables)
}

/// What stands in the place of a name beside a number that is not the caller's own: FreeSWITCH would let the caller's name go with it.
fn name_beside<'a>(number: &'a str, caller: &str) -> Option<&'a str> {
    (number != caller).then_some(if number.is_empty() { ANONYMOUS } else { number.trim_start_matches('+') })
}

pub(super) fn check(args: &BridgeArgs) -> Result<(), OpError> {
    let unsupported = |what: &str| {
        let message = format!("bridge: FreeSWITCH has no {what}");
        Err(OpError::new(ErrorCode::Unsupported, message))
    };
    if args.targets.is_empty() {
        return Err(OpError::new(ErrorCode::RangeError, "bridge: expected at least one destination"));
    }
    if args.targets.len() > MAX_BRIDGE_TARGETS {
        let message = format!("bridge: expected at most {MAX_BRIDGE_TARGETS} destinations, got {}", args.targets.len());
        return Err(OpError::new(ErrorCode::RangeError, message));
    }
    if args.whisper.is_some() {
        return unsupported("`whisper`");
    }
    if let Some(key) = &args.hangup_on {
        argument::word("bridge", "hangup_on", key, "*#")?;
    }
    Ok(())
}

/// A number as it is shown; none at all is nobody's, as in the INVITEs of our own calls.
pub(super) fn number_of(number: &str) -> Result<&str, OpError> {
    if number.is_empty() { Ok(ANONYMOUS) } else { argument::word("bridge", "caller_id", number, "-_.+*#@") }
}

/// `[a=b,…]`: the variables of one leg. Only words go in here: brackets know no dependable escape.
fn leg_variables(
    args: &BridgeArgs,
    target: &BridgeTarget,
    (leg, caller): (&str, &str),
    ring: Duration,
    patience: Option<Duration>,
) -> Result<String, OpError> {
    let ring = target.timeout_ms.filter(|ms| *ms > 0).map_or(ring, Duration::from_millis);
    let mut variables = vec![format!("origination_uuid={leg}"), format!("leg_timeout={}", ring.as_millis().div_ceil(1_000))];
    variables.extend(patience.map(|time| format!("leg_progress_timeout={}", time.as_secs())));
    if let Some(number) = &target.caller_id {
        variables.push(format!("origination_caller_id_number={}", number_of(number)?));
    }
    if args.targets.len() > 1 {
        let beside = || target.caller_id.as_deref().filter(|_| args.from_name.is_none()).and_then(|own| name_beside(own, caller));
        if let Some(name) = target.from_name.as_deref().or_else(beside) {
            let name = argument::word("bridge", "from_name of one of several targets", name, " -_.+*#@")?;
            variables.push(format!("origination_caller_id_name={}", argument::quoted(name)));
        }
        for (name, value) in &target.headers {
            let name = argument::word("bridge", "name of a header", name, "-_.")?;
            let value = argument::word("bridge", "header of one of several targets", value, " -_.+*#@:/")?;
            variables.push(format!("sip_h_{name}={}", argument::quoted(value)));
        }
    }
    if !args.codecs.is_empty() {
        let codecs: Vec<&str> =
            args.codecs.iter().map(|codec| argument::word("bridge", "codec", codec, "-_.@")).collect::<Result<_, _>>()?;
        variables.push(format!("absolute_codec_string=^^:{}", codecs.join(":")));
    }
    Ok(format!("[{}]", variables.join(",")))
}

impl Bridging {
    /// One that has not begun.
    pub(super) fn new(continue_on: ContinueOn, instead: Option<Outcome>) -> Self {
        let legs = Vec::new();
        Self { legs, joined: None, lasted: Duration::ZERO, record: None, continue_on, instead, hunt: None }
    }

    /// The two are not joined any more.
    pub(super) fn parted(&mut self, now: Instant) {
        if let Some((_, since)) = &self.joined
            && self.lasted == Duration::ZERO
        {
            self.lasted = now.saturating_duration_since(*since);
        }
    }

    /// What became of it.
    pub(super) fn result(&mut self, now: Instant, event: &Event) -> BridgeResult {
        self.parted(now);
        let is_set = |name: &str| event.variable(name).filter(|value| !value.is_empty());
        let was_joined = self.joined.is_some() || is_set("originate_disposition") == Some("SUCCESS");
        let bleg = self
            .joined
            .as_ref()
            .map(|(leg, _)| leg.clone())
            .or_else(|| is_set("bridge_uuid").filter(|_| was_joined).map(str::to_owned));
        if was_joined {
            let duration_ms = crate::call::millis(self.lasted);
            BridgeResult { status: BridgeStatus::Completed, code: 200, reason: "OK".to_owned(), duration_ms, bleg }
        } else {
            let cause = is_set("originate_disposition").or_else(|| is_set("last_bridge_hangup_cause")).unwrap_or("NO_ANSWER");
            let code = sip_code(event, cause);
            BridgeResult { status: status_of(cause), code, reason: phrase(code).to_owned(), duration_ms: 0, bleg: None }
        }
    }

    /// What comes after it. `by` has ended a call that does not go on.
    pub(super) fn over(self, result: BridgeResult, by: EndedBy) -> After {
        let was_joined = result.status == BridgeStatus::Completed;
        let goes_on = match self.continue_on {
            ContinueOn::Always => true,
            ContinueOn::Never => false,
            ContinueOn::Fail => !was_joined,
            ContinueOn::Completed => was_joined,
        };
        if let Some(instead) = self.instead {
            return After::Resolve(instead);
        }
        if goes_on {
            return After::Resolve(Outcome::Bridged(result));
        }
        let (code, reason) = if was_joined { (200, "Normal Clearing".to_owned()) } else { (result.code, result.reason) };
        After::End(CallEndedCause { code, reason, by })
    }
}

/// The SIP code the far end has sent, where it was SIP; else the one its cause stands for.
fn sip_code(event: &Event, cause: &str) -> u16 {
    let told = event.variable("last_bridge_proto_specific_hangup_cause").and_then(|text| text.strip_prefix("sip:"));
    told.and_then(|code| code.parse().ok()).filter(|code| (300..700).contains(code)).unwrap_or_else(|| code_of(cause))
}

fn status_of(cause: &str) -> BridgeStatus {
    match cause {
        "USER_BUSY" => BridgeStatus::Busy,
        "NO_ANSWER"
        | "NO_USER_RESPONSE"
        | "ALLOTTED_TIMEOUT"
        | "PROGRESS_TIMEOUT"
        | "USER_NOT_REGISTERED"
        | "SUBSCRIBER_ABSENT" => BridgeStatus::NoAnswer,
        "ORIGINATOR_CANCEL" | "LOSE_RACE" => BridgeStatus::Cancelled,
        _ => BridgeStatus::Failed,
    }
}
