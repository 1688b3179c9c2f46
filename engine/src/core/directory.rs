//! Who is who: users, DIDs, gateways and routes, and where a dialled target leads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lockstep_ctx_api::CallFacts;
use lockstep_ctx_api::op::Vars;
use lockstep_sip::message::{Host, SipUri, Uri};
use lockstep_sip::net::Protocol;
use lockstep_sip::resolve::NextHops;

use super::call_facts::user_of;
use super::customers::Customers;
use super::gateway_entry::GatewayEntry;
use crate::call::Refusal;
use crate::config::{
    Class5Application, Class5Destination, Config, Customer, DEFAULT_ACCOUNT, Destination as DidDestination, Did, User,
};
use crate::provisioning::Lists;
use crate::script::{Program, ProgramSet};

/// What a target of a bridge or of an originated call turns out to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Callee {
    /// Rings at all bindings of the user.
    User(String),
    /// Reaches the script or the application that answers to this.
    Class5(String),
    /// Goes through the routes.
    Number(String),
    /// This URI at this gateway.
    Gateway(i64, SipUri),
    /// Goes through the routes, of those ways only through this gateway.
    NumberAt(i64, String),
    /// Comes in by this DID, as a caller's from outside does: its script, customer and variables count, and each of its destinations.
    Did(String),
}

/// Where an incoming call leads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IncomingRoute {
    /// Tried in order.
    pub destinations: Vec<DidDestination>,
    pub did: Option<String>,
    pub customer: Option<i64>,
    /// The account whose Class 5 destinations are meant, beside the operator's; `None`: anybody's.
    pub reach: Option<Arc<str>>,
}

/// The provisioning of an engine, arranged for look-up.
#[derive(Debug)]
pub(crate) struct Directory {
    lists: Arc<Lists>,
    class5: Vec<Class5Application>,
    gateways: BTreeMap<i64, GatewayEntry>,
    customers: Customers,
    /// Host names and addresses that mean this engine.
    own_hosts: Vec<Host>,
}

impl Directory {
    /// Arranges a configuration. `own` are the addresses the engine listens on.
    pub(crate) fn new(config: &Config, own: impl IntoIterator<Item = IpAddr>) -> Self {
        Self::with(Arc::new(Lists::of(config)), config, own)
    }

    /// The same with the lists of the configuration at hand.
    pub(crate) fn with(lists: Arc<Lists>, config: &Config, own: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut own_hosts: Vec<Host> = own.into_iter().chain(config.sip.external_ip).map(host_of_ip).collect();
        own_hosts.extend([config.sip.realm.as_str(), "localhost"].into_iter().filter_map(|name| Host::parse(name).ok()));
        Self {
            lists,
            class5: config.class5.clone(),
            gateways: config.gateways.iter().filter_map(|gateway| Some((gateway.id, GatewayEntry::new(gateway)?))).collect(),
            customers: Customers::new(&config.customers),
            own_hosts,
        }
    }

    /// The users and numbers.
    pub(crate) fn lists(&self) -> &Arc<Lists> {
        &self.lists
    }

    /// Takes over where gateways were found that are still the same.
    pub(crate) fn keep_found(&mut self, before: &Self) {
        for (id, entry) in &mut self.gateways {
            if let Some(known) = before.gateways.get(id).filter(|known| known.uri == entry.uri) {
                entry.keep_found(known);
            }
        }
    }

