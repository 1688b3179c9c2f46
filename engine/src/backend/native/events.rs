//! What SIP and media report about the legs of a call.

use std::sync::Arc;
use std::time::Instant;

use lockstep_ctx_api::op::{DtmfMethod, Headers};
use lockstep_ctx_api::{BackendOutput, CallEndedCause, EndedBy, Event, OpError, Outcome};
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::stream::{DtmfMethod as MediaMethod, MediaEvent};

use super::{NativeBackend, Task};
use crate::call::{AudioEnd, AudioId, LegEvent, LegId, LoadId, Switchboard, millis};

impl<S: Switchboard> NativeBackend<S> {
    /// Something happened on a leg's dialog.
    pub fn leg_event(&mut self, now: Instant, leg: LegId, event: LegEvent) {
        if self.ended {
            return;
        }
        if leg == LegId::A {
            self.near_event(now, event);
        } else if self.calling.is_some() {
            self.callee_event(now, leg, event);
        } else {
            self.far_event(now, leg, event);
        }
        self.settle(now);
    }

    /// A leg's media reports.
    pub fn media_event(&mut self, now: Instant, leg: LegId, event: MediaEvent) {
        if self.ended {
            return;
        }
        match event {
            MediaEvent::PlayoutFinished { id, played, end } => self.audio.finished(AudioId::of_play(id), played, end),
            MediaEvent::Digit { digit, duration, method } => {
                let method = match method {
                    MediaMethod::TelephoneEvent => DtmfMethod::Rfc4733,
                    MediaMethod::InBand => DtmfMethod::Inband,
                };
                let duration_ms = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
                if leg == LegId::A {
                    self.caller_digit(now, digit.as_char(), duration_ms, method);
                } else {
                    self.far_digit(now, leg, digit.as_char(), None);
                }
            }
            MediaEvent::DtmfSent { id, .. } if leg == LegId::A => self.dtmf_sent(now, id),
            MediaEvent::MediaStarted { .. } if leg != LegId::A => {
                if let Some((_, Task::Bridge(task))) = &mut self.task {
                    task.bridge.media_arrived(leg);
                }
            }
            MediaEvent::MediaTimeout { silent_for } => {
                let silent_ms = millis(silent_for);
                let bleg = (leg != LegId::A).then(|| self.far_name(leg));
                if leg == LegId::A || self.is_joined(leg) {
                    self.outputs.push_back(BackendOutput::Event(Event::MediaTimeout { silent_ms, bleg }));
                }
            }
            // The dialog says when a party is gone; RTCP only says that its stream is.
            // A recording is over for the script once its file is complete: `recording_event`.
            MediaEvent::RecordingFinished { .. }
            | MediaEvent::RemoteBye
            | MediaEvent::DtmfSent { .. }
            | MediaEvent::MediaStarted { .. } => {}
        }
        self.settle(now);
    }

    /// Audio that was asked for is here, or cannot be had.
    pub fn loaded(&mut self, now: Instant, load: LoadId, result: Result<Vec<Arc<EncodedPrompt>>, OpError>) {
        self.audio.loaded(&mut self.board, AudioId::of_load(load), result);
        self.settle(now);
    }

    pub(super) fn audio_ended(&mut self, now: Instant, audio: AudioId, result: Result<AudioEnd, OpError>) {
        if self.aside_ended(audio, &result) {
            return;
        }
        match &self.task {
            Some((_, Task::Play(playing))) if *playing == audio => self.play_ended(result),
            Some((_, Task::Collect(task))) if task.plays(audio) => self.collect_audio_ended(now, result.map(|_| ())),
            Some((_, Task::Bridge(task))) if task.plays(audio) => self.bridge_audio_ended(now, audio, result.map(|_| ())),
            _ if self.hold.plays(audio) => self.hold_music_ended(result),
            // Its operation was aborted in the meantime.
            Some(_) | None => {}
        }
    }

    fn near_event(&mut self, now: Instant, event: LegEvent) {
        match event {
            LegEvent::Acked { sdp } => match self.a.acked(&mut self.board, sdp.as_deref()) {
                Ok(()) => {
                    self.tell_facts(now);
                    self.tell_hold();
                    if matches!(self.task, Some((_, Task::Answer))) {
                        self.complete_task(Ok(Outcome::Unit));
                    }
                }
                Err(error) => self.no_media_in_common(&error.to_string()),
            },
            LegEvent::Offer { offer, branch, sdp } => {
                self.a.offered(&mut self.board, offer, branch, sdp.as_deref());
                self.tell_facts(now);
                self.tell_hold();
            }
            LegEvent::OfferAnswered { sdp } => self.hold_answered(now, sdp.as_deref()),
            LegEvent::OfferRefused { code, reason, again } => self.hold_refused(code, &reason, again),
            LegEvent::MayOffer => self.may_offer_hold(),
            LegEvent::Refreshed { sdp } => {
                self.a.refreshed(&mut self.board, &sdp);
                self.tell_facts(now);
                self.tell_hold();
            }
            LegEvent::Digit { digit, duration_ms } => self.caller_digit(now, digit, duration_ms, DtmfMethod::Info),
            // What comes of an INVITE of ours comes on the far legs of a bridge or a callee.
            LegEvent::Progress { .. }
            | LegEvent::BranchOver
            | LegEvent::Answered { .. }
            | LegEvent::Failed { .. }
            | LegEvent::Elsewhere { .. } => {}
            LegEvent::Over { code, reason, by_peer } => {
                let by = match (by_peer, self.originated) {
                    (true, true) => EndedBy::Callee,
                    (true, false) => EndedBy::Caller,
                    (false, _) => EndedBy::Engine,
                };
                self.finish(CallEndedCause { code, reason, by });
            }
        }
    }

