//! The routes of the configuration, and the object that scripts see of them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Rejection;
use super::facts::{Facts, stir_shaken};
use crate::config::{Config, Customer, DEFAULT_ACCOUNT, Did, OnError, Route, TimeoutAction};
use crate::json::of_table;

/// Customers, DIDs, routes and gateways, arranged for look-ups.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// By prefix; of one prefix the cheapest first, then as configured.
    routes: HashMap<String, Vec<Route>>,
    /// Octets of the longest prefix.
    longest: usize,
    gateways: HashSet<i64>,
    customers: HashMap<i64, CustomerEntry>,
    dids: HashMap<String, DidEntry>,
    server: String,
}

/// What is known of a customer.
#[derive(Clone, Debug)]
struct CustomerEntry {
    vars: toml::Table,
    account: String,
}

/// What is known of a DID.
#[derive(Clone, Debug)]
pub(super) struct DidEntry {
    script: Option<String>,
    vars: toml::Table,
    /// Whose calls come in by it.
    pub(super) customer: Option<i64>,
    /// Whose number it is.
    account: String,
}

/// A call as the routes have it, before any script.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Built {
    pub(super) data: Value,
    pub(super) hook: Hook,
    /// Whose call it is; `None`: nobody's.
    pub(super) account: Option<String>,
}

/// The script of a route or DID, and what its failures mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hook {
    pub(super) script: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) timeout_action: Rejection,
    pub(super) on_error: OnError,
    pub(super) ring: Option<Duration>,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            script: None,
            timeout: None,
            timeout_action: Rejection::new(500, "ScriptForge Timeout"),
            on_error: OnError::Reject,
            ring: None,
        }
    }
}

impl Hook {
    fn of_route(route: &Route) -> Self {
        let action = route.timeout_action.as_ref().map(|TimeoutAction { code, text }| Rejection::new(*code, text.clone()));
        Self {
            script: route.script.clone(),
            timeout: route.timeout_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            timeout_action: action.unwrap_or_else(|| Self::default().timeout_action),
            on_error: route.on_error,
            ring: route.ring_s.map(|seconds| Duration::from_secs(seconds.into())),
        }
    }
}

impl CustomerEntry {
    fn of(customer: &Customer) -> Self {
        Self { vars: customer.vars.clone(), account: customer.account.clone() }
    }
}

impl DidEntry {
    fn of(did: &Did, customers: &HashMap<i64, CustomerEntry>) -> Self {
        let customer = did.customer.and_then(|id| customers.get(&id)).map(|customer| customer.account.as_str());
        let account = did.account.as_deref().or(customer).unwrap_or(DEFAULT_ACCOUNT).to_owned();
        Self { script: did.script.clone(), vars: did.vars.clone(), customer: did.customer, account }
    }
}

