//! Putting the party of leg A on hold, and taking it off: a re-INVITE with `sendonly` or `sendrecv` (RFC 3264, section 8.4); a party
//! that holds us is put on hold with `inactive`.
//!
//! While it is held the party hears music or silence, whatever its leg is joined with. One offer is under way at a time; what is
//! wanted meanwhile follows it.

use std::time::Instant;

use lockstep_ctx_api::{BackendOutput, Event, OpError};
use lockstep_media::sdp::Direction;

use super::{NativeBackend, Task};
use crate::call::{AudioEnd, AudioId, AudioOptions, AudioSource, AudioStop, LegId, LegState, Switchboard};

/// Played where there is no music: it keeps away what the joined leg sends.
const SILENCE: &str = "silence:1000";
/// How often an offer is made to a party that always has one of its own under way, so it says.
const MOST_TRIES: u32 = 5;

/// The hold that we impose.
#[derive(Debug, Default)]
pub(super) struct Hold {
    wanted: bool,
    /// As the last exchange has settled it.
    agreed: bool,
    /// What the offer under way is for.
    offered: Option<bool>,
    /// Something was in the way of the last offer: `MayOffer` follows.
    waits: bool,
    /// How often that has been so since the last answer or wish.
    tries: u32,
    /// A play source.
    music: Option<String>,
    playing: Option<AudioId>,
    /// An operation plays in place of the music.
    displaced: bool,
    /// What watchers and the script were told last, whichever side holds.
    told: bool,
}

impl Hold {
    pub(super) fn plays(&self, audio: AudioId) -> bool {
        self.playing == Some(audio)
    }
}

impl<S: Switchboard> NativeBackend<S> {
    /// Puts the party on hold, with a play source as music, or takes it off. `Hold` or `Unhold` tells when it has agreed.
    ///
    /// # Errors
    /// `InvalidState` on a call that is not answered.
    pub fn set_hold(&mut self, now: Instant, hold: bool, music: Option<String>) -> Result<(), OpError> {
        if self.ended || self.a.state() != LegState::Answered {
            let state = if self.ended { "ended" } else { self.a.state().name() };
            return Err(OpError::invalid_state(if hold { "hold" } else { "unhold" }, state));
        }
        if std::mem::replace(&mut self.hold.wanted, hold) != hold {
            self.hold.tries = 0;
        }
        let is_other = std::mem::replace(&mut self.hold.music, music) != self.hold.music;
        if hold && is_other && self.hold.playing.is_some() {
            self.stop_hold_music();
            self.play_hold_music();
        }
        self.offer_hold();
        self.settle(now);
        Ok(())
    }

    /// Makes the offer that is due, if one is.
    pub(super) fn offer_hold(&mut self) {
        if self.hold.offered.is_none() && !self.hold.waits && self.hold.wanted != self.hold.agreed {
            self.hold.offered = Some(self.hold.wanted);
            self.a.offer(&mut self.board, direction(self.hold.wanted));
        }
    }

    /// What was in the way of the last offer is over.
    pub(super) fn may_offer_hold(&mut self) {
        self.hold.waits = false;
        self.offer_hold();
    }

    pub(super) fn hold_answered(&mut self, now: Instant, sdp: Option<&[u8]>) {
        let Some(offered) = self.hold.offered.take() else { return };
        if let Err(error) = self.a.offer_answered(&mut self.board, sdp) {
            self.a.offer_refused(direction(self.hold.agreed));
            return self.give_up_hold(&error.to_string());
        }
        self.hold.agreed = offered;
        self.hold.tries = 0;
        if offered {
            self.play_hold_music()
        } else {
            self.stop_hold_music()
        }
        self.tell_facts(now);
        self.tell_hold();
        self.offer_hold();
    }

    pub(super) fn hold_refused(&mut self, code: u16, reason: &str, again: bool) {
        if self.hold.offered.take().is_none() {
            return;
        }
        self.a.offer_refused(direction(self.hold.agreed));
        self.hold.waits = again;
        self.hold.tries += 1;
        if !again || self.hold.tries == MOST_TRIES {
            self.give_up_hold(&format!("{code} {reason}"));
        }
    }

    fn give_up_hold(&mut self, why: &str) {
        tracing::warn!(call = %self.setup.call_id, hold = self.hold.wanted, why, "the party does not agree to be put on hold or taken off");
        self.hold.wanted = self.hold.agreed;
    }

    /// What an operation plays to the party is not talked over.
    fn play_hold_music(&mut self) {
        self.hold.displaced = !self.is_free_for_music();
        if !self.hold.displaced {
            let source = self.hold.music.clone().unwrap_or_else(|| SILENCE.to_owned());
            self.play_to_held(source);
        }
    }

    fn is_free_for_music(&self) -> bool {
        let is_free = match &self.task {
            None | Some((_, Task::Sleep { .. })) => true,
            Some((_, Task::Bridge(task))) => !task.plays_ringback(),
            Some((_, Task::Answer | Task::Play(_) | Task::Collect(_) | Task::SendDtmf(_) | Task::Echo)) => false,
        };
        is_free && self.asides.values().all(|(leg, _)| *leg != LegId::A)
    }

    /// The music goes on once nothing else is played any more.
    pub(super) fn resume_hold_music(&mut self) {
        if self.hold.displaced && self.hold.agreed && self.is_free_for_music() {
            self.play_hold_music();
        }
    }

    fn play_to_held(&mut self, source: String) {
        let options = AudioOptions { repeat: 0, ..AudioOptions::PLAIN };
        let source = AudioSource::Files(vec![source]);
        self.hold.playing = Some(self.audio.start(&mut self.board, LegId::A, self.a.codec(), &source, options));
    }

    fn stop_hold_music(&mut self) {
        self.hold.displaced = false;
        if let Some(audio) = self.hold.playing.take() {
            self.audio.stop(&mut self.board, audio);
        }
    }

    /// Something else is played, or this cannot be: by itself only what has no sound in it ends.
    pub(super) fn hold_music_ended(&mut self, result: Result<AudioEnd, OpError>) {
        self.hold.playing = None;
        let problem = match result {
            Ok(AudioEnd { how: AudioStop::Completed, .. }) => "there is no sound in it".to_owned(),
            Ok(AudioEnd { how: AudioStop::Stopped | AudioStop::Digit(_), .. }) => {
                self.hold.displaced = true;
                return;
            }
            Err(error) => error.to_string(),
        };
        tracing::warn!(call = %self.setup.call_id, problem, "no music on hold");
        if self.hold.music.take().is_some() {
            self.play_to_held(SILENCE.to_owned());
        }
    }

    /// Tells of a hold by either side, or of the end of both.
    pub(super) fn tell_hold(&mut self) {
        let held = self.a.is_held() || self.hold.agreed;
        if std::mem::replace(&mut self.hold.told, held) != held {
            self.outputs.push_back(BackendOutput::Event(if held { Event::Hold } else { Event::Unhold }));
        }
    }
}

fn direction(hold: bool) -> Direction {
    if hold { Direction::SendOnly } else { Direction::SendRecv }
}