    /// A configured user.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.lists.users.get(name)
    }

    /// A configured gateway.
    pub(crate) fn gateway(&self, id: i64) -> Option<&GatewayEntry> {
        self.gateways.get(&id)
    }

    /// Every gateway, by id.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &GatewayEntry> {
        self.gateways.values()
    }

    /// A gateway was found there.
    pub(crate) fn set_gateway_destinations(&mut self, now: Instant, id: i64, found: NextHops) {
        if let Some(entry) = self.gateways.get_mut(&id) {
            entry.found_at(now, found);
        }
    }

    /// Notes whether a gateway does not answer; whether that is news.
    pub(crate) fn set_gateway_down(&mut self, id: i64, is_down: bool) -> bool {
        self.gateways.get_mut(&id).is_some_and(|entry| std::mem::replace(&mut entry.is_down, is_down) != is_down)
    }

    /// Notes that a gateway takes no calls until then.
    pub(crate) fn set_gateway_busy(&mut self, id: i64, until: Instant) {
        if let Some(entry) = self.gateways.get_mut(&id) {
            entry.busy_until = Some(until);
        }
    }

    /// Whether a gateway answers and takes calls, as far as is known.
    pub(crate) fn is_up(&self, now: Instant, id: i64) -> bool {
        self.gateways.get(&id).is_none_or(|entry| !entry.is_down && entry.busy_until.is_none_or(|until| until <= now))
    }

    /// The gateway whose calls come from `ip`.
    pub(crate) fn gateway_at(&self, ip: IpAddr) -> Option<&GatewayEntry> {
        self.gateways.values().find(|entry| entry.is_at(ip))
    }

    /// Whether `user` is what a gateway that calls from `ip` knows us as: the user part of the Contact that we have registered there.
    pub(crate) fn is_our_name(&self, user: &str, ip: IpAddr) -> bool {
        self.gateways.values().any(|entry| entry.knows_us_as(user) && entry.is_at(ip))
    }

    /// The customer whose PBX calls under this name.
    pub(crate) fn customer_named(&self, user: &str) -> Option<&Customer> {
        self.customers.named(user)
    }

    /// The customer with this id.
    pub(crate) fn customer(&self, id: i64) -> Option<&Customer> {
        self.customers.with_id(id)
    }

    /// The customer whose calls come from `ip`.
    pub(crate) fn customer_at(&self, ip: IpAddr) -> Option<&Customer> {
        self.customers.at(ip)
    }

    /// Where a caller of the account `reach` is led who dialled `dialled`; `None`: nobody is there. A DID does not lead to itself, and
    /// leads to what its own account reaches. To callers of no account, what the operator has comes before scripts of others: `leads_out`
    /// says whether that is a route.
    pub(crate) fn incoming(
        &self,
        dialled: &str,
        reach: Option<&str>,
        programs: &ProgramSet,
        leads_out: impl FnOnce() -> bool,
    ) -> Option<IncomingRoute> {
        if let Some(did) =
            self.lists.dids.get(number_key(dialled)).filter(|did| !did.destinations.is_empty() || did.script.is_some())
        {
            let is_itself = |to: &&DidDestination| matches!(to, DidDestination::External(number) if is_same(number, &did.number));
            return Some(IncomingRoute {
                destinations: did.destinations.iter().filter(|to| !is_itself(to)).cloned().collect(),
                did: Some(did.number.clone()),
                customer: did.customer,
                reach: Some(self.account_of_did(did).into()),
            });
        }
        let application = self.application(dialled);
        let script = self.script_of(dialled, reach, programs);
        let is_others = script.is_some_and(|program| reach.is_none() && program.account != DEFAULT_ACCOUNT);
        if is_others && application.is_none() && leads_out() {
            // What the call reaches from here on is the operator's, else it would come to the script after all.
            let destinations = vec![DidDestination::External(dialled.to_owned())];
            return Some(IncomingRoute { destinations, did: None, customer: None, reach: Some(DEFAULT_ACCOUNT.into()) });
        }
        let destination = if script.is_some() && !(is_others && application.is_some()) {
            DidDestination::Class5(dialled.to_owned())
        } else if let Some(application) = application {
            application.clone()
        } else if self.lists.users.contains_key(dialled) {
            DidDestination::User(dialled.to_owned())
        } else {
            return None;
        };
        Some(IncomingRoute { destinations: vec![destination], did: None, customer: None, reach: reach.map(Arc::from) })
    }

    /// The script that a caller of the account `reach` gets who dials this. A pattern of one account takes no calls to the users of
    /// another, nor does an exact destination of one those of callers of no account, but for the operator's.
    fn script_of<'a>(&self, dialled: &str, reach: Option<&str>, programs: &'a ProgramSet) -> Option<&'a Arc<Program>> {
        let program = programs.dialled(dialled, reach)?;
        let is_pattern = !matches!(program.settings.class5_destination, Some(Class5Destination::Exact(_)));
        let others = |user: &User| user.account != program.account;
        let gives_way = is_pattern || reach.is_none() && program.account != DEFAULT_ACCOUNT;
        (!(gives_way && self.user(dialled).is_some_and(others))).then_some(program)
    }

    /// The application that answers a Class 5 destination which no script has.
    pub(crate) fn application(&self, dialled: &str) -> Option<&DidDestination> {
        let is_exact = |entry: &&Class5Application| matches!(entry.destination, Class5Destination::Exact(_));
        let mut fitting = self.class5.iter().filter(|entry| entry.destination.matches(dialled));
        fitting.clone().find(is_exact).or_else(|| fitting.next()).map(|entry| &entry.to)
    }

    /// Whether `lockstep.toml` names an application: it is the operator's then, whoever's call it gets.
    pub(crate) fn is_operators(&self, application: &DidDestination) -> bool {
        self.lists.operators.contains(&application.to_string())
    }

    /// Whose call one is that no script has: its DID's or customer's, else that of the user who calls or is called.
    pub(crate) fn account_of(&self, facts: &CallFacts, vars: &Vars) -> &str {
        let did = facts.did.as_deref().and_then(|number| self.did(number));
        if let Some(account) = did.and_then(|did| did.account.as_deref()) {
            return account;
        }
        let customer = did.and_then(|did| did.customer).or(facts.customer_id).and_then(|id| self.customer(id));
        let user = || vars.get("sip_auth_username").and_then(|name| self.user(name)).or_else(|| self.user(&facts.to));
        match customer {
            Some(customer) => &customer.account,
            None => user().map_or(DEFAULT_ACCOUNT, |user| &user.account),
        }
    }

    /// Whose number a DID is: what it says itself, else its customer's account.
    pub(crate) fn account_of_did<'a>(&'a self, did: &'a Did) -> &'a str {
        let customer = || did.customer.and_then(|id| self.customer(id)).map(|customer| customer.account.as_str());
        did.account.as_deref().or_else(customer).unwrap_or(DEFAULT_ACCOUNT)
    }

    /// The DID of a number.
    pub(crate) fn did(&self, number: &str) -> Option<&Did> {
        self.lists.dids.get(number_key(number))
    }

    /// What a call of the account `reach` may dial as `target`; why not otherwise. Nothing leaves the engine but to users and gateways.
    pub(crate) fn callee(&self, target: &str, reach: Option<&str>, programs: &ProgramSet) -> Result<Callee, Refusal> {
        let target = target.trim();
        let has_scheme = ["sip:", "sips:", "tel:"]
            .iter()
            .any(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        if !has_scheme {
            return self.callee_by_name(target, reach, programs);
        }
        match Uri::parse(target) {
            Ok(Uri::Tel(tel)) => self.callee_by_name(&tel.digits(), reach, programs),
            Ok(Uri::Sip(uri)) if uri.secure => {
                Err(Refusal::new(403, format!("{target} needs TLS, which is not available in this version")))
            }
            Ok(Uri::Sip(uri)) => self.callee_by_uri(target, uri, reach, programs),
            Ok(Uri::Other { .. }) | Err(_) => Err(Refusal::new(484, format!("{target} is not a SIP URI"))),
        }
    }

    fn callee_by_name(&self, target: &str, reach: Option<&str>, programs: &ProgramSet) -> Result<Callee, Refusal> {
        if self.lists.users.contains_key(target) {
            return Ok(Callee::User(target.to_owned()));
        }
        if programs.dialled(target, reach).is_some() || self.application(target).is_some() {
            return Ok(Callee::Class5(target.to_owned()));
        }
        match self.did(target) {
            Some(did) => self.callee_by_did(did, target),
            None => Self::callee_by_route(target),
        }
    }

    /// A DID that is nothing but another name of one user or number is dialled as that.
    fn callee_by_did(&self, did: &Did, target: &str) -> Result<Callee, Refusal> {
        match did.destinations.as_slice() {
            [] if did.script.is_none() => Err(leads_nowhere(target)),
            [DidDestination::User(name)] if is_bare(did) => Ok(Callee::User(name.clone())),
            [DidDestination::External(number)] if is_bare(did) && self.did(number).is_none() => Self::callee_by_route(number),
            _ => Ok(Callee::Did(target.to_owned())),
        }
    }

    /// What a call of the account `reach` may dial as `target` where nothing can come in by a DID: a DID is its first destination there.
    pub(crate) fn first_callee(&self, target: &str, reach: Option<&str>, programs: &ProgramSet) -> Result<Callee, Refusal> {
        let number = match self.callee(target, reach, programs)? {
            Callee::Did(number) => number,
            other => return Ok(other),
        };
        let did = self.did(&number);
        match did.and_then(|did| did.destinations.first()) {
            Some(DidDestination::Class5(name)) => Ok(Callee::Class5(name.clone())),
            Some(DidDestination::User(name)) => Ok(Callee::User(name.clone())),
            Some(DidDestination::Sip(uri)) => self.callee(uri, did.map(|did| self.account_of_did(did)), programs),
            Some(DidDestination::External(other)) if !is_same(other, &number) => Self::callee_by_route(other),
            Some(DidDestination::Socket { .. }) => Ok(Callee::Did(number)),
            Some(DidDestination::External(_)) | None => Err(leads_nowhere(&number)),
        }
    }

    /// Whether a DID has nothing that only a call has which comes in by it.
    pub(crate) fn is_bare(&self, number: &str) -> bool {
        self.did(number).is_some_and(is_bare)
    }

    fn callee_by_uri(
        &self,
        target: &str,
        mut uri: SipUri,
        reach: Option<&str>,
        programs: &ProgramSet,
    ) -> Result<Callee, Refusal> {
        let user = user_of(&Uri::Sip(uri.clone()));
        let gateway = self
            .gateways
            .values()
            .find(|entry| same_host(&entry.uri.host, &uri.host) && (uri.port.is_none() || uri.port == entry.uri.port));
        // A gateway on this very machine is told from ourselves by its port.
        let names_gateway = gateway.is_some() && uri.port.is_some();
        if !names_gateway && self.own_hosts.iter().any(|host| same_host(host, &uri.host)) {
            return self.callee_by_name(&user, reach, programs);
        }
        if let Some(transport) = uri.transport().filter(|name| !is_available(name)) {
            let reason = format!("{target} needs transport {transport}, which is not available in this version");
            return Err(Refusal::new(403, reason));
        }
        match gateway {
            // What the operator's scripts or lockstep.toml have written is dialled as it stands.
            Some(entry) if reach.is_none_or(|account| account == DEFAULT_ACCOUNT) || self.lists.operators.contains(target) => {
                // But for where else than at the gateway it is.
                uri.params.remove("maddr");
                Ok(Callee::Gateway(entry.config.id, uri))
            }
            Some(entry) if is_dialled_number(&user) => Ok(Callee::NumberAt(entry.config.id, user)),
            Some(_) => Err(Refusal::new(403, format!("no route leads to {user}"))),
            None => Err(Refusal::new(403, format!("{} is no gateway of this engine", uri.host))),
        }
    }

    /// Numbers go through the routes.
    fn callee_by_route(number: &str) -> Result<Callee, Refusal> {
        if !is_dialled_number(number) {
            return Err(Refusal::new(404, format!("{number} is neither a user nor a Class 5 destination")));
        }
        Ok(Callee::Number(number.to_owned()))
    }
}

