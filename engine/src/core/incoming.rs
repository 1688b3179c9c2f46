//! Requests from outside: calls that want to come in, registrations, keep-alives.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use lockstep_ctx_api::EndedBy;
use lockstep_ctx_api::queue::OpQueue;
use lockstep_ctx_api::wire::{LogLevel, LogLine};
use lockstep_media::sdp::{LocalMedia, OfferAnswer, SdpError};
use lockstep_sip::endpoint::{DialogId, IncomingId, Reply};
use lockstep_sip::message::{HeaderName, Method, Request, StatusCode, Uri};
use lockstep_sip::net::{Source, is_private};

use super::backend::Backend;
use super::board::Board;
use super::call_facts::{facts_of, origin_of, start_of, user_of};
use super::channel::{Channel, ChannelEvent};
use super::directory::IncomingRoute;
use super::engine_event::EngineEvent;
use super::exchange::{CallKey, Exchange, Invite, Link, Purpose};
use super::executions::Outside;
use super::gatekeeper::{self, Caller, Desk, Gate};
use super::guesses::Barred;
use super::keeping::Kept;
use super::live_call::{LiveCall, OnAnswer, Plan, ScriptState};
use super::refusals::Refused;
use super::switch::Switch;
use super::timeline::Direction;
use super::timeline_log::TimelineLog;
use crate::backend::native::{Ending, NativeBackend, NativeSetup};
use crate::call::LegId;
use crate::class4::{Decision, Facts, Rejection, route_without_scripts};
use crate::config::{DEFAULT_ACCOUNT, Destination as DidDestination};
use crate::host::Scratch;

/// Seconds after which a caller who was refused for lack of room may try again.
const RETRY_AFTER: u32 = 5;

impl Switch {
    /// A new call wants to come in.
    pub(super) fn incoming_invite(
        &mut self,
        id: IncomingId,
        dialog: DialogId,
        request: &Request,
        source: Source,
        offer: Option<Bytes>,
    ) {
        if let Err((why, reply)) = self.admit_and_route(id, dialog, request, source, offer) {
            self.refused(why, request, &source, &reply);
            match why {
                Refused::Capacity | Refused::Challenge | Refused::Credentials => self.refuse_without_state(id, &reply),
                Refused::Unknown | Refused::Media | Refused::Limit => self.answer_at_once(id, *reply),
            }
        }
    }

    /// Counts a refusal, and logs the first of many.
    fn refused(&mut self, why: Refused, request: &Request, source: &Source, reply: &Reply) {
        let (reason, method, remote) = (why.name(), &request.method, source.remote);
        let (to, code) = (self.exchange.borrow().dialled(request, source), reply.status.code());
        let now = self.now().instant;
        if self.refusals.note(now, why, 1) {
            tracing::info!(reason, %method, %remote, %to, code, "refused; more of these are summed up once a minute");
        } else {
            tracing::debug!(reason, %method, %remote, %to, code, "refused");
        }
    }

    /// Before an INVITE is looked at: without room for a call, the endpoint refuses it without keeping state.
    pub(super) fn admit_or_overload(&mut self, source: &Source) -> Option<String> {
        let why = self.no_room(source);
        self.exchange.borrow_mut().endpoint.set_overload(why.is_some().then_some(RETRY_AFTER));
        why
    }

    /// The endpoint has refused calls by itself.
    pub(super) fn refused_without_state(&mut self, count: u64, why: &str) {
        let now = self.now().instant;
        if count > 0 && self.refusals.note(now, Refused::Capacity, count) {
            tracing::warn!(%why, "no room for another call: 503; more of these are summed up once a minute");
        }
    }

    /// Says how much was refused since the last time.
    pub(super) fn sum_refusals_up(&mut self) {
        let now = self.now().instant;
        for (why, count) in self.refusals.summaries(now) {
            match why {
                Refused::Capacity => tracing::warn!(count, "calls refused for lack of room"),
                Refused::Challenge | Refused::Credentials | Refused::Unknown | Refused::Media | Refused::Limit => {
                    tracing::info!(reason = why.name(), count, "requests refused");
                }
            }
        }
        for Barred { place, unheard } in self.exchange.borrow_mut().guesses.over(now) {
            tracing::warn!(remote = %place, count = unheard, "passwords not looked at after too many wrong ones");
        }
    }