    fn far_event(&mut self, now: Instant, id: LegId, event: LegEvent) {
        let Some(leg) = self.far.get_mut(&id) else { return };
        let Some((_, Task::Bridge(task))) = &mut self.task else { return };
        match event {
            LegEvent::Progress { code, sdp } => {
                leg.progress(&mut self.board, sdp);
                if matches!(code, 180 | 183) {
                    task.bridge.ringing(id);
                }
            }
            LegEvent::BranchOver => {
                task.bridge.branch_over(id);
                self.unhear(id);
            }
            LegEvent::Answered { branch, sdp } => match leg.answered(&mut self.board, branch, sdp.as_deref()) {
                Ok(()) => task.bridge.answered(now, id),
                Err(error) => {
                    let headers = vec![super::end::reason_header(488, &error.to_string())];
                    leg.hang_up(&mut self.board, headers);
                    self.far_over(now, id, (488, "Not Acceptable Here"), false);
                }
            },
            LegEvent::Failed { code, reason, by_peer } | LegEvent::Over { code, reason, by_peer } => {
                self.far_over(now, id, (code, reason.as_str()), by_peer);
            }
            LegEvent::Elsewhere { .. } => {
                if let Err(error) = leg.dial_again(&mut self.board) {
                    self.far_over(now, id, (503, error.message.as_str()), false);
                }
            }
            LegEvent::Acked { sdp } => {
                if leg.acked(&mut self.board, sdp.as_deref()).is_err() {
                    leg.hang_up(&mut self.board, Headers::new());
                    self.far_over(now, id, (488, "Not Acceptable Here"), false);
                }
            }
            LegEvent::Offer { offer, branch, sdp } => {
                leg.offered(&mut self.board, offer, branch, sdp.as_deref());
            }
            LegEvent::Refreshed { sdp } => leg.refreshed(&mut self.board, &sdp),
            LegEvent::Digit { digit, duration_ms } => self.far_digit(now, id, digit, Some(duration_ms)),
            // Far legs are made no offers.
            LegEvent::OfferAnswered { .. } | LegEvent::OfferRefused { .. } | LegEvent::MayOffer => {}
        }
    }

    fn far_over(&mut self, now: Instant, id: LegId, (code, reason): (u16, &str), by_peer: bool) {
        self.unhear(id);
        if let Some(mut leg) = self.far.remove(&id) {
            leg.over(&mut self.board);
        }
        self.audio.leg_over(&mut self.board, id);
        self.end_asides(id, &OpError::aborted("play"));
        if let Some((_, Task::Bridge(task))) = &mut self.task {
            let by = if by_peer { EndedBy::Callee } else { EndedBy::Engine };
            task.bridge.leg_over(now, id, code, reason, by);
        }
    }

    /// A key of the caller: told to the script, then given to whoever collects.
    fn caller_digit(&mut self, now: Instant, digit: char, duration_ms: u32, method: DtmfMethod) {
        if !self.digits.accepts(digit) {
            return;
        }
        self.outputs.push_back(BackendOutput::Event(Event::Dtmf { digit, duration_ms, method }));
        if self.joined {
            // Telephone events and tones go on with the audio; whoever has the other call passes on what came by INFO.
            return;
        }
        if self.bridge_took_digit(now, digit, (method == DtmfMethod::Info).then_some(duration_ms)) {
            return;
        }
        match &mut self.task {
            Some((_, Task::Collect(task))) => task.collector.digit(now, digit, &mut self.digits),
            Some((_, Task::Play(audio))) => {
                let audio = *audio;
                self.digits.keep(digit);
                // Telephone events and tones stop the media themselves; an INFO never passes through them.
                if method == DtmfMethod::Info {
                    self.audio.stop_on_key(&mut self.board, audio, digit);
                }
            }
            Some((_, Task::Answer | Task::SendDtmf(_) | Task::Echo | Task::Bridge(_) | Task::Sleep { .. })) | None => {
                self.digits.keep(digit);
            }
        }
    }

    /// The peer answered with a description that cannot be used, when it is too late to refuse.
    fn no_media_in_common(&mut self, problem: &str) {
        self.a.hang_up(&mut self.board, vec![super::end::reason_header(488, problem)]);
        self.finish(CallEndedCause { code: 488, reason: problem.to_owned(), by: EndedBy::Engine });
    }
}
