//! How a call ends: `hangup`, `reject`, `redirect`, the peer, the engine.

use std::time::Instant;

use lockstep_ctx_api::op::{HangupArgs, Headers, RedirectArgs, RejectArgs};
use lockstep_ctx_api::{CallEndedCause, EndedBy, ErrorCode, OpError, OpId, Outcome};
use lockstep_sip::message::{Contacts, HeaderName, HeaderValue, StatusCode, Uri};

use super::{NativeBackend, Task};
use crate::backend::set_headers::narrowed;
use crate::call::{LegState, Switchboard};

/// Final response of `hangup()` on a call nobody answered: the callee does not want it, and there is no use in trying again.
const DECLINED: (u16, &str) = (603, "Decline");

/// What a phrase or the text of a Reason may take, in bytes: a message must fit a datagram, and phones show a line.
const MAX_WORDS: usize = 200;
/// What the contacts of a redirection may take together, in bytes.
const MAX_CONTACTS: usize = 16 * 1024;

/// Why and how the engine ends a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The final response on a call that was not answered.
    pub refusal: (u16, String),
    /// The Reason of a BYE on one that was; `None`: a normal clearing without one.
    pub bye: Option<(u16, String)>,
    pub by: EndedBy,
}

impl<S: Switchboard> NativeBackend<S> {
    pub(super) fn hangup(&mut self, id: OpId, args: HangupArgs) {
        if args.code.is_some_and(|code| !(300..700).contains(&code)) {
            let message = "hangup: expected a code from 300 to 699";
            return self.complete(id, Err(OpError::new(ErrorCode::RangeError, message)));
        }
        let is_unanswered = self.a.state() < LegState::Answering && !self.originated;
        if let Some(code @ 300..400) = args.code.filter(|_| is_unanswered) {
            let elsewhere = RedirectArgs { code, contacts: args.reason.into_iter().collect() };
            return self.send_elsewhere(id, "hangup", &elsewhere, &args.headers);
        }
        let named = args.code.is_some() || args.reason.is_some();
        let args = HangupArgs { reason: args.reason.and_then(spoken), ..args };
        let code = args.code.unwrap_or(DECLINED.0);
        let mut headers = narrowed(self.headers.take(), &args.headers);
        let cause = if is_unanswered {
            self.a.refuse(&mut self.board, code, args.reason.clone(), headers);
            let reason = args.reason.unwrap_or_else(|| phrase(code).to_owned());
            CallEndedCause { code, reason, by: EndedBy::Script }
        } else {
            let code = args.code.unwrap_or(200);
            let reason = args.reason.unwrap_or_else(|| if named { phrase(code) } else { "Normal Clearing" }.to_owned());
            if named {
                headers.push(reason_header(code, &reason));
            }
            self.hang_up_party(headers);
            CallEndedCause { code, reason, by: EndedBy::Script }
        };
        self.complete(id, Ok(Outcome::Unit));
        self.finish(cause);
    }

    pub(super) fn reject(&mut self, id: OpId, args: RejectArgs) {
        if self.originated || self.a.state() >= LegState::Answering {
            return self.complete(id, Err(OpError::invalid_state("reject", self.a.state().name())));
        }
        match args.code {
            400..700 => {}
            code @ 300..400 => {
                let elsewhere = RedirectArgs { code, contacts: args.reason.into_iter().collect() };
                return self.send_elsewhere(id, "reject", &elsewhere, &args.headers);
            }
            code => {
                let message = format!("reject: expected a code from 300 to 699, got {code}");
                return self.complete(id, Err(OpError::new(ErrorCode::RangeError, message)));
            }
        }
        let headers = narrowed(self.headers.take(), &args.headers);
        let reason = args.reason.and_then(spoken);
        self.a.refuse(&mut self.board, args.code, reason.clone(), headers);
        self.complete(id, Ok(Outcome::Unit));
        let reason = reason.unwrap_or_else(|| phrase(args.code).to_owned());
        self.finish(CallEndedCause { code: args.code, reason, by: EndedBy::Script });
    }

    pub(super) fn redirect(&mut self, id: OpId, args: RedirectArgs) {
        if self.originated || self.a.state() >= LegState::Answering {
            return self.complete(id, Err(OpError::invalid_state("redirect", self.a.state().name())));
        }
        self.send_elsewhere(id, "redirect", &args, &Headers::new());
    }

