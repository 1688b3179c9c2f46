//! Sending keys, one packet time after another: telephone events (RFC 4733 section 2.5.1) or tones.
//!
//! ```text
//!   tick      0            1     2     3     4     5     6     7 …
//!   event     M160 160 160 320   480   640E  640E  640E  gap   gap      then the next key
//!             └ three starts, so that losing one delays nothing
//! ```
//!
//! Every packet of a key has the timestamp of its start. Audio pauses meanwhile. The gap counts from the first end packet.

use std::collections::VecDeque;
use std::time::Duration;

use crate::digit::Digit;
use crate::dtmf::DtmfGenerator;
use crate::stream::{DtmfId, DtmfMethod, DtmfRequest};
use crate::telephone_event::TelephoneEvent;

const SHORTEST_KEY: Duration = Duration::from_millis(40);
/// The duration field has room for 8.19 s at 8 kHz.
const LONGEST_KEY: Duration = Duration::from_secs(8);
const SHORTEST_GAP: Duration = Duration::from_millis(40);
const LONGEST_GAP: Duration = Duration::from_secs(10);
const STARTS: u8 = 3;
const ENDS: u8 = 3;
/// Keys waiting in all runs together, and runs; more is a script gone wrong, and its run ends early.
const MAX_QUEUED: usize = 1024;
/// In decibels below 0 dBm0.
const VOLUME: u8 = 10;

/// Keys being sent, and those waiting.
#[derive(Debug, Default)]
pub(crate) struct DtmfSender {
    waiting: VecDeque<Run>,
    current: Option<Run>,
}

#[derive(Debug)]
struct Run {
    /// `None` for a key that another leg pressed: nobody waits for it.
    id: Option<DtmfId>,
    digits: VecDeque<Digit>,
    duration: Duration,
    gap: Duration,
    method: DtmfMethod,
    sent: usize,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The next key begins with the next packet.
    Between,
    /// The same packet again: more starts of this key.
    Starting {
        digit: Digit,
        position: u64,
        left: u8,
    },
    /// A key is held, this long so far.
    Event {
        digit: Digit,
        position: u64,
        held: Duration,
    },
    /// More end packets, then silence.
    Ending {
        event: TelephoneEvent,
        position: u64,
        left: u8,
        gap: Duration,
    },
    Tone {
        generator: DtmfGenerator,
        held: Duration,
    },
    Gap {
        left: Duration,
    },
}

/// What one call to [`DtmfSender::step`] puts on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DtmfStep {
    /// A telephone-event packet with the timestamp of `position`.
    Event {
        marker: bool,
        position: u64,
        event: TelephoneEvent,
        /// Whether a packet time has passed; otherwise another packet follows at once.
        is_last: bool,
    },
    /// The payload has been filled with tone or silence.
    Audio,
}

/// A run that is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DtmfFinished {
    pub(crate) id: Option<DtmfId>,
    pub(crate) sent: usize,
}

impl DtmfSender {
    /// Takes a run; one that finds too many waiting is over at once.
    pub(crate) fn push(&mut self, id: Option<DtmfId>, request: DtmfRequest) -> Option<DtmfFinished> {
        if self.waiting.len() >= MAX_QUEUED {
            return Some(DtmfFinished { id, sent: 0 });
        }
        let queued: usize = self.waiting.iter().map(|run| run.digits.len()).sum();
        let mut digits = VecDeque::from(request.digits);
        digits.truncate(MAX_QUEUED.saturating_sub(queued));
        self.waiting.push_back(Run {
            id,
            digits,
            duration: request.duration.clamp(SHORTEST_KEY, LONGEST_KEY),
            gap: request.gap.clamp(SHORTEST_GAP, LONGEST_GAP),
            method: request.method,
            sent: 0,
            phase: Phase::Between,
        });
        None
    }

    /// Runs that have not begun.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Leaves out what this run has not begun to send, and of the gap after its last key what a receiver does not need.
    pub(crate) fn cancel(&mut self, id: DtmfId) {
        for run in self.current.iter_mut().chain(&mut self.waiting).filter(|run| run.id == Some(id)) {
            run.digits.clear();
            let spared = run.gap.saturating_sub(SHORTEST_GAP);
            run.gap = run.gap.min(SHORTEST_GAP);
            match &mut run.phase {
                Phase::Event { held, .. } | Phase::Tone { held, .. } => *held = run.duration,
                Phase::Ending { gap, .. } => *gap = gap.saturating_sub(spared),
                Phase::Gap { left } if *left <= spared => run.phase = Phase::Between,
                Phase::Gap { left } => *left -= spared,
                Phase::Between | Phase::Starting { .. } => {}
            }
        }
    }

    /// Ends everything at once.
    pub(crate) fn abort(&mut self) -> impl Iterator<Item = DtmfFinished> {
        let runs = self.current.take().into_iter().chain(self.waiting.drain(..));
        runs.map(|run| DtmfFinished { id: run.id, sent: run.sent })
    }

