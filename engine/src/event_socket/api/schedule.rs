//! `sched_api`, `sched_hangup`, `sched_transfer`, `sched_broadcast`, `unsched_api`, `sched_del`.

use std::sync::Arc;

use crate::core::{Asker, EngineError};
use crate::event_socket::hub::Hub;
use crate::event_socket::schedule::{self, Wanted, When};

const API: &str = "[+@]<time> <group_name> <command_string>[&]";

/// `sched_api WHEN GROUP COMMAND[&]`
pub(super) fn api(hub: &Arc<Hub>, args: &str, asker: Asker) -> Result<String, EngineError> {
    let mut words = args.splitn(3, ' ');
    let (Some(when), Some(group), Some(command)) = (words.next().and_then(When::parse), words.next(), words.next()) else {
        return super::usage(API);
    };
    // Every command runs beside others here: that is what the last letter asks for.
    let command = command.trim().trim_end_matches('&').trim_end().to_owned();
    if group.is_empty() || command.is_empty() {
        return super::usage(API);
    }
    let wanted = Wanted { when, group: group.to_owned(), call: None, command, asker };
    Ok(match schedule::add(hub, wanted) {
        Some(id) => format!("+OK Added: {id}\n"),
        None => too_many(),
    })
}

/// `sched_hangup WHEN UUID [CAUSE]` and its like: `COMMAND UUID REST`, later. `usual` is the rest where there is none.
pub(super) async fn of_call(hub: &Arc<Hub>, name: &str, args: &str, asker: Asker) -> Result<String, EngineError> {
    let (command, usual, usage) = match name {
        "sched_hangup" => ("uuid_kill", "ALLOTTED_TIMEOUT", "[+]<time> <uuid> [<cause>]"),
        "sched_transfer" => ("uuid_transfer", "", "[+]<time> <uuid> <extension> [<dialplan>] [<context>]"),
        _ => ("uuid_broadcast", "", "[[+]<time>|@time] <uuid> <path> [aleg|bleg|both]"),
    };
    let mut words = args.splitn(3, ' ');
    let (Some(when), Some(uuid)) = (words.next().and_then(When::parse), words.next()) else { return super::usage(usage) };
    let rest = words.next().map(str::trim).filter(|rest| !rest.is_empty()).unwrap_or(usual);
    if rest.is_empty() {
        return super::usage(usage);
    }
    let call = hub.engine.channel(uuid).await?.call.clone();
    let command = format!("{command} {uuid} {rest}");
    let wanted = Wanted { when, group: uuid.to_owned(), call: Some(call.clone()), command, asker };
    if schedule::add(hub, wanted).is_none() {
        return Ok(too_many());
    }
    // Its end may have been told before this was added.
    if hub.engine.channel(&call).await.is_err() {
        hub.schedule.call_over(&call);
    }
    Ok("+OK\n".to_owned())
}

/// `unsched_api ID`
pub(super) fn unschedule(hub: &Hub, args: &str) -> String {
    let is_there = args.parse().is_ok_and(|id| hub.schedule.cancel(hub, id));
    if is_there { "+OK\n" } else { "-ERR no such task\n" }.to_owned()
}

/// `sched_del ID|GROUP`
pub(super) fn delete(hub: &Hub, args: &str) -> String {
    let count = match args.parse() {
        Ok(id) => usize::from(hub.schedule.cancel(hub, id)),
        Err(_) => hub.schedule.cancel_group(hub, args),
    };
    if count == 0 { "-ERR no such task\n".to_owned() } else { format!("+OK Deleted: {count}\n") }
}

fn too_many() -> String {
    "-ERR too many commands wait already\n".to_owned()
}
