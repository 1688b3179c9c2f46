//! A crowd of callers and callees on one thread: open-loop call arrivals, two-way RTP, digits, and what was heard and when.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::net::{Arrival, BatchSocket, now_ns};
use crate::sip_text::{self, Message};

/// T1 of RFC 3261: a request that got nothing back for this long is sent again, and counted.
const T1: Duration = Duration::from_millis(500);
/// T2 of RFC 3261: the longest wait between two sendings of a BYE.
const T2: Duration = Duration::from_secs(4);
/// Milliseconds between two packets of a stream; each stream has one of as many slots.
const PACKET_MS: u64 = 20;

/// How the crowd behaves.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) number: &'static str,
    pub(crate) calls: usize,
    /// Arrivals a second.
    pub(crate) rate: f64,
    /// How long an answered call stays before the caller hangs up.
    pub(crate) hold: Duration,
    /// Callers send a packet of speech each 20 ms.
    pub(crate) speak: bool,
    /// Press `5` this long after the answer.
    pub(crate) digit_after: Option<Duration>,
}

/// What the crowd saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answered: usize,
    pub(crate) finished: usize,
    pub(crate) failed: usize,
    /// Requests that were sent again because nothing came back in time, and responses of the server that no request of ours
    /// explains. A response to a repeated request is not counted a second time.
    pub(crate) retransmissions: usize,
    pub(crate) rtp_packets: u64,
    /// Milliseconds between packets of one stream.
    pub(crate) gaps_ms: Vec<f64>,
    /// Milliseconds from INVITE to 200.
    pub(crate) answer_ms: Vec<f64>,
    /// Milliseconds from the 200 to the server's BYE.
    pub(crate) lived_ms: Vec<f64>,
    /// Milliseconds from a digit's first end packet to the first packet of the next talkspurt.
    pub(crate) digit_ms: Vec<f64>,
}

/// When a request is sent again (timers A and E of RFC 3261, over UDP).
#[derive(Clone, Copy)]
struct Resend {
    at: Instant,
    interval: Duration,
}

impl Resend {
    fn after(now: Instant) -> Self {
        Self { at: now + T1, interval: T1 }
    }

    /// Whether the request is to be sent now; if so, the next time is set.
    fn is_due(&mut self, now: Instant, longest: Duration) -> bool {
        let due = now >= self.at;
        if due {
            self.interval = (self.interval * 2).min(longest);
            self.at = now + self.interval;
        }
        due
    }
}

#[derive(Default)]
struct Caller {
    invited_at: Option<Instant>,
    /// Gone once anything has come back.
    invite_again: Option<Resend>,
    invites: usize,
    answers: usize,
    answered_at: Option<Instant>,
    done: bool,
    to: String,
    contact: String,
    remote_rtp: Option<SocketAddrV4>,
    event_type: u8,
    sequence: u16,
    timestamp: u32,
    last_heard_ns: u64,
    digit_sent_ns: u64,
    digit_done: bool,
    bye_at: Option<Instant>,
    /// Present once a BYE has been sent.
    bye_again: Option<Resend>,
}

/// A bridge's far end: where in the server it talks to, and where its stream stands.
struct Callee {
    to: SocketAddrV4,
    sequence: u16,
    timestamp: u32,
    done: bool,
}

/// The crowd.
pub(crate) struct Load {
    server: SocketAddrV4,
    sip: BatchSocket,
    rtp: BatchSocket,
    /// RTP of answered bridge targets, so that both directions are seen apart.
    callee_rtp: BatchSocket,
    calls: Vec<Caller>,
    by_call_id: HashMap<String, usize>,
    by_rtp_source: HashMap<SocketAddrV4, usize>,
    callees: Vec<Callee>,
    callee_by_call_id: HashMap<String, usize>,
    callee_heard: HashMap<SocketAddrV4, u64>,
    prefix: String,
    seen: Seen,
    measuring_from_ns: u64,
}

impl Load {
    /// A crowd whose SIP side listens on `sip_port` (0: any).
    pub(crate) fn new(server: SocketAddrV4, sip_port: u16) -> std::io::Result<Self> {
        Ok(Self {
            server,
            sip: BatchSocket::bind(sip_port)?,
            rtp: BatchSocket::bind(0)?,
            callee_rtp: BatchSocket::bind(0)?,
            calls: Vec::new(),
            by_call_id: HashMap::new(),
            by_rtp_source: HashMap::new(),
            callees: Vec::new(),
            callee_by_call_id: HashMap::new(),
            callee_heard: HashMap::new(),
            prefix: format!("{:x}", now_ns()),
            seen: Seen::default(),
            measuring_from_ns: 0,
        })
    }

