//! One call of the softphone: what it has agreed on, and where its dialog stands.
//!
//! ```text
//!  dial ──► Calling ──2xx──► Up ──BYE──► over        ring, answer ──► Offered ──2xx, ACK──► Up
//!              └──── CANCEL, final response ──► over          └── reject, CANCEL ──► over
//! ```

use lockstep_media::sdp::{Direction, LocalMedia, Negotiated, OfferAnswer, SdpError};
use lockstep_media::stream::{Command as StreamCommand, MediaEvent};
use lockstep_sip::auth::ClientAuth;
use lockstep_sip::endpoint::{DialogId, IncomingId, RequestId};
use tokio::sync::mpsc;

use super::event::{Ended, PhoneEvent};
use super::media::MediaCommand;

/// Where the signalling stands.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Our INVITE is out.
    Calling {
        request: RequestId,
    },
    /// An INVITE came in; `offer` is what it carried.
    Offered {
        id: IncomingId,
        dialog: DialogId,
        offer: Option<Vec<u8>>,
    },
    /// Our 2xx waits for its ACK.
    Answering {
        id: IncomingId,
        dialog: DialogId,
    },
    Up {
        dialog: DialogId,
    },
}

/// A call.
pub(super) struct Call {
    pub(super) state: State,
    pub(super) auth: Option<ClientAuth>,
    /// Our re-INVITE under way.
    pub(super) reinvite: Option<RequestId>,
    /// It met one of the other side, and must be sent again once the wait is over (RFC 3261 section 14.1).
    pub(super) glare: bool,
    /// Something else is wanted by now: another one must follow it.
    pub(super) reinvite_again: bool,
    sdp: OfferAnswer,
    media: mpsc::UnboundedSender<MediaCommand>,
    events: mpsc::UnboundedSender<PhoneEvent>,
    held: bool,
}

impl Call {
    pub(super) fn new(
        state: State,
        local: LocalMedia,
        media: mpsc::UnboundedSender<MediaCommand>,
        events: mpsc::UnboundedSender<PhoneEvent>,
    ) -> Self {
        Self {
            state,
            auth: None,
            reinvite: None,
            glare: false,
            reinvite_again: false,
            sdp: OfferAnswer::new(local),
            media,
            events,
            held: false,
        }
    }

    /// The dialog, once there is one.
    pub(super) fn dialog(&self) -> Option<DialogId> {
        match &self.state {
            State::Calling { .. } => None,
            State::Offered { dialog, .. } | State::Answering { dialog, .. } | State::Up { dialog } => Some(*dialog),
        }
    }

    /// Whether `id` is a request of ours for this call.
    pub(super) fn sent(&self, id: RequestId) -> bool {
        self.reinvite == Some(id) || matches!(self.state, State::Calling { request } if request == id)
    }

    /// Whether `id` is the INVITE that this call came in with.
    pub(super) fn came_as(&self, incoming: IncomingId) -> bool {
        matches!(self.state, State::Offered { id, .. } | State::Answering { id, .. } if id == incoming)
    }

    pub(super) fn offer(&mut self) -> String {
        self.sdp.offer()
    }

    pub(super) fn want(&mut self, direction: Direction) {
        self.sdp.want(direction);
    }

    pub(super) fn withdraw_offer(&mut self) {
        self.sdp.withdraw_offer();
    }

    /// Answers an offer; media goes on as agreed.
    pub(super) fn answer(&mut self, offer: &[u8]) -> Result<String, SdpError> {
        let (answer, negotiated) = self.sdp.answer(offer)?;
        self.agreed(negotiated);
        Ok(answer)
    }

    /// Takes the answer to our offer; media goes on as agreed.
    pub(super) fn take_answer(&mut self, answer: &[u8]) -> Result<(), SdpError> {
        let negotiated = self.sdp.take_answer(answer)?;
        self.agreed(negotiated);
        Ok(())
    }

    fn agreed(&mut self, negotiated: Negotiated) {
        if negotiated.held != self.held {
            self.held = negotiated.held;
            self.tell(if self.held { PhoneEvent::Held } else { PhoneEvent::Resumed });
        }
        self.media(MediaCommand::Negotiated(Box::new(negotiated)));
    }

    /// The codec both sides speak.
    pub(super) fn codec(&self) -> Option<&'static str> {
        self.sdp.current().map(|negotiated| negotiated.codec.name())
    }

    pub(super) fn stream(&self, command: StreamCommand) {
        self.media(MediaCommand::Stream(command));
    }

    fn media(&self, command: MediaCommand) {
        // The media task ends with this sender, not before it.
        let _ = self.media.send(command);
    }

    pub(super) fn tell(&self, event: PhoneEvent) {
        // Whoever dropped the call's handle does not want to know.
        let _ = self.events.send(event);
    }

    /// Ends the call; `Ended` follows once everything that came before it was heard.
    pub(super) fn ended(self, ended: Ended) {
        self.media(MediaCommand::Ended { ended, events: self.events.clone() });
    }

    pub(super) fn media_event(&self, event: MediaEvent) {
        use lockstep_media::playout::PlayoutEnd;
        let event = match event {
            MediaEvent::Digit { digit, duration, .. } => {
                PhoneEvent::Digit { digit: digit.as_char(), duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) }
            }
            MediaEvent::PlayoutFinished { end, .. } => PhoneEvent::Played { completed: end == PlayoutEnd::Completed },
            MediaEvent::DtmfSent { sent, .. } => PhoneEvent::Pressed { digits: sent },
            MediaEvent::MediaStarted { source } => PhoneEvent::MediaStarted { from: source.to_string() },
            MediaEvent::RecordingFinished { .. } | MediaEvent::MediaTimeout { .. } | MediaEvent::RemoteBye => return,
        };
        self.tell(event);
    }
}