    fn admit_and_route(
        &mut self,
        id: IncomingId,
        dialog: DialogId,
        request: &Request,
        source: Source,
        offer: Option<Bytes>,
    ) -> Result<(), (Refused, Box<Reply>)> {
        // Asked for again: of several INVITEs read at once only the first was weighed against the calls there are now.
        if self.no_room(&source).is_some() {
            return Err((Refused::Capacity, refusal(503, None, [("Retry-After", RETRY_AFTER.to_string())])));
        }
        let caller = self.pass_gate(request, &source, false)?;
        let dialled = self.exchange.borrow().dialled(request, &source);
        let Some(route) = self.lead(&caller, request, &source, &dialled) else {
            return Err((Refused::Unknown, refusal(404, None, [])));
        };
        if let Some(offer) = &offer
            && let Err(error) = self.exchange.borrow().probe(offer, source.local.ip())
        {
            let code = if error.is_malformed() { 400 } else { 488 };
            // RFC 3261 20.43: an incompatible network protocol, no multicast, or a media type that is not available.
            let number = match error {
                SdpError::AddressFamily { .. } => 300,
                SdpError::NotUnicast { .. } => 330,
                _ => 304,
            };
            let warning = format!("{number} lockstep \"{}\"", plain(&error.to_string()));
            return Err((Refused::Media, refusal(code, None, [("Warning", warning)])));
        }
        self.count_against_limits(&route)?;
        let vouched = !matches!(caller, Caller::User(_));
        let IncomingRoute { destinations, did, customer, reach } = route;
        let key = self.take_call(Taken { id, dialog, request, source, dialled, offer, caller, did: did.clone(), customer });
        self.exchange.borrow_mut().set_reach(key, reach);
        if let Some(call) = self.calls.get_mut(&key) {
            call.plan.destinations = destinations.into();
            call.plan.vouched = vouched;
        }
        match did {
            Some(did) => self.admit_by_did(key, did),
            None => self.next_destination(key),
        }
        self.announce(key);
        Ok(())
    }

    /// Refuses a customer's call to a number that would go past the customer's limits.
    fn count_against_limits(&mut self, route: &IncomingRoute) -> Result<(), (Refused, Box<Reply>)> {
        if route.did.is_some() || !matches!(route.destinations.first(), Some(DidDestination::External(_))) {
            return Ok(());
        }
        let call = CallKey(self.last_call + 1);
        let mut exchange = self.exchange.borrow_mut();
        let exchange = &mut *exchange;
        let Some(customer) = route.customer.and_then(|id| exchange.directory.customer(id)) else { return Ok(()) };
        exchange.guard.admit(exchange.now, customer, call, &exchange.attempts).map_err(|exceeded| {
            let (code, text, retry_after) = exceeded.reply();
            let reply = match retry_after {
                Some(seconds) => refusal(code, Some(text), [("Retry-After", seconds.to_string())]),
                None => refusal(code, Some(text), []),
            };
            (Refused::Limit, reply)
        })
    }

    /// Where a caller is led; `None`: nobody is there for them.
    fn lead(&self, caller: &Caller, request: &Request, source: &Source, dialled: &str) -> Option<IncomingRoute> {
        let exchange = self.exchange.borrow();
        let directory = &exchange.directory;
        // What callers of no account dial may be anybody's.
        let (customer, reach) = match caller {
            Caller::Customer(id) => (Some(*id), directory.customer(*id).map(|customer| customer.account.as_str())),
            // A carrier may be a customer too: of a number that is no DID it is that.
            Caller::Gateway(_) => (directory.customer_at(source.remote.ip()).map(|customer| customer.id), None),
            Caller::User(name) => (None, directory.user(name).map(|user| user.account.as_str())),
            Caller::Local => {
                let call_id = request.headers.call_id().map(|id| id.text().into_owned());
                match call_id.and_then(|id| exchange.handed_by(&id)) {
                    // A call that comes from another one through ourselves stays whose that is.
                    Some(parent) => (exchange.customers.get(&parent).copied(), exchange.reach_of(parent)),
                    // The one that it comes from is over.
                    None if exchange.is_own(source.remote) => (None, Some(DEFAULT_ACCOUNT)),
                    None => (None, None),
                }
            }
        };
        // What a carrier brings is never sent on to carriers: it came for us.
        let may_dial_out = customer.is_some() || !matches!(caller, Caller::Gateway(_));
        let leads_out = || may_dial_out && exchange.table.leads_to(dialled, customer);
        // A carrier that is a customer comes for scripts first.
        let goes_first = || customer.is_none() && leads_out();
        if let Some(route) = directory.incoming(dialled, reach, &exchange.programs, goes_first) {
            let customer = route.customer.or(customer.filter(|_| !matches!(caller, Caller::Gateway(_))));
            return Some(IncomingRoute { customer, ..route });
        }
        let destination = DidDestination::External(dialled.to_owned());
        leads_out().then(|| IncomingRoute { destinations: vec![destination], did: None, customer, reach: reach.map(Arc::from) })
    }

