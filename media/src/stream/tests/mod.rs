//! Whole streams on a manual clock: packets and commands in, packets and events out. One file a behaviour.

mod bridge;
mod digits;
mod hold;
mod hostile;
mod lock_on;
mod playing;
mod quality;
mod recording;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::codec::Codec;
use crate::playout::{EncodedPrompt, PlayId, Playlist};
use crate::recording::RecordingId;
use crate::rtp::{MAX_PACKET, PayloadType, RtpHeader, RtpPacket, RtpTimestamp, SequenceNumber, Ssrc};
use crate::sdp::{Direction, TelephoneEventTypes};

const PCMU: PayloadType = PayloadType::new(0).unwrap();
const PCMA: PayloadType = PayloadType::new(8).unwrap();
const EVENT: PayloadType = PayloadType::TELEPHONE_EVENT;
const SILENCE: u8 = 0xff;
/// Longer than any test runs.
const NEVER: Duration = Duration::from_secs(86_400);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What a peer that speaks µ-law and telephone events agrees on.
fn negotiated() -> Negotiated {
    Negotiated {
        remote: Some(address("192.0.2.1:4000")),
        remote_rtcp: Some(address("192.0.2.1:4001")),
        rtcp_mux: false,
        codec: Codec::Pcmu,
        payload_type: PCMU,
        packet_time: Duration::from_millis(20),
        max_packet_time: None,
        receive: vec![(PCMU, Codec::Pcmu), (PCMA, Codec::Pcma)],
        telephone_event: Some(TelephoneEventTypes { send: EVENT, receive: EVENT }),
        direction: Direction::SendRecv,
        held: false,
    }
}

/// A packet that was sent, and when, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
struct SentPacket {
    at: f64,
    to: SocketAddr,
    header: RtpHeader,
    payload: Vec<u8>,
}

/// A stream with its clock and everything that came out of it.
struct Line {
    start: Instant,
    now: Instant,
    stream: MediaStream,
    sent: Vec<SentPacket>,
    rtcp: Vec<(SocketAddr, Channel, Vec<u8>)>,
    events: Vec<(u64, MediaEvent)>,
    recorded: Vec<(RecordingId, Vec<i16>)>,
    /// The next packet of the other side.
    next: RtpHeader,
}

impl Line {
    fn idle() -> Line {
        Line::seeded(42)
    }

