//! Messages: what a server sends.

use bytes::Bytes;

use super::event::{Event, EventError};
use super::frame::Frame;
use super::headers::Headers;

/// A message by its Content-Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `auth/request`: the server asks for a password.
    AuthRequest,
    /// `command/reply`, to every command but `api`.
    CommandReply,
    /// `api/response`
    ApiResponse,
    /// `text/event-plain`
    EventPlain,
    /// `text/event-json`
    EventJson,
    /// `text/event-xml`
    EventXml,
    /// `text/disconnect-notice`
    DisconnectNotice,
    /// `text/rude-rejection`: the address is not on the server's list.
    RudeRejection,
    /// `log/data`
    Log,
    /// Anything else, and messages without a Content-Type.
    Other,
}

impl Kind {
    const NAMES: [(&'static str, Self); 9] = [
        ("auth/request", Self::AuthRequest),
        ("command/reply", Self::CommandReply),
        ("api/response", Self::ApiResponse),
        ("text/event-plain", Self::EventPlain),
        ("text/event-json", Self::EventJson),
        ("text/event-xml", Self::EventXml),
        ("text/disconnect-notice", Self::DisconnectNotice),
        ("text/rude-rejection", Self::RudeRejection),
        ("log/data", Self::Log),
    ];

    fn of(content_type: &str) -> Self {
        let named = Self::NAMES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(content_type.trim()));
        named.map_or(Self::Other, |(_, kind)| kind)
    }
}

/// What a disconnect notice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The call is over; the connection stays for this many seconds, for the last events.
    Linger { seconds: u32 },
    /// The connection ends now.
    Disconnect,
}

/// One message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    headers: Headers,
    body: Bytes,
}

impl Message {
    /// A message with a body, whose length becomes its Content-Length.
    pub fn with_body(headers: Headers, body: impl Into<Bytes>) -> Self {
        let (mut headers, body) = (headers, body.into());
        headers.push("Content-Length", &body.len().to_string());
        Self { headers, body }
    }

    /// The answer to a command: `+OK …` or `-ERR …`.
    pub fn reply(text: &str) -> Self {
        Self::bare([("Content-Type", "command/reply"), ("Reply-Text", text)])
    }

    /// The answer to `api`.
    pub fn api_response(text: impl Into<Bytes>) -> Self {
        Self::with_body([("Content-Type", "api/response")].into_iter().collect(), text)
    }

    /// A message that is nothing but headers. Line ends in values become blanks.
    pub fn bare<const N: usize>(fields: [(&str, &str); N]) -> Self {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name, &value.replace(['\r', '\n', '\0'], " "));
        }
        Self { headers, body: Bytes::new() }
    }

    /// An event, percent-encoded.
    pub fn event_plain(event: &Event) -> Self {
        Self::event("text/event-plain", event.to_plain())
    }

    /// An event as JSON.
    pub fn event_json(event: &Event) -> Self {
        Self::event("text/event-json", event.to_json())
    }

    /// An event as XML.
    pub fn event_xml(event: &Event) -> Self {
        Self::event("text/event-xml", event.to_xml())
    }

    fn event(content_type: &str, body: String) -> Self {
        let length = body.len().to_string();
        let headers = [("Content-Length", length.as_str()), ("Content-Type", content_type)].into_iter().collect();
        Self { headers, body: body.into() }
    }

    /// Reads what a server has sent.
    pub fn parse(frame: Frame) -> Self {
        let (headers, _) = Headers::parse(&frame.head, false);
        Self { headers, body: frame.body }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        Kind::of(self.headers.get("Content-Type").unwrap_or_default())
    }

    /// Its headers, as they stood.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The text of a command's reply, or the body of an `api`'s, without the line end.
    pub fn reply_text(&self) -> String {
        let text = match self.headers.get("Reply-Text") {
            Some(text) => text.to_owned(),
            None => String::from_utf8_lossy(&self.body).into_owned(),
        };
        text.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// The event that the answer to `connect` is: its headers, percent-decoded.
    pub fn connected(&self) -> Event {
        let mut headers = Headers::new();
        for (name, value) in self.headers.iter() {
            let mut decoded = String::new();
            super::percent::decode(value, &mut decoded);
            headers.push(name, &decoded);
        }
        Event { headers, body: None }
    }

    /// The event in the body, where the message is one.
    ///
    /// # Errors
    /// The body is not what the Content-Type says.
    pub fn to_event(&self) -> Option<Result<Event, EventError>> {
        match self.kind() {
            Kind::EventPlain => Some(Event::from_plain(&String::from_utf8_lossy(&self.body))),
            Kind::EventJson => Some(Event::from_json(&self.body)),
            Kind::AuthRequest
            | Kind::CommandReply
            | Kind::ApiResponse
            | Kind::EventXml
            | Kind::DisconnectNotice
            | Kind::RudeRejection
            | Kind::Log
            | Kind::Other => None,
        }
    }

    /// What a disconnect notice says, where the message is one.
    pub fn notice(&self) -> Option<Notice> {
        if self.kind() != Kind::DisconnectNotice {
            return None;
        }
        let lingers = self.headers.get("Content-Disposition").is_some_and(|how| how.eq_ignore_ascii_case("linger"));
        let seconds = self.headers.get("Linger-Time").and_then(|time| time.trim().parse().ok()).unwrap_or(0);
        Some(if lingers { Notice::Linger { seconds } } else { Notice::Disconnect })
    }

    /// Appends the message as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.headers.iter() {
            for part in [name, ": ", value, "\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.push(b'\n');
        out.extend_from_slice(&self.body);
    }
}