/// Whether a text is a number as routes have it.
pub(crate) fn is_dialled_number(text: &str) -> bool {
    let key = number_key(text);
    !key.is_empty() && key.chars().all(|c| c.is_ascii_digit() || matches!(c, '*' | '#'))
}

/// Whether calls can go out by what a `transport` parameter names; it is that or nothing (RFC 3263, section 4.1).
fn is_available(transport: &str) -> bool {
    matches!(Protocol::from_token(transport), Some(Protocol::Udp | Protocol::Tcp))
}

fn is_bare(did: &Did) -> bool {
    did.script.is_none() && did.customer.is_none() && did.vars.is_empty()
}

fn leads_nowhere(number: &str) -> Refusal {
    Refusal::new(404, format!("the DID {number} leads nowhere"))
}

fn is_same(one: &str, other: &str) -> bool {
    number_key(one) == number_key(other)
}

/// Numbers are the same with and without the `+` of the international form.
fn number_key(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

fn same_host(a: &Host, b: &Host) -> bool {
    match (a, b) {
        (Host::Name(a), Host::Name(b)) => a.trim_end_matches('.').eq_ignore_ascii_case(b.trim_end_matches('.')),
        _ => a.ip().is_some() && a.ip().map(|ip| ip.to_canonical()) == b.ip().map(|ip| ip.to_canonical()),
    }
}

/// An address as the host of a URI.
pub(crate) fn host_of_ip(ip: IpAddr) -> Host {
    match ip {
        IpAddr::V4(ip) => Host::V4(ip),
        IpAddr::V6(ip) => Host::V6(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::lab::programs;

    const CONFIG: &str = r#"
        [[user]]
        name = "1001"
        password = "x"
        [[did]]
        number = "+442080000000"
        destinations = ["user:1001", "external:33123"]
        [[gateway]]
        id = 7
        address = "sip:sbc.example.net"
        [[gateway]]
        id = 8
        address = "sip:198.51.100.8:5070"
        addresses = ["198.51.100.0/24"]
        [[gateway]]
        id = 9
        address = "sip:127.0.0.1:5099"
        [[route]]
        prefix = "44"
        gateways = [7, 8]
        [[route]]
        prefix = "4420"
        gateways = [8]
        [[customer]]
        id = 12
        [[route]]
        prefix = "4499"
        customers = [12]
        gateways = [8]
        [[route]]
        prefix = "1"
        customers = [12]
        gateways = [7]
    "#;

    fn directory() -> Directory {
        let config: Config = toml::from_str(CONFIG).unwrap();
        Directory::new(&config, ["127.0.0.1".parse().unwrap()])
    }

    fn callee(target: &str) -> Callee {
        directory().callee(target, None, &ProgramSet::default()).unwrap()
    }

    fn gateway_of(target: &str) -> i64 {
        match callee(target) {
            Callee::Gateway(id, _) => id,
            other => panic!("expected a gateway, got {other:?}"),
        }
    }

    fn refusal(target: &str) -> u16 {
        directory().callee(target, None, &ProgramSet::default()).unwrap_err().code
    }

    #[test]
    fn numbers_go_through_the_routes() {
        for (target, number) in [("441234", "441234"), ("+442012345678", "+442012345678"), ("tel:+44-1234", "+441234")] {
            assert_eq!(callee(target), Callee::Number(number.into()), "{target}");
        }
        assert_eq!(refusal("nobody"), 404);
    }

    #[test]
    fn a_uri_leaves_only_through_a_gateway() {
        assert_eq!(gateway_of("sip:x@SBC.example.net"), 7);
        assert_eq!(gateway_of("sip:x@198.51.100.8:5070"), 8);
        assert_eq!(refusal("sip:x@198.51.100.8:5080"), 403);
        assert_eq!(refusal("sip:x@evil.example.com"), 403);
    }

    #[test]
    fn an_account_dials_at_a_gateway_what_routes_lead_there() {
        let config =
            format!("{CONFIG}[[did]]\nnumber = \"331\"\naccount = \"north\"\ndestinations = [\"sip:desk@sbc.example.net\"]");
        let mut config: Config = toml::from_str(&config).unwrap();
        let put = Did {
            number: "332".into(),
            destinations: vec!["sip:own@sbc.example.net".parse().unwrap()],
            ..config.dids[1].clone()
        };
        config.dids.push(Did { is_put: true, ..put });
        let directory = Directory::new(&config, []);
        let north = |target| directory.callee(target, Some("north"), &ProgramSet::default());
        let refused = |target| north(target).unwrap_err().code;
        assert_eq!(north("sip:33900@sbc.example.net"), Ok(Callee::NumberAt(7, "33900".into())));
        assert_eq!(refused("sip:desk2@sbc.example.net"), 403);
        assert!(matches!(north("sip:desk@sbc.example.net"), Ok(Callee::Gateway(7, _))), "lockstep.toml has written it");
        assert_eq!(refused("sip:own@sbc.example.net"), 403, "put over HTTP");
        for account in [None, Some("default")] {
            let callee = directory.callee("sip:33900@sbc.example.net", account, &ProgramSet::default());
            assert!(matches!(callee, Ok(Callee::Gateway(7, _))), "{account:?}");
        }
    }

    #[test]
    fn a_uri_that_asks_for_secrecy_or_a_transport_we_have_not_is_not_called_in_the_clear() {
        for target in ["sips:x@sbc.example.net", "SIPS:1001@127.0.0.1", "sips:x@198.51.100.8:5070"] {
            assert_eq!(refusal(target), 403, "{target}");
        }
        for transport in ["tls", "WS", "wss", "sctp"] {
            assert_eq!(refusal(&format!("sip:2000@198.51.100.8:5070;transport={transport}")), 403, "{transport}");
        }
        for transport in ["udp", "TCP"] {
            assert_eq!(gateway_of(&format!("sip:2000@198.51.100.8:5070;transport={transport}")), 8, "{transport}");
        }
        assert_eq!(callee("sip:1001@127.0.0.1;transport=ws"), Callee::User("1001".into()), "says how to reach us");
    }

    #[test]
    fn our_own_address_means_our_own_users() {
        let callee = directory().callee("sip:1001@127.0.0.1", None, &ProgramSet::default());
        assert_eq!(callee, Ok(Callee::User("1001".into())));
        assert_eq!(refusal("sip:nobody@127.0.0.1"), 404);
        assert_eq!(gateway_of("sip:nobody@127.0.0.1:5099"), 9, "a gateway beside us");
    }

    #[test]
    fn a_did_is_found_with_and_without_its_plus() {
        for dialled in ["442080000000", "+442080000000"] {
            let route = directory().incoming(dialled, None, &ProgramSet::default(), || false).unwrap();
            assert_eq!(route.did.as_deref(), Some("+442080000000"));
            assert_eq!(route.destinations.len(), 2);
        }
        assert_eq!(directory().incoming("442080000001", None, &ProgramSet::default(), || false), None);
    }

    #[test]
    fn of_a_did_messages_reach_the_first_destination() {
        let first = directory().first_callee("442080000000", None, &ProgramSet::default());
        assert_eq!(first, Ok(Callee::User("1001".into())));
        assert_eq!(callee("442080000000"), Callee::Did("442080000000".into()), "a call may reach the second");
    }

    #[test]
    fn a_number_reaches_the_scripts_of_its_callers_account_and_the_operators() {
        let programs = programs(&[("north@100", ""), ("south@100", ""), ("north@/44.*/", ""), ("default@900", "")]);
        let reached = |dialled: &str, account: Option<&str>| {
            let directory = directory();
            let callee = directory.callee(dialled, account, &programs).map(|callee| matches!(callee, Callee::Class5(_)));
            let led = directory.incoming(dialled, account, &programs, || false).map(|route| route.destinations);
            let script = programs.dialled(dialled, account).map(|program| program.name.clone());
            assert_eq!((callee == Ok(true), led.is_some()), (script.is_some(), script.is_some()), "{dialled} {account:?}");
            script.unwrap_or_default()
        };
        for (dialled, scripts) in [
            ("100", ["script-north@100", "script-south@100", "", "script-north@100"]),
            ("441234", ["script-north@/44.*/", "", "", "script-north@/44.*/"]),
            ("900", ["script-default@900"; 4]),
        ] {
            let accounts = [Some("north"), Some("south"), Some("default"), None];
            assert_eq!(accounts.map(|account| reached(dialled, account)), scripts, "{dialled}");
        }
        let first = directory().first_callee("441234", Some("south"), &programs);
        assert_eq!(first, Ok(Callee::Number("441234".into())), "a message goes through the routes");
    }

    #[test]
    fn gateways_are_known_by_the_addresses_they_call_from() {
        assert_eq!(directory().gateway_at("198.51.100.77".parse().unwrap()).map(|entry| entry.config.id), Some(8));
        assert!(directory().gateway_at("203.0.113.1".parse().unwrap()).is_none());
    }
}
