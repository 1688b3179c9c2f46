//! What all calls of an engine share: the SIP endpoint, the world, the directory, and which dialog and which media belong to
//! which leg of which call.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::OpId;
use lockstep_media::codec::Codec;
use lockstep_media::io::LegId as MediaLeg;
use lockstep_sip::auth::Authenticator;
use lockstep_sip::endpoint::{DialogId, Endpoint, IncomingId, RequestId};
use lockstep_sip::message::{Headers, NameAddr, SipUri, Uri};
use lockstep_sip::net::{Destination, FlowId, Protocol, Source};
use lockstep_sip::registrar::{Moved, Registrar};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::Rng;

use super::credentials::Credentials;
use super::directory::{Directory, host_of_ip};
use super::gatekeeper;
use super::guard::{Attempts, Guard};
use super::guesses::Guesses;
use super::recordings::Recordings;
use super::routing::Way;
use super::timeline::Direction;
use super::watching::LegStep;
use super::world::{Ticket, World};
use crate::call::{LegEvent, LegId, LoadId, LookupId, RouteId, is_contact, runs_sip};
use crate::class4::{Decision, Facts, Fields, RouteTable};
use crate::config::Config;
use crate::script::{Moment, ProgramSet};

/// Names a call within an engine process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallKey(pub u64);

/// A leg of a call.
pub(crate) type LegKey = (CallKey, LegId);

/// What background work was for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    Audio(CallKey, LoadId),
    /// The next hops of a gateway, for a bridge that waits.
    Lookup(CallKey, LookupId),
    /// The next hops of a gateway, kept for later.
    Gateway(i64),
    Host(CallKey, OpId),
    /// The Class 4 hook of a number that a bridge dials.
    Routing(CallKey, LookupId),
    /// The Class 4 hook of the DID that a call came in by.
    Admission(CallKey),
}

/// How the INVITE of a leg came about, and where it is.
#[derive(Clone, Debug)]
pub(crate) enum Invite {
    /// From the peer.
    Incoming { id: IncomingId, source: Source },
    /// From us.
    Outgoing { id: RequestId },
}

/// A leg's dialog and media.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub invite: Option<Invite>,
    /// The way by which it was dialled.
    pub route: Option<RouteId>,
    pub dialog: Option<DialogId>,
    /// The early dialog whose description its media follow.
    pub described_by: Option<DialogId>,
    /// Our 2xx was sent, or the peer's came.
    pub answered: bool,
    /// The Call-ID by which the credentials for its gateway are kept.
    pub credentials: Option<String>,
    pub media: Option<MediaLeg>,
    /// Where we tell the peer to send its requests.
    pub contact: Option<NameAddr>,
}

/// A way to reach a callee.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub uri: Uri,
    pub destinations: Vec<Destination>,
    /// The peer is where its packets come from, whatever its Contact says.
    pub symmetric: bool,
    pub max_forwards: u8,
    /// The gateway whose credentials answer challenges.
    pub gateway: Option<i64>,
    /// The user whose device is there.
    pub user: Option<String>,
    /// The look-up that has found it.
    pub number: Option<LookupId>,
    pub caller_id: Option<String>,
    pub from_name: Option<String>,
    /// The caller id that Class 4 has given this way; it wins over the bridge's.
    pub cli: Option<String>,
    /// Fields of the bridge that this way does not get, and those that it gets besides.
    pub fields: Vec<Arc<Fields>>,
    /// Price of a minute.
    pub cost: Option<f64>,
    /// How long it may say nothing at all; `None`: as long as SIP has it.
    pub patience: Option<Duration>,
}

impl Route {
    /// A way to `uri`, without next hops yet.
    pub(crate) fn to(uri: Uri, max_forwards: u8) -> Self {
        Self {
            uri,
            destinations: Vec::new(),
            symmetric: false,
            max_forwards,
            gateway: None,
            user: None,
            number: None,
            caller_id: None,
            from_name: None,
            cli: None,
            fields: Vec::new(),
            cost: None,
            patience: None,
        }
    }
}

/// A number whose gateways are being looked up.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub ways: Vec<Way>,
    /// How long each gateway may ring.
    pub ring: Option<Duration>,
    /// The one that is being looked up.
    pub gateway: i64,
    /// Those that were not found.
    pub unreachable: Vec<i64>,
}

