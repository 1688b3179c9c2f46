//! The path of a request from the wire to a transaction: matching first, then the checks of RFC 3261 8.2 in their order.
//!
//! Refusals outside dialogs keep no state: the same request gets the same answer again.

use std::sync::Arc;
use std::time::Instant;

use super::key::{MergeKey, ServerKey, from_tag, to_tag};
use super::server::{NewServer, ServerKind};
use super::{DialogId, Endpoint, Event, Reply};
use crate::dialog::DialogKey;
use crate::message::{ContentType, HeaderName, Method, Request, StatusCode, Uri, Via};
use crate::net::Source;

impl Endpoint {
    pub(super) fn handle_request(&mut self, now: Instant, mut request: Request, source: Source) {
        let Some(Ok(via)) = request.headers.top_via().map(|via| via.cloned()) else {
            return;
        };
        let mut noted = via.clone();
        noted.set_received_from(source.remote);
        if noted != via {
            request.headers.set_top_via(&noted);
        }
        match request.method {
            Method::Ack => return self.handle_ack(now, request, &via),
            Method::Cancel => return self.handle_cancel(now, request, &via, source),
            _ => {}
        }
        let key = ServerKey::of(&request, &via, request.method.clone());
        if let Some(id) = self.server_index.get(&key).copied() {
            self.handle_retransmission(id);
            return;
        }
        match to_tag(&request) {
            Some(to_tag) => match self.find_dialog(&request, &to_tag) {
                Some(dialog) => self.handle_in_dialog(now, dialog, request, via, source),
                None => self.refuse(&request, &source, &Reply::new(StatusCode::CALL_DOES_NOT_EXIST)),
            },
            None => self.handle_outside(now, request, via, source),
        }
    }

    pub(super) fn find_dialog(&self, request: &Request, local_tag: &str) -> Option<DialogId> {
        let key = DialogKey {
            call_id: request.headers.call_id()?.clone(),
            local_tag: local_tag.to_owned(),
            remote_tag: from_tag(request).unwrap_or_default(),
        };
        self.dialog_index.get(&key).copied()
    }

    fn handle_outside(&mut self, now: Instant, request: Request, via: Via, source: Source) {
        let is_full = self.transaction_count() >= self.config.max_transactions
            || (request.method == Method::Invite && self.dialogs.len() >= self.config.max_dialogs);
        // No room for another call is no reason to send a phone's registration away.
        let overload = self.overload.filter(|_| request.method == Method::Invite);
        if let Some(seconds) = overload.or(is_full.then_some(self.config.retry_after)) {
            self.stats.overloaded += 1;
            let reply = Reply::new(StatusCode::SERVICE_UNAVAILABLE).header(HeaderName::RetryAfter, seconds.to_string());
            self.respond_stateless(&request, &source, &reply);
            return;
        }
        // Inside a dialog the CSeq tells copies apart; outside, this does (RFC 3261 8.2.2.2).
        let merge_key = MergeKey::of(&request);
        let refusal = self.check_request(&request).or_else(|| self.check_outside(&request, merge_key.as_ref(), &source));
        if let Some(reply) = refusal {
            self.refuse(&request, &source, &reply);
            return;
        }
        if request.method == Method::Invite {
            self.handle_first_invite(now, request, merge_key, via, source);
            return;
        }
        let request = Arc::new(request);
        let to_tag = self.new_token();
        let id = self.start_server(
            now,
            NewServer {
                request: request.clone(),
                merge_key,
                via,
                source,
                kind: ServerKind::Other,
                dialog: None,
                has_offer: false,
                to_tag,
            },
        );
        self.event(Event::Request { id, dialog: None, request, source, description: None });
    }

    /// What must be refused outside a dialog only.
    fn check_outside(&self, request: &Request, merge_key: Option<&MergeKey>, source: &Source) -> Option<Reply> {
        let is_supported = match &request.uri {
            // Whoever calls `sips:` is promised protection on every hop (RFC 3261 26.2.2), this one included.
            Uri::Sip(uri) => !uri.secure || source.protocol.is_secure(),
            Uri::Tel(_) => true,
            Uri::Other { .. } => false,
        };
        if !is_supported {
            return Some(Reply::new(StatusCode::UNSUPPORTED_URI_SCHEME));
        }
        // A user agent takes a request that has no hops left (RFC 4475 3.3.11), but a call may be sent on: loops end here (RFC 7332).
        if request.method == Method::Invite && request.headers.max_forwards() == Some(Ok(0)) {
            return Some(Reply::new(StatusCode::TOO_MANY_HOPS));
        }
        if merge_key.is_some_and(|key| self.merge_index.contains_key(key)) {
            return Some(Reply::new(StatusCode::LOOP_DETECTED));
        }
        // These only make sense in a dialog.
        if matches!(request.method, Method::Bye | Method::Update | Method::Info | Method::Prack) {
            return Some(Reply::new(StatusCode::CALL_DOES_NOT_EXIST));
        }
        None
    }

    /// What must be refused in and outside dialogs: method, extensions, bodies.
    pub(super) fn check_request(&self, request: &Request) -> Option<Reply> {
        let headers = &request.headers;
        if !self.config.allow.contains(&request.method) {
            return Some(match request.method {
                Method::Other(_) => Reply::new(StatusCode::NOT_IMPLEMENTED).header(HeaderName::Allow, self.allow_value()),
                _ => Reply::new(StatusCode::METHOD_NOT_ALLOWED),
            });
        }
        // Proxy-Require is for proxies; a user agent leaves it alone (RFC 3261 8.2.2.3).
        let supported = &self.config.supported;
        let mut unsupported = headers.list(HeaderName::Require);
        unsupported.retain(|tag| !supported.iter().any(|s| s.eq_ignore_ascii_case(tag)));
        if !unsupported.is_empty() {
            return Some(Reply::new(StatusCode::BAD_EXTENSION).header(HeaderName::Unsupported, unsupported.join(", ")));
        }
        if !matches!(request.method, Method::Invite | Method::Update) {
            return None;
        }
        check_body(request).or_else(|| self.check_session_interval(request))
    }
}

/// A session description is the only body we understand in an INVITE or UPDATE, and the only one we can answer with.
fn check_body(request: &Request) -> Option<Reply> {
    let headers = &request.headers;
    let is_optional = headers
        .get(HeaderName::ContentDisposition)
        .is_some_and(|value| value.text().to_ascii_lowercase().replace(' ', "").contains("handling=optional"));
    if !request.body.is_empty() && !is_optional {
        let encodings = headers.list(HeaderName::ContentEncoding);
        if encodings.iter().any(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Some(Reply::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).header(HeaderName::AcceptEncoding, "identity"));
        }
        let is_understood = match headers.content_type() {
            Some(Ok(content_type)) => content_type.is("application", "sdp") || request.sdp().is_some(),
            Some(Err(_)) => false,
            None => request.sdp().is_some(),
        };
        if !is_understood {
            return Some(
                Reply::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).header(HeaderName::Accept, "application/sdp, multipart/mixed"),
            );
        }
    }
    let accepts_sdp = !headers.contains(HeaderName::Accept)
        || headers
            .list(HeaderName::Accept)
            .iter()
            .any(|element| ContentType::parse(element).is_ok_and(|range| range.admits("application", "sdp")));
    (!accepts_sdp).then(|| Reply::new(StatusCode::NOT_ACCEPTABLE).header(HeaderName::Accept, "application/sdp, multipart/mixed"))
}
