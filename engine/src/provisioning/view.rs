//! Entries as they are shown: with the keys of the configuration, and without passwords.

use serde_json::{Map, Value, json};

use super::kind::Kind;
use crate::config::{Config, Customer, Did, Gateway, OnError, Route, User};
use crate::json::of_table;

/// An entry of a list; `None` past its end.
pub(super) fn entry(config: &Config, kind: Kind, at: usize) -> Option<Map<String, Value>> {
    let shown = match kind {
        Kind::Customer => customer(config.customers.get(at)?),
        Kind::User => user(config.users.get(at)?),
        Kind::Gateway => gateway(config.gateways.get(at)?),
        Kind::Route => route(config.routes.get(at)?),
        Kind::Did => did(config.dids.get(at)?),
    };
    let Value::Object(mut shown) = shown else { return None };
    // What is not set is not shown: what was read can be written back.
    shown.retain(|_, value| !value.is_null());
    Some(shown)
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn customer(customer: &Customer) -> Value {
    let limits = &customer.limits;
    let mut limits = json!({
        "calls_per_second": limits.calls_per_second, "concurrent": limits.concurrent, "spend_per_day": limits.spend_per_day,
        "cut_off": limits.cut_off.then_some(true),
    });
    if let Some(limits) = limits.as_object_mut() {
        limits.retain(|_, value| !value.is_null());
    }
    json!({
        "id": customer.id, "addresses": texts(&customer.addresses), "user": customer.user, "account": customer.account,
        "limits": limits, "vars": of_table(&customer.vars),
    })
}

fn user(user: &User) -> Value {
    json!({ "name": user.name, "caller_id": user.caller_id, "account": user.account })
}

fn gateway(gateway: &Gateway) -> Value {
    json!({
        "id": gateway.id, "address": gateway.address.as_str(), "addresses": texts(&gateway.addresses),
        "username": gateway.username, "register": gateway.register, "probe_s": gateway.probe_s,
    })
}

fn route(route: &Route) -> Value {
    let action = route.timeout_action.as_ref().map(|action| format!("{} {}", action.code, action.text));
    let on_error = match route.on_error {
        OnError::Reject => "reject",
        OnError::Continue => "continue",
    };
    json!({
        "id": route.id, "prefix": route.prefix, "customers": route.customers, "gateways": route.gateways, "cost": route.cost, "ring_s": route.ring_s,
        "script": route.script, "timeout_s": route.timeout_s, "timeout_action": action, "on_error": on_error,
        "vars": of_table(&route.vars),
    })
}

/// Whose it is, is for whoever knows all customers.
fn did(did: &Did) -> Value {
    json!({
        "number": did.number, "destinations": texts(&did.destinations), "script": did.script, "customer": did.customer,
        "vars": of_table(&did.vars),
    })
}
