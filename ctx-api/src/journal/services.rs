//! What services are given and give back under names, such as `kv.get('user:token')`: the names stand among the arguments.

use std::collections::BTreeMap;

use super::entry::TurnRecord;
use super::json::Node;
use super::redact::{Redactor, SecretNames, ends_as_credential, hide, json_of, redact_json};
use crate::host::{HostCall, HostReply};
use crate::op::Op;
use crate::outcome::Outcome;
use crate::wire::{Entry, EntryKind};

/// The names that the value of a call goes by, and where among its arguments that is.
fn names<'a>(service: &str, function: &str, args: &'a [Node]) -> Option<(Vec<&'a str>, usize)> {
    let text = |at: usize| args.get(at).and_then(Node::as_str);
    // An area of `passwords` holds nothing else.
    let area = || text(0).map(|area| area.strip_suffix('s').unwrap_or(area));
    match (service, function) {
        ("kv" | "ko", "get" | "set") => Some((vec![text(0)?], 1)),
        ("cxUserspace", "create" | "get" | "update") => Some((vec![area()?, text(1)?], 2)),
        ("cxUserspace", "random" | "list") => Some((vec![area()?], 1)),
        // User, method, path, query, body.
        ("rest", "request") => {
            let path = text(2)?.trim_start_matches('/');
            let key = path.strip_prefix("v1/").unwrap_or(path).strip_prefix("kv/")?;
            Some((vec![key], 4))
        }
        _ => None,
    }
}

/// Hides what a service is given under a name that is secret, where `fields` are those of a [`HostCall`].
pub(super) fn hide_arguments(redactor: &dyn Redactor, fields: &mut [(String, Node)]) {
    let text = |by: &str| fields.iter().find(|(field, _)| field == by)?.1.as_str().map(str::to_owned);
    let (Some(service), Some(function), Some(text)) = (text("service"), text("function"), text("args")) else { return };
    let Some(Node::Array(mut args)) = Node::read(&text) else { return };
    match (service.as_str(), function.as_str(), args.as_mut_slice()) {
        ("env", "set", [Node::Text(name), Node::Text(value), ..]) => {
            if SecretNames::hides_variable(name.as_str(), value.as_str())
                && let Some(shown) = redactor.redact(SecretNames::ENVIRONMENT, value.as_str())
            {
                value.set(shown);
            }
        }
        (service, function, args) => {
            let Some((names, at)) = names(service, function, args) else { return };
            let Some(name) = names.into_iter().find(|name| redactor.redact(name, "").is_some()).map(str::to_owned) else {
                return;
            };
            let Some(value) = args.get_mut(at) else { return };
            hide(redactor, &name, value);
        }
    }
    let Some(shown) = Node::Array(args).write(&text) else { return };
    for (_, item) in fields.iter_mut().filter(|(field, _)| field == "args") {
        if let Node::Text(args) = item {
            args.set(shown.clone());
        }
    }
}

/// What a service was asked, and gave back.
pub(super) fn replied<'j>(entry: &'j Entry, turns: &'j [TurnRecord]) -> Option<(&'j HostCall, &'j HostReply)> {
    let EntryKind::Outcome { op, result: Ok(Outcome::Host(reply)) } = &entry.kind else { return None };
    let turn = turns.get(usize::try_from(op.turn).ok()?)?;
    let Op::Host(call) = &turn.issued.get(usize::try_from(op.ordinal).ok()?)?.op else { return None };
    Some((call, reply))
}

/// What a service gave back, without its secrets; `None`: it is shown as it is. Scripts go on working with it: JSON in it keeps its shape.
pub(super) fn shown_reply(redactor: &dyn Redactor, call: &HostCall, value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    if lists_environment(call) {
        return redact_json(redactor, SecretNames::ENVIRONMENT, value);
    }
    let name = credential(call).filter(|name| redactor.redact(name, "").is_some());
    let mut node = Node::read(value)?;
    match (&name, &mut node) {
        (Some(name), node) => hide_within(redactor, name, node),
        (None, Node::Array(records)) if (call.service.as_str(), call.function.as_str()) == ("cxUserspace", "list") => {
            records.iter_mut().for_each(|record| hide_record(redactor, record));
        }
        _ => return None,
    }
    node.write(value)
}

/// Hides what stands in a record, `{key, data}`, whose key is a credential's name.
fn hide_record(redactor: &dyn Redactor, record: &mut Node) {
    let Node::Object(fields) = record else { return };
    let key = fields.iter().find(|(field, _)| field == "key").and_then(|(_, key)| key.as_str()).map(str::to_owned);
    let Some(key) = key.filter(|key| ends_as_credential(key)) else { return };
    for (_, data) in fields.iter_mut().filter(|(field, _)| field == "data") {
        hide_within(redactor, &key, data);
    }
}

/// Hides the strings in a reply, those of JSON in a text one by one.
fn hide_within(redactor: &dyn Redactor, name: &str, node: &mut Node) {
    let Node::Text(text) = node else {
        hide(redactor, name, node);
        return;
    };
    if json_of(text.as_str()).is_none() {
        hide(redactor, name, node);
    } else if let Some(mut inner) = Node::read(text.as_str()) {
        hide(redactor, name, &mut inner);
        if let Some(shown) = inner.write(text.as_str()) {
            text.set(shown);
        }
    }
}

/// The texts that a service gave back as secrets: the values of variables, and the text that stands under a credential's name.
pub(super) fn secrets_in(call: &HostCall, value: &str) -> Vec<String> {
    if lists_environment(call) {
        let variables: BTreeMap<String, Option<String>> = serde_json::from_str(value).unwrap_or_default();
        let given = variables.into_iter().filter_map(|(name, value)| Some((name, value?)));
        return given.filter(|(name, value)| SecretNames::hides_variable(name, value)).map(|(_, value)| value).collect();
    }
    let text = credential(call).and_then(|_| serde_json::from_str::<String>(value).ok());
    text.filter(|text| json_of(text).is_none()).into_iter().collect()
}

fn lists_environment(call: &HostCall) -> bool {
    (call.service.as_str(), call.function.as_str()) == ("env", "list")
}

/// The name that a call's reply goes by, where it is a credential's.
fn credential(call: &HostCall) -> Option<String> {
    let Node::Array(args) = Node::read(&call.args)? else { return None };
    let (names, _) = names(&call.service, &call.function, &args)?;
    names.into_iter().find(|name| ends_as_credential(name)).map(str::to_owned)
}
