//! `hangup`, `reject`, `redirect`, and the end of a call.

use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{HangupArgs, Headers, RedirectArgs, RejectArgs};
use lockstep_ctx_api::{BackendOutput, CallEndedCause, CallState, EndedBy, ErrorCode, OpError, OpId, Outcome};

use super::cause::{cause_of, code_of, phrase};
use super::wire::Awaited;
use super::{FreeSwitchBackend, argument};
use crate::backend::native::Ending;
use crate::backend::set_headers::narrowed;
use crate::esl::{Event, Unsendable};

/// How long the media server may take to end a call before it is told again, and then before we take it for ended.
const END_TIME: Duration = Duration::from_secs(3);

/// The call is being ended by us.
#[derive(Debug)]
pub(super) struct Leaving {
    /// The operation that ends it.
    id: Option<OpId>,
    cause: CallEndedCause,
    until: Instant,
    is_last_try: bool,
}

/// How the media server is told.
enum Farewell {
    /// A final response of our own choice to a call that was not answered.
    Respond(u16, String),
    Redirect(String),
    Hangup(&'static str),
}

impl FreeSwitchBackend {
    /// Whether a final response can still be sent.
    fn is_unanswered(&self) -> bool {
        self.state < CallState::Answered && !self.channel.is_outbound
    }

    pub(super) fn hangup(&mut self, now: Instant, id: OpId, args: HangupArgs) {
        if args.code.is_some_and(|code| !(300..700).contains(&code)) {
            let message = "hangup: expected a code from 300 to 699";
            return self.complete(id, Err(OpError::new(ErrorCode::RangeError, message)));
        }
        if let Some(code @ 300..400) = args.code.filter(|_| self.is_unanswered()) {
            let elsewhere = RedirectArgs { code, contacts: args.reason.into_iter().collect() };
            return self.send_elsewhere(now, id, "hangup", &elsewhere, &args.headers);
        }
        let (code, farewell) = if self.is_unanswered() {
            let code = args.code.unwrap_or(603);
            let reason = args.reason.clone().unwrap_or_else(|| phrase(code).to_owned());
            (code, Farewell::Respond(code, reason))
        } else {
            let code = args.code.unwrap_or(200);
            (code, Farewell::Hangup(cause_of(code)))
        };
        let reason = args.reason.unwrap_or_else(|| phrase(code).to_owned());
        self.leave(now, Some(id), &args.headers, farewell, CallEndedCause { code, reason, by: EndedBy::Script });
    }

    pub(super) fn reject(&mut self, now: Instant, id: OpId, args: RejectArgs) {
        if !self.is_unanswered() {
            return self.complete(id, Err(OpError::invalid_state("reject", self.state.name())));
        }
        match args.code {
            400..700 => {}
            code @ 300..400 => {
                let elsewhere = RedirectArgs { code, contacts: args.reason.into_iter().collect() };
                return self.send_elsewhere(now, id, "reject", &elsewhere, &args.headers);
            }
            code => {
                let message = format!("reject: expected a code from 300 to 699, got {code}");
                return self.complete(id, Err(OpError::new(ErrorCode::RangeError, message)));
            }
        }
        let reason = args.reason.unwrap_or_else(|| phrase(args.code).to_owned());
        let cause = CallEndedCause { code: args.code, reason: reason.clone(), by: EndedBy::Script };
        self.leave(now, Some(id), &args.headers, Farewell::Respond(args.code, reason), cause);
    }

    pub(super) fn redirect(&mut self, now: Instant, id: OpId, args: &RedirectArgs) {
        if !self.is_unanswered() {
            return self.complete(id, Err(OpError::invalid_state("redirect", self.state.name())));
        }
        self.send_elsewhere(now, id, "redirect", args, &Headers::new());
    }

    /// Refuses the call by a 302, whose Contacts are where the caller may try.
    fn send_elsewhere(&mut self, now: Instant, id: OpId, operation: &str, args: &RedirectArgs, headers: &Headers) {
        if args.code != 302 {
            let message = format!("{operation}: FreeSWITCH sends 302, not {}", args.code);
            return self.complete(id, Err(OpError::new(ErrorCode::Unsupported, message)));
        }
        let expected =
            || OpError::new(ErrorCode::RangeError, format!("{operation}: expected a sip: or tel: URI to send the caller to"));
        let contacts: Result<Vec<&str>, OpError> = args
            .contacts
            .iter()
            .map(|contact| match contact.starts_with("sip:") || contact.starts_with("sips:") || contact.starts_with("tel:") {
                true => argument::word(operation, "URI", contact, "-_.!~*()&=+/?#@:;%"),
                false => Err(expected()),
            })
            .collect();
        let contacts = match contacts {
            Ok(contacts) if contacts.is_empty() => Err(expected()),
            other => other,
        };
        match contacts {
            Ok(contacts) => {
                let cause = CallEndedCause { code: 302, reason: phrase(302).to_owned(), by: EndedBy::Script };
                self.leave(now, Some(id), headers, Farewell::Redirect(contacts.join(",")), cause);
            }
            Err(error) => self.complete(id, Err(error)),
        }
    }