    /// Refuses the call by a 3xx, whose Contacts are where the caller may try; `own` are fields of that operation alone.
    fn send_elsewhere(&mut self, id: OpId, operation: &str, args: &RedirectArgs, own: &Headers) {
        let problem = if !(300..400).contains(&args.code) {
            Some(format!("expected a code from 300 to 399, got {}", args.code))
        } else if args.contacts.is_empty() {
            Some(format!("expected a sip: or tel: URI to send the caller to with a {}", args.code))
        } else if args.contacts.iter().map(String::len).sum::<usize>() > MAX_CONTACTS {
            Some(format!("expected URIs of at most {MAX_CONTACTS} bytes together"))
        } else {
            args.contacts
                .iter()
                .find(|contact| contact_value(contact).is_none())
                .map(|contact| format!("expected a sip: or tel: URI to send the caller to, got {contact:?}"))
        };
        if let Some(problem) = problem {
            let error = OpError::new(ErrorCode::RangeError, format!("{operation}: {problem}"));
            return self.complete(id, Err(error));
        }
        let mut headers = narrowed(self.headers.take(), own);
        headers.extend(args.contacts.iter().filter_map(|contact| Some(("Contact".to_owned(), contact_value(contact)?))));
        self.a.refuse(&mut self.board, args.code, None, headers);
        self.complete(id, Ok(Outcome::Unit));
        self.finish(CallEndedCause { code: args.code, reason: phrase(args.code).to_owned(), by: EndedBy::Script });
    }

    /// Ends the call from outside its script: the script is over, the API or a shutdown wants it.
    pub fn end(&mut self, now: Instant, ending: Ending) {
        if self.ended {
            return;
        }
        let (code, reason) = if self.a.state() < LegState::Answering && !self.originated {
            let (code, reason) = ending.refusal;
            let (shown, headers) = refusal_parts(code, &reason);
            self.a.refuse(&mut self.board, code, shown, headers);
            (code, worded(code, reason))
        } else {
            let bye = ending.bye.map(|(code, reason)| (code, worded(code, reason)));
            let headers: Headers = bye.iter().map(|(code, reason)| reason_header(*code, reason)).collect();
            self.hang_up_party(headers);
            bye.unwrap_or((200, "Normal Clearing".to_owned()))
        };
        self.finish(CallEndedCause { code, reason, by: ending.by });
        self.settle(now);
    }

    /// Hangs up on whoever the call is with, or is being placed to.
    fn hang_up_party(&mut self, headers: Headers) {
        match self.calling.take() {
            Some(_) => self.give_up_callee(&headers),
            None => self.a.hang_up(&mut self.board, headers),
        }
    }

    /// Settles everything and says that the call is over.
    pub(super) fn finish(&mut self, cause: CallEndedCause) {
        if self.ended {
            return;
        }
        if let Some((id, task)) = self.task.take() {
            if let Task::Bridge(task) = task {
                self.abandon_bridge(*task);
            }
            self.complete(id, Err(OpError::call_ended(cause.clone())));
        }
        self.end_asides(crate::call::LegId::A, &OpError::call_ended(cause.clone()));
        self.settle_recordings(&cause);
        self.audio.leg_over(&mut self.board, crate::call::LegId::A);
        self.a.over(&mut self.board);
        self.push_ended(cause);
    }
}

/// Words that say something, as far as they fit.
fn spoken(mut words: String) -> Option<String> {
    words.truncate(words.floor_char_boundary(MAX_WORDS));
    Some(words).filter(|words| !words.trim().is_empty())
}

/// What is told of a code: the words given, or its standard phrase where there are none.
fn worded(code: u16, words: String) -> String {
    spoken(words).unwrap_or_else(|| phrase(code).to_owned())
}

/// Phrase and headers of a final response; without a phrase it has the standard one. A 3xx thrown as `302 sip:…` carries the Contact in its text, which is then no phrase.
pub(super) fn refusal_parts(code: u16, text: &str) -> (Option<String>, Headers) {
    if !(300..400).contains(&code) {
        return (spoken(text.to_owned()), Headers::new());
    }
    let contact = contact_value(text).map(|contact| ("Contact".to_owned(), contact));
    (None, contact.into_iter().collect())
}

/// What a final response says besides its code: its phrase; one that sends the caller elsewhere the value of its Contact, if it has one.
pub(crate) fn reply_text(code: u16, text: &str) -> String {
    let (words, headers) = refusal_parts(code, text);
    if (300..400).contains(&code) {
        return headers.into_iter().next().map(|(_, contact)| contact).unwrap_or_default();
    }
    words.filter(|words| HeaderValue::try_new(words).is_ok()).unwrap_or_else(|| phrase(code).to_owned())
}

