//! How far an application reaches that is not the operator's own: to the calls of the account whose call it has.

use std::sync::Arc;

use super::hub::Hub;
use crate::core::{Asker, Channel};

/// Who asks for a command of `api`.
#[derive(Clone, Debug, Default)]
pub(super) struct By {
    /// The channel of the application that asks.
    pub(super) own: Option<String>,
    /// Whose calls there are for it; `None`: everybody's.
    pub(super) account: Option<Arc<str>>,
    /// Not every command is allowed to it: nor is naming an application, which would have those that are not.
    pub(super) is_restricted: bool,
}

impl By {
    /// As whom the engine sees it where a call is to be led to an application.
    pub(super) fn asker(&self) -> Asker {
        if self.is_restricted { Asker::Tenant } else { Asker::Operator }
    }
}

/// Commands that concern no call.
const HARMLESS: [&str; 8] = ["create_uuid", "echo", "eval", "strepoch", "version", "hostname", "switchname", "originate"];
pub(super) const DENIED: &str = "-ERR permission denied\n";
const NOT_THERE: &str = "-ERR No such channel!\n";

/// A channel, unless it is another account's: that is as if it were not there.
pub(super) async fn channel(hub: &Hub, account: Option<&str>, uuid: &str) -> Option<Arc<Channel>> {
    let channel = hub.engine.channel(uuid).await.ok()?;
    let Some(account) = account else { return Some(channel) };
    let call = hub.engine.call(&channel.call).await.ok()?;
    (*call.account == *account).then_some(channel)
}

/// What an application of an account is answered instead, where it may not have a command carried out.
pub(super) async fn refused(hub: &Hub, account: &str, name: &str, args: &str) -> Option<&'static str> {
    let mut words = args.split_whitespace();
    let named: Vec<&str> = match name {
        "eval" => args.strip_prefix("uuid:").and_then(|rest| rest.split_whitespace().next()).into_iter().collect(),
        _ if HARMLESS.contains(&name) => return None,
        "uuid_bridge" => words.take(2).collect(),
        "uuid_hold" => words.find(|word| !matches!(*word, "off" | "toggle")).into_iter().collect(),
        "sched_hangup" | "sched_transfer" | "sched_broadcast" => words.nth(1).into_iter().collect(),
        _ if name.starts_with("uuid_") => words.next().into_iter().collect(),
        _ => return Some(DENIED),
    };
    let leads_other = name.ends_with("_transfer") && args.split_whitespace().any(|word| matches!(word, "-bleg" | "-both"));
    for uuid in named {
        let Some(found) = channel(hub, Some(account), uuid).await else {
            return Some(if name == "uuid_exists" { "false" } else { NOT_THERE });
        };
        if let Some(other) = found.other.as_ref().filter(|_| leads_other)
            && channel(hub, Some(account), &other.uuid).await.is_none()
        {
            return Some(DENIED);
        }
    }
    None
}