/// A SIP message as a timeline shows it.
#[derive(Clone, Debug)]
pub(crate) struct SipNote {
    pub leg: LegKey,
    pub direction: Direction,
    pub summary: String,
}

/// See the module.
pub(crate) struct Exchange {
    pub now: Moment,
    pub config: Arc<Config>,
    pub codecs: Vec<Codec>,
    pub recordings: Recordings,
    pub world: Box<dyn World>,
    pub endpoint: Endpoint,
    pub registrar: Registrar,
    pub authenticator: Authenticator,
    /// Wrong passwords.
    pub guesses: Guesses,
    /// Connections that may rest, to be said once what has come is read: the connections are in use until then.
    vouched: Vec<FlowId>,
    pub directory: Directory,
    pub table: Arc<RouteTable>,
    pub programs: Arc<ProgramSet>,
    pub rng: ChaCha12Rng,
    pub links: BTreeMap<LegKey, Link>,
    pub dialogs: HashMap<DialogId, LegKey>,
    pub requests: HashMap<RequestId, LegKey>,
    /// Re-INVITEs of ours under way.
    pub offers: HashMap<RequestId, LegKey>,
    /// INFOs of ours under way, each a key.
    pub infos: HashMap<RequestId, LegKey>,
    /// INVITEs that were given up and whose outcome has not come, by legs that are gone: for timelines.
    pub given_up: HashMap<RequestId, LegKey>,
    /// What answers gateways' challenges.
    pub credentials: Credentials,
    pub media: HashMap<MediaLeg, LegKey>,
    /// Media that are being closed: their figures are the last that is heard of them.
    closing: BTreeMap<(CallKey, MediaLeg), LegId>,
    /// The calls of those.
    closing_of: HashMap<MediaLeg, CallKey>,
    pub routes: BTreeMap<(CallKey, RouteId), Route>,
    pub last_route: u64,
    /// The ids of calls: their recordings are marked with them.
    pub ids: BTreeMap<CallKey, String>,
    /// Number and name of whoever calls, for the From of legs that a call dials.
    pub callers: BTreeMap<CallKey, (String, Option<String>)>,
    /// Whose calls they are, where they are a customer's.
    pub customers: BTreeMap<CallKey, i64>,
    /// The accounts whose audio calls play, and where they record, but for the default one's.
    pub owners: BTreeMap<CallKey, Arc<str>>,
    /// The accounts whose Class 5 destinations calls reach, beside the operator's; others, of callers of no account, reach anybody's.
    pub reach: BTreeMap<CallKey, Arc<str>>,
    /// Max-Forwards as a call brought it.
    pub forwards: BTreeMap<CallKey, u8>,
    /// What Class 4 is told of calls, besides who is called, and when they came in.
    pub origins: BTreeMap<CallKey, (Instant, Facts)>,
    /// How the first number that a call dials goes on: the script of its DID has said so.
    pub planned: BTreeMap<CallKey, Decision>,
    /// INVITEs of ours that come back to us, by Call-ID: the call they are of.
    handed: HashMap<String, CallKey>,
    /// The Call-IDs of those, by call.
    handed_by: HashMap<CallKey, Vec<String>>,
    /// What customers may call.
    pub guard: Guard,
    /// Gateways that calls have tried, for their records.
    pub attempts: Attempts,
    /// Class 4 hooks that bridges wait for.
    pub hooks: BTreeMap<(CallKey, LookupId), Ticket>,
    /// Look-ups that bridges wait for.
    pub waiting: BTreeMap<(CallKey, LookupId), Waiting>,
    pub tickets: BTreeMap<Ticket, Purpose>,
    pub last_ticket: u64,
    /// Audio under way.
    pub loads: BTreeMap<(CallKey, LoadId), Ticket>,
    /// Files that calls have recorded, in the order they were begun; kept until a call is a past one.
    pub recorded: BTreeMap<CallKey, Vec<PathBuf>>,
    /// What calls are to be told once nothing of them is running.
    pub posted: VecDeque<(LegKey, LegEvent)>,
    pub notes: VecDeque<SipNote>,
    /// Steps in the lives of the legs that calls dial, for those who watch.
    pub leg_steps: VecDeque<(LegKey, LegStep)>,
}