    /// Has the scripts of Class 4 look at a call that came in by a DID; the rest follows when they have.
    fn admit_by_did(&mut self, key: CallKey, did: String) {
        let mut asked = None;
        let decision = {
            let mut exchange = self.exchange.borrow_mut();
            let exchange = &mut *exchange;
            let cli = exchange.callers.get(&key).map(|(number, _)| number.clone()).unwrap_or_default();
            let facts = Facts { cli, dialled: did.clone(), did: Some(did), ..exchange.origin(key) };
            let decision = route_without_scripts(&exchange.table, &exchange.programs, &facts);
            if decision.is_none() {
                let ticket = exchange.ticket(Purpose::Admission(key));
                exchange.world.route(ticket, std::sync::Arc::clone(&exchange.table), Box::new(facts));
                asked = Some(ticket);
            }
            decision
        };
        if let Some(call) = self.calls.get_mut(&key) {
            call.plan.admission = asked;
        }
        if let Some(decision) = decision {
            self.admitted(key, decision);
        }
    }

    /// Class 4 has decided on a call that came in by a DID.
    pub(super) fn admitted(&mut self, key: CallKey, decision: Result<Decision, Rejection>) {
        let now = self.now().instant;
        let Some(call) = self.calls.get_mut(&key).filter(|call| call.ended.is_none()) else { return };
        call.plan.admission = None;
        let Decision { attempts, cli, everywhere, ring, log, sandbox_ms } = match decision {
            Ok(decision) => decision,
            Err(rejection) => {
                let refusal = super::routing::refusal_of(&rejection);
                let by = refusal.reply_by.unwrap_or(EndedBy::Engine);
                let reply = (refusal.code, refusal.reason);
                call.backend.end(now, Ending { refusal: reply.clone(), bye: Some(reply), by });
                return self.touch(key);
            }
        };
        if !everywhere.is_empty() {
            let headers = Arc::make_mut(&mut call.headers);
            for (name, _) in headers.extract_if(.., |(name, _)| everywhere.removes(name)) {
                call.channel.set(&format!("sip_h_{name}"), None);
            }
            for (name, value) in &everywhere.add {
                call.channel.set(&format!("sip_h_{name}"), Some(value));
            }
            headers.extend(everywhere.add.iter().cloned());
        }
        call.plan.everywhere = everywhere;
        let mut exchange = self.exchange.borrow_mut();
        if let Some((number, name)) = exchange.callers.get_mut(&key)
            && *number != cli
        {
            // The caller's name does not go with somebody else's number.
            *name = None;
            number.clone_from(&cli);
            call.channel.set("caller_id_number", Some(&cli));
            call.channel.set("caller_id_name", Some(&cli));
            call.facts.from = cli.clone();
        }
        if !attempts.is_empty() {
            // Rows that a script has given a DID come before its destinations.
            let number = call.facts.to.clone();
            call.plan.destinations.push_front(DidDestination::External(number));
            let decision = Decision { attempts, cli, ring, log, sandbox_ms, everywhere: Arc::default() };
            exchange.planned.insert(key, decision);
        }
        drop(exchange);
        self.next_destination(key);
    }

    /// A call does not go where the routing scripts of its DID lead it: they are not asked any more, and their rows not dialled.
    pub(super) fn abandon_admission(&mut self, key: CallKey) {
        let asked = self.calls.get_mut(&key).and_then(|call| call.plan.admission.take());
        let mut exchange = self.exchange.borrow_mut();
        if let Some(ticket) = asked {
            exchange.abandon(ticket);
        }
        exchange.planned.remove(&key);
    }

