//! A crowd of callers and callees on one thread: open-loop call arrivals, two-way RTP, digits, and what was heard and when.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::net::{Arrival, BatchSocket, now_ns};
use crate::sip_text::{self, Message};

/// T1 of RFC 3261: an INVITE that got nothing back for this long is sent again, and counted.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(500);

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

#[derive(Default)]
struct Caller {
    invited_at: Option<Instant>,
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
    /// Server addresses the callees talk to, with sequence and timestamp.
    callee_legs: HashMap<String, (SocketAddrV4, u16, u32)>,
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
            callee_legs: HashMap::new(),
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
        self.calls[index].invited_at = Some(now);
        self.by_call_id.insert(call_id, index);
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
        match (message.method, message.status) {
            ("INVITE", 200..300) => {
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
                } else {
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
                if self.callee_legs.contains_key(message.call_id) {
                    self.seen.retransmissions += 1;
                } else if let Some(audio) = message.audio_port {
                    let leg = (SocketAddrV4::new(Ipv4Addr::LOCALHOST, audio), 1, 0);
                    self.callee_legs.insert(message.call_id.to_owned(), leg);
                }
                let text = sip_text::response(message, "200 OK", port, Some(self.callee_rtp.port()));
                self.sip.send(text.as_bytes(), self.server);
            }
            "BYE" => {
                self.sip.send(sip_text::response(message, "200 OK", port, None).as_bytes(), self.server);
                self.callee_legs.remove(message.call_id);
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

    /// Every millisecond: each call speaks in the slot that its index gives it.
    fn tick(&mut self, tick: u64, plan: &Plan, now: Instant) {
        let mut packets = Vec::new();
        for index in ((tick % 20) as usize..self.calls.len()).step_by(20) {
            let call = &mut self.calls[index];
            if call.done {
                continue;
            }
            let Some(answered) = call.answered_at else {
                if call.invited_at.is_some_and(|at| now >= at + RETRANSMIT_AFTER) {
                    self.seen.retransmissions += 1;
                    self.invite(index, plan, now);
                }
                continue;
            };
            if call.bye_at.is_some_and(|at| now >= at) {
                let call_id = format!("{}-{index}", self.prefix);
                let bye = sip_text::in_dialog("BYE", 2, &call_id, &call.to, &call.contact, self.sip.port());
                call.bye_at = Some(now + RETRANSMIT_AFTER);
                if now >= answered + plan.hold + RETRANSMIT_AFTER {
                    self.seen.retransmissions += 1;
                }
                self.sip.send(bye.as_bytes(), self.server);
            }
            let Some(to) = call.remote_rtp else { continue };
            call.timestamp = call.timestamp.wrapping_add(160);
            if let Some(after) = plan.digit_after
                && call.digit_sent_ns == 0
                && now >= answered + after
            {
                for (end, duration) in [(false, 160), (false, 320), (false, 480), (true, 640), (true, 640), (true, 640)] {
                    call.sequence = call.sequence.wrapping_add(1);
                    packets.push((digit_packet(index, call, end, duration), to));
                }
                call.digit_sent_ns = now_ns();
            } else if plan.speak {
                call.sequence = call.sequence.wrapping_add(1);
                packets.push((speech_packet(index as u32, call.sequence, call.timestamp), to));
            }
        }
        self.rtp.send_all(&packets);

        if plan.speak && !self.callee_legs.is_empty() && tick.is_multiple_of(20) {
            let mut packets = Vec::with_capacity(self.callee_legs.len());
            for (index, (to, sequence, timestamp)) in self.callee_legs.values_mut().enumerate() {
                *sequence = sequence.wrapping_add(1);
                *timestamp = timestamp.wrapping_add(160);
                packets.push((speech_packet(0x8000_0000 | index as u32, *sequence, *timestamp), *to));
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
