//! Dialogs (RFC 3261 section 12): what both sides remember of a call between its requests.

use crate::message::{CSeq, HeaderName, HeaderValue, Headers, Malformed, Method, NameAddr, Request, Response, SipUri, Uri};

/// Where a dialog stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialogState {
    /// Only provisional responses so far.
    Early,
    /// A 2xx was sent or received.
    Confirmed,
    Terminated,
}

/// What tells dialogs apart: Call-ID and both tags, seen from our side (RFC 3261 12).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DialogKey {
    pub call_id: HeaderValue,
    pub local_tag: String,
    /// Empty for a peer of RFC 2543 that gives none.
    pub remote_tag: String,
}

/// A request that is out of order: its CSeq is not above the last one's (RFC 3261 12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a CSeq above {last}, got {got}")]
pub struct OutOfOrder {
    pub last: u32,
    pub got: u32,
}

/// One dialog. It builds the requests sent in it and keeps the state that received ones change.
#[derive(Clone, Debug)]
pub struct Dialog {
    state: DialogState,
    is_uac: bool,
    key: DialogKey,
    /// Our From in requests of ours: the raw field of the first request, tag included.
    local: HeaderValue,
    /// Our To in requests of ours.
    remote: HeaderValue,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    route_set: Vec<NameAddr>,
    remote_target: Uri,
}

impl Dialog {
    /// The dialog an INVITE of the peer creates with our tag (RFC 3261 12.1.1).
    ///
    /// Without Contact, as devices of RFC 2543 send it, the From URI is the remote target.
    ///
    /// # Errors
    /// When From, To, Record-Route, Contact or CSeq cannot be read.
    pub fn for_uas(request: &Request, local_tag: &str) -> Result<Dialog, Malformed> {
        let headers = &request.headers;
        let from = required(headers.from(), "From")?;
        let contact = headers.name_addrs(HeaderName::Contact)?.into_iter().next();
        let cseq = required(headers.cseq(), "CSeq")?;
        Ok(Dialog {
            state: DialogState::Early,
            is_uac: false,
            key: DialogKey {
                call_id: headers.call_id().map(HeaderValue::detached).unwrap_or_default(),
                local_tag: local_tag.to_owned(),
                remote_tag: from.tag().unwrap_or_default().to_owned(),
            },
            local: headers.get(HeaderName::To).map(|to| crate::message::with_tag(to, local_tag)).unwrap_or_default(),
            remote: headers.get(HeaderName::From).map(HeaderValue::detached).unwrap_or_default(),
            local_cseq: 0,
            remote_cseq: Some(cseq.number),
            route_set: headers.name_addrs(HeaderName::RecordRoute)?,
            remote_target: contact.map_or_else(|| from.uri.clone(), |contact| contact.uri),
        })
    }

    /// The dialog a response to our INVITE creates (RFC 3261 12.1.2).
    ///
    /// # Errors
    /// When To or Record-Route cannot be read, or there is no To tag.
    pub fn for_uac(request: &Request, response: &Response) -> Result<Dialog, Malformed> {
        let from = required(request.headers.from(), "From")?;
        let to = required(response.headers.to(), "To")?;
        let cseq = required(request.headers.cseq(), "CSeq")?;
        let mut dialog = Dialog {
            state: DialogState::Early,
            is_uac: true,
            key: DialogKey {
                call_id: request.headers.call_id().map(HeaderValue::detached).unwrap_or_default(),
                local_tag: from.tag().unwrap_or_default().to_owned(),
                remote_tag: to.tag().unwrap_or_default().to_owned(),
            },
            local: request.headers.get(HeaderName::From).map(HeaderValue::detached).unwrap_or_default(),
            remote: response.headers.get(HeaderName::To).map(HeaderValue::detached).unwrap_or_default(),
            local_cseq: cseq.number,
            remote_cseq: None,
            route_set: Vec::new(),
            remote_target: request.uri.clone(),
        };
        dialog.take_route(response)?;
        Ok(dialog)
    }

    /// Becomes confirmed by a 2xx we sent.
    pub fn confirm_as_uas(&mut self) {
        self.state = DialogState::Confirmed;
    }

