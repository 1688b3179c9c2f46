//! `sendDtmf`: keys by RFC 4733, in the audio, or by INFO; `w` and `W` pause.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{DtmfMethod, MAX_DTMF_KEYS, SendDtmfArgs};
use lockstep_ctx_api::{ErrorCode, OpError, OpId, Outcome};
use lockstep_media::digit::Digit;
use lockstep_media::stream::{Command, DtmfId, DtmfMethod as MediaMethod, DtmfRequest};

use super::{NativeBackend, Task};
use crate::call::{LegId, Signal, Switchboard};

/// A run of keys under way.
#[derive(Debug)]
pub(super) struct SendDtmfTask {
    left: VecDeque<Part>,
    /// When the part under way is over; `None`: the media tell.
    until: Option<Instant>,
    /// What the media are sending. No other run of the call has its name: one that was given up still ends its last key, and is
    /// then told of.
    run: Option<DtmfId>,
    duration_ms: u32,
    gap_ms: u32,
    method: Option<DtmfMethod>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Keys(Vec<Digit>),
    Pause(Duration),
}

impl SendDtmfTask {
    pub(super) fn wait_until(&self) -> Option<Instant> {
        self.until
    }
}

impl<S: Switchboard> NativeBackend<S> {
    pub(super) fn start_send_dtmf(&mut self, now: Instant, id: OpId, args: &SendDtmfArgs) {
        let ready = if self.a.has_media_path() {
            parts(&args.digits, args.method == Some(DtmfMethod::Info))
        } else {
            Err(OpError::invalid_state("sendDtmf", self.a.state().name()))
        };
        let begun = ready.map(|left| {
            Task::SendDtmf(SendDtmfTask {
                left,
                until: Some(now),
                run: None,
                duration_ms: args.duration_ms,
                gap_ms: args.gap_ms,
                method: args.method,
            })
        });
        self.begin(id, begun);
        self.send_more_dtmf(now);
    }

    /// Goes on when the last part is over.
    pub(super) fn send_more_dtmf(&mut self, now: Instant) {
        let Some((_, Task::SendDtmf(task))) = &mut self.task else { return };
        if task.until.is_none_or(|until| now < until) {
            return;
        }
        let Some(part) = task.left.pop_front() else { return self.complete_task(Ok(Outcome::Unit)) };
        task.until = match part {
            Part::Pause(pause) => now.checked_add(pause),
            Part::Keys(keys) => match task.method {
                Some(DtmfMethod::Info) => {
                    for key in keys {
                        let digit = key.as_char();
                        self.board.signal(LegId::A, Signal::InfoDigit { digit, duration_ms: task.duration_ms });
                    }
                    let time = u64::from(task.duration_ms) + u64::from(task.gap_ms);
                    now.checked_add(Duration::from_millis(time))
                }
                Some(DtmfMethod::Rfc4733 | DtmfMethod::Inband) | None => {
                    let in_band = task.method == Some(DtmfMethod::Inband);
                    self.last_dtmf = DtmfId(self.last_dtmf.0 + 1);
                    let id = self.last_dtmf;
                    task.run = Some(id);
                    let request = DtmfRequest {
                        digits: keys,
                        duration: Duration::from_millis(u64::from(task.duration_ms)),
                        gap: Duration::from_millis(u64::from(task.gap_ms)),
                        method: if in_band { MediaMethod::InBand } else { MediaMethod::TelephoneEvent },
                    };
                    self.board.media(LegId::A, Command::SendDtmf { id, request });
                    None
                }
            },
        };
    }

    /// The media have sent a run of keys.
    pub(super) fn dtmf_sent(&mut self, now: Instant, run: DtmfId) {
        if let Some((_, Task::SendDtmf(task))) = &mut self.task
            && task.run.take_if(|under_way| *under_way == run).is_some()
        {
            task.until = Some(now);
            self.send_more_dtmf(now);
        }
    }

    pub(super) fn stop_sending(&mut self, task: &SendDtmfTask) {
        if let Some(run) = task.run {
            self.board.media(LegId::A, Command::CancelDtmf(run));
        }
    }
}

/// Keys that follow one another without a pause go together, except by INFO, where each is a message of its own.
fn parts(digits: &str, one_by_one: bool) -> Result<VecDeque<Part>, OpError> {
    if digits.chars().count() > MAX_DTMF_KEYS {
        return Err(OpError::new(ErrorCode::RangeError, format!("sendDtmf: expected at most {MAX_DTMF_KEYS} keys")));
    }
    let mut parts: VecDeque<Part> = VecDeque::new();
    for key in digits.chars() {
        match (key, Digit::from_char(key)) {
            ('w' | 'W', _) => parts.push_back(Part::Pause(Duration::from_millis(if key == 'w' { 500 } else { 1_000 }))),
            (_, Some(digit)) => match parts.back_mut() {
                Some(Part::Keys(keys)) if !one_by_one => keys.push(digit),
                Some(Part::Keys(_) | Part::Pause(_)) | None => parts.push_back(Part::Keys(vec![digit])),
            },
            (other, None) => {
                let message = format!("sendDtmf: expected 0-9, *, #, A-D, w or W, got {other:?}");
                return Err(OpError::new(ErrorCode::RangeError, message));
            }
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Part {
        Part::Keys(text.chars().filter_map(Digit::from_char).collect())
    }

    #[test]
    fn keys_go_together_between_pauses() {
        let pause = |ms| Part::Pause(Duration::from_millis(ms));
        assert_eq!(parts("12wW#d", false).unwrap(), [keys("12"), pause(500), pause(1_000), keys("#D")]);
        assert_eq!(parts("12", true).unwrap(), [keys("1"), keys("2")]);
    }

    #[test]
    fn what_is_no_key_is_named() {
        assert_eq!(parts("1x", false).unwrap_err().message, "sendDtmf: expected 0-9, *, #, A-D, w or W, got 'x'");
        assert_eq!(parts(&"1".repeat(MAX_DTMF_KEYS + 1), false).unwrap_err().code, ErrorCode::RangeError);
    }
}