impl RouteTable {
    /// Arranges a configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let mut routes: HashMap<String, Vec<Route>> = HashMap::new();
        for route in &config.routes {
            routes.entry(key(&route.prefix).to_owned()).or_default().push(route.clone());
        }
        let customers: HashMap<i64, CustomerEntry> =
            config.customers.iter().map(|customer| (customer.id, CustomerEntry::of(customer))).collect();
        let cost = |route: &Route| route.cost.unwrap_or(f64::INFINITY);
        routes.values_mut().for_each(|same| same.sort_by(|a, b| cost(a).total_cmp(&cost(b))));
        Self {
            longest: routes.keys().map(String::len).max().unwrap_or_default(),
            routes,
            gateways: config.gateways.iter().map(|gateway| gateway.id).collect(),
            dids: config.dids.iter().map(|did| (key(&did.number).to_owned(), DidEntry::of(did, &customers))).collect(),
            customers,
            server: config.sip.realm.clone(),
        }
    }

    /// Whether there is such a gateway.
    pub(super) fn has_gateway(&self, id: i64) -> bool {
        self.gateways.contains(&id)
    }

    /// The routes of the longest prefix that fits, of those that are open to the customer.
    fn matching(&self, number: &str, customer: Option<i64>) -> Vec<&Route> {
        let is_open = |route: &Route| route.customers.as_ref().is_none_or(|list| customer.is_some_and(|id| list.contains(&id)));
        self.fitting(number, is_open)
    }

    fn fitting(&self, number: &str, is_wanted: impl Fn(&Route) -> bool) -> Vec<&Route> {
        let number = key(number);
        let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || matches!(c, '*' | '#'));
        if !is_number {
            return Vec::new();
        }
        let of_prefix = |length| Some(self.routes.get(number.get(..length)?)?.iter().filter(|route| is_wanted(route)).collect());
        let prefixes = (0..=self.longest.min(number.len())).rev();
        prefixes.filter_map(of_prefix).find(|found: &Vec<&Route>| !found.is_empty()).unwrap_or_default()
    }

    /// Lays a call out.
    ///
    /// # Errors
    /// No route leads there.
    pub(super) fn build(&self, facts: &Facts) -> Result<Built, Rejection> {
        let did = facts.did.as_deref().and_then(|number| self.did(number));
        // A DID is where a call has come to: a route that fits its number would send it out again.
        let mut routes = if facts.did.is_some() { Vec::new() } else { self.matching(&facts.dialled, facts.customer) };
        routes.retain(|route| facts.gateway.is_none_or(|gateway| route.gateways.contains(&gateway)));
        if routes.is_empty() && facts.did.is_none() {
            return Err(match facts.gateway {
                None => Rejection::new(404, "Not Found").because(format!("no route leads to {}", facts.dialled)),
                Some(gateway) => Rejection::new(403, "Forbidden")
                    .because(format!("no route leads to {} through gateway {gateway}", facts.dialled)),
            });
        }
        let mut costs = self.costs(&routes);
        costs.retain(|(id, _)| facts.gateway.is_none_or(|gateway| gateway == *id));
        let rows = rows_of(&costs, Some(&facts.cli));
        let route = routes.first().copied();
        let mut data = self.vars(facts.customer, did, route);
        for (name, list) in [("egress_routing", json!(rows)), ("headers", json!([])), ("remove_headers", json!([]))] {
            data.insert(name.to_owned(), list);
        }
        data.insert("routing".to_owned(), self.routing(facts, &rows));
        let hook = match (did, route) {
            (Some(DidEntry { script, .. }), _) => Hook { script: script.clone(), ..Hook::default() },
            (None, Some(route)) => Hook::of_route(route),
            (None, None) => Hook::default(),
        };
        let account = self.account_of(did, facts.customer).or(facts.account.as_deref()).map(str::to_owned);
        Ok(Built { data: Value::Object(data), hook, account })
    }

    /// Variables of customer, DID and route; the narrower wins.
    fn vars(&self, customer: Option<i64>, did: Option<&DidEntry>, route: Option<&Route>) -> Map<String, Value> {
        let customer = customer.and_then(|id| self.customers.get(&id)).map(|customer| &customer.vars);
        let narrower = did.map(|did| &did.vars).into_iter().chain(route.map(|route| &route.vars));
        let mut all = Map::new();
        for vars in customer.into_iter().chain(narrower) {
            all.extend(of_table(vars));
        }
        all
    }

    /// The variables of a number's DID or route, for an object that somebody else has laid out.
    pub(super) fn vars_of(&self, number: &str, did: Option<&DidEntry>, customer: Option<i64>) -> Map<String, Value> {
        let routes = if did.is_some() { Vec::new() } else { self.matching(number, customer) };
        self.vars(customer, did, routes.first().copied())
    }

    /// Gateways of these routes in the order they are tried, and the price of a minute.
    fn costs(&self, routes: &[&Route]) -> Vec<(i64, Option<f64>)> {
        let mut costs: Vec<(i64, Option<f64>)> = Vec::new();
        for route in routes {
            for id in route.gateways.iter().filter(|id| self.has_gateway(**id)) {
                if !costs.iter().any(|(known, _)| known == id) {
                    costs.push((*id, route.cost));
                }
            }
        }
        costs
    }

    /// Gateways that a number goes through, in the order in which they are tried, and the price of a minute.
    pub(super) fn costs_of(&self, number: &str, customer: Option<i64>) -> Vec<(i64, Option<f64>)> {
        self.costs(&self.matching(number, customer))
    }

    /// Gateways that a number goes through, in the order in which they are tried.
    pub(crate) fn gateways_of(&self, number: &str, customer: Option<i64>) -> Vec<i64> {
        self.costs_of(number, customer).into_iter().map(|(id, _)| id).collect()
    }

    /// Whether a route leads there.
    pub(crate) fn leads_to(&self, number: &str, customer: Option<i64>) -> bool {
        !self.matching(number, customer).is_empty()
    }

    /// Whether a route leads there through this gateway.
    pub(crate) fn leads_through(&self, gateway: i64, number: &str, customer: Option<i64>) -> bool {
        self.gateways_of(number, customer).contains(&gateway)
    }

    /// Whether a route leads there, whoever dials.
    pub(crate) fn leads_anybody_to(&self, number: &str) -> bool {
        !self.fitting(number, |_| true).is_empty()
    }

    fn did(&self, number: &str) -> Option<&DidEntry> {
        self.dids.get(key(number))
    }

    /// The DID of a number, as it is there for `asker`; `None`: for whoever sees everybody's.
    pub(super) fn did_seen(&self, number: &str, asker: Option<&str>) -> Option<&DidEntry> {
        self.did(number).filter(|did| asker.is_none_or(|asker| did.account == asker))
    }

    /// Whose customer it is; `None`: there is no such customer.
    pub(crate) fn account_of_customer(&self, id: i64) -> Option<&str> {
        self.customers.get(&id).map(|customer| customer.account.as_str())
    }

    /// Whose call it is: its DID's, else its customer's; `None`: nobody's.
    pub(super) fn account_of<'a>(&'a self, did: Option<&'a DidEntry>, customer: Option<i64>) -> Option<&'a str> {
        let customer = || self.account_of_customer(customer?);
        did.map(|did| did.account.as_str()).or_else(customer)
    }

    /// `egress_routing` of a number. Without a caller id the rows have none.
    pub(super) fn rows(&self, number: &str, customer: Option<i64>, cli: &str) -> Vec<Value> {
        rows_of(&self.costs_of(number, customer), Some(cli).filter(|cli| !cli.is_empty()))
    }

    /// The hook of a number, for an object that somebody else has laid out.
    pub(super) fn hook_of(&self, number: &str, did: Option<&DidEntry>, customer: Option<i64>) -> Hook {
        if let Some(DidEntry { script, .. }) = did {
            return Hook { script: script.clone(), ..Hook::default() };
        }
        self.matching(number, customer).first().map(|route| Hook::of_route(route)).unwrap_or_default()
    }

    fn routing(&self, facts: &Facts, rows: &[Value]) -> Value {
        let server = if facts.server.is_empty() { &self.server } else { &facts.server };
        let mut routing = json!({
            "callid": facts.callid,
            "callidb": facts.call,
            "server": server,
            "switch": self.server,
            "direction": if facts.did.is_some() { "orig" } else { "term" },
            "account_id": facts.customer,
            "cli": facts.cli,
            "dest_number": facts.dialled,
            "ou": facts.request_user,
            "card_rev": 0,
            "params": {
                "fU": facts.from_user,
                "oU": facts.request_user,
                "callid": facts.callid,
                "userAgent": facts.user_agent,
                "si": facts.source_ip,
                "sp": facts.source_port,
                "proto": facts.proto,
            },
            "profile": { "auth": 0.0, "ingress": facts.waited_ms, "total": facts.waited_ms },
            "egress_routing": rows,
            "headers": [],
            "remove_headers": [],
            "log": [],
        });
        if let Some(claims) = facts.identity.as_deref().and_then(stir_shaken) {
            routing["stir_shaken"] = claims;
        }
        routing
    }
}