    /// Becomes confirmed by the peer's 2xx, whose route set and target replace those of the early dialog (RFC 3261 13.2.2.4).
    pub fn confirm_as_uac(&mut self, response: &Response) {
        self.state = DialogState::Confirmed;
        // An unreadable Record-Route leaves what the provisional response said.
        let _ = self.take_route(response);
    }

    pub fn terminate(&mut self) {
        self.state = DialogState::Terminated;
    }

    #[must_use]
    pub fn state(&self) -> DialogState {
        self.state
    }

    /// Whether our INVITE made the dialog, and with it the Call-ID.
    #[must_use]
    pub fn is_uac(&self) -> bool {
        self.is_uac
    }

    #[must_use]
    pub fn key(&self) -> &DialogKey {
        &self.key
    }

    /// Where requests are addressed to: the peer's latest Contact.
    #[must_use]
    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// The URI whose host the next request is sent to: the first route, or the remote target.
    #[must_use]
    pub fn next_hop(&self) -> &Uri {
        self.route_set.first().map_or(&self.remote_target, |route| &route.uri)
    }

    /// Checks and notes the CSeq of a request of the peer (RFC 3261 12.2.2). Not for ACK and CANCEL, which carry their INVITE's.
    ///
    /// # Errors
    /// When the number is not above the last one.
    pub fn accept_cseq(&mut self, got: u32) -> Result<(), OutOfOrder> {
        match self.remote_cseq {
            Some(last) if got <= last => Err(OutOfOrder { last, got }),
            Some(_) | None => {
                self.remote_cseq = Some(got);
                Ok(())
            }
        }
    }

    /// Takes the Contact of a target refresh request or of its 2xx (RFC 3261 12.2).
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Some(contact) = headers.contact() {
            self.remote_target = contact.uri;
        }
    }

    /// The next request in this dialog, with From, To, Call-ID, CSeq and Route (RFC 3261 12.2.1.1).
    #[must_use]
    pub fn request(&mut self, method: Method) -> Request {
        let number = self.next_cseq();
        self.request_with_cseq(method, number)
    }

    /// Takes the next CSeq number: for a request that is sent again with credentials.
    #[must_use]
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.wrapping_add(1) & 0x7fff_ffff;
        self.local_cseq
    }

    /// The ACK for a 2xx, with the CSeq number of its INVITE (RFC 3261 13.2.2.4).
    #[must_use]
    pub fn ack(&self, invite_cseq: u32) -> Request {
        self.request_with_cseq(Method::Ack, invite_cseq)
    }

    fn request_with_cseq(&self, method: Method, number: u32) -> Request {
        let first_is_strict =
            self.route_set.first().is_some_and(|route| !matches!(&route.uri, Uri::Sip(uri) if uri.is_loose_router()));
        let mut routes = self.route_set.iter();
        // A strict router expects itself in the Request-URI and the target at the end of the route.
        let (uri, last) = match routes.as_slice().first() {
            Some(strict) if first_is_strict => {
                routes.next();
                (as_request_uri(&strict.uri), Some(&self.remote_target))
            }
            Some(_) | None => (as_request_uri(&self.remote_target), None),
        };
        let mut request = Request::new(method.clone(), uri);
        for route in routes {
            request.headers.push(HeaderName::Route, route.to_string());
        }
        if let Some(target) = last {
            request.headers.push(HeaderName::Route, format!("<{target}>"));
        }
        request.headers.push(HeaderName::From, self.local.clone());
        request.headers.push(HeaderName::To, self.remote.clone());
        request.headers.push(HeaderName::CallId, self.key.call_id.clone());
        request.headers.push(HeaderName::CSeq, CSeq { number, method }.to_string());
        request
    }

    fn take_route(&mut self, response: &Response) -> Result<(), Malformed> {
        self.refresh_target(&response.headers);
        let mut route_set = response.headers.name_addrs(HeaderName::RecordRoute)?;
        route_set.reverse();
        self.route_set = route_set;
        Ok(())
    }
}

/// A Request-URI has neither headers nor a method parameter (RFC 3261 19.1.1).
fn as_request_uri(uri: &Uri) -> Uri {
    let mut uri = uri.clone();
    if let Uri::Sip(SipUri { params, headers, .. }) = &mut uri {
        params.remove("method");
        headers.clear();
    }
    uri
}

