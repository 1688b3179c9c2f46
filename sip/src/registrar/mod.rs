//! The registrar (RFC 3261 §10.3): which devices an address of record is reached at. Sans-IO.
//!
//! A binding keeps where its REGISTER came from. Calls go back there: behind a NAT the Contact names an address nobody else
//! can reach. Who may register what is decided before (see [`crate::auth`]).

mod bindings;
mod lost;

use std::time::{Duration, Instant};

use crate::{
    message::{Contacts, HeaderName, Headers, NameAddr, Request, SipUri, StatusCode},
    net::{Destination, FlowId, Protocol, Source},
};

use bindings::Bindings;
use lost::Lost;

pub use bindings::BindingId;

/// Settings of a [`Registrar`].
#[derive(Clone, Debug)]
pub struct RegistrarConfig {
    /// Shorter requests get 423.
    pub min_expires: Duration,
    /// When a device names none.
    pub default_expires: Duration,
    /// Longer requests are shortened to it.
    pub max_expires: Duration,
    /// Past it, the binding of that address that would expire first gives way: a device that comes back under a new Contact
    /// after every crash must not lock itself out.
    pub max_bindings_per_address: usize,
    /// Over all addresses; past it new bindings get 503.
    pub max_bindings: usize,
}

impl Default for RegistrarConfig {
    fn default() -> Self {
        RegistrarConfig {
            min_expires: Duration::from_secs(60),
            default_expires: Duration::from_secs(3600),
            max_expires: Duration::from_secs(7200),
            max_bindings_per_address: 10,
            max_bindings: 100_000,
        }
    }
}

/// One device of an address of record.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The address of record as given to [`Registrar::register`].
    pub address: String,
    /// The Contact with its parameters, except `expires`. Its URI is the Request-URI of calls to this device.
    pub contact: NameAddr,
    /// Where the latest REGISTER came from.
    pub source: Source,
    /// Preference in thousandths; higher is tried earlier.
    pub q_millis: u16,
    pub expires_at: Instant,
    pub user_agent: Option<String>,
    call_id: Vec<u8>,
    cseq: u32,
    /// `+sip.instance` and `reg-id` (RFC 5626 §4.1).
    instance: Option<(String, String)>,
}

impl Binding {
    /// Where requests to this device are sent: back to where it registered from.
    pub fn destination(&self) -> Destination {
        self.source.reply_path()
    }

    /// Whether a REGISTER comes from the device that made this binding, not from another one whose private address is the same behind
    /// another NAT. Where devices have no instance, a device is known by its Call-ID (RFC 3261 10.2) or its NAT.
    fn is_of_device(&self, contact: &NameAddr, call_id: &[u8], source: &Source) -> bool {
        match (&self.instance, instance(contact)) {
            (Some((before, _)), Some((now, _))) => *before == now,
            (None, None) => self.call_id == call_id || self.source.remote.ip() == source.remote.ip(),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// What a registration changed, for logs and subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Added { address: String, contact: String },
    Refreshed { address: String, contact: String },
    Removed { address: String, contact: String, why: Removal },
}

/// Why a binding went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The device asked for it.
    Unregistered,
    Expired,
    /// Its connection closed, and its Contact cannot be reached without it.
    FlowClosed,
    /// A newer binding of the same address took its place.
    Displaced,
}

/// The answer to a REGISTER.
#[derive(Clone, Debug)]
pub struct RegisterReply {
    pub status: StatusCode,
    /// Instead of the standard phrase.
    pub reason: Option<&'static str>,
    /// Contact, Min-Expires or Retry-After, as the status wants.
    pub headers: Headers,
    pub changes: Vec<Change>,
    pub moved: Vec<Moved>,
}

/// A device that was somewhere else before: its dialogs follow it.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Its Contact before.
    pub contact: NameAddr,
    pub from: Source,
}

/// What carrying out a REGISTER has done.
#[derive(Default)]
struct Done {
    changes: Vec<Change>,
    moved: Vec<Moved>,
}

/// A refusal on the way; nothing has been changed.
struct Refused {
    status: StatusCode,
    reason: &'static str,
    header: Option<(HeaderName, u64)>,
}

