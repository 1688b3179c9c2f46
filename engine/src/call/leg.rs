//! A leg: one dialog and one media stream.
//!
//! ```text
//!   inbound    New ──180──► Ringing ──183──► Early ──200──► Answering ──ACK──► Answered ──BYE──► Over
//!   outbound   New ──180──► Ringing ──183──► Early ──────────200───────────► Answered ──BYE──► Over
//! ```
//!
//! States may be skipped, never gone back to.

use bytes::Bytes;
use lockstep_ctx_api::op::Headers;
use lockstep_ctx_api::{CallState, ErrorCode, OpError};
use lockstep_media::codec::Codec;
use lockstep_media::digit::DigitSet;
use lockstep_media::sdp::{Direction, Negotiated, OfferAnswer, SdpError};
use lockstep_media::stream::Command;

use super::LegId;
use super::switchboard::{BranchId, Dial, OfferId, RouteId, Signal, Switchboard};

/// Branches of one INVITE whose media are remembered: as many as the endpoint follows at a time.
const MOST_BRANCHES: usize = 16;

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LegState {
    New,
    Ringing,
    /// Media flows before the answer.
    Early,
    /// 200 was sent; its ACK has not come.
    Answering,
    Answered,
    Over,
}

impl LegState {
    /// As scripts see it.
    pub fn call_state(self) -> CallState {
        match self {
            Self::New => CallState::New,
            Self::Ringing => CallState::Ringing,
            Self::Early | Self::Answering => CallState::Early,
            Self::Answered => CallState::Answered,
            Self::Over => CallState::Ended,
        }
    }

    /// As error messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answering => "being answered",
            state => state.call_state().name(),
        }
    }
}

/// Which side sent the INVITE.
#[derive(Clone, Debug)]
enum Side {
    /// The peer did; `None`: without an offer, so that we make one in the 200.
    Inbound { offer: Option<Bytes> },
    /// We did.
    Outbound,
}

/// What a leg was dialled with, and what has come of it.
#[derive(Clone, Debug)]
struct Dialled {
    near: Option<LegId>,
    codecs: Vec<Codec>,
    dial: Dial,
    /// With our offer and no answer: where the exchange of every branch begins.
    invited: OfferAnswer,
    /// The exchanges of branches that have described their media, the latest at the end (RFC 3261 13.2.2.4).
    branches: Vec<(BranchId, OfferAnswer)>,
}

/// One leg of a call.
#[derive(Debug)]
pub struct Leg {
    id: LegId,
    side: Side,
    state: LegState,
    /// While it rings, that of the branch that described its media last.
    exchange: Option<OfferAnswer>,
    /// How it was dialled, until it is answered.
    dialled: Option<Dialled>,
    /// Our answer as sent in a 183; the 200 repeats it.
    answer: Option<String>,
    held: bool,
    /// Keys of the peer that its media tell nobody of.
    blocked: DigitSet,
    /// An offerless re-INVITE was answered with our offer; the ACK brings the answer.
    answer_due: bool,
}

impl Leg {
    /// A leg the peer began. `offer` is the INVITE's session description.
    pub fn inbound(id: LegId, offer: Option<Bytes>) -> Self {
        Self::new(id, Side::Inbound { offer })
    }

    /// A leg we begin.
    pub fn outbound(id: LegId) -> Self {
        Self::new(id, Side::Outbound)
    }

    fn new(id: LegId, side: Side) -> Self {
        Self {
            id,
            side,
            state: LegState::New,
            exchange: None,
            dialled: None,
            answer: None,
            held: false,
            blocked: DigitSet::NONE,
            answer_due: false,
        }
    }

    /// The same leg as leg A; see [`Switchboard::adopt`].
    pub fn into_near(self) -> Self {
        Self { id: LegId::A, ..self }
    }

    /// Where the leg stands.
    pub fn state(&self) -> LegState {
        self.state
    }