    /// Writes what routing scripts have logged into the call's timeline.
    pub(super) fn note_decision(&mut self, key: CallKey, decision: &Result<Decision, Rejection>) {
        let unix_ms = self.now().unix_ms;
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.plan.script_ms += decision.as_ref().map_or(0.0, |decision| decision.sandbox_ms);
        let lines = match decision {
            Ok(decision) => decision.log.clone(),
            Err(rejection) => vec![match &rejection.why {
                Some(why) => format!("not routed: {rejection}: {why}"),
                None => format!("not routed: {rejection}"),
            }],
        };
        for text in lines {
            tracing::info!(call = %call.facts.id, "routing: {text}");
            call.log.log(unix_ms, &LogLine { level: LogLevel::Info, text, at: None });
        }
    }

    /// What stands against another call.
    fn no_room(&mut self, source: &Source) -> Option<String> {
        if self.draining.is_some() {
            return Some("shutting down".to_owned());
        }
        if self.live >= self.max_calls {
            return Some(format!("{} calls", self.live));
        }
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now.instant;
        exchange.world.admit(now, source.local.ip()).err()
    }

    fn pass_gate(&mut self, request: &Request, source: &Source, needs_password: bool) -> Result<Caller, (Refused, Box<Reply>)> {
        let mut exchange = self.exchange.borrow_mut();
        let exchange = &mut *exchange;
        let now = exchange.now;
        let is_own = exchange.is_own(source.remote);
        let desk = Desk {
            security: &exchange.config.security,
            directory: &exchange.directory,
            authenticator: &mut exchange.authenticator,
            guesses: &mut exchange.guesses,
            registrar: &exchange.registrar,
        };
        let gate = if needs_password {
            gatekeeper::by_digest(now.instant, request, source, desk)
        } else {
            gatekeeper::check(now, request, source, is_own, desk)
        };
        let mut challenge = |stale| {
            let peer = gatekeeper::unknown_peer(source, &exchange.config.security, &exchange.directory);
            Box::new(gatekeeper::challenge(now.instant, stale, peer, &mut exchange.authenticator))
        };
        match gate {
            Gate::Pass(caller) => {
                if let Some(flow) = source.flow {
                    exchange.world.keep_flow(flow);
                }
                Ok(caller)
            }
            Gate::Refuse { code, reason } => Err((Refused::Credentials, refusal(code, Some(reason), []))),
            Gate::Challenge { stale } => {
                let is_first = stale || !request.headers.contains(HeaderName::Authorization);
                let why = if is_first { Refused::Challenge } else { Refused::Credentials };
                Err((why, challenge(stale)))
            }
            Gate::WrongPassword { user, first_from } => {
                if let Some(remote) = first_from {
                    tracing::warn!(%remote, %user, method = %request.method, "wrong password");
                }
                Err((Refused::Credentials, challenge(false)))
            }
            Gate::Barred { left } => {
                let seconds = left.as_secs() + 1;
                Err((Refused::Credentials, refusal(503, None, [("Retry-After", seconds.to_string())])))
            }
        }
    }

