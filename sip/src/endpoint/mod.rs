//! The user agent: transactions, dialogs and the rules between them behind one set of inputs, commands and outputs.
//!
//! After every `handle_*` and every command, call [`Endpoint::poll_output`] until it gives [`Output::Timeout`]; call
//! [`Endpoint::handle_timeout`] at that time. Events come in the order in which things happened, and each transmission stands before the
//! events it caused.
//!
//! | as server | as client | in a dialog |
//! |---|---|---|
//! | `Event::Invite` → [`respond`](Endpoint::respond) with 1xx, 2xx → `Acked` | [`invite`](Endpoint::invite) → `Progress`, `Answered` or `Failed` | [`request`](Endpoint::request), [`bye`](Endpoint::bye) |
//! | `Event::Cancelled`, `AckTimeout` | [`cancel`](Endpoint::cancel), [`ack`](Endpoint::ack) for a late offer | `Event::Request` → [`respond`](Endpoint::respond) |
//! | `Event::Request` → [`respond`](Endpoint::respond) | `Challenged` → [`resend_with`](Endpoint::resend_with) | `Event::Response`, `Terminated` |

mod client;
mod config;
mod credentials;
mod dialogs;
mod event;
mod fork;
mod in_dialog;
mod key;
mod outcome;
mod outgoing;
mod receive;
mod reply;
mod route;
mod schedule;
mod server;
mod session_timer;
mod stats;
mod types;
mod uac;
mod uas;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::client::{Client, ClientId};
use self::dialogs::{DialogEntry, UnheardBye};
use self::key::{ClientKey, MergeKey, ServerKey};
use self::outgoing::Outgoing;
use self::schedule::{Owner, Schedule};
use self::server::Server;
use crate::dialog::DialogKey;
use crate::message::{Fault, Message, ParseError, parse};
use crate::net::{FlowId, Received, Source, Transmit, TransmitId};

pub use self::config::{Config, SessionTimerConfig};
pub use self::event::{Event, Failure, Output, TerminationCause};
pub use self::reply::Reply;
pub use self::stats::Stats;
pub use self::types::{Body, CommandError, DialogId, DialogRequest, IncomingId, OutgoingRequest, RequestId};

/// A SIP user agent, client and server, without sockets or clock.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    rng: ChaCha12Rng,
    tag_secret: u64,
    last_id: u64,
    // Boxed: a tree moves its values whenever one next to them comes or goes.
    clients: BTreeMap<ClientId, Box<Client>>,
    client_index: HashMap<ClientKey, ClientId>,
    flows: BTreeMap<FlowId, BTreeSet<ClientId>>,
    servers: BTreeMap<IncomingId, Box<Server>>,
    server_index: HashMap<ServerKey, IncomingId>,
    merge_index: HashMap<MergeKey, IncomingId>,
    dialogs: BTreeMap<DialogId, Box<DialogEntry>>,
    dialog_index: HashMap<DialogKey, DialogId>,
    /// Dialogs whose peer is where its messages come from, by where that is.
    by_peer: BTreeSet<(SocketAddr, DialogId)>,
    /// Connections that peers of dialogs have changed to.
    new_flows: Vec<FlowId>,
    requests: BTreeMap<RequestId, Outgoing>,
    /// BYEs to somebody's device, by where they go.
    byes: BTreeSet<(SocketAddr, ClientId)>,
    /// Their devices may come back from elsewhere.
    unheard_byes: VecDeque<UnheardBye>,
    /// Addresses that did not answer by TCP, and until when large requests go there by UDP.
    no_tcp: HashMap<SocketAddr, Instant>,
    schedule: Schedule,
    outputs: VecDeque<Output>,
    /// Retry-After seconds, while the engine takes no new work.
    overload: Option<u32>,
    stats: Stats,
}

