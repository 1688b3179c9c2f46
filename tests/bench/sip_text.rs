//! Just enough SIP to load a server: text templates and field picking. Deliberately not the product's own SIP code, so that the
//! load is an independent peer and cheap.

use std::net::SocketAddrV4;

/// What the load generator needs of one received message.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    /// 0 for a request.
    pub(crate) status: u16,
    /// Method of the request, or of the CSeq of a response.
    pub(crate) method: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) to: &'a str,
    pub(crate) from: &'a str,
    pub(crate) cseq: &'a str,
    pub(crate) contact: &'a str,
    pub(crate) vias: Vec<&'a str>,
    pub(crate) record_routes: Vec<&'a str>,
    /// Port of the first `m=audio` line.
    pub(crate) audio_port: Option<u16>,
    /// Payload type of telephone-event in the body.
    pub(crate) event_type: Option<u8>,
}

impl<'a> Message<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let first = lines.next()?;
        let mut message = Self::default();
        match first.strip_prefix("SIP/2.0 ") {
            Some(rest) => message.status = rest.get(..3)?.parse().ok()?,
            None => message.method = first.split(' ').next()?,
        }
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "call-id" | "i" => message.call_id = value,
                "to" | "t" => message.to = value,
                "from" | "f" => message.from = value,
                "cseq" => {
                    message.cseq = value;
                    if message.status != 0 {
                        message.method = value.split(' ').next_back().unwrap_or("");
                    }
                }
                "contact" | "m" => message.contact = value.trim_start_matches('<').split('>').next().unwrap_or(""),
                "via" | "v" => message.vias.push(value),
                "record-route" => message.record_routes.push(value),
                _ => {}
            }
        }
        for line in body.split("\r\n") {
            if let Some(rest) = line.strip_prefix("m=audio ") {
                message.audio_port = rest.split(' ').next().and_then(|port| port.parse().ok());
            } else if let Some(rest) = line.strip_prefix("a=rtpmap:")
                && let Some((payload_type, name)) = rest.split_once(' ')
                && name.starts_with("telephone-event/")
            {
                message.event_type = payload_type.parse().ok();
            }
        }
        Some(message)
    }
}

/// The SDP of a caller that takes µ-law and telephone-event 101 at `rtp_port`.
pub(crate) fn sdp(rtp_port: u16) -> String {
    format!(
        "v=0\r\no=load 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {rtp_port} RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

pub(crate) fn invite(number: &str, call_id: &str, server: SocketAddrV4, sip_port: u16, rtp_port: u16) -> String {
    let body = sdp(rtp_port);
    format!(
        "INVITE sip:{number}@{server} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{sip_port};branch=z9hG4bK-{call_id}-i\r\n\
         Max-Forwards: 70\r\nFrom: <sip:load@127.0.0.1>;tag=f{call_id}\r\nTo: <sip:{number}@{server}>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:load@127.0.0.1:{sip_port}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request within the dialog that `to` (with its tag) and `contact` came from: ACK (CSeq 1) or BYE (CSeq 2).
pub(crate) fn in_dialog(method: &str, cseq: u32, call_id: &str, to: &str, contact: &str, sip_port: u16) -> String {
    format!(
        "{method} {contact} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{sip_port};branch=z9hG4bK-{call_id}-{method}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:load@127.0.0.1>;tag=f{call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A response to `request`; with `rtp_port` it carries SDP and a Contact.
pub(crate) fn response(request: &Message<'_>, status: &str, sip_port: u16, rtp_port: Option<u16>) -> String {
    use std::fmt::Write as _;
    let mut text = format!("SIP/2.0 {status}\r\n");
    for via in &request.vias {
        let _ = write!(text, "Via: {via}\r\n");
    }
    for route in &request.record_routes {
        let _ = write!(text, "Record-Route: {route}\r\n");
    }
    let to = if request.to.contains(";tag=") { request.to.to_owned() } else { format!("{};tag=callee", request.to) };
    let _ = write!(text, "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n", request.from, request.call_id, request.cseq);
    let body = rtp_port.map(sdp).unwrap_or_default();
    if rtp_port.is_some() {
        let _ = write!(text, "Contact: <sip:callee@127.0.0.1:{sip_port}>\r\nContent-Type: application/sdp\r\n");
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
    text
}