/// `Reason: SIP;cause=486;text="Busy Here"` (RFC 3326).
pub(super) fn reason_header(code: u16, reason: &str) -> (String, String) {
    let shown = reason.get(..reason.floor_char_boundary(MAX_WORDS)).unwrap_or_default();
    let text: String = shown.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect();
    ("Reason".to_owned(), format!("SIP;cause={code};text=\"{text}\""))
}

/// Headers that tell a phone not to list the call as missed: somebody else took it.
pub(super) fn answered_elsewhere() -> Headers {
    vec![reason_header(200, "Call completed elsewhere")]
}

/// Whether a 3xx with this text can be sent.
pub(crate) fn leads_elsewhere(text: &str) -> bool {
    text.len() <= MAX_CONTACTS && contact_value(text).is_some()
}

/// A Contact value for one URI with its parameters, or for a list of addresses, which stays as it is.
pub(crate) fn contact_value(text: &str) -> Option<String> {
    let text = text.trim();
    if text.contains(char::is_control) {
        return None;
    }
    let leads_to_phone = |uri: &Uri| matches!(uri, Uri::Sip(_) | Uri::Tel(_));
    // Without brackets the parameters would be the header's (RFC 3261, section 20.10).
    if let Some(uri) = Uri::parse(text).ok().filter(leads_to_phone) {
        return Some(format!("<{uri}>"));
    }
    let mut headers = lockstep_sip::message::Headers::new();
    headers.push(HeaderName::Contact, text);
    match headers.contacts().ok()? {
        Contacts::List(list) if !list.is_empty() && list.iter().all(|address| leads_to_phone(&address.uri)) => {
            Some(text.to_owned())
        }
        Contacts::List(_) | Contacts::Wildcard => None,
    }
}

/// The standard phrase of a code.
pub(super) fn phrase(code: u16) -> &'static str {
    StatusCode::new(code).map_or("", |status| status.default_reason())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_header_cannot_be_broken_out_of() {
        assert_eq!(reason_header(486, "a\"b\\c\r\nd").1, "SIP;cause=486;text=\"abcd\"");
    }

    #[test]
    fn words_too_long_for_a_datagram_are_cut() {
        let long = "é".repeat(70_000);
        let cut = "é".repeat(MAX_WORDS / 2);
        assert_eq!(reason_header(486, &long).1, format!("SIP;cause=486;text=\"{cut}\""));
        assert_eq!(refusal_parts(486, &long).0, Some(cut.clone()));
        assert_eq!(refusal_parts(486, &format!("x{long}")).0.map(|words| words.len()), Some(MAX_WORDS - 1));
        assert_eq!(worded(486, long), cut);
    }

    #[test]
    fn a_contact_keeps_the_parameters_of_its_uri_and_its_fellows() {
        let value = "sip:a@example.net;transport=tcp";
        assert_eq!(contact_value(value), Some(format!("<{value}>")));
        let list = "<sip:b@example.net>;q=0.5, \"C\" <sip:c@example.net;lr>;q=0.3";
        assert_eq!(contact_value(list).as_deref(), Some(list));
        let (text, headers) = refusal_parts(302, list);
        assert_eq!((text, headers), (None, vec![("Contact".to_owned(), list.to_owned())]));
    }

    #[test]
    fn the_text_of_a_reply_is_its_phrase_or_its_contact() {
        for (code, text, expected) in [
            (604, "Number on DNC List", "Number on DNC List"),
            (604, "", "Does Not Exist Anywhere"),
            (603, "Decline\r\nX-Inj: 1", "Decline"),
            (302, "sip:a@example.net", "<sip:a@example.net>"),
            (302, "<sip:a@example.net>;q=0.5", "<sip:a@example.net>;q=0.5"),
            (302, "sip:a@example.net>\r\nX-Inj: 1\r\nX: <y", ""),
            (302, "Moved", ""),
        ] {
            assert_eq!(reply_text(code, text), expected, "{code} {text}");
        }
    }

    #[test]
    fn contacts_are_bracketed_and_checked() {
        assert_eq!(contact_value("sip:a@example.net").as_deref(), Some("<sip:a@example.net>"));
        assert_eq!(contact_value("\"A\" <tel:+44>").as_deref(), Some("\"A\" <tel:+44>"));
        for bad in ["1001", "bob@example.net", "Moved Temporarily", "*", "", "sip:", "http://x", "sip:a b", "sip:a>,<sip:b"] {
            assert_eq!(contact_value(bad), None, "{bad}");
        }
    }
}
