//! What the laboratory's engine finds outside itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::OpError;
use lockstep_ctx_api::host::HostCall;
use lockstep_ctx_api::op::{FetchArgs, TtsArgs};
use lockstep_media::codec::Codec;
use lockstep_media::io::LegId as MediaLeg;
use lockstep_media::playout::{EncodedPrompt, PlayId};
use lockstep_media::prompt::Source;
use lockstep_media::recording::RecordingId;
use lockstep_media::stream::Command;
use lockstep_sip::net::{FlowId, Protocol, Transmit};
use lockstep_sip::resolve::Target;

use super::lab::ENGINE;
use crate::cdr::Cdr;
use crate::class4::{Facts, RouteTable};
use crate::core::handle::Metric;
use crate::core::world::{ApplicationCall, OpenedMedia, RecordingOrder, Ticket, World};
use crate::host::RunContext;

/// What the engine asked of its world.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) wire: VecDeque<Transmit>,
    last_leg: u64,
    pub(super) playing: BTreeMap<MediaLeg, PlayId>,
    pub(super) media: Vec<String>,
    pub(super) full: bool,
    pub(super) has_no_ports: bool,
    pub(super) recordings: Vec<(MediaLeg, RecordingId)>,
    pub(super) fetched: Vec<Ticket>,
    pub(super) called: Vec<Ticket>,
    pub(super) routed: Vec<(Ticket, Arc<RouteTable>, Box<Facts>)>,
    pub(super) records: Vec<Cdr>,
    pub(super) resolving: Vec<(Ticket, Target)>,
    pub(super) applications: Vec<ApplicationCall>,
    pub(super) kept_flows: BTreeSet<FlowId>,
    /// The connection that everything is sent over.
    pub(super) sends_over: Option<FlowId>,
}

pub(super) struct LabWorld {
    pub(super) book: Rc<RefCell<Book>>,
    pub(super) listening: Vec<(Protocol, SocketAddr)>,
}

impl World for LabWorld {
    fn transmit(&mut self, transmit: Transmit) -> Result<Option<FlowId>, String> {
        if transmit.bytes.len() > 65_507 {
            return Err("message too long".to_owned());
        }
        let mut book = self.book.borrow_mut();
        book.wire.push_back(transmit);
        Ok(book.sends_over)
    }

    fn keep_flow(&mut self, flow: FlowId) {
        self.book.borrow_mut().kept_flows.insert(flow);
    }

    fn local_for(&mut self, _: Protocol, remote: SocketAddr) -> Option<SocketAddr> {
        if remote.is_ipv4() { ENGINE } else { "[::1]:5060" }.parse().ok()
    }

    fn listening(&self) -> &[(Protocol, SocketAddr)] {
        &self.listening
    }

    fn admit(&mut self, _: Instant, _: IpAddr) -> Result<(), String> {
        if self.book.borrow().full { Err("no ports".to_owned()) } else { Ok(()) }
    }

    fn open_media(&mut self, _: Instant, local: IpAddr, _: Option<MediaLeg>) -> Result<OpenedMedia, String> {
        let mut book = self.book.borrow_mut();
        if book.has_no_ports {
            return Err("no ports".to_owned());
        }
        book.last_leg += 1;
        let port = 20_000 + 2 * u16::try_from(book.last_leg).unwrap();
        Ok(OpenedMedia { leg: MediaLeg(book.last_leg), rtp: SocketAddr::new(local, port) })
    }

    fn media(&mut self, leg: MediaLeg, command: Command) {
        let mut book = self.book.borrow_mut();
        if let Command::Play { id, .. } = &command {
            book.playing.insert(leg, *id);
            book.media.push(format!("{} play", leg.0));
        }
        if let Command::SendDtmf { request, .. } = &command {
            let keys: String = request.digits.iter().map(|digit| digit.as_char()).collect();
            book.media.push(format!("{} keys {keys}", leg.0));
        }
    }

    fn join(&mut self, a: MediaLeg, b: MediaLeg) {
        self.book.borrow_mut().media.push(format!("join {} {}", a.0, b.0));
    }

    fn part(&mut self, leg: MediaLeg) {
        self.book.borrow_mut().media.push(format!("part {}", leg.0));
    }

    fn close_media(&mut self, leg: MediaLeg) -> bool {
        self.book.borrow_mut().media.push(format!("close {}", leg.0));
        false
    }

    fn record(&mut self, order: RecordingOrder) -> Result<(), OpError> {
        self.book.borrow_mut().recordings.push((order.leg, order.id));
        Ok(())
    }

    fn recorded(&mut self, _: &Path) {}

    fn audio_at_hand(&mut self, _: Instant, sources: &[Source], codec: Codec) -> Option<Vec<Arc<EncodedPrompt>>> {
        Some(sources.iter().map(|_| Arc::new(EncodedPrompt::silence(codec, Duration::from_millis(100)))).collect())
    }

    fn load_audio(&mut self, _: Instant, _: Ticket, _: Vec<Source>, _: Codec) {}

    fn speak(&mut self, _: Instant, _: Ticket, _: TtsArgs, _: Codec) {}

    fn resolve(&mut self, ticket: Ticket, target: Target, _: u64) {
        self.book.borrow_mut().resolving.push((ticket, target));
    }

    fn call_host(&mut self, ticket: Ticket, _: RunContext, _: HostCall) {
        self.book.borrow_mut().called.push(ticket);
    }

    fn fetch(&mut self, ticket: Ticket, _: &str, _: FetchArgs) {
        self.book.borrow_mut().fetched.push(ticket);
    }

    fn keep_record(&mut self, record: Box<Cdr>) {
        self.book.borrow_mut().records.push(*record);
    }

    fn route(&mut self, ticket: Ticket, table: Arc<RouteTable>, facts: Box<Facts>) {
        self.book.borrow_mut().routed.push((ticket, table, facts));
    }

    fn call_application(&mut self, call: ApplicationCall) -> Result<(), String> {
        self.book.borrow_mut().applications.push(call);
        Ok(())
    }

    fn abandon(&mut self, _: Ticket) {}

    fn metrics(&self) -> Vec<Metric> {
        Vec::new()
    }
}