impl Endpoint {
    /// `seed` makes tags, branches and Call-IDs: secret and unique per process, fixed in a simulation.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32]) -> Endpoint {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let tag_secret = rng.next_u64();
        Endpoint {
            config,
            rng,
            tag_secret,
            last_id: 0,
            clients: BTreeMap::new(),
            client_index: HashMap::new(),
            flows: BTreeMap::new(),
            servers: BTreeMap::new(),
            server_index: HashMap::new(),
            merge_index: HashMap::new(),
            dialogs: BTreeMap::new(),
            dialog_index: HashMap::new(),
            by_peer: BTreeSet::new(),
            new_flows: Vec::new(),
            requests: BTreeMap::new(),
            byes: BTreeSet::new(),
            unheard_byes: VecDeque::new(),
            no_tcp: HashMap::new(),
            schedule: Schedule::default(),
            outputs: VecDeque::new(),
            overload: None,
            stats: Stats::default(),
        }
    }

    /// A datagram or framed message arrived.
    pub fn handle_received(&mut self, now: Instant, received: Received<'_>) {
        match parse(received.bytes) {
            Ok(Message::Request(request)) => {
                self.stats.requests_received += 1;
                self.handle_request(now, request, received.source);
            }
            Ok(Message::Response(response)) => {
                self.stats.responses_received += 1;
                self.handle_response(now, response);
            }
            Err(ParseError { fault: Fault::Empty, .. }) => self.stats.keepalives += 1,
            Err(error) => {
                self.stats.malformed += 1;
                self.refuse_malformed(&error, &received.source);
            }
        }
    }

    /// A transmission could not be delivered: connection refused, ICMP unreachable, write time-out.
    pub fn handle_transport_error(&mut self, now: Instant, transmit: TransmitId) {
        self.client_transport_error(now, ClientId(transmit.0));
    }

    /// A transmission goes over this connection. Requests whose destination names the connection need not be told.
    pub fn sent_over(&mut self, transmit: TransmitId, flow: FlowId) {
        self.put_on_flow(ClientId(transmit.0), flow);
    }

    /// A connection is gone; requests whose responses would have come over it fail over or fail.
    pub fn handle_flow_closed(&mut self, now: Instant, flow: FlowId) {
        for client in self.flows.remove(&flow).unwrap_or_default() {
            self.client_transport_error(now, client);
        }
    }

    /// The time told by [`Output::Timeout`] has come. Early or late calls do no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(owner) = self.schedule.pop(now) {
            match owner {
                Owner::Client(id) => self.client_timeout(now, id),
                Owner::Server(id) => self.server_timeout(now, id),
                Owner::Dialog(id) => self.dialog_timeout(now, id),
                Owner::Request(id) => self.challenge_timeout(now, id),
            }
        }
    }

    /// The next thing to do; [`Output::Timeout`] when there is none.
    #[must_use]
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.schedule.next()))
    }

    /// While set, new calls get 503 with this Retry-After (seconds), without state. Calls that are up go on, and so do
    /// registrations and keep-alives.
    pub fn set_overload(&mut self, retry_after: Option<u32>) {
        self.overload = retry_after;
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Dialogs alive, early ones included.
    #[must_use]
    pub fn dialog_count(&self) -> usize {
        self.dialogs.len()
    }

    /// Transactions alive, in both directions.
    #[must_use]
    pub fn transaction_count(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    fn refuse_malformed(&mut self, error: &ParseError, source: &Source) {
        let Some(unparsed) = &error.reply else {
            return;
        };
        let tag = self.stateless_tag(&unparsed.headers);
        if let Some(response) = error.response(&tag) {
            self.send_stateless(response, source);
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn push_transmit(&mut self, transmit: Transmit) {
        self.outputs.push_back(Output::Transmit(transmit));
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// 64 random bits: a tag (RFC 3261 19.3 asks for 32).
    fn new_token(&mut self) -> String {
        format!("{:016x}", self.rng.next_u64())
    }

    fn new_branch(&mut self) -> String {
        format!("{}{:016x}", crate::message::MAGIC_COOKIE, self.rng.next_u64())
    }

    /// The same tag for every copy of a request, as nothing is remembered of it (RFC 3261 8.2.7).
    fn stateless_tag(&self, headers: &crate::message::Headers) -> String {
        let mut hasher = DefaultHasher::new();
        self.tag_secret.hash(&mut hasher);
        for header in headers.iter() {
            use crate::message::HeaderName;
            match header.name {
                HeaderName::Via | HeaderName::CallId | HeaderName::CSeq | HeaderName::From => {
                    header.value.hash(&mut hasher);
                }
                _ => {}
            }
        }
        format!("{:016x}", hasher.finish())
    }
}
