//! `bridge`: dial strings, and the variables that say how to dial and what came of it.

use lockstep_ctx_api::op::{BridgeArgs, BridgeStrategy, BridgeTarget, ContinueOn, Headers, Op};
use lockstep_ctx_api::outcome::{BridgeResult, BridgeStatus};
use lockstep_ctx_api::{OpResult, Outcome};

use super::{Call, Plan};
use crate::core::{Consequences, says_yes};
use crate::event_socket::cause::Cause;
use crate::event_socket::dial_string::{DialString, LegVars, Target};
use crate::event_socket::files;

/// How long targets ring where nobody says, in milliseconds.
const RING_MS: u64 = 60_000;
/// The longest they may be told to.
const MAX_RING_MS: u64 = 3_600_000;

impl Call<'_> {
    pub(super) fn bridge(&self) -> Plan {
        let goes_on_after_failure = self.goes_on_after_failure();
        let dial = match DialString::parse(&self.data, |name| (self.gateway)(name)) {
            Ok(dial) => dial,
            Err(unusable) if goes_on_after_failure => return Plan::Variables(failed(unusable.0)),
            Err(unusable) => return Plan::End(unusable.0),
        };
        let continue_on = match (goes_on_after_failure, !self.is_set("hangup_after_bridge")) {
            (true, true) => ContinueOn::Always,
            (true, false) => ContinueOn::Fail,
            (false, true) => ContinueOn::Completed,
            (false, false) => ContinueOn::Never,
        };
        let in_turn = dial.groups.len() > 1;
        let var = |name: &str| dial.vars.get(name).map(String::as_str).or_else(|| self.variable(name));
        let ring_ms = ["originate_timeout", "call_timeout"].iter().find_map(|name| seconds(var(name)?)).unwrap_or(RING_MS);
        let targets = dial.groups.iter().flatten().map(target).collect();
        let ringback = var("ringback").or_else(|| self.variable("transfer_ringback")).and_then(ringback);
        let args = BridgeArgs {
            strategy: if in_turn { BridgeStrategy::Sequential } else { BridgeStrategy::Parallel },
            timeout_ms: ring_ms,
            caller_id: var("origination_caller_id_number").map(str::to_owned),
            from_name: var("origination_caller_id_name").map(str::to_owned),
            headers: sip_headers(&dial.vars),
            ringback,
            early_media: !var("ignore_early_media").is_some_and(says_yes),
            continue_on,
            ..BridgeArgs::to(targets)
        };
        Plan::with(Op::Bridge(args), bridged)
    }

    /// `continue_on_fail`: yes, no, or the causes after which the call goes on. Which one it was is only known afterwards, so
    /// that a list counts as yes.
    fn goes_on_after_failure(&self) -> bool {
        self.variable("continue_on_fail").is_some_and(|text| says_yes(text) || text.split(',').any(|c| Cause::parse(c).is_some()))
    }
}

fn target(target: &Target) -> BridgeTarget {
    let var = |name: &str| target.vars.get(name).cloned();
    BridgeTarget {
        uri: target.uri.clone(),
        headers: sip_headers(&target.vars),
        caller_id: var("origination_caller_id_number"),
        from_name: var("origination_caller_id_name"),
        timeout_ms: target.vars.get("leg_timeout").and_then(|text| seconds(text)),
    }
}

/// `sip_h_X-Name` becomes a header field.
fn sip_headers(vars: &LegVars) -> Headers {
    let fields = vars.iter().filter_map(|(name, value)| Some((name.strip_prefix("sip_h_")?, value)));
    fields.filter(|(_, value)| !value.contains(char::is_control)).map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

fn seconds(text: &str) -> Option<u64> {
    text.trim().parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1_000).clamp(1_000, MAX_RING_MS))
}

/// A tone of its own, or a file; other servers' variables in it are not known here.
fn ringback(text: &str) -> Option<String> {
    if text.contains("${") {
        return None;
    }
    let playable = if text.starts_with('%') { files::playable(&format!("tone_stream://{text}")) } else { files::playable(text) };
    playable.sources.into_iter().next()
}

fn bridged(result: &OpResult) -> Consequences {
    let vars = match result {
        Ok(Outcome::Bridged(result)) if result.status == BridgeStatus::Completed => {
            let mut vars = named(&[
                ("originate_disposition", "SUCCESS"),
                ("DIALSTATUS", "SUCCESS"),
                ("last_bridge_hangup_cause", "NORMAL_CLEARING"),
                ("bridge_hangup_cause", "NORMAL_CLEARING"),
            ]);
            vars.push(("last_bridge_to".to_owned(), result.bleg.clone()));
            vars
        }
        Ok(Outcome::Bridged(result)) => failed(cause_of(result)),
        Ok(_) | Err(_) => Vec::new(),
    };
    Consequences { vars, response: None }
}

fn cause_of(result: &BridgeResult) -> Cause {
    match result.status {
        BridgeStatus::NoAnswer => Cause::parse("NO_ANSWER").unwrap_or(Cause::of_sip(result.code)),
        BridgeStatus::Completed | BridgeStatus::Busy | BridgeStatus::Failed | BridgeStatus::Cancelled => {
            Cause::of_sip(result.code)
        }
    }
}

fn failed(cause: Cause) -> Vec<(String, Option<String>)> {
    named(&[
        ("originate_disposition", cause.name),
        ("DIALSTATUS", cause.name),
        ("last_bridge_hangup_cause", cause.name),
        ("originate_failed_cause", cause.name),
    ])
}

fn named(vars: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    vars.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
}
