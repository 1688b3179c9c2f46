//! The [`World`] of a simulation: it writes down what the core orders, and the simulation carries it out.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use lockstep_ctx_api::OpError;
use lockstep_ctx_api::host::HostCall;
use lockstep_ctx_api::op::{FetchArgs, TtsArgs};
use lockstep_media::codec::Codec;
use lockstep_media::io::LegId;
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::prompt::Source;
use lockstep_media::stream::Command;
use lockstep_sip::net::{FlowId, Protocol, Transmit};
use lockstep_sip::resolve::Target;

use super::audio::Audio;
use super::media::leg_address;
use crate::cdr::Cdr;
use crate::class4::{Facts, RouteTable};
use crate::core::handle::Metric;
use crate::core::world::{ApplicationCall, OpenedMedia, RecordingOrder, Ticket, World};
use crate::host::RunContext;

/// What the core has ordered.
#[derive(Debug)]
pub(super) enum Order {
    Transmit(Transmit),
    Open { leg: LegId, rtp: SocketAddr },
    Media { leg: LegId, command: Command },
    Join { a: LegId, b: LegId },
    Part { leg: LegId },
    Close { leg: LegId },
    Record(RecordingOrder),
    Load { ticket: Ticket, sources: Vec<Source>, codec: Codec },
    Speak { ticket: Ticket, args: TtsArgs, codec: Codec },
    Resolve { ticket: Ticket, target: Target },
    Fetch { ticket: Ticket, args: FetchArgs },
    Host { ticket: Ticket, context: RunContext, call: HostCall },
    Route { ticket: Ticket, table: Arc<RouteTable>, facts: Box<Facts> },
}

/// What the core and the simulation share.
pub(super) struct Shared {
    pub(super) orders: VecDeque<Order>,
    pub(super) audio: Audio,
    /// Results nobody wants any more.
    pub(super) abandoned: BTreeSet<Ticket>,
    /// SIP addresses where somebody listens.
    pub(super) reachable: BTreeSet<SocketAddr>,
    last_leg: u64,
}

impl Shared {
    pub(super) fn new(audio: Audio) -> Self {
        Self { orders: VecDeque::new(), audio, abandoned: BTreeSet::new(), reachable: BTreeSet::new(), last_leg: 0 }
    }
}

/// See the module.
pub(super) struct SimulatedWorld {
    pub(super) shared: Rc<RefCell<Shared>>,
    pub(super) listening: Vec<(Protocol, SocketAddr)>,
}

impl SimulatedWorld {
    fn order(&mut self, order: Order) {
        self.shared.borrow_mut().orders.push_back(order);
    }
}

impl World for SimulatedWorld {
    fn transmit(&mut self, transmit: Transmit) -> Result<Option<FlowId>, String> {
        let remote = transmit.destination.remote;
        let own = self.listening.iter().any(|(_, own)| *own == remote);
        if !own && !self.shared.borrow().reachable.contains(&remote) {
            // As ICMP says it of a port that nobody has open.
            return Err(format!("nobody is at {remote}"));
        }
        self.order(Order::Transmit(transmit));
        Ok(None)
    }

    fn keep_flow(&mut self, _: FlowId) {}

    fn local_for(&mut self, protocol: Protocol, _: SocketAddr) -> Option<SocketAddr> {
        self.listening.iter().find(|(own, _)| *own == protocol).map(|(_, address)| *address)
    }

    fn listening(&self) -> &[(Protocol, SocketAddr)] {
        &self.listening
    }

    fn admit(&mut self, _: Instant, _: IpAddr) -> Result<(), String> {
        Ok(())
    }

    fn open_media(&mut self, _: Instant, local: IpAddr, _: Option<LegId>) -> Result<OpenedMedia, String> {
        let leg = {
            let mut shared = self.shared.borrow_mut();
            shared.last_leg += 1;
            LegId(shared.last_leg)
        };
        let rtp = leg_address(local, leg.0);
        self.order(Order::Open { leg, rtp });
        Ok(OpenedMedia { leg, rtp })
    }

    fn media(&mut self, leg: LegId, command: Command) {
        self.order(Order::Media { leg, command });
    }

    fn join(&mut self, a: LegId, b: LegId) {
        self.order(Order::Join { a, b });
    }

    fn part(&mut self, leg: LegId) {
        self.order(Order::Part { leg });
    }

    fn close_media(&mut self, leg: LegId) -> bool {
        self.order(Order::Close { leg });
        true
    }

    fn record(&mut self, order: RecordingOrder) -> Result<(), OpError> {
        self.order(Order::Record(order));
        Ok(())
    }

    /// Recordings of a simulation never get to the disk: its audio has them.
    fn recorded(&mut self, _: &Path) {}

    fn audio_at_hand(&mut self, now: Instant, sources: &[Source], codec: Codec) -> Option<Vec<Arc<EncodedPrompt>>> {
        self.shared.borrow_mut().audio.ready(now, sources, codec)
    }

    fn load_audio(&mut self, _: Instant, ticket: Ticket, sources: Vec<Source>, codec: Codec) {
        self.order(Order::Load { ticket, sources, codec });
    }

    fn speak(&mut self, _: Instant, ticket: Ticket, args: TtsArgs, codec: Codec) {
        self.order(Order::Speak { ticket, args, codec });
    }

    fn resolve(&mut self, ticket: Ticket, target: Target, _: u64) {
        self.order(Order::Resolve { ticket, target });
    }

    fn fetch(&mut self, ticket: Ticket, _: &str, args: FetchArgs) {
        self.order(Order::Fetch { ticket, args });
    }

    fn call_host(&mut self, ticket: Ticket, context: RunContext, call: HostCall) {
        self.order(Order::Host { ticket, context, call });
    }

    fn route(&mut self, ticket: Ticket, table: Arc<RouteTable>, facts: Box<Facts>) {
        self.order(Order::Route { ticket, table, facts });
    }

    /// Nobody looks at the records of a simulation.
    fn keep_record(&mut self, _: Box<Cdr>) {}

    fn call_application(&mut self, call: ApplicationCall) -> Result<(), String> {
        Err(format!("a simulation has no event socket to {}", call.addr))
    }

    fn abandon(&mut self, ticket: Ticket) {
        self.shared.borrow_mut().abandoned.insert(ticket);
    }

    fn metrics(&self) -> Vec<Metric> {
        Vec::new()
    }
}