fn required<T>(value: Option<Result<T, Malformed>>, expected: &'static str) -> Result<T, Malformed> {
    value.unwrap_or(Err(Malformed { expected }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, StatusCode, parse};

    fn invite(record_route: &str) -> Request {
        let text = format!(
            "INVITE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n{record_route}From: \"A\" <sip:a@x>;tag=at\r\nTo: <sip:b@y>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:a@192.0.2.1:5070>\r\n\r\n"
        );
        match parse(text.as_bytes()) {
            Ok(Message::Request(request)) => request,
            other => panic!("not a request: {other:?}"),
        }
    }

    fn routes(request: &Request) -> Vec<String> {
        request.headers.list(HeaderName::Route)
    }

    #[test]
    fn uas_dialogs_send_to_the_contact_through_the_record_route_in_order() {
        let request = invite("Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n");
        let mut dialog = Dialog::for_uas(&request, "bt").expect("a dialog");
        let bye = dialog.request(Method::Bye);
        assert_eq!(bye.uri.to_string(), "sip:a@192.0.2.1:5070");
        assert_eq!(routes(&bye), ["<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!(bye.headers.get(HeaderName::From), Some(&"<sip:b@y>;tag=bt".into()));
        assert_eq!(bye.headers.get(HeaderName::To), Some(&"\"A\" <sip:a@x>;tag=at".into()));
        assert_eq!(bye.headers.get(HeaderName::CSeq), Some(&"1 BYE".into()));
        assert_eq!(dialog.next_hop().to_string(), "sip:p1;lr");
    }

    #[test]
    fn uac_dialogs_reverse_the_record_route_and_follow_the_2xx() {
        let request = invite("");
        let mut ringing = Response::to_request(&request, StatusCode::RINGING, Some("bt"));
        ringing.headers.push("Record-Route", "<sip:p1;lr>");
        ringing.headers.push("Contact", "<sip:b@192.0.2.9>");
        let mut dialog = Dialog::for_uac(&request, &ringing).expect("a dialog");
        assert_eq!(dialog.key().remote_tag, "bt");
        let mut ok = Response::to_request(&request, StatusCode::OK, Some("bt"));
        ok.headers.push("Record-Route", "<sip:p2;lr>, <sip:p1;lr>");
        ok.headers.push("Contact", "<sip:b@192.0.2.10>");
        dialog.confirm_as_uac(&ok);
        let ack = dialog.ack(7);
        assert_eq!(ack.uri.to_string(), "sip:b@192.0.2.10");
        assert_eq!(routes(&ack), ["<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!(ack.headers.get(HeaderName::CSeq), Some(&"7 ACK".into()));
        let info = dialog.request(Method::Info);
        assert_eq!(info.headers.get(HeaderName::CSeq), Some(&"8 INFO".into()));
    }

    #[test]
    fn strict_routers_get_themselves_as_request_uri_and_the_target_last() {
        let request = invite("Record-Route: <sip:p1;method=INVITE>, <sip:p2;lr>\r\n");
        let mut dialog = Dialog::for_uas(&request, "bt").expect("a dialog");
        let bye = dialog.request(Method::Bye);
        assert_eq!(bye.uri.to_string(), "sip:p1");
        assert_eq!(routes(&bye), ["<sip:p2;lr>", "<sip:a@192.0.2.1:5070>"]);
    }

    #[test]
    fn lower_and_equal_sequence_numbers_are_out_of_order() {
        let mut dialog = Dialog::for_uas(&invite(""), "bt").expect("a dialog");
        assert_eq!(dialog.accept_cseq(7), Err(OutOfOrder { last: 7, got: 7 }));
        assert_eq!(dialog.accept_cseq(20), Ok(()));
        assert!(dialog.accept_cseq(8).is_err());
    }

    #[test]
    fn a_new_contact_moves_the_target() {
        let mut dialog = Dialog::for_uas(&invite(""), "bt").expect("a dialog");
        let mut headers = Headers::new();
        headers.push("Contact", "<sip:a@192.0.2.77>");
        dialog.refresh_target(&headers);
        assert_eq!(dialog.remote_target().to_string(), "sip:a@192.0.2.77");
        dialog.refresh_target(&Headers::new());
        assert_eq!(dialog.remote_target().to_string(), "sip:a@192.0.2.77");
    }
}