impl Refused {
    fn new(status: StatusCode, reason: &'static str) -> Self {
        Refused { status, reason, header: None }
    }
}

/// One Contact of a request, checked.
struct Wish {
    contact: NameAddr,
    /// Zero removes.
    expires: Duration,
}

/// All registrations.
#[derive(Debug)]
pub struct Registrar {
    config: RegistrarConfig,
    bindings: Bindings,
    lost: Lost,
}

impl Registrar {
    pub fn new(config: RegistrarConfig) -> Self {
        Registrar { config, bindings: Bindings::default(), lost: Lost::default() }
    }

    /// Carries out a REGISTER for an address of record. All of it or, when refused, none of it.
    ///
    /// Without Contact it is a query. `address` is the canonical name of the user that was authenticated and is named in To.
    pub fn register(&mut self, now: Instant, address: &str, request: &Request, source: Source) -> RegisterReply {
        let mut done = Done::default();
        let result = self.carry_out(now, address, request, source, &mut done);
        let Done { changes, moved } = done;
        match result {
            Ok(()) => {
                let mut headers = Headers::new();
                for binding in self.lookup(address, now) {
                    let mut contact = binding.contact.clone();
                    let left = binding.expires_at.saturating_duration_since(now);
                    // Rounded up: a fresh binding shows what was asked for.
                    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                    contact.params.set("expires", Some(&seconds.to_string()));
                    headers.push(HeaderName::Contact, contact.to_string());
                }
                RegisterReply { status: StatusCode::OK, reason: None, headers, changes, moved }
            }
            Err(Refused { status, reason, header }) => {
                let mut headers = Headers::new();
                if let Some((name, value)) = header {
                    headers.push(name, value.to_string());
                }
                RegisterReply { status, reason: Some(reason), headers, changes, moved }
            }
        }
    }

    /// The devices of an address in the order in which they are to be tried: higher q first, then the latest to register.
    pub fn lookup(&self, address: &str, now: Instant) -> Vec<&Binding> {
        let mut found: Vec<&Binding> =
            self.bindings.of_address(address).map(|(_, binding)| binding).filter(|b| b.expires_at > now).collect();
        found.sort_by_key(|binding| (std::cmp::Reverse(binding.q_millis), std::cmp::Reverse(binding.expires_at)));
        found
    }

