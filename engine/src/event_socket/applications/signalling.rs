//! `answer`, `pre_answer`, `ring_ready`, `hangup`, `respond`, `redirect`, `transfer`, `park`, `socket`.

use lockstep_ctx_api::CallState;
use lockstep_ctx_api::op::{AnswerArgs, HangupArgs, Op, RedirectArgs, RejectArgs, RingArgs};

use super::{Call, Plan, words};
use crate::backend::native::leads_elsewhere;
use crate::event_socket::cause::{Cause, NORMAL_CLEARING};

/// 480 Temporarily Unavailable: what a caller hears instead of a 3xx that says nowhere to go.
const NOWHERE: u16 = 480;

impl Call<'_> {
    pub(super) fn signalling(&self) -> Plan {
        let data = self.data.trim();
        match self.application {
            // Clients answer to be sure that it is.
            "answer" if self.channel.state == CallState::Answered => Plan::nothing(),
            "answer" => Plan::operation(Op::Answer(AnswerArgs::default())),
            "pre_answer" if self.channel.state >= CallState::Early => Plan::nothing(),
            "pre_answer" => Plan::operation(Op::EarlyMedia),
            "ring_ready" if self.channel.state >= CallState::Ringing => Plan::nothing(),
            "ring_ready" => Plan::operation(Op::Ring(RingArgs::default())),
            "hangup" => Plan::operation(Op::Hangup(self.hangup(Cause::parse(data).unwrap_or(NORMAL_CLEARING)))),
            "respond" => self.respond(data),
            "redirect" | "deflect" => {
                let contacts = data.split(',').map(|uri| uri.trim().to_owned()).filter(|uri| !uri.is_empty()).collect();
                Plan::operation(Op::Redirect(RedirectArgs { code: 302, contacts }))
            }
            "transfer" | "execute_extension" => match words(data).into_iter().find(|word| !word.starts_with("-")) {
                Some(target) => Plan::Transfer(target),
                None => Plan::nothing(),
            },
            "socket" => Plan::Transfer(format!("socket:{data}")),
            "park" => Plan::Park,
            _ => Plan::nothing(),
        }
    }

    /// What ends the call by a cause.
    fn hangup(&self, cause: Cause) -> HangupArgs {
        let (code, reason) = cause.to_sip(self.channel.state == CallState::Answered);
        // Operations name codes of failures; 200 is what they end with otherwise.
        HangupArgs { code: code.filter(|code| *code >= 300), reason, headers: Vec::new() }
    }

    fn respond(&self, data: &str) -> Plan {
        let (code, reason) = data.split_once(' ').unwrap_or((data, ""));
        let reason = (!reason.is_empty()).then(|| reason.to_owned());
        match code.parse() {
            Ok(180) => Plan::operation(Op::Ring(RingArgs::default())),
            Ok(183) => Plan::operation(Op::EarlyMedia),
            Ok(code @ 400..=699) if self.channel.state != CallState::Answered => {
                Plan::operation(Op::Reject(RejectArgs { code, reason, headers: Vec::new() }))
            }
            Ok(code @ 300..=399)
                if self.channel.state != CallState::Answered && !reason.as_deref().is_some_and(leads_elsewhere) =>
            {
                let call = self.channel.call.as_str();
                tracing::warn!(
                    call,
                    code,
                    "respond: expected a sip: or tel: URI to send the caller to; {NOWHERE} is sent instead"
                );
                Plan::operation(Op::Hangup(HangupArgs { code: Some(NOWHERE), ..HangupArgs::default() }))
            }
            Ok(code @ 300..=699) => Plan::operation(Op::Hangup(HangupArgs { code: Some(code), reason, headers: Vec::new() })),
            _ => Plan::nothing(),
        }
    }
}