/// What an exchange is made of.
pub(crate) struct ExchangeParts {
    pub now: Moment,
    pub config: Arc<Config>,
    pub codecs: Vec<Codec>,
    pub recordings: Recordings,
    pub world: Box<dyn World>,
    pub endpoint: Endpoint,
    pub registrar: Registrar,
    pub authenticator: Authenticator,
    pub directory: Directory,
    pub table: Arc<RouteTable>,
    pub programs: Arc<ProgramSet>,
    pub rng: ChaCha12Rng,
}

impl Exchange {
    /// An exchange without calls.
    pub(crate) fn new(parts: ExchangeParts) -> Self {
        let ExchangeParts {
            now,
            config,
            codecs,
            recordings,
            world,
            endpoint,
            registrar,
            authenticator,
            directory,
            table,
            programs,
            rng,
        } = parts;
        Self {
            now,
            config,
            codecs,
            recordings,
            world,
            endpoint,
            registrar,
            authenticator,
            guesses: Guesses::default(),
            vouched: Vec::new(),
            directory,
            table,
            programs,
            rng,
            links: BTreeMap::new(),
            dialogs: HashMap::new(),
            requests: HashMap::new(),
            offers: HashMap::new(),
            infos: HashMap::new(),
            given_up: HashMap::new(),
            credentials: Credentials::default(),
            media: HashMap::new(),
            closing: BTreeMap::new(),
            closing_of: HashMap::new(),
            routes: BTreeMap::new(),
            last_route: 0,
            ids: BTreeMap::new(),
            callers: BTreeMap::new(),
            customers: BTreeMap::new(),
            owners: BTreeMap::new(),
            reach: BTreeMap::new(),
            forwards: BTreeMap::new(),
            origins: BTreeMap::new(),
            planned: BTreeMap::new(),
            handed: HashMap::new(),
            handed_by: HashMap::new(),
            guard: Guard::default(),
            attempts: BTreeMap::new(),
            hooks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tickets: BTreeMap::new(),
            last_ticket: 0,
            loads: BTreeMap::new(),
            recorded: BTreeMap::new(),
            posted: VecDeque::new(),
            notes: VecDeque::new(),
            leg_steps: VecDeque::new(),
        }
    }