    /// All bindings, ordered by the time of their first registration.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter()
    }

    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bindings.len() == 0
    }

    /// When [`Registrar::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.bindings.next_expiry()
    }

    /// Removes what has expired.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Change> {
        let expired = self.bindings.expired(now);
        expired.into_iter().filter_map(|id| self.remove(id, Removal::Expired)).collect()
    }

    /// Removes the bindings that were reached over a connection that has closed, unless their Contact names the address the
    /// connection came from: then it can be opened anew, except for TLS that ended in front of us.
    pub fn handle_flow_closed(&mut self, flow: FlowId) -> Vec<Change> {
        let mut changes = Vec::new();
        for id in self.bindings.on_flow(flow) {
            let Some(binding) = self.bindings.find(id) else { continue };
            self.lost.note(binding.clone());
            let contact = binding.contact.uri.as_sip().filter(|uri| !needs_flow(uri, &binding.source));
            let listens_at = contact.and_then(|uri| {
                let ip = uri.host.ip().filter(|ip| *ip == binding.source.remote.ip())?;
                let port = uri.port.unwrap_or_else(|| binding.source.protocol.default_port());
                Some(std::net::SocketAddr::new(ip, port))
            });
            match listens_at {
                Some(remote) => {
                    let source = Source { remote, flow: None, ..binding.source };
                    self.bindings.update(id, |binding| binding.source = source);
                }
                None => changes.extend(self.remove(id, Removal::FlowClosed)),
            }
        }
        changes
    }

    fn remove(&mut self, id: BindingId, why: Removal) -> Option<Change> {
        let Binding { address, contact, .. } = self.bindings.remove(id)?;
        Some(Change::Removed { address, contact: contact.uri.to_string(), why })
    }

    fn carry_out(
        &mut self,
        now: Instant,
        address: &str,
        request: &Request,
        source: Source,
        done: &mut Done,
    ) -> Result<(), Refused> {
        let Done { changes, moved } = done;
        changes.extend(self.handle_timeout(now));
        let headers = &request.headers;
        let bad = |reason| Refused::new(StatusCode::BAD_REQUEST, reason);
        let call_id = headers.call_id().ok_or_else(|| bad("Missing Call-ID"))?.as_bytes().to_vec();
        let cseq = headers.cseq().and_then(Result::ok).ok_or_else(|| bad("Malformed CSeq"))?.number;
        let wishes = match headers.contacts().map_err(|_| bad("Malformed Contact"))? {
            Contacts::Wildcard => {
                if headers.expires() != Some(0) {
                    return Err(bad("Contact * Needs Expires 0"));
                }
                return self.remove_all(address, &call_id, cseq, changes);
            }
            Contacts::List(contacts) => {
                let wishes = self.check(contacts, headers.expires())?;
                let is_direct = headers.via_count() <= 1;
                let mut bound = wishes.iter().filter(|wish| !wish.expires.is_zero()).filter_map(|wish| wish.contact.uri.as_sip());
                if bound.any(|uri| !is_callable(uri, &source, is_direct)) {
                    return Err(bad("Contact Needs A Transport Not Available Here"));
                }
                wishes
            }
        };

        // First decide, then act: a REGISTER succeeds or fails as a whole (RFC 3261 §10.3 step 7).
        let mut plan: Vec<(Option<BindingId>, Wish)> = Vec::with_capacity(wishes.len());
        for wish in wishes {
            // A binding is known by its URI: one that is named twice is one, and what is said of it last counts.
            if let Some((_, earlier)) = plan.iter_mut().find(|(_, earlier)| earlier.contact.uri.is_equivalent(&wish.contact.uri))
            {
                *earlier = wish;
                continue;
            }
            let claimed: Vec<BindingId> = plan.iter().filter_map(|(id, _)| *id).collect();
            let known = self.find_match(address, &wish.contact, &claimed);
            if let Some(binding) = known.and_then(|id| self.bindings.find(id)) {
                check_order(binding, &call_id, cseq)?;
            }
            plan.push((known, wish));
        }
        let added = plan.iter().filter(|(known, wish)| known.is_none() && !wish.expires.is_zero()).count();
        if added > self.config.max_bindings_per_address {
            return Err(Refused::new(StatusCode::FORBIDDEN, "Too Many Contacts"));
        }
        if self.bindings.len() + added > self.config.max_bindings {
            let header = Some((HeaderName::RetryAfter, 60));
            return Err(Refused { header, ..Refused::new(StatusCode::SERVICE_UNAVAILABLE, "Too Many Registrations") });
        }
        let user_agent = headers.get(HeaderName::UserAgent).map(|value| value.text().chars().take(128).collect());
        for (known, wish) in plan {
            if wish.expires.is_zero() {
                changes.extend(known.and_then(|id| self.remove(id, Removal::Unregistered)));
                continue;
            }
            let before = known.and_then(|id| self.bindings.find(id));
            let before = before.filter(|before| (before.source.remote, before.source.flow) != (source.remote, source.flow));
            let before = before.filter(|before| before.is_of_device(&wish.contact, &call_id, &source));
            moved.extend(before.map(|before| Moved { contact: before.contact.clone(), from: before.source }));
            moved.extend(self.lost.take(address, &wish.contact, &call_id, &source));
            let (address, contact) = (address.to_owned(), wish.contact.uri.to_string());
            changes.push(match known {
                Some(_) => Change::Refreshed { address: address.clone(), contact },
                None => Change::Added { address: address.clone(), contact },
            });
            let binding = Binding {
                address,
                q_millis: wish.contact.q_millis(),
                instance: instance(&wish.contact),
                contact: wish.contact,
                source,
                expires_at: now + wish.expires,
                user_agent: Option::clone(&user_agent),
                call_id: call_id.clone(),
                cseq,
            };
            match known {
                Some(id) => self.bindings.update(id, |stored| *stored = binding),
                None => self.bindings.insert(binding),
            }
        }
        while self.bindings.of_address(address).count() > self.config.max_bindings_per_address {
            let first = self.bindings.of_address(address).min_by_key(|(id, binding)| (binding.expires_at, *id));
            let Some((id, _)) = first else { break };
            changes.extend(self.remove(id, Removal::Displaced));
        }
        Ok(())
    }

    fn remove_all(&mut self, address: &str, call_id: &[u8], cseq: u32, changes: &mut Vec<Change>) -> Result<(), Refused> {
        let mut ids = Vec::new();
        for (id, binding) in self.bindings.of_address(address) {
            check_order(binding, call_id, cseq)?;
            ids.push(id);
        }
        changes.extend(ids.into_iter().filter_map(|id| self.remove(id, Removal::Unregistered)));
        Ok(())
    }

    fn check(&self, contacts: Vec<NameAddr>, expires: Option<u32>) -> Result<Vec<Wish>, Refused> {
        contacts
            .into_iter()
            .map(|mut contact| {
                if contact.uri.as_sip().is_none() {
                    return Err(Refused::new(StatusCode::BAD_REQUEST, "Contact Is No SIP URI"));
                }
                let asked = contact.expires().or(expires).map(|seconds| Duration::from_secs(seconds.into()));
                let asked = asked.unwrap_or(self.config.default_expires);
                if !asked.is_zero() && asked < self.config.min_expires {
                    let header = Some((HeaderName::MinExpires, self.config.min_expires.as_secs()));
                    return Err(Refused { header, ..Refused::new(StatusCode::INTERVAL_TOO_BRIEF, "Interval Too Brief") });
                }
                contact.params.remove("expires");
                Ok(Wish { contact, expires: asked.min(self.config.max_expires) })
            })
            .collect()
    }

    /// The binding a Contact refers to: that of the same device instance, else that of an equivalent URI.
    ///
    /// An instance is matched once a request, so that a device may register two Contacts under one instance.
    fn find_match(&self, address: &str, contact: &NameAddr, claimed: &[BindingId]) -> Option<BindingId> {
        let free = || self.bindings.of_address(address).filter(|(id, _)| !claimed.contains(id));
        let same_uri = free().find(|(_, binding)| binding.contact.uri.is_equivalent(&contact.uri));
        let wanted = instance(contact);
        let same_device = || free().find(|(_, binding)| wanted.is_some() && binding.instance == wanted);
        same_uri.or_else(same_device).map(|(id, _)| id)
    }
}