    /// Runs `plan` to its end: every call placed, held, hung up. Gaps are measured from `measure_after` on; `midway` is called
    /// once, when half the hold time of the last call has passed.
    pub(crate) fn run(mut self, plan: &Plan, measure_after: Duration, midway: impl FnOnce()) -> Seen {
        let mut midway = Some(midway);
        let began = Instant::now();
        self.measuring_from_ns = now_ns() + measure_after.as_nanos() as u64;
        let arrivals = Duration::from_secs_f64(plan.calls as f64 / plan.rate);
        let end = began + arrivals + plan.hold + Duration::from_secs(8);
        let mut tick = 0u64;
        self.calls.resize_with(plan.calls, Caller::default);
        let mut placed = 0;
        loop {
            let now = Instant::now();
            while placed < plan.calls && now >= began + Duration::from_secs_f64(placed as f64 / plan.rate) {
                self.invite(placed, plan, now);
                placed += 1;
            }
            self.read_sip(plan);
            self.read_rtp();
            if now >= began + arrivals + plan.hold / 2
                && let Some(midway) = midway.take()
            {
                midway();
            }
            let due = began.elapsed().as_millis() as u64;
            while tick < due {
                tick += 1;
                self.tick(tick, plan, now);
            }
            if self.seen.finished + self.seen.failed >= plan.calls || now >= end {
                break;
            }
            std::hint::spin_loop();
        }
        self.seen.failed = plan.calls - self.seen.finished;
        self.seen
    }

    fn invite(&mut self, index: usize, plan: &Plan, now: Instant) {
        let call_id = format!("{}-{index}", self.prefix);
        let text = sip_text::invite(plan.number, &call_id, self.server, self.sip.port(), self.rtp.port());
        self.sip.send(text.as_bytes(), self.server);
        let call = &mut self.calls[index];
        call.invites += 1;
        if call.invited_at.is_none() {
            call.invited_at = Some(now);
            call.invite_again = Some(Resend::after(now));
            self.by_call_id.insert(call_id, index);
        }
    }

    fn bye(&mut self, index: usize) {
        let call = &self.calls[index];
        let call_id = format!("{}-{index}", self.prefix);
        let bye = sip_text::in_dialog("BYE", 2, &call_id, &call.to, &call.contact, self.sip.port());
        self.sip.send(bye.as_bytes(), self.server);
    }

    /// Sends what is due, the first time or again.
    fn sip_timers(&mut self, index: usize, plan: &Plan, now: Instant) {
        let call = &mut self.calls[index];
        if call.invite_again.as_mut().is_some_and(|again| again.is_due(now, Duration::MAX)) {
            self.seen.retransmissions += 1;
            return self.invite(index, plan, now);
        }
        let due = match &mut call.bye_again {
            None if call.bye_at.is_some_and(|at| now >= at) => {
                call.bye_again = Some(Resend::after(now));
                true
            }
            None => false,
            Some(again) => {
                let due = again.is_due(now, T2);
                self.seen.retransmissions += usize::from(due);
                due
            }
        };
        if due {
            self.bye(index);
        }
    }

    fn read_sip(&mut self, plan: &Plan) {
        let mut inbox = Vec::new();
        self.sip.receive_all(|arrival| inbox.push(arrival.bytes.to_vec()));
        for bytes in &inbox {
            let Some(message) = Message::parse(bytes) else { continue };
            if message.status == 0 { self.request(&message) } else { self.reply(&message, plan) }
        }
    }

    fn reply(&mut self, message: &Message<'_>, plan: &Plan) {
        let Some(&index) = self.by_call_id.get(message.call_id) else { return };
        let now = Instant::now();
        let call = &mut self.calls[index];
        if message.method == "INVITE" {
            call.invite_again = None;
        }
        match (message.method, message.status) {
            ("INVITE", 200..300) => {
                call.answers += 1;
                if call.answered_at.is_none() {
                    call.answered_at = Some(now);
                    call.bye_at = Some(now + plan.hold);
                    call.to = message.to.to_owned();
                    call.contact = message.contact.to_owned();
                    call.event_type = message.event_type.unwrap_or(101);
                    if let Some(port) = message.audio_port {
                        let source = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
                        call.remote_rtp = Some(source);
                        self.by_rtp_source.insert(source, index);
                    }
                    self.seen.answered += 1;
                    if let Some(invited) = call.invited_at {
                        self.seen.answer_ms.push((now - invited).as_secs_f64() * 1e3);
                    }
                } else if call.answers > call.invites {
                    self.seen.retransmissions += 1;
                }
                let ack = sip_text::in_dialog("ACK", 1, message.call_id, message.to, message.contact, self.sip.port());
                self.sip.send(ack.as_bytes(), self.server);
            }
            ("INVITE", 300..) if !call.done => {
                call.done = true;
                self.seen.failed += 1;
            }
            ("BYE", 200..300) if !call.done => {
                call.done = true;
                self.seen.finished += 1;
            }
            _ => {}
        }
    }