    /// A ticket for background work.
    pub(crate) fn ticket(&mut self, purpose: Purpose) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.tickets.insert(ticket, purpose);
        ticket
    }

    /// Notes a message for the timeline of its call.
    pub(crate) fn note(&mut self, leg: LegKey, direction: Direction, summary: impl Into<String>) {
        self.notes.push_back(SipNote { leg, direction, summary: summary.into() });
    }

    /// Whether a packet comes from one of our own sockets: a call that one script placed to another.
    pub(crate) fn is_own(&self, remote: SocketAddr) -> bool {
        self.world.listening().iter().any(|(_, own)| {
            own.port() == remote.port() && (own.ip() == remote.ip() || (own.ip().is_unspecified() && remote.ip().is_loopback()))
        })
    }

    /// The connections of gateways, customers and local peers may rest, whatever comes over them: an idle trunk sends OPTIONS only.
    pub(crate) fn keep_known_peer(&mut self, source: &Source) {
        if let Some(flow) = source.flow
            && gatekeeper::unknown_peer(source, &self.config.security, &self.directory).is_none()
        {
            self.vouched.push(flow);
        }
    }

    /// Says of connections what was noted while they were read.
    pub(crate) fn keep_vouched(&mut self) {
        let in_dialogs = self.endpoint.take_new_flows();
        for flow in std::mem::take(&mut self.vouched).into_iter().chain(in_dialogs) {
            self.world.keep_flow(flow);
        }
    }

    /// A user's device has registered from elsewhere: its dialogs follow it.
    pub(crate) fn device_moved(&mut self, user: &str, moved: &Moved, to: &Source) {
        self.endpoint.peer_moved(self.now.instant, user, &moved.contact.uri, &moved.from, to);
    }

    /// Our address as a peer at `remote` can use it: `external_ip` for those outside the local networks.
    pub(crate) fn shown_ip(&self, local: IpAddr, remote: IpAddr) -> IpAddr {
        match self.config.sip.external_ip {
            Some(external) if !self.config.security.is_local(remote) && external.is_ipv4() == local.is_ipv4() => external,
            Some(_) | None => local,
        }
    }

    /// A Contact of ours for a peer.
    pub(crate) fn contact_for(&self, protocol: Protocol, local: SocketAddr, remote: IpAddr) -> NameAddr {
        let host = host_of_ip(self.shown_ip(local.ip(), remote));
        let mut uri = SipUri::new(Some("lockstep"), host, Some(local.port()));
        if protocol != Protocol::Udp {
            uri.params.set("transport", Some(&protocol.as_str().to_ascii_lowercase()));
        }
        NameAddr::new(Uri::Sip(uri))
    }

    /// What Class 4 is told of a call now, besides who is called.
    pub(crate) fn origin(&self, call: CallKey) -> Facts {
        let account = self.reach_of(call).map(str::to_owned);
        let Some((since, facts)) = self.origins.get(&call) else { return Facts { account, ..Facts::default() } };
        let waited = self.now.instant.saturating_duration_since(*since);
        Facts {
            waited_ms: waited.as_secs_f64() * 1_000.0,
            customer: self.customers.get(&call).copied(),
            account,
            ..facts.clone()
        }
    }

    /// The account whose Class 5 destinations a call reaches; `None`: anybody's.
    pub(crate) fn reach_of(&self, call: CallKey) -> Option<&str> {
        self.reach.get(&call).map(|account| &**account)
    }

    /// From here on a call reaches the Class 5 destinations of this account; `None`: anybody's.
    pub(crate) fn set_reach(&mut self, call: CallKey, account: Option<Arc<str>>) {
        match account {
            Some(account) => drop(self.reach.insert(call, account)),
            None => drop(self.reach.remove(&call)),
        }
    }

    /// Adds a route for a call.
    pub(crate) fn add_route(&mut self, call: CallKey, route: Route) -> RouteId {
        self.last_route += 1;
        let id = RouteId(self.last_route);
        self.routes.insert((call, id), route);
        id
    }

    /// An INVITE of a call comes back to us as a call of its own.
    pub(crate) fn hand(&mut self, call: CallKey, call_id: String) {
        self.handed_by.entry(call).or_default().push(call_id.clone());
        self.handed.insert(call_id, call);
    }

    /// The call that an INVITE of ours is of which has come back to us.
    pub(crate) fn handed_by(&self, call_id: &str) -> Option<CallKey> {
        self.handed.get(call_id).copied()
    }

    /// Forgets a look-up of a call and the routes that it has found.
    pub(crate) fn forget_lookup(&mut self, call: CallKey, lookup: LookupId, routes: &[RouteId]) {
        for route in routes {
            self.routes.remove(&(call, *route));
        }
        if let Some(customer) = self.customers.get(&call) {
            self.guard.number_over(*customer, call, lookup);
        }
        self.waiting.remove(&(call, lookup));
        if let Some(ticket) = self.hooks.remove(&(call, lookup)) {
            self.abandon(ticket);
        }
    }

    /// Forgets everything of a call. Its dialogs end by themselves: a BYE has been sent, or the peer has sent one.
    pub(crate) fn forget_call(&mut self, call: CallKey) {
        let range = (call, LegId(0))..=(call, LegId(u32::MAX));
        let legs: Vec<LegKey> = self.links.range(range).map(|(key, _)| *key).collect();
        for leg in legs {
            self.forget_leg(leg);
        }
        let routes: Vec<_> = self.routes.range((call, RouteId(0))..=(call, RouteId(u64::MAX))).map(|(key, _)| *key).collect();
        for route in routes {
            self.routes.remove(&route);
        }
        self.ids.remove(&call);
        self.callers.remove(&call);
        if let Some(customer) = self.customers.remove(&call) {
            self.guard.release(customer, call);
        }
        self.owners.remove(&call);
        self.reach.remove(&call);
        for call_id in self.handed_by.remove(&call).unwrap_or_default() {
            self.handed.remove(&call_id);
        }
        self.attempts.remove(&call);
        self.forwards.remove(&call);
        self.origins.remove(&call);
        self.planned.remove(&call);
        let lookups = (call, LookupId(0))..=(call, LookupId(u64::MAX));
        let hooks: Vec<_> = self.hooks.range(lookups.clone()).map(|(key, _)| *key).collect();
        for hook in hooks {
            if let Some(ticket) = self.hooks.remove(&hook) {
                self.abandon(ticket);
            }
        }
        let waiting: Vec<_> = self.waiting.range(lookups).map(|(key, _)| *key).collect();
        for lookup in waiting {
            self.waiting.remove(&lookup);
        }
    }

    /// Lets everything that belongs to a leg belong to another one, which has nothing yet.
    pub(crate) fn rename_leg(&mut self, from: LegKey, to: LegKey) {
        let Some(link) = self.links.remove(&from) else { return };
        if let Some(dialog) = link.dialog {
            self.dialogs.insert(dialog, to);
        }
        if let Some(Invite::Outgoing { id }) = link.invite {
            self.requests.insert(id, to);
        }
        for (leg, _) in self.attempts.get_mut(&from.0).into_iter().flatten().filter(|(leg, _)| *leg == from.1) {
            *leg = to.1;
        }
        if let Some(media) = link.media {
            self.media.insert(media, to);
        }
        self.links.insert(to, link);
    }

    /// Closes the media of a leg, whose figures are to come.
    pub(crate) fn close_media(&mut self, leg: LegKey, media: MediaLeg) {
        self.media.remove(&media);
        if self.world.close_media(media) {
            self.closing.insert((leg.0, media), leg.1);
            self.closing_of.insert(media, leg.0);
        }
    }

    /// Whether figures of a call's media are still to come.
    pub(crate) fn awaits_figures(&self, call: CallKey) -> bool {
        self.closing.range((call, MediaLeg(0))..=(call, MediaLeg(u64::MAX))).next().is_some()
    }

    /// The leg whose media were these, once they are closed.
    pub(crate) fn closed_media(&mut self, media: MediaLeg) -> Option<LegKey> {
        let call = self.closing_of.remove(&media)?;
        self.closing.remove(&(call, media)).map(|leg| (call, leg))
    }

    /// Forgets a leg; its media are closed if they are still open.
    pub(crate) fn forget_leg(&mut self, leg: LegKey) {
        let Some(link) = self.links.remove(&leg) else { return };
        if let Some(dialog) = link.dialog {
            self.dialogs.remove(&dialog);
        }
        if let Some(Invite::Outgoing { id }) = link.invite {
            self.requests.remove(&id);
        }
        if let Some(call_id) = link.credentials {
            self.credentials.leave(self.now.instant, call_id);
        }
        if let Some(media) = link.media {
            self.close_media(leg, media);
        }
    }

    /// A random seed.
    pub(crate) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }

    /// A random UUID (RFC 9562, version 4).
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        let number = u128::from_be_bytes(bytes);
        let number = (number & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{number:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }
}