/// Whether calls that go back where a REGISTER came from reach a device as its Contact asks. A `sips:` URI promises protection on every
/// hop (RFC 3261 26.2.2); by which transport a device is reached is the affair of a proxy, where there is one.
fn is_callable(uri: &SipUri, source: &Source, is_direct: bool) -> bool {
    let is_plain = |name: &str| matches!(Protocol::from_token(name), Some(Protocol::Udp | Protocol::Tcp));
    let is_reached = || uri.transport().is_none_or(is_plain) || needs_flow(uri, source);
    source.protocol.is_secure() || (!uri.secure && (!is_direct || is_reached()))
}

/// Whether TLS ends in front of us, at what adds no Via: the device is reached by the connection it has opened, and by no other.
fn needs_flow(uri: &SipUri, source: &Source) -> bool {
    source.protocol == Protocol::Tcp && uri.transport().and_then(Protocol::from_token) == Some(Protocol::Tls)
}

/// A device counts its requests upwards; an older one that arrives late must not undo a newer one.
fn check_order(binding: &Binding, call_id: &[u8], cseq: u32) -> Result<(), Refused> {
    if binding.call_id == call_id && cseq <= binding.cseq {
        return Err(Refused::new(StatusCode::SERVER_INTERNAL_ERROR, "Register Out Of Order"));
    }
    Ok(())
}

fn instance(contact: &NameAddr) -> Option<(String, String)> {
    let instance = contact.params.get_unquoted("+sip.instance").filter(|value| !value.is_empty())?;
    Some((instance, contact.params.get("reg-id").unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests;
