//! A SIP peer by hand: what it sends is exactly what the test wrote.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::UdpSocket;

use crate::engine::within;

/// The largest datagram.
const DATAGRAM: usize = 65_535;

static BRANCHES: AtomicU32 = AtomicU32::new(0);

/// A UDP socket that speaks to one port of an engine.
#[derive(Debug)]
pub struct Wire {
    socket: UdpSocket,
    engine: SocketAddr,
}

impl Wire {
    /// A socket on `local` (port 0: any).
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn from(local: SocketAddr, engine: SocketAddr) -> Self {
        let socket = UdpSocket::bind(local).await.unwrap_or_else(|error| panic!("{local}: {error}"));
        Self { socket, engine }
    }

    /// A socket on the loopback address.
    pub async fn to(engine: SocketAddr) -> Self {
        Self::from(([127, 0, 0, 1], 0).into(), engine).await
    }

    /// Its own address.
    ///
    /// # Panics
    /// Never: a bound socket has one.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }

    /// The same socket, speaking to another port of the engine.
    #[must_use]
    pub fn towards(self, engine: SocketAddr) -> Self {
        Self { engine, ..self }
    }

    /// Sends a datagram to the engine.
    pub async fn send(&self, datagram: impl AsRef<[u8]>) {
        self.send_to(datagram, self.engine).await;
    }

    /// Sends a datagram anywhere.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn send_to(&self, datagram: impl AsRef<[u8]>, to: SocketAddr) {
        let datagram = datagram.as_ref();
        match self.socket.send_to(datagram, to).await {
            Ok(_) => {}
            // An ICMP answer to something sent earlier; this datagram is gone, as any may be.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("cannot send {} octets to {to}: {error}", datagram.len()),
        }
    }

    /// The next datagram.
    ///
    /// # Panics
    /// When none comes.
    pub async fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; DATAGRAM];
        let (length, _) = within("a datagram", self.socket.recv_from(&mut buffer)).await.expect("the socket works");
        buffer.truncate(length);
        buffer
    }

    /// The next response whose CSeq has that method and whose status is final.
    pub async fn final_response(&self, method: &str) -> Response {
        loop {
            let text = String::from_utf8_lossy(&self.receive().await).into_owned();
            let response = Response { text };
            if response.is_response()
                && response.code() >= 200
                && response.header("CSeq").is_some_and(|cseq| cseq.ends_with(method))
            {
                return response;
            }
        }
    }

    /// Sends a request and waits for its final response; acknowledges it when it is an INVITE that was refused.
    pub async fn exchange(&self, request: &Request) -> Response {
        let call_id = request.call_id(self.address());
        self.send(request.text(self.address())).await;
        // A response to an earlier request may come once more.
        let response = loop {
            let response = self.final_response(&request.method).await;
            if response.header("Call-ID") == Some(call_id.as_str()) {
                break response;
            }
        };
        if request.method == "INVITE" && response.code() >= 300 {
            self.send(request.ack(self.address(), &response)).await;
        }
        response
    }
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The user part of Request-URI and To.
    pub user: String,
    pub host: String,
    /// Whole lines, without CR LF.
    pub headers: Vec<String>,
    pub body: String,
    branch: u32,
}

impl Request {
    /// A request outside any dialog.
    pub fn new(method: &str, user: &str, host: impl ToString) -> Self {
        let branch = BRANCHES.fetch_add(1, Ordering::Relaxed);
        Self {
            method: method.to_owned(),
            user: user.to_owned(),
            host: host.to_string(),
            headers: Vec::new(),
            body: String::new(),
            branch,
        }
    }

    /// An INVITE with an SDP offer.
    pub fn invite(user: &str, host: impl ToString, offer: String) -> Self {
        Self { body: offer, ..Self::new("INVITE", user, host) }
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// The message as it is sent from `local`.
    pub fn text(&self, local: SocketAddr) -> String {
        let content_type = if self.body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let headers: String = self.headers.iter().map(|line| format!("{line}\r\n")).collect();
        format!(
            "{}Contact: <sip:wire@{local}>\r\n{headers}{content_type}Content-Length: {}\r\n\r\n{}",
            self.head(&self.method, "", local, ""),
            self.body.len(),
            self.body
        )
    }

    /// The ACK to a response: in the transaction of a refusal, in the dialog of a success.
    pub fn ack(&self, local: SocketAddr, response: &Response) -> String {
        let tag = to_tag(response);
        // The ACK of a success is a transaction of its own (RFC 3261, section 13.2.2.4).
        let transaction = if response.code() < 300 { "-ack" } else { "" };
        format!("{}Content-Length: 0\r\n\r\n", self.head("ACK", transaction, local, &tag))
    }

    /// A request in the dialog that `response` confirmed.
    pub fn within_dialog(
        &self,
        method: &str,
        cseq: u32,
        local: SocketAddr,
        response: &Response,
        content_type: &str,
        body: &str,
    ) -> String {
        let head = self.head(method, &format!("-{cseq}"), local, &to_tag(response));
        let head = head.replace("CSeq: 1 ", &format!("CSeq: {cseq} "));
        format!("{head}Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn call_id(&self, local: SocketAddr) -> String {
        format!("wire-{}@{local}", self.branch)
    }

    fn head(&self, method: &str, transaction: &str, local: SocketAddr, to_tag: &str) -> String {
        let Self { user, host, branch, .. } = self;
        let call_id = self.call_id(local);
        format!(
            "{method} sip:{user}@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKwire{transaction}{branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:wire@{local}>;tag=w{branch}\r\nTo: <sip:{user}@{host}>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n"
        )
    }
}

/// The tag the other side gave the dialog, as a parameter.
fn to_tag(response: &Response) -> String {
    let to = response.header("To").unwrap_or_default();
    to.split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).unwrap_or_default()
}

/// A response, as text.
#[derive(Clone, Debug)]
pub struct Response {
    pub text: String,
}

impl Response {
    fn is_response(&self) -> bool {
        self.text.starts_with("SIP/2.0 ")
    }

    /// The status code.
    pub fn code(&self) -> u16 {
        self.text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The first header field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.trim().eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Where its SDP wants RTP.
    pub fn rtp(&self) -> Option<SocketAddr> {
        let value = |start: &str| self.text.lines().find_map(|line| line.strip_prefix(start));
        let ip = value("c=IN IP4 ")?.trim().parse().ok()?;
        let port = value("m=audio ")?.split(' ').next()?.parse().ok()?;
        Some(SocketAddr::new(ip, port))
    }
}

/// The address this machine would call the outside from, when it is not loopback; asking sends nothing.
pub async fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).await.ok()?;
    socket.connect(("192.0.2.1", 9)).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// An SDP offer of audio at `rtp`: profile, payload types and attribute lines as given.
pub fn offer(rtp: SocketAddr, profile: &str, formats: &str, attributes: &[&str]) -> String {
    let ip = rtp.ip();
    let attributes: String = attributes.iter().map(|line| format!("a={line}\r\n")).collect();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {} {profile} {formats}\r\n{attributes}",
        rtp.port()
    )
}

/// An SDP offer every phone could make: µ-law and keys as events.
pub fn plain_offer(rtp: SocketAddr) -> String {
    offer(rtp, "RTP/AVP", "0 101", &["rtpmap:101 telephone-event/8000", "fmtp:101 0-16"])
}

/// An RTP packet.
pub fn rtp(payload_type: u8, marker: bool, sequence: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type | if marker { 0x80 } else { 0 }];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}