    /// Ends the call from outside its script: the script is over, the API or a shutdown wants it.
    pub fn end(&mut self, now: Instant, ending: Ending) {
        if self.is_ended || self.leaving.is_some() {
            return;
        }
        let (code, reason, farewell) = if self.is_unanswered() {
            let (code, reason) = ending.refusal;
            let farewell = match code {
                300..400 if argument::word("redirect", "URI", &reason, "-_.!~*()&=+/?#@:;%").is_ok() => {
                    Farewell::Redirect(reason.clone())
                }
                300..400 => Farewell::Respond(480, phrase(480).to_owned()),
                _ => Farewell::Respond(code, reason.clone()),
            };
            (code, reason, farewell)
        } else {
            let (code, reason) = ending.bye.unwrap_or_else(|| (200, phrase(200).to_owned()));
            (code, reason, Farewell::Hangup(cause_of(code)))
        };
        self.leave(now, None, &Headers::new(), farewell, CallEndedCause { code, reason, by: ending.by });
    }

    fn leave(&mut self, now: Instant, id: Option<OpId>, headers: &Headers, farewell: Farewell, cause: CallEndedCause) {
        let given = narrowed(self.headers.take(), headers);
        let prefix = if matches!(farewell, Farewell::Hangup(_)) { "sip_bye_h_" } else { "sip_rh_" };
        let told = self.header_variables(prefix, &given).and_then(|variables| {
            self.say_farewell(now, variables, farewell).map_err(|error| OpError::new(ErrorCode::RangeError, error.to_string()))
        });
        match (told, id) {
            (Err(error), Some(id)) => self.complete(id, Err(error)),
            (Err(_) | Ok(()), id) => {
                self.leaving = Some(Leaving { id, cause, until: now + END_TIME, is_last_try: false });
            }
        }
    }

    fn say_farewell(
        &mut self,
        now: Instant,
        variables: Vec<(String, Option<String>)>,
        farewell: Farewell,
    ) -> Result<(), Unsendable> {
        for (name, value) in variables {
            self.wire.set(now, &name, value.as_deref(), Awaited::Nothing)?;
        }
        match farewell {
            Farewell::Respond(code, reason) => {
                let arg = format!("{code} {}", argument::spoken(&reason));
                self.wire.execute(now, "respond", arg.trim_end(), "end", Awaited::Nothing)
            }
            Farewell::Redirect(contacts) => self.wire.execute(now, "redirect", &contacts, "end", Awaited::Nothing),
            Farewell::Hangup(cause) => self.wire.hang_up(now, cause),
        }
    }

    /// When [`leave_further`](Self::leave_further) is due.
    pub(super) fn leaving_timeout(&self) -> Option<Instant> {
        self.leaving.as_ref().map(|leaving| leaving.until)
    }

    /// The media server has not ended the call in time.
    pub(super) fn leave_further(&mut self, now: Instant) {
        let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.until <= now) else { return };
        if std::mem::replace(&mut leaving.is_last_try, true) {
            tracing::warn!(call = %self.call_id, "FreeSWITCH did not confirm the end of the call");
            return self.gone(now, None);
        }
        leaving.until = now + END_TIME;
        // A cause has no line end that could stand in the way of sending it.
        let _ = self.wire.hang_up(now, "NORMAL_CLEARING");
    }

    /// The channel is gone, for the reason the event gives, where there is one.
    pub(super) fn gone(&mut self, now: Instant, event: Option<&Event>) {
        if self.is_ended {
            return;
        }
        let cause = match self.leaving.take() {
            Some(Leaving { id, cause, .. }) => {
                if let Some(id) = id {
                    self.complete(id, Ok(Outcome::Unit));
                }
                cause
            }
            None => cause_in(event),
        };
        self.finish(now, cause);
    }

    /// Settles everything and says that the call is over.
    pub(super) fn finish(&mut self, now: Instant, cause: CallEndedCause) {
        if self.is_ended {
            return;
        }
        self.is_ended = true;
        self.state = CallState::Ended;
        let over = || OpError::call_ended(cause.clone());
        if let Some(mut task) = self.task.take() {
            self.settle_hunt(now, &mut task);
            self.complete(task.id, Err(over()));
        }
        for id in std::mem::take(&mut self.asides).into_keys() {
            self.complete(id, Err(over()));
        }
        if let Some(Leaving { id: Some(id), .. }) = self.leaving.take() {
            self.complete(id, Err(over()));
        }
        self.recordings.clear();
        self.outputs.push_back(BackendOutput::Ended(cause));
        // What lingers is of no use any more.
        let _ = self.wire.command(now, "exit".to_owned(), Awaited::Nothing);
    }
}

/// Why a channel ended that we have not ended.
fn cause_in(event: Option<&Event>) -> CallEndedCause {
    let Some(event) = event else {
        let reason = "the connection to FreeSWITCH was lost".to_owned();
        return CallEndedCause { code: 503, reason, by: EndedBy::Engine };
    };
    let cause = event.get("Hangup-Cause").or_else(|| event.variable("hangup_cause")).unwrap_or("NORMAL_CLEARING");
    let by = match event.variable("sip_hangup_disposition") {
        Some("send_bye" | "send_refuse" | "send_cancel") => EndedBy::Engine,
        Some(_) => EndedBy::Caller,
        None if matches!(cause, "NORMAL_CLEARING" | "ORIGINATOR_CANCEL" | "USER_BUSY" | "CALL_REJECTED") => EndedBy::Caller,
        None => EndedBy::Engine,
    };
    let code = code_of(cause);
    CallEndedCause { code, reason: phrase(code).to_owned(), by }
}
