//! The commands of `api` and `bgapi`. One file a family; answers are worded as clients expect them.

mod calls;
mod channels;
pub(super) mod originate;
mod schedule;
mod show;
mod sofia;
pub(super) mod status;

use std::sync::Arc;

use super::channel_headers;
use super::expand::expand;
use super::hub::Hub;
use super::reach::{self, By};
use crate::core::{Asker, EngineError};

/// Carries out one command line.
pub(super) async fn run(hub: &Arc<Hub>, line: &str, by: &By) -> String {
    let (command, args) =
        line.trim().split_once(char::is_whitespace).map_or((line.trim(), ""), |(name, args)| (name, args.trim()));
    let name = command.to_ascii_lowercase();
    if let Some(account) = &by.account
        && let Some(refusal) = reach::refused(hub, account, &name, args).await
    {
        return refusal.to_owned();
    }
    let answer = match name.as_str() {
        "status" => status::status(hub).await,
        "version" => Ok(status::version_line()),
        "uptime" => Ok(status::uptime(hub, args)),
        "hostname" | "switchname" => Ok(hub.identity.hostname.clone()),
        "create_uuid" => Ok(super::client::new_uuid()),
        "echo" => Ok(args.to_owned()),
        "strepoch" => Ok((super::hub::unix_ms() / 1_000).to_string()),
        "show" => show::show(hub, args).await,
        "sofia" => sofia::sofia(hub, args).await,
        "sofia_contact" => sofia::contact(hub, args).await,
        // Changed files are found by themselves.
        "reloadxml" => Ok("+OK [Success]\n".to_owned()),
        "global_getvar" => Ok(global(hub, args)),
        "eval" => Ok(eval(hub, args, by.own.as_deref()).await),
        "originate" => originate::originate(hub, args, by).await,
        "hupall" => calls::hang_up_all(hub, args).await,
        "uuid_kill" => calls::kill(hub, args).await,
        "uuid_transfer" => calls::transfer(hub, args, by.asker()).await,
        "uuid_broadcast" => calls::broadcast(hub, args, by.asker()).await,
        "uuid_break" => calls::break_off(hub, args).await,
        "uuid_answer" | "uuid_pre_answer" | "uuid_ring_ready" | "uuid_send_dtmf" => {
            calls::by_application(hub, &name, args, by.asker()).await
        }
        "uuid_park" => calls::park(hub, args, by.asker()).await,
        "uuid_record" => calls::record(hub, args, by.asker()).await,
        "uuid_exists" => Ok(channels::exists(hub, args).await.to_string()),
        "uuid_getvar" => channels::variable(hub, args).await,
        "uuid_setvar" => channels::set_variable(hub, args).await,
        "uuid_setvar_multi" => channels::set_variables(hub, args).await,
        "uuid_dump" => channels::dump(hub, args).await,
        "sched_api" => schedule::api(hub, args, by.asker()),
        "sched_hangup" | "sched_transfer" | "sched_broadcast" => schedule::of_call(hub, &name, args, by.asker()).await,
        "unsched_api" => Ok(schedule::unschedule(hub, args)),
        "sched_del" => Ok(schedule::delete(hub, args)),
        "uuid_bridge" => calls::bridge(hub, args).await,
        "uuid_hold" => calls::hold(hub, args).await,
        "conference" => Ok("-ERR there are no conferences in this engine; two calls are joined by uuid_bridge\n".to_owned()),
        "uuid_media"
        | "uuid_phone_event"
        | "uuid_displace"
        | "uuid_audio"
        | "uuid_debug_media"
        | "uuid_deflect"
        | "uuid_dual_transfer"
        | "uuid_recv_dtmf"
        | "uuid_flush_dtmf"
        | "uuid_chat"
        | "uuid_preprocess"
        | "uuid_session_heartbeat"
        | "uuid_simplify"
        | "uuid_video_refresh"
        | "callcenter_config"
        | "fifo"
        | "load"
        | "unload"
        | "reload"
        | "fsctl"
        | "bgsystem"
        | "system" => Ok(format!("-ERR {command} is not supported by this engine\n")),
        "" => Ok("-ERR no command\n".to_owned()),
        _ => Ok(format!("-ERR {command} Command not found!\n")),
    };
    answer.unwrap_or_else(|error| refusal(&error))
}

/// What `sched_hangup` and its like are as applications of a call, where the call is not named.
pub(super) async fn schedule(hub: &Arc<Hub>, application: &str, call: &str, data: &str, asker: Asker) -> String {
    let (when, rest) = data.split_once(' ').unwrap_or((data, ""));
    let answer = schedule::of_call(hub, application, &format!("{when} {call} {rest}"), asker).await;
    answer.unwrap_or_else(|error| refusal(&error))
}

/// An error as clients know it.
fn refusal(error: &EngineError) -> String {
    match error {
        EngineError::NoSuchCall(_) | EngineError::CallOver(_) => "-ERR No such channel!\n".to_owned(),
        other => format!("-ERR {other}\n"),
    }
}

fn usage(text: &str) -> Result<String, EngineError> {
    Ok(format!("-USAGE: {text}\n"))
}

fn done() -> Result<String, EngineError> {
    Ok("+OK\n".to_owned())
}

/// What is the same for every call.
fn global(hub: &Hub, name: &str) -> String {
    let identity = &hub.identity;
    match name {
        "" => ["hostname", "domain", "local_ip_v4", "core_uuid"].map(|name| format!("{name}={}\n", global(hub, name))).concat(),
        "hostname" | "switchname" => identity.hostname.clone(),
        "domain" | "domain_name" => identity.realm.clone(),
        "local_ip_v4" => identity.ipv4.to_string(),
        "core_uuid" => identity.core_uuid.clone(),
        _ => String::new(),
    }
}

/// `eval [uuid:UUID ]TEXT`
async fn eval(hub: &Hub, args: &str, own: Option<&str>) -> String {
    let (uuid, text) = match args.strip_prefix("uuid:").and_then(|rest| rest.split_once(' ')) {
        Some((uuid, text)) => (Some(uuid), text),
        None => (own, args),
    };
    let channel = match uuid {
        Some(uuid) => hub.engine.channel(uuid).await.ok(),
        None => None,
    };
    expand(text, |name| {
        channel.as_ref().and_then(|channel| channel_headers::variable(channel, name)).or_else(|| Some(global(hub, name)))
    })
}