    fn request(&mut self, message: &Message<'_>) {
        let port = self.sip.port();
        match message.method {
            "INVITE" => {
                if self.callee_by_call_id.contains_key(message.call_id) {
                    self.seen.retransmissions += 1;
                } else if let Some(audio) = message.audio_port {
                    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, audio);
                    self.callee_by_call_id.insert(message.call_id.to_owned(), self.callees.len());
                    self.callees.push(Callee { to, sequence: 0, timestamp: 0, done: false });
                }
                let text = sip_text::response(message, "200 OK", port, Some(self.callee_rtp.port()));
                self.sip.send(text.as_bytes(), self.server);
            }
            "BYE" => {
                self.sip.send(sip_text::response(message, "200 OK", port, None).as_bytes(), self.server);
                if let Some(&index) = self.callee_by_call_id.get(message.call_id) {
                    self.callees[index].done = true;
                }
                if let Some(&index) = self.by_call_id.get(message.call_id)
                    && !self.calls[index].done
                {
                    self.calls[index].done = true;
                    self.seen.finished += 1;
                    if let Some(answered) = self.calls[index].answered_at {
                        self.seen.lived_ms.push(answered.elapsed().as_secs_f64() * 1e3);
                    }
                }
            }
            "ACK" => {}
            _ => self.sip.send(sip_text::response(message, "200 OK", port, None).as_bytes(), self.server),
        }
    }

    fn read_rtp(&mut self) {
        let Self { rtp, calls, by_rtp_source, seen, measuring_from_ns, callee_rtp, callee_heard, .. } = self;
        rtp.receive_all(|Arrival { from, at_ns, bytes }| {
            seen.rtp_packets += 1;
            let Some(call) = by_rtp_source.get(&from).and_then(|&index| calls.get_mut(index)) else { return };
            if call.last_heard_ns >= *measuring_from_ns {
                seen.gaps_ms.push((at_ns.saturating_sub(call.last_heard_ns)) as f64 / 1e6);
            }
            call.last_heard_ns = at_ns;
            let marker = bytes.get(1).is_some_and(|octet| octet & 0x80 != 0);
            if marker && call.digit_sent_ns != 0 && !call.digit_done {
                call.digit_done = true;
                seen.digit_ms.push(at_ns.saturating_sub(call.digit_sent_ns) as f64 / 1e6);
            }
        });
        callee_rtp.receive_all(|Arrival { from, at_ns, .. }| {
            seen.rtp_packets += 1;
            let last = callee_heard.entry(from).or_insert(at_ns);
            if *last >= *measuring_from_ns {
                seen.gaps_ms.push(at_ns.saturating_sub(*last) as f64 / 1e6);
            }
            *last = at_ns;
        });
    }

    /// Every millisecond: each call speaks in the slot that its index gives it, so that packets come evenly spread.
    fn tick(&mut self, tick: u64, plan: &Plan, now: Instant) {
        let slot = (tick % PACKET_MS) as usize;
        let mut packets = Vec::new();
        for index in (slot..self.calls.len()).step_by(PACKET_MS as usize) {
            if self.calls[index].done {
                continue;
            }
            self.sip_timers(index, plan, now);
            let call = &mut self.calls[index];
            let (Some(answered), Some(to)) = (call.answered_at, call.remote_rtp) else { continue };
            call.timestamp = call.timestamp.wrapping_add(160);
            if let Some(after) = plan.digit_after
                && call.digit_sent_ns == 0
                && now >= answered + after
            {
                let mut key = |end, durations: [u16; 3]| {
                    durations.map(|duration| {
                        call.sequence = call.sequence.wrapping_add(1);
                        (digit_packet(index, call, end, duration), to)
                    })
                };
                let [beginning, end] = [key(false, [160, 320, 480]), key(true, [640; 3])];
                // Not among the slot's other packets: the time taken is that of the first end packet.
                self.rtp.send_all(&beginning);
                call.digit_sent_ns = now_ns();
                self.rtp.send_all(&end);
            } else if plan.speak {
                call.sequence = call.sequence.wrapping_add(1);
                packets.push((speech_packet(index as u32, call.sequence, call.timestamp), to));
            }
        }
        self.rtp.send_all(&packets);

        if plan.speak {
            packets.clear();
            for (index, callee) in self.callees.iter_mut().enumerate().skip(slot).step_by(PACKET_MS as usize) {
                if callee.done {
                    continue;
                }
                callee.sequence = callee.sequence.wrapping_add(1);
                callee.timestamp = callee.timestamp.wrapping_add(160);
                packets.push((speech_packet(0x8000_0000 | index as u32, callee.sequence, callee.timestamp), callee.to));
            }
            self.callee_rtp.send_all(&packets);
        }
    }
}

fn header(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(172);
    packet.extend_from_slice(&[0x80, payload_type]);
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet
}

fn speech_packet(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
    let mut packet = header(0, sequence, timestamp, ssrc);
    packet.resize(172, 0xD5);
    packet
}

fn digit_packet(index: usize, call: &Caller, end: bool, duration: u16) -> Vec<u8> {
    let mut packet = header(call.event_type, call.sequence, call.timestamp, index as u32);
    packet.extend_from_slice(&[5, if end { 0x8a } else { 0x0a }]);
    packet.extend_from_slice(&duration.to_be_bytes());
    packet
}
