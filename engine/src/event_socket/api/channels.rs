//! `uuid_exists`, `uuid_getvar`, `uuid_setvar`, `uuid_setvar_multi`, `uuid_dump`.

use crate::core::EngineError;
use crate::event_socket::applications::unquoted;
use crate::event_socket::dial_string::split_quoted;
use crate::event_socket::hub::{Hub, unix_ms};
use crate::event_socket::{channel_headers, events};

/// The longest name of a variable.
const MAX_NAME: usize = 256;

pub(super) async fn exists(hub: &Hub, uuid: &str) -> bool {
    hub.engine.channel(uuid).await.is_ok()
}

/// `uuid_getvar UUID NAME`
pub(super) async fn variable(hub: &Hub, args: &str) -> Result<String, EngineError> {
    let Some((uuid, name)) = args.split_once(' ') else { return super::usage("<uuid> <var>") };
    let channel = hub.engine.channel(uuid).await?;
    Ok(channel_headers::variable(&channel, name.trim()).unwrap_or_else(|| "_undef_".to_owned()))
}

/// `uuid_setvar UUID NAME [VALUE]`
pub(super) async fn set_variable(hub: &Hub, args: &str) -> Result<String, EngineError> {
    let mut words = args.splitn(3, ' ');
    let (Some(uuid), Some(name)) = (words.next(), words.next()) else { return super::usage("<uuid> <var> [value]") };
    if name.is_empty() || name.len() > MAX_NAME {
        return super::usage("<uuid> <var> [value]");
    }
    hub.engine.set_variable(uuid, name, words.next().map(unquoted)).await?;
    super::done()
}

/// `uuid_setvar_multi UUID NAME=VALUE;NAME=VALUE…`
pub(super) async fn set_variables(hub: &Hub, args: &str) -> Result<String, EngineError> {
    let Some((uuid, list)) = args.split_once(' ') else { return super::usage("<uuid> <var>=<value>;<var>=<value>...") };
    for (name, value) in pairs(list.trim()) {
        if name.is_empty() || name.len() > MAX_NAME {
            return super::usage("<uuid> <var>=<value>;<var>=<value>...");
        }
        hub.engine.set_variable(uuid, name, value).await?;
    }
    super::done()
}

/// Names and values; a separator in quotation marks parts nothing.
fn pairs(list: &str) -> Vec<(&str, Option<&str>)> {
    let list = unquoted(list);
    // One that stands alone is an apostrophe.
    let is_quoted = list.matches('\'').count().is_multiple_of(2);
    let pairs: Vec<&str> = if is_quoted { split_quoted(list, ';').collect() } else { list.split(';').collect() };
    let written = pairs.into_iter().filter(|pair| !pair.trim().is_empty());
    written
        .map(|pair| pair.split_once('=').map_or((pair.trim(), None), |(name, value)| (name.trim(), Some(unquoted(value)))))
        .collect()
}

/// `uuid_dump UUID [plain|json|xml]`
pub(super) async fn dump(hub: &Hub, args: &str) -> Result<String, EngineError> {
    let (uuid, format) = args.split_once(' ').unwrap_or((args, "plain"));
    let channel = hub.engine.channel(uuid).await?;
    let event = hub.stamped(events::data(&channel), unix_ms());
    Ok(match format.trim() {
        "json" => event.to_json(),
        "xml" => event.to_xml(),
        _ => event.to_plain(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_quoted() {
        assert_eq!(pairs("a=1;b='x;y'; c ;d="), [("a", Some("1")), ("b", Some("x;y")), ("c", None), ("d", Some(""))]);
        assert_eq!(pairs("'a=1;b=2'"), [("a", Some("1")), ("b", Some("2"))]);
        assert_eq!(pairs("a=it's;b=2"), [("a", Some("it's")), ("b", Some("2"))]);
    }
}