    /// The run that has nothing left to send, if one is over.
    pub(crate) fn finished(&mut self) -> Option<DtmfFinished> {
        if self.current.is_none() {
            self.current = self.waiting.pop_front();
        }
        let over = |run: &mut Run| run.digits.is_empty() && matches!(run.phase, Phase::Between);
        self.current.take_if(over).map(|run| DtmfFinished { id: run.id, sent: run.sent })
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Sends the next packet. `has_events` tells whether the other side understands telephone events; `encode` turns
    /// samples into octets of `payload`.
    pub(crate) fn step(
        &mut self,
        position: u64,
        clock_rate: u32,
        packet_time: Duration,
        has_events: bool,
        payload: &mut [u8],
        encode: impl Fn(i16) -> u8,
    ) -> DtmfStep {
        let Some(run) = &mut self.current else {
            payload.fill(encode(0));
            return DtmfStep::Audio;
        };
        let ticks =
            |duration: Duration| u16::try_from(duration.as_micros() * u128::from(clock_rate) / 1_000_000).unwrap_or(u16::MAX);
        let event = |digit: Digit, held: Duration, end: bool| TelephoneEvent {
            event: digit.event(),
            end,
            volume: VOLUME,
            duration: ticks(held),
        };
        if let Phase::Between = run.phase
            && let Some(digit) = run.digits.pop_front()
        {
            run.sent += 1;
            run.phase = if has_events && run.method == DtmfMethod::TelephoneEvent {
                Phase::Starting { digit, position, left: STARTS }
            } else {
                Phase::Tone { generator: DtmfGenerator::new(digit), held: Duration::ZERO }
            };
        }
        let (step, next) = match &mut run.phase {
            Phase::Starting { digit, position, left } => {
                let (digit, position) = (*digit, *position);
                let marker = *left == STARTS;
                *left -= 1;
                let is_last = *left == 0;
                let next = is_last.then_some(Phase::Event { digit, position, held: packet_time });
                (DtmfStep::Event { marker, position, event: event(digit, packet_time, false), is_last }, next)
            }
            Phase::Event { digit, position, held } => {
                *held += packet_time;
                let (end, position) = (*held >= run.duration, *position);
                let packet = event(*digit, *held, end);
                let next = end.then_some(Phase::Ending { event: packet, position, left: ENDS - 1, gap: run.gap });
                (DtmfStep::Event { marker: false, position, event: packet, is_last: true }, next)
            }
            Phase::Ending { event, position, left, gap } => {
                *left -= 1;
                *gap = gap.saturating_sub(packet_time);
                let step = DtmfStep::Event { marker: false, position: *position, event: *event, is_last: true };
                (step, (*left == 0).then_some(Phase::Gap { left: *gap }))
            }
            Phase::Tone { generator, held } => {
                payload.fill_with(|| encode(generator.next_sample()));
                *held += packet_time;
                (DtmfStep::Audio, (*held >= run.duration).then_some(Phase::Gap { left: run.gap }))
            }
            Phase::Gap { left } => {
                payload.fill(encode(0));
                *left = left.saturating_sub(packet_time);
                (DtmfStep::Audio, left.is_zero().then_some(Phase::Between))
            }
            Phase::Between => {
                payload.fill(encode(0));
                (DtmfStep::Audio, None)
            }
        };
        if let Some(next) = next {
            run.phase = match next {
                Phase::Gap { left } if left.is_zero() => Phase::Between,
                other => other,
            };
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTIME: Duration = Duration::from_millis(20);

    fn request(digits: &str, method: DtmfMethod) -> DtmfRequest {
        DtmfRequest {
            digits: digits.chars().filter_map(Digit::from_char).collect(),
            duration: Duration::from_millis(80),
            gap: Duration::from_millis(100),
            method,
        }
    }

    /// Runs until nothing is left: for each tick what went out, in short.
    fn run(sender: &mut DtmfSender, has_events: bool) -> (Vec<String>, Vec<DtmfFinished>) {
        let (mut log, mut finished) = (Vec::new(), Vec::new());
        let mut position = 0;
        while !sender.is_idle() {
            finished.extend(sender.finished());
            if sender.is_idle() {
                break;
            }
            let mut payload = [1; 160];
            let step = sender.step(position, 8000, PTIME, has_events, &mut payload, |sample| u8::from(sample != 0));
            match step {
                DtmfStep::Event { marker, position: start, event, is_last } => {
                    let (m, e) = (if marker { "M" } else { "" }, if event.end { "E" } else { "" });
                    log.push(format!("{}@{start} {m}{}{e}", event.event, event.duration));
                    position += if is_last { 160 } else { 0 };
                }
                DtmfStep::Audio => {
                    log.push(if payload.contains(&1) { "tone" } else { "gap" }.to_owned());
                    position += 160;
                }
            }
            assert!(log.len() < 1000);
        }
        (log, finished)
    }

    #[test]
    fn a_key_has_three_starts_growing_durations_and_three_ends() {
        let mut sender = DtmfSender::default();
        sender.push(Some(DtmfId(1)), request("5", DtmfMethod::TelephoneEvent));
        let (log, finished) = run(&mut sender, true);
        let expected =
            ["5@0 M160", "5@0 160", "5@0 160", "5@0 320", "5@0 480", "5@0 640E", "5@0 640E", "5@0 640E", "gap", "gap", "gap"];
        assert_eq!(log, expected);
        assert_eq!(finished, [DtmfFinished { id: Some(DtmfId(1)), sent: 1 }]);
    }

    #[test]
    fn the_next_key_begins_a_gap_later_with_its_own_timestamp() {
        let mut sender = DtmfSender::default();
        sender.push(Some(DtmfId(1)), request("1#", DtmfMethod::TelephoneEvent));
        let (log, _) = run(&mut sender, true);
        assert_eq!(log[11], "11@1440 M160");
        assert_eq!(log.iter().filter(|line| line.contains('M')).count(), 2);
    }

    #[test]
    fn without_telephone_events_keys_are_tones() {
        for (has_events, method) in [(false, DtmfMethod::TelephoneEvent), (true, DtmfMethod::InBand)] {
            let mut sender = DtmfSender::default();
            sender.push(Some(DtmfId(1)), request("5", method));
            let (log, _) = run(&mut sender, has_events);
            assert_eq!(log, ["tone", "tone", "tone", "tone", "gap", "gap", "gap", "gap", "gap"]);
        }
    }

    #[test]
    fn a_cancelled_run_ends_the_key_that_is_down() {
        let mut sender = DtmfSender::default();
        sender.push(Some(DtmfId(1)), DtmfRequest { duration: LONGEST_KEY, ..request("123", DtmfMethod::TelephoneEvent) });
        sender.push(Some(DtmfId(2)), request("9", DtmfMethod::InBand));
        assert_eq!(sender.finished(), None);
        for _ in 0..5 {
            sender.step(0, 8000, PTIME, true, &mut [0; 160], |_| 0);
        }
        sender.cancel(DtmfId(1));
        let (log, finished) = run(&mut sender, true);
        assert!(log[0].ends_with('E'), "{log:?}");
        assert_eq!(finished, [DtmfFinished { id: Some(DtmfId(1)), sent: 1 }, DtmfFinished { id: Some(DtmfId(2)), sent: 1 }]);
        assert!(!log.iter().any(|line| line.starts_with("2@")));
    }

    #[test]
    fn a_cancelled_run_does_not_hold_the_line_for_its_gap() {
        for (method, steps) in [(DtmfMethod::TelephoneEvent, 5), (DtmfMethod::TelephoneEvent, 8), (DtmfMethod::InBand, 10)] {
            let mut sender = DtmfSender::default();
            sender.push(Some(DtmfId(1)), DtmfRequest { gap: Duration::from_secs(5), ..request("12", method) });
            assert_eq!(sender.finished(), None);
            for _ in 0..steps {
                sender.step(0, 8000, PTIME, true, &mut [0; 160], |_| 0);
            }
            sender.cancel(DtmfId(1));
            let (log, finished) = run(&mut sender, true);
            assert!(log.len() <= 3 + 2, "{log:?}");
            assert_eq!(finished, [DtmfFinished { id: Some(DtmfId(1)), sent: 1 }]);
        }
    }

    #[test]
    fn durations_and_gaps_are_brought_within_limits() {
        let mut sender = DtmfSender::default();
        let extreme = DtmfRequest { duration: Duration::MAX, gap: Duration::ZERO, ..request("1", DtmfMethod::TelephoneEvent) };
        sender.push(Some(DtmfId(1)), extreme);
        let (log, _) = run(&mut sender, true);
        assert_eq!(log.last().map(String::as_str), Some("1@0 64000E"));
        assert_eq!(log.len(), 3 + 399 + 2);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut sender = DtmfSender::default();
        let refused = (0..3000).filter_map(|id| sender.push(Some(DtmfId(id)), request("1", DtmfMethod::InBand))).count();
        assert_eq!((sender.waiting(), refused), (MAX_QUEUED, 3000 - MAX_QUEUED));
    }

    #[test]
    fn nothing_to_send_is_over_at_once() {
        let mut sender = DtmfSender::default();
        sender.push(Some(DtmfId(1)), request("", DtmfMethod::InBand));
        assert_eq!(sender.finished(), Some(DtmfFinished { id: Some(DtmfId(1)), sent: 0 }));
        assert!(sender.is_idle());
    }
}
