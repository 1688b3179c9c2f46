//! What services are given and give back under names, such as `kv.get('user:token')`: the names stand among the arguments.

use super::json::Node;
use super::redact::{Redactor, SecretNames, hide, redact_json};
use crate::host::HostCall;

/// The names that the value of a call goes by, and where among its arguments that is.
fn names<'a>(service: &str, function: &str, args: &'a [Node]) -> Option<(Vec<&'a str>, usize)> {
    let text = |at: usize| args.get(at).and_then(Node::as_str);
    match (service, function) {
        ("kv" | "ko", "get" | "set") => Some((vec![text(0)?], 1)),
        ("cxUserspace", "create" | "get" | "update") => Some((vec![text(0)?, text(1)?], 2)),
        ("cxUserspace", "random" | "list") => Some((vec![text(0)?], 1)),
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
            let Some((name, at)) = secret_name(redactor, service, function, args) else { return };
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

/// What a service gave back, without its secrets; `None`: it is shown as it is.
pub(super) fn shown_reply(redactor: &dyn Redactor, call: &HostCall, value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    if (call.service.as_str(), call.function.as_str()) == ("env", "list") {
        return redact_json(redactor, SecretNames::ENVIRONMENT, value);
    }
    let Node::Array(args) = Node::read(&call.args)? else { return None };
    let (name, _) = secret_name(redactor, &call.service, &call.function, &args)?;
    let mut node = Node::read(value)?;
    hide(redactor, &name, &mut node);
    node.write(value)
}

fn secret_name(redactor: &dyn Redactor, service: &str, function: &str, args: &[Node]) -> Option<(String, usize)> {
    let (names, at) = names(service, function, args)?;
    let name = names.into_iter().find(|name| redactor.redact(name, "").is_some())?;
    Some((name.to_owned(), at))
}