    fn seeded(seed: u64) -> Line {
        Line::configured(seed, None)
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a manual clock")]
    fn configured(seed: u64, media_timeout: Option<Duration>) -> Line {
        let start = Instant::now();
        let wall_clock = WallClock { instant: start, since_epoch: Duration::from_secs(1_700_000_000) };
        let config = StreamConfig { seed, cname: "test".into(), wall_clock, media_timeout };
        Line {
            start,
            now: start,
            stream: MediaStream::new(start, config),
            sent: Vec::new(),
            rtcp: Vec::new(),
            events: Vec::new(),
            recorded: Vec::new(),
            next: RtpHeader {
                marker: false,
                payload_type: PCMU,
                sequence: SequenceNumber(1000),
                timestamp: RtpTimestamp(50_000),
                ssrc: Ssrc(77),
            },
        }
    }

    /// A line whose call has its session description.
    fn connected() -> Line {
        Line::connected_as(negotiated())
    }

    fn connected_as(negotiated: Negotiated) -> Line {
        let mut line = Line::idle();
        line.command(Command::SetRemote(Box::new(negotiated)));
        line
    }

    fn at(&self) -> f64 {
        (self.now - self.start).as_micros() as f64 / 1000.0
    }

    fn command(&mut self, command: Command) {
        self.stream.command(self.now, command);
        self.drain();
    }

    fn play(&mut self, id: u64, prompts: &[&Arc<EncodedPrompt>]) {
        let playlist = Playlist::once(prompts.iter().map(|prompt| Arc::clone(prompt)).collect());
        self.command(Command::Play { id: PlayId(id), playlist: Box::new(playlist) });
    }

    /// Lets time pass, serving every deadline on the way.
    fn run(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        loop {
            let deadline = self.drain();
            if deadline > end {
                break;
            }
            assert!(deadline > self.now || self.drain() > self.now, "a deadline that time does not move");
            self.now = deadline;
            self.stream.handle_timeout(self.now);
        }
        self.now = end;
        self.stream.handle_timeout(end);
        self.drain();
    }

    fn drain(&mut self) -> Instant {
        let at = self.at();
        loop {
            let mut scratch = [0xee; MAX_PACKET];
            match self.stream.poll_output(&mut scratch) {
                Output::Timeout(deadline) => return deadline.unwrap_or(self.now + NEVER),
                Output::Event(event) => self.events.push((at as u64, event)),
                Output::Recording { id, samples, .. } => self.recorded.push((id, samples.to_vec())),
                Output::Transmit(Transmit { to, channel, bytes }) => match RtpPacket::parse(bytes) {
                    Ok(RtpPacket { header, payload }) if !crate::rtp::is_rtcp(bytes) => {
                        self.sent.push(SentPacket { at, to, header, payload: payload.to_vec() });
                    }
                    _ => self.rtcp.push((to, channel, bytes.to_vec())),
                },
            }
        }
    }

    /// A datagram from the other side.
    fn packet_from(&mut self, source: &str, header: RtpHeader, payload: &[u8]) -> Option<OwnedForward> {
        let mut datagram = header.to_bytes().to_vec();
        datagram.extend_from_slice(payload);
        let forward = self.stream.handle_packet(self.now, address(source), &datagram).map(OwnedForward::new);
        self.drain();
        forward
    }

    /// The next packet of the other side, 20 ms of audio.
    fn audio(&mut self, octet: u8) -> Option<OwnedForward> {
        let header = self.advance_audio();
        self.packet_from("192.0.2.1:4000", header, &[octet; 160])
    }

    /// The header of the next audio packet, which may then be lost.
    fn advance_audio(&mut self) -> RtpHeader {
        let header = self.next;
        self.next.sequence = header.sequence.plus(1);
        self.next.timestamp = header.timestamp.plus(160);
        header
    }

    /// A telephone-event packet with the timestamp of `start`.
    fn event(&mut self, start: RtpTimestamp, digit: u8, duration: u16, end: bool) -> Option<OwnedForward> {
        let event = crate::telephone_event::TelephoneEvent { event: digit, end, volume: 10, duration };
        let header = RtpHeader { payload_type: EVENT, timestamp: start, ..self.next };
        self.next.sequence = header.sequence.plus(1);
        self.packet_from("192.0.2.1:4000", header, &event.to_bytes())
    }

    /// A whole key press of 100 ms; what it hands out for another leg.
    fn press(&mut self, digit: u8) -> Vec<OwnedForward> {
        let start = self.next.timestamp;
        let mut handed = Vec::new();
        for step in 1..=4u16 {
            handed.extend(self.event(start, digit, step * 160, false));
            self.run(20);
        }
        for _ in 0..3 {
            handed.extend(self.event(start, digit, 800, true));
        }
        self.run(20);
        self.next.timestamp = start.plus(800);
        handed
    }

    fn digits(&self) -> String {
        let digit = |event: &MediaEvent| match event {
            MediaEvent::Digit { digit, .. } => Some(digit.as_char()),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| digit(event)).collect()
    }

    /// Checks what every receiver relies on: one source, no gap in the sequence, a clock that never goes back and never
    /// strays from the time packets were sent at.
    fn assert_continuous(&self) {
        self.assert_continuous_within(60.1);
    }

    /// A forwarded stream may be another packet ahead of the clock.
    fn assert_continuous_within(&self, most_ahead: f64) {
        for pair in self.sent.windows(2) {
            let [before, after] = pair else { continue };
            assert_eq!(after.header.ssrc, before.header.ssrc);
            assert_eq!(after.header.sequence.distance(before.header.sequence), 1, "at {} ms", after.at);
            let is_event = |packet: &SentPacket| packet.header.payload_type == EVENT;
            if !is_event(before) && !is_event(after) {
                let moved = after.header.timestamp.distance(before.header.timestamp);
                assert!(moved >= before.payload.len() as i32, "{moved} ticks at {} ms", after.at);
            }
        }
        if let Some(first) = self.sent.first() {
            for packet in self.sent.iter().filter(|packet| packet.header.payload_type != EVENT) {
                let media = f64::from(packet.header.timestamp.distance(first.header.timestamp)) / 8.0;
                let ahead = media - (packet.at - first.at);
                assert!((-20.1..=most_ahead).contains(&ahead), "{ahead} ms ahead at {} ms", packet.at);
            }
        }
    }

    fn longest_gap(&self) -> f64 {
        self.sent.windows(2).map(|pair| pair[1].at - pair[0].at).fold(0.0, f64::max)
    }
}

/// A packet for another leg that outlives its datagram, as tests need it.
#[derive(Debug, Clone)]
struct OwnedForward {
    packet: Forward<'static>,
    payload: Vec<u8>,
}

impl OwnedForward {
    fn new(packet: Forward<'_>) -> Self {
        let payload = packet.payload.to_vec();
        OwnedForward { packet: Forward { payload: &[], ..packet }, payload }
    }

    fn into(self, line: &mut Line) {
        let mut scratch = [0; MAX_PACKET];
        let at = line.at();
        let packet = Forward { payload: &self.payload, ..self.packet };
        let sent = &mut line.sent;
        line.stream.forward(line.now, packet, &mut scratch, |transmit| {
            let RtpPacket { header, payload } = RtpPacket::parse(transmit.bytes).unwrap();
            sent.push(SentPacket { at, to: transmit.to, header, payload: payload.to_vec() });
        });
        line.drain();
    }
}

fn prompt(octet: u8, milliseconds: usize) -> Arc<EncodedPrompt> {
    Arc::new(EncodedPrompt::new(Codec::Pcmu, vec![octet; milliseconds * 8]))
}
