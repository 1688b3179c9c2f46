//! What needs the audio itself and not just its packets: the search for tones, and echo.

use std::time::{Duration, Instant};

use crate::digit::Digit;
use crate::dtmf::{DtmfDetector, HeardDigit};
use crate::echo::EchoLine;
use crate::jitter_buffer::JitterBuffer;
use crate::rtp::RtpTimestamp;

/// A tone has ended when its audio stops coming for this long.
const AUDIO_STOPPED: Duration = Duration::from_millis(120);

/// A tone may bridge this much missing audio: two packets of 20 ms.
const BRIDGED_TICKS: i32 = 320;

/// A leg's audio, put in order, and whoever listens to it.
#[derive(Debug, Default)]
pub(super) struct Decoding {
    pub(super) buffer: JitterBuffer,
    pub(super) detector: Option<DtmfDetector>,
    pub(super) echo: Option<EchoLine>,
    /// The timestamp the next frame has when nothing is missing.
    expected: Option<RtpTimestamp>,
    last_audio: Option<Instant>,
}

impl Decoding {
    /// Whoever listens is the same, but sequence and timestamps start anew.
    pub(super) fn reset(&mut self) {
        self.buffer.reset();
        self.expected = None;
    }

    /// Nobody listens.
    pub(super) fn is_needless(&self) -> bool {
        self.detector.is_none() && self.echo.is_none()
    }

    /// The key whose tone sounds.
    pub(super) fn sounding(&self) -> Option<Digit> {
        self.detector.as_ref().and_then(DtmfDetector::sounding)
    }

    /// When a tone counts as ended because its audio stopped coming.
    pub(super) fn tone_deadline(&self) -> Option<Instant> {
        self.last_audio.filter(|_| self.sounding().is_some()).map(|last| last + AUDIO_STOPPED)
    }

    /// Takes everything whose turn has come; returns the keys heard in it.
    pub(super) fn drain(&mut self, now: Instant) -> Vec<HeardDigit> {
        let mut heard = Vec::new();
        while let Some(frame) = self.buffer.pop(now) {
            // Events and comfort noise hold a place in the sequence and nothing else.
            if frame.payload.is_empty() {
                continue;
            }
            let gap = self.expected.map_or(0, |expected| frame.timestamp.distance(expected));
            self.expected = Some(frame.timestamp.plus(frame.payload.len() as u32));
            self.last_audio = Some(now);
            if let Some(echo) = &mut self.echo {
                echo.push(frame.codec, frame.payload, gap != 0);
            }
            if let Some(detector) = &mut self.detector {
                if !(0..=BRIDGED_TICKS).contains(&gap) {
                    heard.extend(detector.flush());
                }
                let samples = frame.payload.iter().map(|&octet| frame.codec.decode_sample(octet));
                detector.push(samples, |digit| heard.push(digit));
            }
        }
        heard
    }
}
