//! One call on a desk: what its switchboard was asked, in words, and a clock that only the test moves.

mod answering;
mod bridging;
mod collecting;
mod ending;
mod holding;
mod originating;
mod playing;
mod recording;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_ctx_api::op::{AnswerArgs, Op, PlayArgs};
use lockstep_ctx_api::{BackendOutput, CallBackend, CallEndedCause, ErrorCode, Event, OpError, OpId, OpResult, Outcome, catalog};
use lockstep_media::codec::Codec;
use lockstep_media::digit::Digit;
use lockstep_media::playout::{EncodedPrompt, PlayId, PlayoutEnd};
use lockstep_media::recording::RecordingId;
use lockstep_media::sdp::{Direction, LocalMedia, OfferAnswer};
use lockstep_media::stream::{Command, DtmfMethod, MediaEvent};

use super::{NativeBackend, NativeSetup};
use crate::call::{
    AudioSource, BranchId, Dial, Hunt, LegEvent, LegId, LoadId, Loading, Lookup, LookupId, RecordingFile, Refusal, RouteId,
    Routes, Signal, Switchboard,
};

/// What the switchboard was asked, and what it answers.
#[derive(Debug, Default)]
struct Book {
    asked: Vec<String>,
    /// Audio that is loaded later, by the test.
    slow: Vec<String>,
    missing: Vec<String>,
    routes: BTreeMap<String, (usize, Hunt)>,
    last_route: u64,
    /// Routes that were found and not given back.
    kept: BTreeSet<RouteId>,
    /// Legs with media; what is said of those of other legs goes nowhere.
    open: BTreeSet<LegId>,
    loads: Vec<LoadId>,
    playing: BTreeMap<LegId, PlayId>,
    offers: BTreeMap<LegId, String>,
    submitted: BTreeMap<OpId, &'static str>,
}

#[derive(Clone, Debug, Default)]
struct FakeBoard(Rc<RefCell<Book>>);

fn name(leg: LegId) -> String {
    if leg == LegId::A { "a".to_owned() } else { leg.0.to_string() }
}

impl FakeBoard {
    fn note(&self, text: String) {
        self.0.borrow_mut().asked.push(text);
    }

    fn has_media(&self, leg: LegId) -> bool {
        self.0.borrow().open.contains(&leg)
    }
}

impl Switchboard for FakeBoard {
    fn open_media(&mut self, leg: LegId, near: Option<LegId>, _: Option<RouteId>) -> Result<LocalMedia, OpError> {
        self.note(match near {
            Some(near) => format!("{} open near {}", name(leg), name(near)),
            None => format!("{} open", name(leg)),
        });
        self.0.borrow_mut().open.insert(leg);
        Ok(local_media())
    }

    fn media(&mut self, leg: LegId, command: Command) {
        if !self.has_media(leg) {
            return;
        }
        let what = match command {
            Command::SetRemote(negotiated) => format!("media {} {}", negotiated.codec.name(), negotiated.direction),
            Command::Play { id, playlist } => {
                self.0.borrow_mut().playing.insert(leg, id);
                let length = playlist.prompts.iter().map(|prompt| prompt.duration()).sum::<Duration>();
                format!("play {} ms", length.as_millis())
            }
            Command::Stop(_) => "stop".to_owned(),
            Command::SendDtmf { request, .. } => {
                let keys: String = request.digits.iter().map(|digit| digit.as_char()).collect();
                format!("keys {keys} {} ms {:?}", request.duration.as_millis(), request.method)
            }
            other => format!("{other:?}"),
        };
        self.note(format!("{} {what}", name(leg)));
    }

    fn join(&mut self, a: LegId, b: LegId) {
        if self.has_media(a) && self.has_media(b) {
            self.note(format!("join {} {}", name(a), name(b)));
        }
    }

    fn part(&mut self, a: LegId, b: LegId) {
        if self.has_media(a) {
            self.note(format!("part {} {}", name(a), name(b)));
        }
    }

    fn close_media(&mut self, leg: LegId) {
        self.0.borrow_mut().open.remove(&leg);
        self.note(format!("{} close", name(leg)));
    }

    fn signal(&mut self, leg: LegId, signal: Signal) {
        let headers = |headers: &[(String, String)]| headers.iter().map(|(n, v)| format!(" {n}: {v}")).collect::<String>();
        let what = match signal {
            Signal::Provisional { code, headers: given, sdp } => {
                format!("{code}{}{}", if sdp.is_some() { " sdp" } else { "" }, headers(&given))
            }
            Signal::Accept { headers: given, sdp } => {
                self.0.borrow_mut().offers.insert(leg, sdp);
                format!("200{}", headers(&given))
            }
            Signal::Refuse { code, reason, headers: given } => {
                let reason = reason.map(|reason| format!(" {reason}")).unwrap_or_default();
                format!("{code}{reason}{}", headers(&given))
            }
            Signal::HangUp { headers: given } => format!("hang up{}", headers(&given)),
            Signal::AcceptOffer { sdp, .. } => {
                if let Some(sdp) = sdp {
                    self.0.borrow_mut().offers.insert(leg, sdp);
                }
                "accept offer".to_owned()
            }
            Signal::RefuseOffer { code, .. } => format!("refuse offer {code}"),
            Signal::Offer { sdp } => {
                self.0.borrow_mut().offers.insert(leg, sdp);
                "offer".to_owned()
            }
            Signal::InfoDigit { digit, .. } => format!("info {digit}"),
        };
        self.note(format!("{} {what}", name(leg)));
    }