    fn take_call(&mut self, taken: Taken<'_>) -> CallKey {
        let Taken { id, dialog, request, source, dialled, offer, caller, did, customer } = taken;
        self.last_call += 1;
        let key = CallKey(self.last_call);
        let (facts, setup, vars) = {
            let mut exchange = self.exchange.borrow_mut();
            let exchange = &mut *exchange;
            let now = exchange.now;
            let call_id = exchange.uuid();
            let mut facts = facts_of(call_id.clone(), now.unix_ms, request, &source, did, customer);
            facts.to = dialled;
            let user = match &caller {
                Caller::User(name) => exchange.directory.user(name),
                Caller::Local | Caller::Gateway(_) | Caller::Customer(_) => None,
            };
            if let Some(caller_id) = user.and_then(|user| user.caller_id.clone()) {
                facts.from = caller_id;
            }
            let user = match &caller {
                Caller::User(name) => name.clone(),
                Caller::Local | Caller::Gateway(_) | Caller::Customer(_) => facts.from.clone(),
            };
            let mut vars = customer.map(|id| exchange.customer_vars(id)).unwrap_or_default();
            if let Some(did) = facts.did.as_deref().and_then(|did| exchange.directory.did(did)) {
                vars.extend(did.vars.clone());
            }
            let name = request.headers.from().and_then(Result::ok).and_then(|from| from.display_name.clone());
            exchange.callers.insert(key, (facts.from.clone(), name));
            exchange.customers.extend(customer.map(|id| (key, id)));
            exchange.origins.insert(key, (now.instant, origin_of(&call_id, request, &source)));
            let forwards = request.headers.max_forwards().and_then(Result::ok).unwrap_or(70);
            exchange.forwards.insert(key, forwards);
            let contact = exchange.contact_for(source.protocol, source.local, source.remote.ip());
            let link = Link {
                invite: Some(Invite::Incoming { id, source }),
                dialog: Some(dialog),
                contact: Some(contact),
                ..Link::default()
            };
            let leg = (key, LegId::A);
            exchange.links.insert(leg, link);
            exchange.dialogs.insert(dialog, leg);
            exchange.route_dialog(dialog, request.headers.via_count() < 2);
            if let Err(error) = exchange.endpoint.set_owner(dialog, user.into()) {
                tracing::debug!(%error, "the dialog was over already");
            }
            exchange.note(leg, Direction::In, format!("INVITE {}", request.uri));
            let setup = NativeSetup {
                call_id,
                codecs: exchange.codecs.clone(),
                clock: (now.instant, now.unix_ms),
                ringback: self.ringback.clone(),
            };
            (facts, setup, vars)
        };
        let board = Board { call: key, exchange: std::rc::Rc::clone(&self.exchange) };
        let start = start_of(facts.clone(), request, &source, &caller);
        let backend = NativeBackend::inbound(board, setup, offer);
        self.counters.calls_taken += 1;
        self.insert_call(key, Backend::Native(Box::new(backend)), facts, start, vars);
        key
    }

    /// Adds a call, inbound or of ours.
    pub(super) fn insert_call(
        &mut self,
        key: CallKey,
        backend: Backend,
        facts: lockstep_ctx_api::CallFacts,
        start: lockstep_ctx_api::wire::CallStart,
        vars: toml::Table,
    ) {
        let (id, from, to) = (facts.id.clone(), facts.from.clone(), facts.to.clone());
        tracing::info!(call = %id, %from, %to, direction = %facts.direction, remote = %facts.remote_addr, "call");
        self.exchange.borrow_mut().ids.insert(key, id.clone());
        self.ids.insert(id, key);
        let channel = Channel::of_call(&facts, &start);
        let account: Arc<str> = self.exchange.borrow().directory.account_of(&facts, &start.vars).into();
        let call = LiveCall {
            account: Arc::clone(&account),
            backend,
            queue: OpQueue::new(),
            log: TimelineLog::new(facts.started_at),
            facts,
            headers: start.headers,
            channel,
            set_bytes: 0,
            legs: BTreeMap::new(),
            activities: BTreeMap::new(),
            outside: Outside::default(),
            vars,
            program: None,
            run: None,
            script: ScriptState::Absent,
            takeovers: 0,
            application: None,
            bridge_untold: false,
            joined: None,
            plan: Plan { destinations: VecDeque::new(), ..Plan::default() },
            timer: None,
            armed: None,
            end_told: false,
            ended: None,
            host_ops: BTreeMap::new(),
            scratch: Scratch::default(),
            former: Vec::new(),
            journal: None,
            kept: Kept::default(),
        };
        self.calls.insert(key, Box::new(call));
        self.give_audio(key, &account);
        self.live += 1;
        self.most = self.most.max(self.live);
        self.touch(key);
    }

    /// Tells subscribers of a new call, once it is known what becomes of it.
    pub(super) fn announce(&self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        let script = call.script_name().or_else(|| match &call.plan.on_answer {
            Some(OnAnswer::Script(program)) => Some(program.name.clone()),
            Some(OnAnswer::Destinations(_) | OnAnswer::Nobody) | None => None,
        });
        let (id, from, to) = (call.facts.id.clone(), call.facts.from.clone(), call.facts.to.clone());
        self.publish(|| EngineEvent::CallStarted { call: id, from, to, script });
        self.channel_event(key, ChannelEvent::Created);
    }