    /// What offer and answer have settled.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.exchange.as_ref().and_then(OfferAnswer::current)
    }

    /// Whether audio can be heard on it.
    pub fn has_media_path(&self) -> bool {
        matches!(self.state, LegState::Early | LegState::Answering | LegState::Answered) && self.negotiated().is_some()
    }

    /// The codec audio for this leg is encoded in.
    pub fn codec(&self) -> Codec {
        self.negotiated().map_or(Codec::Pcmu, |negotiated| negotiated.codec)
    }

    /// Blocks these keys of the peer, and no others, from now on: its media, also those opened later, tell nobody of them.
    pub fn block(&mut self, board: &mut dyn Switchboard, keys: DigitSet) {
        let before = std::mem::replace(&mut self.blocked, keys);
        if self.exchange.is_some() && before != keys {
            board.media(self.id, Command::BlockDtmf(keys));
        }
    }

    /// Sends 180.
    pub fn ring(&mut self, board: &mut dyn Switchboard, headers: Headers) {
        board.signal(self.id, Signal::Provisional { code: 180, headers, sdp: None });
        self.reach(LegState::Ringing);
    }

    /// Sends 183 with our answer, so that audio can flow before the 200. Nothing to do when it flows already.
    pub fn start_early_media(&mut self, board: &mut dyn Switchboard, headers: Headers) -> Result<(), OpError> {
        if self.state >= LegState::Early {
            return Ok(());
        }
        let sdp = self.make_answer(board, None)?;
        board.signal(self.id, Signal::Provisional { code: 183, headers, sdp: Some(sdp) });
        self.reach(LegState::Early);
        Ok(())
    }

    /// Sends 200, with our answer or, when the INVITE had no offer, with our offer.
    pub fn answer(&mut self, board: &mut dyn Switchboard, headers: Headers, codecs: &[Codec]) -> Result<(), OpError> {
        let has_offer = matches!(&self.side, Side::Inbound { offer: Some(_) });
        let sdp = if has_offer {
            self.make_answer(board, Some(codecs))?
        } else {
            let exchange = self.open(board, None, None)?;
            exchange.set_codecs(codecs.to_vec());
            exchange.offer()
        };
        board.signal(self.id, Signal::Accept { headers, sdp });
        self.reach(LegState::Answering);
        Ok(())
    }

    /// The ACK came, with an answer when our 2xx carried an offer. An answer to the first one that cannot be used is an error;
    /// the leg is then to be hung up. Later what was agreed before goes on (RFC 3261 14.1).
    pub fn acked(&mut self, board: &mut dyn Switchboard, sdp: Option<&[u8]>) -> Result<(), SdpError> {
        let first = self.state == LegState::Answering;
        let late_offer = matches!(&self.side, Side::Inbound { offer: None });
        if first {
            self.reach(LegState::Answered);
        }
        let due = std::mem::take(&mut self.answer_due) || (first && late_offer);
        if !due {
            return Ok(());
        }
        match sdp.ok_or(SdpError::NoAudio).and_then(|sdp| self.take_answer(board, sdp)) {
            Err(error) if !first => {
                tracing::debug!(%error, "a re-INVITE without an offer brought no answer to ours");
                self.exchange.iter_mut().for_each(OfferAnswer::withdraw_offer);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Opens ports without telling the peer: legs that will be joined with this one are opened near it.
    pub fn open_ports(&mut self, board: &mut dyn Switchboard) -> Result<(), OpError> {
        self.open(board, None, None).map(|_| ())
    }

    /// Opens ports and sends an INVITE with our offer. `near` is the leg it may be joined with.
    pub fn dial(
        &mut self,
        board: &mut dyn Switchboard,
        near: Option<LegId>,
        codecs: Vec<Codec>,
        dial: Dial,
    ) -> Result<(), OpError> {
        let exchange = self.open(board, near, Some(dial.route))?;
        exchange.set_codecs(codecs.clone());
        let offer = exchange.offer();
        let invited = exchange.clone();
        self.dialled = Some(Dialled { near, codecs, dial: dial.clone(), invited, branches: Vec::new() });
        board.dial(self.id, dial, offer);
        Ok(())
    }

    /// Dials again from another address of ours, after [`LegEvent::Elsewhere`](super::LegEvent::Elsewhere): its media are closed.
    pub fn dial_again(&mut self, board: &mut dyn Switchboard) -> Result<(), OpError> {
        self.exchange = None;
        let unknown = || OpError::new(ErrorCode::NetworkError, "the leg was not dialled");
        let Dialled { near, codecs, dial, .. } = self.dialled.take().ok_or_else(unknown)?;
        self.dial(board, near, codecs, dial)
    }

    /// A provisional response to our INVITE came. A description that cannot be used is as good as none.
    pub fn progress(&mut self, board: &mut dyn Switchboard, sdp: Option<(BranchId, Bytes)>) {
        match sdp {
            Some((branch, sdp)) if self.take_answer_of(board, branch, &sdp).is_ok() => self.reach(LegState::Early),
            Some(_) | None => self.reach(LegState::Ringing),
        }
    }

    /// A branch of our INVITE has answered. A description that an UPDATE has put out of date is none.
    pub fn answered(&mut self, board: &mut dyn Switchboard, branch: BranchId, sdp: Option<&[u8]>) -> Result<(), SdpError> {
        self.reach(LegState::Answered);
        let outcome = match sdp {
            Some(sdp) => self.take_answer_of(board, branch, sdp),
            None => self.settle_on(board, branch),
        };
        self.dialled = None;
        outcome
    }

    /// A re-INVITE or UPDATE came: answers it.
    pub fn offered(&mut self, board: &mut dyn Switchboard, offer: OfferId, branch: BranchId, sdp: Option<&[u8]>) {
        let Some(mut exchange) = self.exchange_of(branch) else {
            // An UPDATE before there is any media of ours: the peer may try again once there is (RFC 3311 5.2).
            board.signal(self.id, Signal::RefuseOffer { offer, code: 500 });
            return;
        };
        let Some(sdp) = sdp else {
            let ours = exchange.offer();
            self.follow(branch, exchange);
            self.answer_due = true;
            board.signal(self.id, Signal::AcceptOffer { offer, sdp: Some(ours) });
            return;
        };
        match exchange.answer(sdp) {
            Ok((answer, negotiated)) => {
                self.follow(branch, exchange);
                board.signal(self.id, Signal::AcceptOffer { offer, sdp: Some(answer) });
                self.apply(board, negotiated);
            }
            Err(error) => {
                let code = if error.is_malformed() { 400 } else { 488 };
                board.signal(self.id, Signal::RefuseOffer { offer, code });
            }
        }
    }

    /// Offers the peer anew what flows: `SendOnly` puts it on hold, from which a peer that holds us gets nothing until it resumes.
    pub fn offer(&mut self, board: &mut dyn Switchboard, wanted: Direction) {
        if let Some(exchange) = &mut self.exchange {
            // RFC 3264 8.4.
            exchange.want(if self.held && wanted == Direction::SendOnly { Direction::Inactive } else { wanted });
            let sdp = exchange.offer();
            exchange.want(wanted);
            board.signal(self.id, Signal::Offer { sdp });
        }
    }

    /// The answer to our offer came; one that cannot be used counts as none.
    pub fn offer_answered(&mut self, board: &mut dyn Switchboard, sdp: Option<&[u8]>) -> Result<(), SdpError> {
        self.take_answer(board, sdp.ok_or(SdpError::NoAudio)?)
    }

    /// The answer to a refresh came, which repeats what we said last; one that cannot be used changes nothing.
    pub fn refreshed(&mut self, board: &mut dyn Switchboard, sdp: &[u8]) {
        match self.exchange.as_mut().map(|exchange| exchange.take_refresh(sdp)) {
            Some(Ok(Some(negotiated))) => self.apply(board, negotiated),
            Some(Err(error)) => tracing::debug!(%error, "a session refresh brought no answer that can be used"),
            Some(Ok(None)) | None => {}
        }
    }

    /// Our offer was refused: what was agreed before goes on, which was `wanted`.
    pub fn offer_refused(&mut self, wanted: Direction) {
        if let Some(exchange) = &mut self.exchange {
            exchange.withdraw_offer();
            exchange.want(wanted);
        }
    }

    /// Whether the peer has put us on hold.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Refuses the INVITE.
    pub fn refuse(&mut self, board: &mut dyn Switchboard, code: u16, reason: Option<String>, headers: Headers) {
        if self.state != LegState::Over {
            board.signal(self.id, Signal::Refuse { code, reason, headers });
            self.over(board);
        }
    }

    /// Sends CANCEL or BYE.
    pub fn hang_up(&mut self, board: &mut dyn Switchboard, headers: Headers) {
        if self.state != LegState::Over {
            board.signal(self.id, Signal::HangUp { headers });
            self.over(board);
        }
    }

    /// The dialog is gone: frees the media.
    pub fn over(&mut self, board: &mut dyn Switchboard) {
        self.state = LegState::Over;
        self.dialled = None;
        if self.exchange.take().is_some() {
            board.close_media(self.id);
        }
    }

    fn reach(&mut self, state: LegState) {
        self.state = self.state.max(state);
    }

    fn open(
        &mut self,
        board: &mut dyn Switchboard,
        near: Option<LegId>,
        route: Option<RouteId>,
    ) -> Result<&mut OfferAnswer, OpError> {
        let exchange = match self.exchange.take() {
            Some(exchange) => exchange,
            None => {
                let exchange = OfferAnswer::new(board.open_media(self.id, near, route)?);
                if !self.blocked.is_empty() {
                    board.media(self.id, Command::BlockDtmf(self.blocked));
                }
                exchange
            }
        };
        Ok(self.exchange.insert(exchange))
    }

    fn make_answer(&mut self, board: &mut dyn Switchboard, codecs: Option<&[Codec]>) -> Result<String, OpError> {
        if let Some(answer) = &self.answer {
            return Ok(answer.clone());
        }
        let Side::Inbound { offer: Some(offer) } = &self.side else {
            return Err(OpError::new(
                ErrorCode::InvalidState,
                "the INVITE carried no session description: there is no audio before the answer",
            ));
        };
        let offer = offer.clone();
        let exchange = self.open(board, None, None)?;
        let mut chosen = exchange.clone();
        if let Some(codecs) = codecs {
            chosen.set_codecs(codecs.to_vec());
        }
        let (answer, negotiated) =
            chosen.answer(&offer).map_err(|error| OpError::new(ErrorCode::MediaError, error.to_string()))?;
        *exchange = chosen;
        self.apply(board, negotiated);
        self.answer = Some(answer.clone());
        Ok(answer)
    }

    /// While our INVITE rings, each of its branches has an exchange of its own.
    fn exchange_of(&self, branch: BranchId) -> Option<OfferAnswer> {
        let Some(Dialled { invited, branches, .. }) = &self.dialled else { return self.exchange.clone() };
        let known = branches.iter().find(|(known, _)| *known == branch);
        Some(known.map_or(invited, |(_, exchange)| exchange).clone())
    }

    /// The exchange of a branch has gone on, and it is the one the media follow.
    fn follow(&mut self, branch: BranchId, exchange: OfferAnswer) {
        if let Some(Dialled { branches, .. }) = &mut self.dialled {
            branches.retain(|(known, _)| *known != branch);
            if branches.len() == MOST_BRANCHES {
                branches.remove(0);
            }
            branches.push((branch, exchange.clone()));
        }
        self.exchange = Some(exchange);
    }

    fn take_answer_of(&mut self, board: &mut dyn Switchboard, branch: BranchId, sdp: &[u8]) -> Result<(), SdpError> {
        let mut exchange = self.exchange_of(branch).ok_or(SdpError::UnexpectedAnswer)?;
        let negotiated = exchange.take_answer(sdp)?;
        self.follow(branch, exchange);
        self.apply(board, negotiated);
        Ok(())
    }

    /// The branch has described its media before it answered, or never; without them there is nobody to talk to.
    fn settle_on(&mut self, board: &mut dyn Switchboard, branch: BranchId) -> Result<(), SdpError> {
        let exchange = self.exchange_of(branch).ok_or(SdpError::NoAudio)?;
        let negotiated = exchange.current().cloned().ok_or(SdpError::NoAudio)?;
        let is_followed = self.negotiated() == Some(&negotiated);
        self.exchange = Some(exchange);
        if !is_followed {
            self.apply(board, negotiated);
        }
        Ok(())
    }

    fn take_answer(&mut self, board: &mut dyn Switchboard, sdp: &[u8]) -> Result<(), SdpError> {
        let exchange = self.exchange.as_mut().ok_or(SdpError::UnexpectedAnswer)?;
        let negotiated = exchange.take_answer(sdp)?;
        self.apply(board, negotiated);
        Ok(())
    }

    fn apply(&mut self, board: &mut dyn Switchboard, negotiated: Negotiated) {
        self.held = negotiated.held;
        board.media(self.id, Command::SetRemote(Box::new(negotiated)));
    }
}