    fn resolve(&mut self, _: LookupId, uri: &str, _: Option<&str>) -> Lookup {
        let mut book = self.0.borrow_mut();
        let Some((count, hunt)) = book.routes.get(uri).copied() else {
            return Lookup::Ready(Err(Refusal::new(404, "Not Found")));
        };
        let routes: Vec<_> = (0..count).map(|route| RouteId(book.last_route + route as u64)).collect();
        book.last_route += count as u64;
        book.kept.extend(&routes);
        Lookup::Ready(Ok(Routes { routes, hunt }))
    }

    fn forget_routes(&mut self, _: LookupId, routes: &[RouteId]) {
        self.0.borrow_mut().kept.retain(|kept| !routes.contains(kept));
    }

    fn dial(&mut self, leg: LegId, dial: Dial, offer: String) {
        self.0.borrow_mut().offers.insert(leg, offer);
        let headers: String = dial.headers.iter().map(|(n, v)| format!(" {n}: {v}")).collect();
        let from = dial.caller_id.map(|id| format!(" from {id}")).unwrap_or_default();
        self.note(format!("{} dial route {}{from}{headers}", name(leg), dial.route.0));
    }

    fn adopt(&mut self, leg: LegId) {
        let mut book = self.0.borrow_mut();
        if book.open.remove(&leg) {
            book.open.insert(LegId::A);
        }
        book.asked.push(format!("a is {}", name(leg)));
    }

    fn load(&mut self, load: LoadId, source: &AudioSource, codec: Codec) -> Loading {
        let AudioSource::Files(files) = source else { return Loading::Ready(Ok(vec![audio(codec)])) };
        let mut book = self.0.borrow_mut();
        if let Some(missing) = files.iter().find(|file| book.missing.contains(file)) {
            let message = format!("no such audio: {missing}");
            return Loading::Ready(Err(OpError::new(ErrorCode::NotFound, message)));
        }
        if files.iter().any(|file| book.slow.contains(file)) {
            book.loads.push(load);
            return Loading::Later;
        }
        Loading::Ready(Ok(files.iter().map(|_| audio(codec)).collect()))
    }

    fn forget(&mut self, _: LoadId) {
        self.note("forget load".to_owned());
    }

    fn record(&mut self, leg: LegId, id: RecordingId, file: &RecordingFile, _: Codec) -> Result<String, OpError> {
        if !self.has_media(leg) {
            return Err(OpError::new(ErrorCode::InvalidState, "the call has no media"));
        }
        self.note(format!("{} record {} in {} as {}", name(leg), file.name, file.format.extension(), id.0));
        Ok(format!("{}.{}", file.name, file.format.extension()))
    }
}

fn local_media() -> LocalMedia {
    LocalMedia {
        address: Ipv4Addr::LOCALHOST.into(),
        rtp_port: 20_000,
        codecs: Codec::ALL.to_vec(),
        packet_time: Duration::from_millis(20),
        offer_rtcp_mux: false,
        session_id: 1,
    }
}

/// Half a second.
fn audio(codec: Codec) -> Arc<EncodedPrompt> {
    Arc::new(EncodedPrompt::silence(codec, Duration::from_millis(500)))
}

/// The other end of a leg's offer/answer exchange.
struct Peer(OfferAnswer);

impl Peer {
    fn new() -> Self {
        Self(OfferAnswer::new(LocalMedia { rtp_port: 40_000, ..local_media() }))
    }

    fn offer(&mut self) -> Bytes {
        self.0.offer().into_bytes().into()
    }

    fn holds(&mut self, holds: bool) -> Bytes {
        self.0.want(if holds { Direction::SendOnly } else { Direction::SendRecv });
        self.offer()
    }

    fn answer(&mut self, offer: &str) -> Bytes {
        self.0.answer(offer.as_bytes()).expect("our offers can be answered").0.into_bytes().into()
    }
}

struct Desk {
    now: Instant,
    backend: NativeBackend<FakeBoard>,
    board: FakeBoard,
    caller: Peer,
    last_op: u32,
}

impl Desk {
    /// A call has come in with an offer.
    fn ringing() -> Self {
        let mut caller = Peer::new();
        let offer = caller.offer();
        Self::with_offer(caller, Some(offer))
    }

