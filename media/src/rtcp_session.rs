//! When reports are due, what is in them, and what the other side's tell: RFC 3550 sections 6.2, 6.3 and 6.4.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::reception::{LastSenderReport, Reception};
use crate::rtcp::{Report, ReportBlock, RtcpError, RtcpPacket, SenderInfo, packets};
use crate::rtp::Ssrc;
use crate::stream::WallClock;

/// The least time between reports; half of it before the first (RFC 3550 section 6.2).
const MINIMUM_INTERVAL: Duration = Duration::from_secs(5);
/// Octets a second for RTCP: 5 % of a G.711 stream with its headers.
const BANDWIDTH: f64 = 0.05 * 10_000.0;
/// Both ends of a call.
const MEMBERS: f64 = 2.0;
/// Reconsideration makes intervals shorter than drawn; this makes up for it: e - 3/2 (RFC 3550 section 6.3.1).
const COMPENSATION: f64 = 1.218_28;
/// IPv4 and UDP headers count as RTCP bandwidth.
const LOWER_LAYERS: usize = 28;
/// Seconds from 1900 to 1970.
const NTP_UNIX_OFFSET: u64 = 2_208_988_800;
/// A round trip longer than this is an answer to a report that we did not send.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(30);

/// One side of the RTCP of a stream.
#[derive(Debug)]
pub(crate) struct RtcpSession {
    cname: Arc<str>,
    wall_clock: WallClock,
    /// `None` until the stream has an address to send to.
    next_report: Option<Instant>,
    last_report: Option<Instant>,
    average_size: f64,
    /// Packets sent when the last report and the one before went out: a sender is who sent since then.
    sent_before: [u64; 2],
    last_sender_report: Option<LastSenderReport>,
    remote: RemoteReport,
}

/// What the other side says about what we send.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RemoteReport {
    pub(crate) cumulative_lost: i32,
    /// In ticks of the media clock.
    pub(crate) jitter: u32,
    pub(crate) round_trip: Option<Duration>,
}

/// What we sent, for the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) ssrc: Ssrc,
    pub(crate) packets: u64,
    pub(crate) octets: u64,
    /// The media clock now.
    pub(crate) rtp_timestamp: u32,
}

impl RtcpSession {
    pub(crate) fn new(cname: Arc<str>, wall_clock: WallClock) -> Self {
        RtcpSession {
            cname,
            wall_clock,
            next_report: None,
            last_report: None,
            average_size: 100.0,
            sent_before: [0; 2],
            last_sender_report: None,
            remote: RemoteReport::default(),
        }
    }

    /// Starts the reports; later calls change nothing.
    pub(crate) fn start(&mut self, now: Instant, rng: &mut ChaCha8Rng) {
        if self.next_report.is_none() {
            self.next_report = Some(now + self.interval(rng));
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_report
    }

    pub(crate) fn remote(&self) -> RemoteReport {
        self.remote
    }

    /// Writes a report if one is due; returns its length.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        rng: &mut ChaCha8Rng,
        sent: Sent,
        source: Option<(Ssrc, &mut Reception)>,
        out: &mut [u8],
    ) -> Option<usize> {
        self.next_report.filter(|&due| due <= now)?;
        // Timer reconsideration (RFC 3550 section 6.3.6): draw again, and send only if that is over as well.
        let drawn = self.interval(rng);
        if let Some(due) = self.last_report.map(|last| last + drawn).filter(|&due| due > now) {
            self.next_report = Some(due);
            return None;
        }
        let len = self.write(now, sent, source, false, out)?;
        self.last_report = Some(now);
        self.next_report = Some(now + self.interval(rng));
        self.sent_before = [sent.packets, self.sent_before[0]];
        self.count_size(len);
        Some(len)
    }

    /// Writes the last report, with BYE. With two members there is nobody to spare by waiting (RFC 3550 section 6.3.7).
    pub(crate) fn bye(
        &mut self,
        now: Instant,
        sent: Sent,
        source: Option<(Ssrc, &mut Reception)>,
        out: &mut [u8],
    ) -> Option<usize> {
        self.next_report = None;
        self.write(now, sent, source, true, out)
    }

    /// Takes a datagram. Returns whether it said goodbye for `source`.
    pub(crate) fn handle(&mut self, now: Instant, ours: Ssrc, source: Option<Ssrc>, datagram: &[u8]) -> Result<bool, RtcpError> {
        // Nothing of a datagram that is broken somewhere is believed (RFC 3550 appendix A.2).
        if let Some(error) = packets(datagram).find_map(Result::err) {
            return Err(error);
        }
        let mut is_bye = false;
        for packet in packets(datagram).flatten() {
            match packet {
                RtcpPacket::SenderReport { ssrc, sender, blocks } => {
                    let ntp_middle = (sender.ntp >> 16) as u32;
                    self.last_sender_report = Some(LastSenderReport { ssrc, ntp_middle, arrived: now });
                    blocks.iter().filter(|block| block.ssrc == ours).for_each(|block| self.learn(now, &block));
                }
                RtcpPacket::ReceiverReport { blocks, .. } => {
                    blocks.iter().filter(|block| block.ssrc == ours).for_each(|block| self.learn(now, &block));
                }
                RtcpPacket::Bye { sources } => {
                    is_bye |= source.is_some_and(|source| sources.iter().any(|gone| gone == source));
                }
                RtcpPacket::Other { .. } => {}
            }
        }
        self.count_size(datagram.len());
        Ok(is_bye)
    }