    /// A request outside any dialog that is no call.
    pub(super) fn outside_request(&mut self, id: IncomingId, request: &Request, source: Source) {
        let reply = match request.method {
            Method::Register => match self.register(request, source) {
                Ok(reply) => reply,
                Err(refusal) => return self.refuse_without_state(id, &refusal),
            },
            // As a call would be answered (RFC 3261 11.2): whoever balances load sends us no more of them. Want of room passes.
            Method::Options if self.draining.is_some() => refusal(503, None, [("Retry-After", RETRY_AFTER.to_string())]),
            Method::Options => Box::new(Reply::new(StatusCode::OK)),
            Method::Info | Method::Update => Box::new(Reply::new(StatusCode::CALL_DOES_NOT_EXIST)),
            _ => Box::new(Reply::new(StatusCode::NOT_IMPLEMENTED)),
        };
        self.answer_at_once(id, *reply);
    }

    /// The answer to a REGISTER; an error is that to somebody who has not been let in.
    fn register(&mut self, request: &Request, source: Source) -> Result<Box<Reply>, Box<Reply>> {
        let caller = self.pass_gate(request, &source, true).map_err(|(why, reply)| {
            self.refused(why, request, &source, &reply);
            reply
        })?;
        let to = request.headers.to().and_then(Result::ok).map(|to| user_of(&to.uri)).unwrap_or_default();
        let Caller::User(name) = caller else { return Ok(refusal(403, None, [])) };
        if to != name {
            tracing::warn!(user = %name, %to, "a user tried to register somebody else");
            return Ok(refusal(403, None, []));
        }
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now.instant;
        let outcome = exchange.registrar.register(now, &name, request, source);
        for moved in &outcome.moved {
            exchange.device_moved(&name, moved, &source);
        }
        drop(exchange);
        self.registrations_changed(outcome.changes);
        let mut reply = Reply { headers: outcome.headers, ..Reply::new(outcome.status) };
        if let Some(reason) = outcome.reason {
            reply = reply.reason(reason);
        }
        Ok(Box::new(reply))
    }
}

/// An INVITE on its way to become a call.
struct Taken<'a> {
    id: IncomingId,
    dialog: DialogId,
    request: &'a Request,
    source: Source,
    dialled: String,
    offer: Option<Bytes>,
    caller: Caller,
    did: Option<String>,
    customer: Option<i64>,
}

impl Exchange {
    /// Whether an offer can be accepted: asked before anything is opened or run for the call.
    fn probe(&self, offer: &[u8], address: IpAddr) -> Result<(), SdpError> {
        let local = LocalMedia {
            address,
            rtp_port: 9,
            codecs: self.codecs.clone(),
            packet_time: std::time::Duration::from_millis(20),
            offer_rtcp_mux: false,
            session_id: 1,
        };
        OfferAnswer::new(local).probe(offer)
    }

    pub(super) fn customer_vars(&self, id: i64) -> toml::Table {
        self.directory.customer(id).map(|customer| customer.vars.clone()).unwrap_or_default()
    }

    /// Requests in a dialog go to where the peer's come from when its Contact cannot be reached: a name, or a private address behind
    /// NAT, which even one private network has towards another. `is_direct`: the peer itself has told its Contact there, no proxy has
    /// brought it.
    pub(super) fn route_dialog(&mut self, dialog: DialogId, is_direct: bool) {
        let Some((next_hop, peer)) = self.endpoint.next_hop(dialog).zip(self.endpoint.peer(dialog)) else { return };
        let unreachable = match next_hop {
            Uri::Sip(uri) => match uri.host.ip() {
                // Loopback is meant literally: both are this machine.
                Some(ip) => ip.to_canonical().is_unspecified() || is_private(ip) && (is_direct || !is_private(peer.ip())),
                None => true,
            },
            Uri::Tel(_) | Uri::Other { .. } => true,
        };
        if unreachable && let Err(error) = self.endpoint.set_symmetric(dialog, true) {
            tracing::debug!(%error, "the dialog was over already");
        }
    }
}

fn refusal<const N: usize>(code: u16, reason: Option<&str>, headers: [(&'static str, String); N]) -> Box<Reply> {
    let mut reply = Reply::new(StatusCode::new(code).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR));
    if let Some(reason) = reason {
        reply = reply.reason(reason);
    }
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    Box::new(reply)
}

/// Text as it may stand between quotes.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect()
}