    fn with_offer(caller: Peer, offer: Option<Bytes>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
        let now = Instant::now();
        let board = FakeBoard::default();
        let setup = NativeSetup {
            call_id: "call".to_owned(),
            codecs: Codec::ALL.to_vec(),
            clock: (now, 1_000_000),
            ringback: "tone:ringback".to_owned(),
        };
        let backend = NativeBackend::inbound(board.clone(), setup, offer);
        Self { now, backend, board, caller, last_op: 0 }
    }

    /// A call has come in and was answered.
    fn answered() -> Self {
        let mut desk = Self::ringing();
        desk.submit(Op::Answer(AnswerArgs::default()));
        desk.leg(LegId::A, LegEvent::Acked { sdp: None });
        desk.outputs();
        desk.asked();
        desk
    }

    fn submit(&mut self, op: Op) -> OpId {
        let id = OpId { turn: 0, ordinal: self.last_op };
        self.last_op += 1;
        self.board.0.borrow_mut().submitted.insert(id, op.name());
        self.backend.submit(self.now, id, op);
        id
    }

    fn play(&mut self, file: &str) -> OpId {
        self.submit(Op::Play(PlayArgs { sources: vec![file.to_owned()], ..PlayArgs::default() }))
    }

    fn cancel(&mut self, id: OpId) {
        self.backend.cancel(self.now, id);
    }

    fn leg(&mut self, leg: LegId, event: LegEvent) {
        self.backend.leg_event(self.now, leg, event);
    }

    fn media(&mut self, leg: LegId, event: MediaEvent) {
        self.backend.media_event(self.now, leg, event);
    }

    fn key(&mut self, leg: LegId, key: char) {
        let digit = Digit::from_char(key).expect("a key");
        let duration = Duration::from_millis(100);
        self.media(leg, MediaEvent::Digit { digit, duration, method: DtmfMethod::TelephoneEvent });
    }

    /// What plays on a leg plays to its end.
    fn audio_ends(&mut self, leg: LegId) {
        self.audio_stops(leg, PlayoutEnd::Completed);
    }

    fn audio_stops(&mut self, leg: LegId, end: PlayoutEnd) {
        let id = self.board.0.borrow_mut().playing.remove(&leg).expect("something plays");
        self.media(leg, MediaEvent::PlayoutFinished { id, played: Duration::from_millis(500), end });
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.backend.handle_timeout(self.now);
    }

    /// The far end of a leg answers our INVITE.
    fn picks_up(&mut self, leg: u32) {
        let offer = self.board.0.borrow().offers.get(&LegId(leg)).cloned().expect("an INVITE was sent");
        let sdp = Peer::new().answer(&offer);
        self.leg(LegId(leg), LegEvent::Answered { branch: BranchId(1), sdp: Some(sdp) });
    }

    fn knows(&mut self, uri: &str, routes: usize, hunt: Hunt) {
        self.board.0.borrow_mut().routes.insert(uri.to_owned(), (routes, hunt));
    }

    /// What the switchboard was asked since the last look.
    fn asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.board.0.borrow_mut().asked)
    }

    /// What came out since the last look.
    fn outputs(&mut self) -> Vec<BackendOutput> {
        let mut outputs = Vec::new();
        loop {
            match self.backend.poll_output() {
                BackendOutput::Timeout(_) => return outputs,
                output => {
                    self.assert_documented(&output);
                    outputs.push(output);
                }
            }
        }
    }

    /// An operation rejects with nothing that the reference does not name.
    fn assert_documented(&self, output: &BackendOutput) {
        if let BackendOutput::Completed { id, result: Err(error) } = output {
            let operation = self.board.0.borrow().submitted[id];
            assert!(catalog::may_reject(operation, error.code), "{operation} is not said to reject with {error}");
        }
    }

    fn deadline(&mut self) -> Option<Duration> {
        self.outputs();
        match self.backend.poll_output() {
            BackendOutput::Timeout(deadline) => deadline.map(|deadline| deadline - self.now),
            other => panic!("expected a deadline, got {other:?}"),
        }
    }
}

/// How an operation ended, if it did.
fn result_of(outputs: &[BackendOutput], id: OpId) -> Option<OpResult> {
    outputs.iter().find_map(|output| match output {
        BackendOutput::Completed { id: completed, result } if *completed == id => Some(result.clone()),
        _ => None,
    })
}

fn error_of(outputs: &[BackendOutput], id: OpId) -> (ErrorCode, String) {
    match result_of(outputs, id) {
        Some(Err(error)) => (error.code, error.message),
        other => panic!("expected an error, got {other:?}"),
    }
}

fn is_done(outputs: &[BackendOutput], id: OpId) -> bool {
    result_of(outputs, id) == Some(Ok(Outcome::Unit))
}

fn ended(outputs: &[BackendOutput]) -> Option<CallEndedCause> {
    outputs.iter().find_map(|output| match output {
        BackendOutput::Ended(cause) => Some(cause.clone()),
        _ => None,
    })
}

fn events(outputs: &[BackendOutput]) -> Vec<Event> {
    let events = outputs.iter().filter_map(|output| match output {
        BackendOutput::Event(event) => Some(event.clone()),
        _ => None,
    });
    events.collect()
}