    fn learn(&mut self, now: Instant, block: &ReportBlock) {
        self.remote.cumulative_lost = block.cumulative_lost;
        self.remote.jitter = block.jitter;
        if block.last_sr != 0 {
            let middle = (self.ntp(now) >> 16) as u32;
            let round_trip = middle.wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
            let round_trip = Duration::from_micros(u64::from(round_trip) * 1_000_000 / 65_536);
            if round_trip < LONGEST_ROUND_TRIP {
                self.remote.round_trip = Some(round_trip);
            }
        }
    }

    fn write(
        &self,
        now: Instant,
        sent: Sent,
        source: Option<(Ssrc, &mut Reception)>,
        bye: bool,
        out: &mut [u8],
    ) -> Option<usize> {
        let is_sender = sent.packets > self.sent_before[1];
        let sender = is_sender.then(|| SenderInfo {
            ntp: self.ntp(now),
            rtp_timestamp: sent.rtp_timestamp,
            packets: sent.packets as u32,
            octets: sent.octets as u32,
        });
        let block = source.map(|(ssrc, reception)| {
            let report = reception.report();
            // Zero before the source's first sender report (RFC 3550 section 6.4.1).
            let last = self.last_sender_report.filter(|last| last.ssrc == ssrc);
            let (last_sr, delay_since_last_sr) = last.map_or((0, 0), |last| {
                let delay = now.saturating_duration_since(last.arrived).as_micros() * 65_536 / 1_000_000;
                (last.ntp_middle, u32::try_from(delay).unwrap_or(u32::MAX))
            });
            ReportBlock {
                ssrc,
                fraction_lost: report.fraction_lost,
                cumulative_lost: report.cumulative_lost,
                highest_sequence: report.highest_sequence,
                jitter: report.jitter,
                last_sr,
                delay_since_last_sr,
            }
        });
        Report { ssrc: sent.ssrc, sender, block, cname: &self.cname, bye }.write(out)
    }

    /// Drawn anew for every report, so that ends that started together do not report together.
    fn interval(&self, rng: &mut ChaCha8Rng) -> Duration {
        let minimum = if self.last_report.is_none() { MINIMUM_INTERVAL / 2 } else { MINIMUM_INTERVAL };
        let calculated = Duration::from_secs_f64(MEMBERS * self.average_size / BANDWIDTH).max(minimum);
        let spread = 0.5 + f64::from(rng.next_u32()) / f64::from(u32::MAX);
        calculated.mul_f64(spread / COMPENSATION)
    }

    fn count_size(&mut self, len: usize) {
        self.average_size += ((len + LOWER_LAYERS) as f64 - self.average_size) / 16.0;
    }

