//! Responses: what the engine says, and what goes out.

use std::time::Instant;

use super::{Body, CommandError, Endpoint, IncomingId};
use crate::message::{HeaderName, HeaderValue, Headers, Method, NameAddr, Request, Response, StatusCode};
use crate::net::Source;

/// A response the engine wants sent. Via, From, To, Call-ID, CSeq, Record-Route, Allow, Supported and Server are the endpoint's.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// Replaces the standard phrase.
    pub reason: Option<String>,
    /// Where the peer reaches us in the dialog. Remembered; without it the address the request arrived at is used.
    pub contact: Option<NameAddr>,
    pub headers: Headers,
    pub body: Option<Body>,
}

impl Reply {
    #[must_use]
    pub fn new(status: StatusCode) -> Reply {
        Reply { status, reason: None, contact: None, headers: Headers::new(), body: None }
    }

    /// Replaces the standard phrase, unless there is nothing to put in its place.
    #[must_use]
    pub fn reason(mut self, phrase: &str) -> Reply {
        self.reason = Some(phrase.to_owned()).filter(|phrase| !phrase.trim().is_empty());
        self
    }

    #[must_use]
    pub fn contact(mut self, contact: NameAddr) -> Reply {
        self.contact = Some(contact);
        self
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<HeaderName>, value: impl Into<HeaderValue>) -> Reply {
        self.headers.push(name, value);
        self
    }

    #[must_use]
    pub fn body(mut self, body: Body) -> Reply {
        self.body = Some(body);
        self
    }
}

impl Endpoint {
    /// Answers without remembering anything: for floods, and for refusals before any state exists. Never for an ACK.
    pub fn respond_stateless(&mut self, request: &Request, source: &Source, reply: &Reply) {
        if request.method == Method::Ack {
            return;
        }
        let tag = self.stateless_tag(&request.headers);
        let mut response = Response::to_request(request, reply.status, Some(&tag));
        self.fill_response(&mut response, request, reply, None);
        self.send_stateless(response, source);
    }

    /// Refuses a request outside dialogs and forgets it at once, for peers that might be anybody: nothing is sent twice, nothing kept
    /// (RFC 3261 26.3.2.4). The same request again is told of again; every answer has the same To tag.
    ///
    /// # Errors
    /// When the request is unknown or answered.
    pub fn refuse_without_state(&mut self, now: Instant, id: IncomingId, reply: &Reply) -> Result<(), CommandError> {
        let server = self.servers.get(&id).ok_or(CommandError::UnknownRequest)?;
        let request = server.request.clone().filter(|_| server.is_unanswered()).ok_or(CommandError::Answered)?;
        let (source, dialog) = (server.source, server.dialog);
        self.refuse(&request, &source, reply);
        self.remove_server(id);
        if let Some(dialog) = dialog {
            self.close_dialog(now, dialog);
        }
        Ok(())
    }

    /// [`respond_stateless`](Endpoint::respond_stateless), counted as a refusal.
    pub(super) fn refuse(&mut self, request: &Request, source: &Source, reply: &Reply) {
        self.stats.refused += 1;
        self.respond_stateless(request, source, reply);
    }

    pub(super) fn send_stateless(&mut self, mut response: Response, source: &Source) {
        let Some(Ok(mut via)) = response.headers.top_via().map(|via| via.cloned()) else {
            return;
        };
        let destination = super::route::response_destination(&via, source);
        via.set_received_from(source.remote);
        response.headers.set_top_via(&via);
        self.transmit(None, destination, response.to_bytes());
    }

    pub(super) fn build_response(
        &self,
        request: &Request,
        to_tag: &str,
        reply: &Reply,
        contact: Option<&HeaderValue>,
    ) -> Response {
        let mut response = Response::to_request(request, reply.status, Some(to_tag));
        self.fill_response(&mut response, request, reply, contact);
        response
    }

    fn fill_response(&self, response: &mut Response, request: &Request, reply: &Reply, contact: Option<&HeaderValue>) {
        let status = reply.status;
        if let Some(reason) = &reply.reason {
            response.reason = HeaderValue::from(reason.as_str());
        }
        let headers = &mut response.headers;
        let makes_dialog = request.method == Method::Invite && status.code() > 100 && status.code() < 300;
        if makes_dialog {
            for value in request.headers.get_all(HeaderName::RecordRoute) {
                headers.push(HeaderName::RecordRoute, value.clone());
            }
        }
        let has_contact = makes_dialog || (request.method == Method::Update && status.is_success());
        match (contact, &reply.contact) {
            (Some(contact), _) if has_contact => headers.push(HeaderName::Contact, contact.clone()),
            (_, Some(contact)) => headers.push(HeaderName::Contact, contact.to_string()),
            (_, None) => {}
        }
        let shows_abilities = status.is_success() && matches!(request.method, Method::Invite | Method::Options | Method::Update);
        let names = |name: HeaderName| reply.headers.contains(name);
        if (shows_abilities || status == StatusCode::METHOD_NOT_ALLOWED) && !names(HeaderName::Allow) {
            headers.push(HeaderName::Allow, self.allow_value());
        }
        if shows_abilities && !names(HeaderName::Supported) {
            headers.push(HeaderName::Supported, self.config.supported.join(", "));
        }
        if shows_abilities && request.method == Method::Options && !names(HeaderName::Accept) {
            headers.push(HeaderName::Accept, "application/sdp");
        }
        headers.extend_unreserved(&reply.headers);
        if !names(HeaderName::Server) {
            headers.push(HeaderName::Server, self.config.user_agent.as_str());
        }
        if let Some(body) = &reply.body {
            headers.push(HeaderName::ContentType, body.content_type.clone());
            response.body = body.bytes.clone();
        }
    }

    pub(super) fn allow_value(&self) -> String {
        let methods: Vec<&str> = self.config.allow.iter().map(Method::as_str).collect();
        methods.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_phrase_leaves_the_standard_one() {
        for (phrase, reason) in [("Gone Fishing", Some("Gone Fishing")), ("", None), (" ", None)] {
            assert_eq!(Reply::new(StatusCode::NOT_FOUND).reason(phrase).reason.as_deref(), reason);
        }
    }
}