/// Header fields a script may set. Those that run the protocol are the endpoint's, whatever a script says.
pub(crate) fn script_headers<'a>(given: impl IntoIterator<Item = &'a (String, String)>) -> Headers {
    permitted(given, false)
}

/// Header fields of a response that sends the caller elsewhere (3xx): its Contacts are where to.
pub(crate) fn redirect_headers<'a>(given: impl IntoIterator<Item = &'a (String, String)>) -> Headers {
    permitted(given, true)
}

fn permitted<'a>(given: impl IntoIterator<Item = &'a (String, String)>, redirects: bool) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in given {
        if runs_sip(name) && !(redirects && is_contact(name)) {
            tracing::warn!(header = %name, "a script may not set this header field; left out");
        } else if let Err(error) = headers.try_push(name, value) {
            tracing::warn!(header = %name, %error, "a header field of a script cannot be sent; left out");
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_set_their_own_fields_and_none_that_run_the_protocol() {
        let given = [("X-Id", "7"), ("Via", "x"), ("call-id", "y"), ("X-Bad", "a\r\nb"), ("P-Asserted-Identity", "<sip:a@b>")];
        let given: Vec<_> = given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let headers = script_headers(&given);
        assert_eq!(headers.len(), 2);
        assert!(headers.contains("X-Id") && headers.contains("P-Asserted-Identity"));
    }

    #[test]
    fn where_a_peer_reaches_us_is_not_for_scripts_but_where_it_is_sent_to_is() {
        let given: Vec<_> = ["Contact", "m"].map(|name| (name.to_owned(), "<sip:elsewhere@example.net>".to_owned())).into();
        assert_eq!(script_headers(&given).len(), 0);
        assert_eq!(redirect_headers(&given).len(), 2);
    }
}