    /// The wall clock as NTP counts it, in 32.32 fixed point.
    fn ntp(&self, now: Instant) -> u64 {
        let since_epoch = self.wall_clock.since_epoch + now.saturating_duration_since(self.wall_clock.instant);
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        (since_epoch.as_secs() + NTP_UNIX_OFFSET) << 32 | fraction
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::rtp::{RtpTimestamp, SequenceNumber};

    const SENT: Sent = Sent { ssrc: Ssrc(1), packets: 100, octets: 16_000, rtp_timestamp: 4711 };

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a manual clock")]
    fn session(seed: u64) -> (Instant, RtcpSession, ChaCha8Rng) {
        let now = Instant::now();
        let wall_clock = WallClock { instant: now, since_epoch: Duration::from_secs(1_700_000_000) };
        (now, RtcpSession::new("cname".into(), wall_clock), ChaCha8Rng::seed_from_u64(seed))
    }

    /// When reports go out in the first minutes.
    fn report_times(seed: u64) -> Vec<Duration> {
        let (start, mut session, mut rng) = session(seed);
        session.start(start, &mut rng);
        let mut times = Vec::new();
        let mut out = [0; 256];
        while times.len() < 20 {
            let now = session.deadline().unwrap();
            if session.poll(now, &mut rng, SENT, None, &mut out).is_some() {
                times.push(now - start);
            }
        }
        times
    }

    #[test]
    fn intervals_are_spread_around_the_minimum_and_the_first_is_shorter() {
        for seed in 0..50 {
            let times = report_times(seed);
            assert!((1.0..=3.1).contains(&times[0].as_secs_f64()), "{:?}", times[0]);
            for pair in times.windows(2) {
                let gap = (pair[1] - pair[0]).as_secs_f64();
                assert!((2.0..=6.2).contains(&gap), "{gap}");
            }
        }
        assert_ne!(report_times(1), report_times(2));
        assert_eq!(report_times(3), report_times(3));
    }

    #[test]
    fn the_round_trip_is_what_our_report_and_its_answer_took() {
        let (start, mut session, mut rng) = session(1);
        session.start(start, &mut rng);
        let mut out = [0; 256];
        let sent_at = session.deadline().unwrap();
        let len = session.poll(sent_at, &mut rng, SENT, None, &mut out).unwrap();
        let Some(Ok(RtcpPacket::SenderReport { sender, .. })) = packets(&out[..len]).next() else { panic!("an SR") };
        assert_eq!((sender.rtp_timestamp, sender.packets, sender.octets), (4711, 100, 16_000));
        let block = ReportBlock {
            ssrc: Ssrc(1),
            fraction_lost: 0,
            cumulative_lost: 7,
            highest_sequence: 0,
            jitter: 16,
            last_sr: (sender.ntp >> 16) as u32,
            delay_since_last_sr: 65_536,
        };
        let len = Report { ssrc: Ssrc(2), sender: None, block: Some(block), cname: "them", bye: false }.write(&mut out);
        let answered_at = sent_at + Duration::from_millis(1080);
        assert_eq!(session.handle(answered_at, Ssrc(1), Some(Ssrc(2)), &out[..len.unwrap()]), Ok(false));
        let remote = session.remote();
        assert_eq!((remote.cumulative_lost, remote.jitter), (7, 16));
        let round_trip = remote.round_trip.unwrap().as_millis();
        assert!((79..=80).contains(&round_trip), "{round_trip}");
    }

    #[test]
    fn a_report_on_another_source_is_not_ours() {
        let (now, mut session, _) = session(1);
        let block = ReportBlock {
            ssrc: Ssrc(9),
            fraction_lost: 0,
            cumulative_lost: 7,
            highest_sequence: 0,
            jitter: 16,
            last_sr: 0,
            delay_since_last_sr: 0,
        };
        let mut out = [0; 256];
        let len = Report { ssrc: Ssrc(2), sender: None, block: Some(block), cname: "them", bye: false }.write(&mut out);
        session.handle(now, Ssrc(1), Some(Ssrc(2)), &out[..len.unwrap()]).unwrap();
        assert_eq!(session.remote(), RemoteReport::default());
    }

    #[test]
    fn the_answer_to_a_sender_report_carries_its_time_and_its_age() {
        let (now, mut session, mut rng) = session(1);
        session.start(now, &mut rng);
        let mut out = [0; 256];
        let sender = SenderInfo { ntp: 0x0000_1234_5678_0000, rtp_timestamp: 0, packets: 1, octets: 1 };
        let report = Report { ssrc: Ssrc(2), sender: Some(sender), block: None, cname: "them", bye: false };
        let len = report.write(&mut out).unwrap();
        session.handle(now, Ssrc(1), Some(Ssrc(2)), &out[..len]).unwrap();
        let mut reception = Reception::new(SequenceNumber(5), 8000);
        reception.count(SequenceNumber(5), false);
        reception.time(Duration::ZERO, RtpTimestamp(0));
        let silent = Sent { packets: 0, ..SENT };
        let later = session.deadline().unwrap();
        let len = session.poll(later, &mut rng, silent, Some((Ssrc(2), &mut reception)), &mut out).unwrap();
        let Some(Ok(RtcpPacket::ReceiverReport { blocks, .. })) = packets(&out[..len]).next() else { panic!("an RR") };
        let block = blocks.iter().next().unwrap();
        assert_eq!((block.ssrc, block.last_sr, block.highest_sequence), (Ssrc(2), 0x1234_5678, 5));
        let age = f64::from(block.delay_since_last_sr) / 65_536.0;
        assert!((age - (later - now).as_secs_f64()).abs() < 0.001, "{age}");
        let later = later + Duration::from_secs(10);
        let len = session.poll(later, &mut rng, silent, Some((Ssrc(3), &mut reception)), &mut out).unwrap();
        let Some(Ok(RtcpPacket::ReceiverReport { blocks, .. })) = packets(&out[..len]).next() else { panic!("an RR") };
        let block = blocks.iter().next().unwrap();
        assert_eq!((block.ssrc, block.last_sr, block.delay_since_last_sr), (Ssrc(3), 0, 0), "another source");
    }

    #[test]
    fn goodbye_counts_only_for_the_source_that_is_heard() {
        let (now, mut session, _) = session(1);
        let mut out = [0; 256];
        let report = Report { ssrc: Ssrc(2), sender: None, block: None, cname: "them", bye: true };
        let len = report.write(&mut out).unwrap();
        assert_eq!(session.handle(now, Ssrc(1), Some(Ssrc(3)), &out[..len]), Ok(false));
        assert_eq!(session.handle(now, Ssrc(1), Some(Ssrc(2)), &out[..len]), Ok(true));
        assert!(session.handle(now, Ssrc(1), Some(Ssrc(2)), &out[..len - 1]).is_err());
    }
}