fn rows_of(costs: &[(i64, Option<f64>)], cli: Option<&str>) -> Vec<Value> {
    let gateway = cli.map_or_else(|| json!({}), |cli| json!({ "cli": cli }));
    let row = |id: &i64| json!({ "gw": { id.to_string(): gateway }, "headers": [], "remove_headers": [] });
    costs.iter().map(|(id, _)| row(id)).collect()
}

/// Numbers are the same with and without the `+` of the international form.
pub(super) fn key(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    const CONFIG: &str = r#"
        [[gateway]]
        id = 7
        address = "sip:a.example.net"
        [[gateway]]
        id = 8
        address = "sip:b.example.net"
        [[customer]]
        id = 12
        vars = { greeting = "customer", offset = -4 }
        [[route]]
        prefix = "44"
        gateways = [7]
        cost = 0.02
        [[route]]
        prefix = "+44"
        gateways = [8, 7]
        cost = 0.01
        script = "cheap"
        timeout_s = 1
        timeout_action = "486 Busy"
        on_error = "continue"
        vars = { greeting = "route" }
        [[route]]
        prefix = "1"
        customers = [12]
        gateways = [7]
        [[did]]
        number = "+442080000000"
        destinations = ["class5:1"]
        script = "filter"
        vars = { greeting = "did" }
    "#;

    fn built(facts: &Facts) -> Result<Built, Rejection> {
        RouteTable::new(&toml::from_str(CONFIG).unwrap()).build(facts)
    }

    fn call(dialled: &str, customer: Option<i64>) -> Facts {
        Facts { dialled: dialled.into(), cli: "441".into(), customer, ..Facts::default() }
    }

    #[test]
    fn the_cheapest_route_comes_first_and_its_script_runs() {
        let table = RouteTable::new(&toml::from_str(CONFIG).unwrap());
        assert_eq!(table.costs_of("442012", Some(12)), [(8, Some(0.01)), (7, Some(0.01))]);
        let built = table.build(&call("442012", Some(12))).unwrap();
        assert_eq!(built.hook.script.as_deref(), Some("cheap"));
        assert_eq!(built.hook.timeout_action, Rejection::new(486, "Busy"));
        assert_eq!(built.hook.on_error, OnError::Continue);
        let data = built.data;
        assert_eq!(data["greeting"], "route");
        assert_eq!(data["offset"], -4);
        assert_eq!(data["routing"]["account_id"], 12);
        assert_eq!(data["routing"]["egress_routing"][0]["gw"]["8"]["cli"], "441");
        assert_eq!(data["egress_routing"], data["routing"]["egress_routing"]);
    }

    #[test]
    fn every_name_of_the_object_is_in_the_types() {
        let types = lockstep_ctx_api::catalog::type_declarations();
        let routing = types.split_once("interface Routing {").and_then(|(_, rest)| rest.split_once("\n}")).unwrap().0;
        let data = built(&Facts { identity: Some("e30.e30".into()), ..call("442012", Some(12)) }).unwrap().data;
        let routing_of = data["routing"].as_object().unwrap();
        let params = routing_of["params"].as_object().unwrap();
        assert!(routing_of.contains_key("stir_shaken"));
        for name in routing_of.keys().chain(params.keys()) {
            assert!(routing.contains(&format!(" {name}: ")) || routing.contains(&format!(" {name}?: ")), "{name}");
        }
    }

    proptest! {
        /// The routes are found by prefix; what is found is what looking at each of them in turn finds.
        #[test]
        fn the_longest_open_prefix_decides_then_the_price_then_the_order(
            routes in proptest::collection::vec(("\\+?[12]{0,4}", option::of(0..4_u8), option::of(12..14_i64)), 0..20),
            number in "\\+?[12]{1,6}",
            customer in option::of(12..14_i64),
        ) {
            let text: String = routes.iter().enumerate().map(|(index, (prefix, cost, of))| {
                let cost = cost.map(|cost| format!("cost = {cost}\n")).unwrap_or_default();
                let of = of.map(|of| format!("customers = [{of}]\n")).unwrap_or_default();
                format!("[[route]]\nid = \"{index}\"\nprefix = \"{prefix}\"\ngateways = [7]\n{cost}{of}")
            }).collect();
            let config: Config = toml::from_str(&text).unwrap();
            let mut fitting: Vec<&Route> = config.routes.iter().filter(|route| {
                key(&number).starts_with(key(&route.prefix))
                    && route.customers.as_ref().is_none_or(|list| customer.is_some_and(|id| list.contains(&id)))
            }).collect();
            let longest = fitting.iter().map(|route| key(&route.prefix).len()).max();
            fitting.retain(|route| Some(key(&route.prefix).len()) == longest);
            fitting.sort_by(|a, b| a.cost.unwrap_or(f64::INFINITY).total_cmp(&b.cost.unwrap_or(f64::INFINITY)));
            let ids = |routes: Vec<&Route>| routes.iter().map(|route| route.id.clone()).collect::<Vec<_>>();
            prop_assert_eq!(ids(RouteTable::new(&config).matching(&number, customer)), ids(fitting));
        }
    }

    #[test]
    fn a_number_at_a_gateway_goes_by_the_routes_that_lead_through_it() {
        let at = |number, gateway| built(&Facts { gateway: Some(gateway), ..call(number, Some(12)) });
        let one = at("442012", 7).unwrap();
        assert_eq!(one.hook.script.as_deref(), Some("cheap"));
        assert_eq!(one.data["egress_routing"], json!([{ "gw": { "7": { "cli": "441" } }, "headers": [], "remove_headers": [] }]));
        for (number, gateway) in [("1555", 8), ("33123", 7), ("442012", 9)] {
            assert_eq!(at(number, gateway).unwrap_err().code, 403, "{number}");
        }
    }

    #[test]
    fn what_no_route_leads_to_is_refused() {
        for (number, customer) in
            [("33123", Some(12)), ("1555", None), ("1555", Some(13)), ("abc", None), ("", None), ("+", None)]
        {
            assert_eq!(built(&call(number, customer)).unwrap_err().code, 404, "{number}");
        }
        assert!(built(&call("1555", Some(12))).is_ok());
    }

    #[test]
    fn a_call_by_a_did_has_the_script_and_variables_of_the_did() {
        let facts = Facts { did: Some("442080000000".into()), ..call("442080000000", None) };
        let built = built(&facts).unwrap();
        assert_eq!(built.hook.script.as_deref(), Some("filter"));
        assert_eq!(built.data["routing"]["direction"], "orig");
    }
}
