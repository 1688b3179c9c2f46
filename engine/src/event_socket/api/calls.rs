//! Commands that do something to a call: `uuid_kill`, `uuid_transfer`, `uuid_broadcast`, `uuid_break`, `uuid_record`, `hupall`, ….

use std::sync::Arc;

use lockstep_ctx_api::{CallState, ErrorCode};

use crate::core::{Asker, Channel, Claim, EngineError, Execution};
use crate::event_socket::applications::{quoted, words};
use crate::event_socket::cause::{Cause, NORMAL_CLEARING};
use crate::event_socket::execute::{self, Done, Order, Wait, execute};
use crate::event_socket::hub::Hub;
use crate::event_socket::{channel_headers, client, inline};

/// `uuid_kill UUID [CAUSE]`
pub(super) async fn kill(hub: &Arc<Hub>, args: &str) -> Result<String, EngineError> {
    let (uuid, cause) = args.split_once(' ').unwrap_or((args, ""));
    if uuid.is_empty() {
        return super::usage("<uuid> [cause]");
    }
    let channel = hub.engine.channel(uuid).await?;
    end(hub, &channel, Cause::parse(cause.trim()).unwrap_or(NORMAL_CLEARING)).await?;
    super::done()
}

pub(super) async fn end(hub: &Arc<Hub>, channel: &Channel, cause: Cause) -> Result<(), EngineError> {
    let (code, reason) = cause.to_sip(channel.state == CallState::Answered);
    hub.engine.hangup(&channel.call, code, reason).await
}

/// `hupall [CAUSE [NAME VALUE]]`: every call, or those with a variable of that value.
pub(super) async fn hang_up_all(hub: &Arc<Hub>, args: &str) -> Result<String, EngineError> {
    let mut words = args.splitn(3, ' ');
    let named = words.next().filter(|name| !name.is_empty()).unwrap_or("MANAGER_REQUEST");
    let cause = Cause::parse(named).unwrap_or(NORMAL_CLEARING);
    let only = words.next().zip(words.next());
    let channels = hub.engine.channels().await?;
    for channel in channels.iter().filter(|channel| channel.uuid == channel.call) {
        let wanted = only.is_none_or(|(name, value)| channel_headers::variable(channel, name).as_deref() == Some(value));
        if wanted {
            // It may have ended by itself meanwhile.
            let _ = end(hub, channel, cause).await;
        }
    }
    Ok(format!("+OK hangup all channels with cause {}\n", cause.name))
}

/// `uuid_transfer UUID [-bleg|-both] TARGET [DIALPLAN] [CONTEXT]`
pub(super) async fn transfer(hub: &Arc<Hub>, args: &str, asker: Asker) -> Result<String, EngineError> {
    let words = words(args);
    let uuid = words.first().map(String::as_str).unwrap_or_default();
    let rest = words.get(1..).unwrap_or_default();
    let Some(target) = rest.iter().find(|word| !word.starts_with('-')) else {
        return super::usage("<uuid> [-bleg|-both] <dest-exten> [<dialplan>] [<context>]");
    };
    let channel = hub.engine.channel(uuid).await?;
    let has = |wanted: &str| rest.iter().any(|word| word == wanted);
    let both = has("-both");
    if both || has("-bleg") {
        // A leg that the call has dialled ends with the bridge; a call that it was joined with goes on by itself.
        if channel.other.as_ref().is_some_and(|other| other.uuid != other.call) {
            return Ok("-ERR the other leg is this call's own, and cannot be transferred by itself\n".to_owned());
        }
        hub.engine.transfer_other(&channel.call, target, both, asker).await?;
        return super::done();
    }
    if let Some(at) = rest.iter().rposition(|word| word == "inline").filter(|at| *at > 0) {
        // A list with blanks may also stand there without quotation marks.
        let list = rest.get(..at).unwrap_or_default().join(" ");
        inline::carry_out(hub, &channel, inline::steps(&list), asker).await?;
    } else {
        hub.engine.transfer(&channel.call, target, asker).await?;
    }
    super::done()
}

/// `uuid_bridge UUID OTHER_UUID`
pub(super) async fn bridge(hub: &Arc<Hub>, args: &str) -> Result<String, EngineError> {
    let mut words = args.split_whitespace();
    let (Some(first), Some(second)) = (words.next(), words.next()) else { return super::usage("<uuid> <other_uuid>") };
    for uuid in [first, second] {
        match hub.engine.channel(uuid).await {
            Ok(channel) if channel.uuid != channel.call => {
                return Ok(format!("-ERR {uuid} is a leg of the call {}; only calls can be bridged\n", channel.call));
            }
            Ok(_) => {}
            Err(EngineError::NoSuchCall(_) | EngineError::CallOver(_)) => return Ok("-ERR Invalid uuid\n".to_owned()),
            Err(error) => return Err(error),
        }
    }
    match hub.engine.join(first, second).await {
        Ok(()) => Ok(format!("+OK {second}\n")),
        Err(EngineError::NoSuchCall(_) | EngineError::CallOver(_)) => Ok("-ERR Invalid uuid\n".to_owned()),
        Err(error) => Err(error),
    }
}

/// `uuid_hold [off|toggle] UUID [DISPLAY]`
pub(super) async fn hold(hub: &Arc<Hub>, args: &str) -> Result<String, EngineError> {
    let mut words = args.split_whitespace().peekable();
    let how = words.next_if(|word| matches!(*word, "off" | "toggle"));
    let Some(uuid) = words.next() else { return super::usage("[off|toggle] <uuid> [<display>]") };
    let channel = hub.engine.channel(uuid).await?;
    if channel.uuid != channel.call {
        return Ok("-ERR only the call's own leg can be put on hold\n".to_owned());
    }
    let holds = match how {
        Some("off") => false,
        Some(_) => !channel.held,
        None => true,
    };
    execute::hold(hub, &channel, holds).await?;
    Ok("+OK Success\n".to_owned())
}

/// `uuid_broadcast UUID FILE|APP::ARGS [aleg|bleg|both]`
pub(super) async fn broadcast(hub: &Arc<Hub>, args: &str, asker: Asker) -> Result<String, EngineError> {
    let Some((uuid, rest)) = args.split_once(' ') else { return super::usage("<uuid> <path> [aleg|bleg|both]") };
    let (what, leg) = sides(rest.trim());
    let channel = hub.engine.channel(uuid).await?;
    let (application, data) = what.split_once("::").unwrap_or(("playback", what));
    let (application, cause) =
        application.split_once('!').map_or((application, None), |(application, cause)| (application, Some(cause)));
    let order = |application, data| Order { application, data, uuid: client::new_uuid(), loops: 1, asker };
    // `both` where there is only one is that one.
    let sides: &[bool] = match leg {
        "bleg" => &[true],
        "both" if channel.other.is_some() => &[false, true],
        _ => &[false],
    };
    let is_far = channel.uuid != channel.call;
    let mut begun = Vec::new();
    for other in sides {
        begun.extend(execute::broadcast(hub, &channel, order(application, data), *other != is_far).await?);
    }
    if let Some(cause) = cause {
        tokio::spawn(end_after(Arc::clone(hub), Arc::clone(&channel), begun, cause.to_owned(), asker));
    }
    Ok("+OK Message sent\n".to_owned())
}

/// What is to be played, and to whom.
fn sides(text: &str) -> (&str, &str) {
    if let Some((what, leg)) = quoted(text) {
        return (what, leg.trim());
    }
    match text.rsplit_once(' ') {
        Some((what, leg @ ("aleg" | "bleg" | "both" | "holdb"))) => (what, leg),
        Some(_) | None => (text, "aleg"),
    }
}

/// `app!cause`: the call ends so when what was begun is over, unless it was cut off by others who have the call then.
async fn end_after(hub: Arc<Hub>, channel: Arc<Channel>, begun: Vec<Done>, cause: String, asker: Asker) {
    for done in begun {
        if matches!(done.await, Ok(Err(error)) if error.code == ErrorCode::AbortError) {
            return;
        }
    }
    let order = Order { application: "hangup", data: &cause, uuid: client::new_uuid(), loops: 1, asker };
    // It may have ended meanwhile.
    drop(execute(&hub, &channel, order, Wait::UntilQueued).await);
}

/// `uuid_break UUID [all]`
pub(super) async fn break_off(hub: &Arc<Hub>, args: &str) -> Result<String, EngineError> {
    let (uuid, flag) = args.split_once(' ').unwrap_or((args, ""));
    let channel = hub.engine.channel(uuid).await?;
    hub.engine.break_off(&channel.call, flag.trim() == "all").await?;
    super::done()
}

/// Commands that are an application by another name.
pub(super) async fn by_application(hub: &Arc<Hub>, command: &str, args: &str, asker: Asker) -> Result<String, EngineError> {
    let (uuid, data) = args.split_once(' ').unwrap_or((args, ""));
    let application = command.trim_start_matches("uuid_");
    if uuid.is_empty() {
        return super::usage("<uuid>");
    }
    let channel = hub.engine.channel(uuid).await?;
    let order = Order { application, data, uuid: client::new_uuid(), loops: 1, asker };
    execute(hub, &channel, order, Wait::UntilQueued).await?;
    super::done()
}

/// `uuid_park UUID`
pub(super) async fn park(hub: &Arc<Hub>, args: &str, asker: Asker) -> Result<String, EngineError> {
    let Some(uuid) = args.split_whitespace().next() else { return super::usage("<uuid>") };
    let channel = hub.engine.channel(uuid).await?;
    hub.engine.claim(Claim { call: channel.call.clone(), targets: Vec::new(), asker }).await?;
    hub.engine.execute(&channel.call, Execution::park(client::new_uuid())).await?;
    super::done()
}

/// `uuid_record UUID start|stop FILE`
pub(super) async fn record(hub: &Arc<Hub>, args: &str, asker: Asker) -> Result<String, EngineError> {
    let words: Vec<&str> = args.split_whitespace().collect();
    let (uuid, action, application, file) = match words.as_slice() {
        [uuid, "start", file, ..] => (uuid, "record", "record_session", *file),
        [uuid, "stop", file, ..] => (uuid, "stop record", "stop_record_session", *file),
        _ => return super::usage("<uuid> [start|stop] <path>"),
    };
    let channel = hub.engine.channel(uuid).await?;
    let order = Order { application, data: file, uuid: client::new_uuid(), loops: 1, asker };
    let is_refused = match execute::begin(hub, &channel, order).await? {
        Some(done) => matches!(done.await, Ok(Err(_))),
        None => false,
    };
    Ok(if is_refused { format!("-ERR Cannot {action} session!\n") } else { "+OK Success\n".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broadcast_may_be_quoted() {
        for (written, what, leg) in [
            ("user/a b.wav", "user/a b.wav", "aleg"),
            ("user/a b.wav both", "user/a b.wav", "both"),
            ("'tone_stream://%(2000,0,300)'", "tone_stream://%(2000,0,300)", ""),
            ("'speak::flite|kal|five o'clock' bleg", "speak::flite|kal|five o'clock", "bleg"),
        ] {
            assert_eq!(sides(written), (what, leg), "{written}");
        }
    }
}
