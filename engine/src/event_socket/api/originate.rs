//! `originate DIALSTRING TARGET|&APP(ARGS) [DIALPLAN] [CONTEXT] [CID_NAME] [CID_NUM] [TIMEOUT]`
//!
//! The answer comes when the call is answered, or is not: `+OK UUID`, or `-ERR CAUSE`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::CallState;
use lockstep_ctx_api::op::RING_TIME;

use crate::core::{Asker, Channel, ChannelEvent, EngineError, EngineEvent, Missed, Originate, PLACED, Watcher};
use crate::event_socket::applications::{UNKNOWN, exists, quoted, unquoted, words};
use crate::event_socket::cause::Cause;
use crate::event_socket::client::new_uuid;
use crate::event_socket::dial_string::{self, DialString, Target};
use crate::event_socket::execute::{Order, Wait, execute};
use crate::event_socket::hub::Hub;
use crate::event_socket::inline::{self, Step, steps};
use crate::event_socket::reach::{By, DENIED};

const USAGE: &str =
    "<call url> <exten>|&<application_name>(<app_args>) [<dialplan>] [<context>] [<cid_name>] [<cid_num>] [<timeout_sec>]";
/// The longest a callee may be given.
const LONGEST: Duration = Duration::from_secs(600);

/// What becomes of the call when it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Then {
    Application { name: String, data: String },
    Transfer(String),
    List(Vec<Step>),
}

impl Then {
    fn parse(target: &str, dialplan: Option<&str>) -> Self {
        let Some(application) = target.strip_prefix('&') else {
            let is_list = dialplan.is_some_and(|dialplan| dialplan.eq_ignore_ascii_case("inline"));
            return if is_list { Self::List(steps(target)) } else { Self::Transfer(target.to_owned()) };
        };
        let (name, data) = match application.split_once('(') {
            Some((name, data)) => (name, data.strip_suffix(')').unwrap_or(data)),
            None => (application, ""),
        };
        Self::Application { name: name.to_owned(), data: unquoted(data).to_owned() }
    }

    /// Whether somebody else has the call then, and it stays up.
    fn hands_on(&self) -> bool {
        match self {
            Self::Application { name, data } => {
                name == "park" || (matches!(name.as_str(), "socket" | "transfer") && !data.trim().is_empty())
            }
            // A list sees to its end itself.
            Self::Transfer(_) | Self::List(_) => true,
        }
    }

    fn is_nothing(&self) -> bool {
        match self {
            Self::Application { .. } => false,
            Self::Transfer(target) => target.is_empty(),
            Self::List(steps) => steps.is_empty(),
        }
    }

    /// Its applications.
    fn steps(&self) -> Vec<Step> {
        match self {
            Self::Application { name, data } => vec![Step { application: name.clone(), data: data.clone() }],
            Self::Transfer(_) => Vec::new(),
            Self::List(steps) => steps.clone(),
        }
    }

    /// Where it leads the call; empty: nowhere, or it is known only then.
    fn destination(&self, hub: &Hub) -> String {
        if let Self::Transfer(target) = self {
            return target.clone();
        }
        self.steps().iter().find_map(|step| inline::target(hub, &Channel::default(), step)).unwrap_or_default()
    }

    /// Whether an application on an event socket gets the call.
    fn is_application(&self) -> bool {
        match self {
            Self::Application { name, .. } => name.trim() == "socket",
            Self::Transfer(target) => target.starts_with("socket:"),
            Self::List(steps) => steps.iter().any(|step| step.application == "socket"),
        }
    }
}

/// A command line, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    dial: String,
    then: Then,
    caller_name: Option<String>,
    caller_number: Option<String>,
    timeout: Option<Duration>,
}

impl Wanted {
    fn parse(args: &str) -> Option<Self> {
        let (dial, rest) = split_dial(args)?;
        let rest = rest.trim();
        let (target, rest) = match quoted(rest) {
            Some(parts) => parts,
            None => rest.split_at(end_of_target(rest)?),
        };
        let words = words(rest);
        let word = |at: usize| words.get(at).filter(|word| *word != "_undef_").cloned();
        let then = Then::parse(target.trim(), word(0).as_deref());
        if then.is_nothing() {
            return None;
        }
        let timeout = word(4).and_then(|word| word.parse().ok()).map(Duration::from_secs);
        Some(Self { dial: dial.to_owned(), then, caller_name: word(2), caller_number: word(3), timeout })
    }
}

/// The dial string ends at the first blank outside brackets and quotation marks.
fn split_dial(args: &str) -> Option<(&str, &str)> {
    let mut depth = 0usize;
    let mut quoted = false;
    for (at, c) in args.char_indices() {
        match c {
            '{' | '[' | '<' => depth += 1,
            '}' | ']' | '>' => depth = depth.saturating_sub(1),
            '\'' => quoted = !quoted,
            ' ' if depth == 0 && !quoted => return Some(args.split_at(at)),
            _ => {}
        }
    }
    None
}

/// Where a target without quotation marks ends: at a blank, or with the last bracket of an application's arguments.
fn end_of_target(rest: &str) -> Option<usize> {
    let blank = rest.find(' ').unwrap_or(rest.len());
    let has_arguments = rest.starts_with('&') && rest.find('(').is_some_and(|open| open < blank);
    // The closing one may stand in the arguments, too.
    if has_arguments { rest.rfind(')').map(|close| close + 1) } else { Some(blank) }
}

pub(super) async fn originate(hub: &Arc<Hub>, args: &str, by: &By) -> Result<String, EngineError> {
    let Some(wanted) = Wanted::parse(args) else { return super::usage(USAGE) };
    // Said before anybody's phone rings.
    if by.is_restricted && wanted.then.is_application() {
        return Ok(DENIED.to_owned());
    }
    if !wanted.then.steps().iter().all(|step| exists(&step.application)) {
        return Ok(format!("-ERR {UNKNOWN}\n"));
    }
    let dial = match DialString::parse(&wanted.dial, |name| hub.gateway(name)) {
        Ok(dial) => dial,
        Err(unusable) => return Ok(format!("-ERR {}\n", unusable.0.name)),
    };
    if dial.groups.iter().any(|group| group.len() > 1) {
        return Ok(
            "-ERR several parties that ring at once are for `bridge`; separate them by `|` to try one after another\n".to_owned()
        );
    }
    // Carried out to its end also when its client is cut off meanwhile: nobody else knows what the call was placed for.
    let placing = tokio::spawn(place(Arc::clone(hub), wanted, dial, by.clone()));
    placing.await.unwrap_or(Err(EngineError::Stopped))
}

/// Calls one target after another until one has answered, and gives that call what it was placed for.
async fn place(hub: Arc<Hub>, wanted: Wanted, dial: DialString, by: By) -> Result<String, EngineError> {
    let mut cause = Cause::of_sip(480);
    let mut vars = dial.vars;
    for target in dial.groups.iter().flatten() {
        let mut own = vars.clone();
        target.vars.iter().for_each(|(name, value)| dial_string::set(&mut own, name, value));
        // A call that has failed keeps its id: only one of several can have the one that is asked for.
        vars.remove("origination_uuid");
        match ring(&hub, &wanted, own, target, &by).await? {
            Ok(uuid) => {
                take_over(&hub, &uuid, wanted.then, by.asker()).await?;
                return Ok(format!("+OK {uuid}\n"));
            }
            Err(failed) => cause = failed,
        }
    }
    Ok(format!("-ERR {}\n", cause.name))
}

/// Calls one target, and waits for what comes of it.
async fn ring(
    hub: &Arc<Hub>,
    wanted: &Wanted,
    vars: BTreeMap<String, String>,
    target: &Target,
    by: &By,
) -> Result<Result<String, Cause>, EngineError> {
    let var = |name: &str| vars.get(name).cloned();
    let seconds = ["originate_timeout", "leg_timeout", "call_timeout"].iter().find_map(|name| var(name)?.parse::<u64>().ok());
    let timeout = seconds.map(Duration::from_secs).or(wanted.timeout).unwrap_or(RING_TIME).clamp(Duration::from_secs(1), LONGEST);
    let id = var("origination_uuid").unwrap_or_else(new_uuid);
    let request = Originate {
        to: target.uri.clone(),
        from: Some(wanted.caller_number.clone().or_else(|| var("origination_caller_id_number")).unwrap_or_default()),
        from_name: wanted.caller_name.clone().or_else(|| var("origination_caller_id_name")),
        destination: wanted.then.destination(hub),
        asker: by.asker(),
        park: true,
        account: by.account.as_deref().map(str::to_owned),
        id: Some(id.clone()),
        timeout: Some(timeout),
        vars,
        ..Originate::default()
    };
    // Watched before it is asked for: whatever comes of it is not missed.
    let mut watcher = hub.engine.subscribe();
    match hub.engine.originate(request).await {
        Ok(_) => answer(hub, &mut watcher, &id).await,
        Err(EngineError::TargetRefused { .. }) => Ok(Err(Cause::of_sip(404))),
        Err(EngineError::AtCapacity(_)) => Ok(Err(Cause::of_sip(503))),
        Err(other) => Err(other),
    }
}

/// Waits until a call that was placed is answered, or is not.
pub(in crate::event_socket) async fn answer(
    hub: &Arc<Hub>,
    watcher: &mut Watcher,
    id: &str,
) -> Result<Result<String, Cause>, EngineError> {
    loop {
        match watcher.recv().await {
            Ok(published) => {
                let EngineEvent::Channel { channel, what } = &published.event else { continue };
                if channel.uuid != *id {
                    continue;
                }
                match what {
                    ChannelEvent::Answered => return Ok(Ok(id.to_owned())),
                    ChannelEvent::HungUp => {
                        let code = channel.cause.as_ref().map_or(480, |cause| cause.code);
                        return Ok(Err(if code == 408 {
                            Cause::parse("NO_ANSWER").unwrap_or(Cause::of_sip(408))
                        } else {
                            Cause::of_sip(code)
                        }));
                    }
                    _ => {}
                }
            }
            // What was missed may have been the answer.
            Err(Missed::Lagged(_)) => match hub.engine.channel(id).await {
                Ok(channel) if channel.state == CallState::Answered => return Ok(Ok(id.to_owned())),
                Ok(_) => {}
                Err(_) => return Ok(Err(Cause::of_sip(480))),
            },
            Err(Missed::Closed) => return Err(EngineError::Stopped),
        }
    }
}

/// Gives the answered call what it was placed for. One that cannot have it is hung up: nobody else knows of it. One that was led elsewhere
/// while it rang is not taken from there.
async fn take_over(hub: &Arc<Hub>, uuid: &str, then: Then, asker: Asker) -> Result<(), EngineError> {
    if !hub.engine.is_waiting(uuid).await? {
        return Ok(());
    }
    let taken = match &then {
        Then::Transfer(target) => hub.engine.transfer(uuid, target, asker).await,
        Then::List(steps) => {
            let Ok(channel) = hub.engine.channel(uuid).await else { return Ok(()) };
            inline::carry_out(hub, &channel, steps.clone(), asker).await
        }
        Then::Application { name, data } => {
            let Ok(channel) = hub.engine.channel(uuid).await else { return Ok(()) };
            let order = Order { application: name, data, uuid: new_uuid(), loops: 1, asker };
            execute(hub, &channel, order, Wait::UntilQueued).await
        }
    };
    match taken {
        Ok(()) if then.hands_on() => Ok(()),
        // A call that was placed for one application ends with it.
        Ok(()) => hub.engine.application_over(uuid, PLACED, Ok(())).await,
        Err(error) => {
            // It may have ended meanwhile.
            drop(hub.engine.hangup(uuid, Some(404), None).await);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::EngineHandle;
    use crate::core::handle::Request;
    use crate::event_socket::hub::Identity;

    #[tokio::test]
    async fn a_call_gets_what_it_was_placed_for_also_when_its_client_is_cut_off_while_it_rings() {
        let config = Config::default();
        let platform = crate::platform::Platform::in_memory(&config).unwrap();
        let (engine, mut requests, log) = EngineHandle::new(Vec::new(), crate::runs::RunsHandle::stopped(), platform);
        let hub = Arc::new(Hub::new(engine, Identity::of(&config)));
        let by = By::default();
        let placed = tokio::select! {
            _ = originate(&hub, "{origination_uuid=one}user/1001 4000", &by) => unreachable!("nobody has answered"),
            Some(Request::Originate(_, placed)) = requests.recv() => placed,
        };
        // Whoever waited for the answer was cut off.
        drop(hub);
        placed.send(Ok("one".to_owned())).unwrap();
        let channel = Arc::new(Channel { uuid: "one".to_owned(), ..Channel::default() });
        log.publish(0, None, EngineEvent::Channel { channel, what: ChannelEvent::Answered });
        let Some(Request::IsWaiting(id, is_waiting)) = requests.recv().await else { unreachable!("it is asked for") };
        is_waiting.send(true).unwrap();
        let Some(Request::Transfer { id: led, target, .. }) = requests.recv().await else { unreachable!("it is led on") };
        assert_eq!((id.as_str(), led.as_str(), target.as_str()), ("one", "one", "4000"));
    }

    #[test]
    fn a_command_line_is_taken_apart() {
        let wanted = Wanted::parse("{a=1,b='x y'}user/1001 &playback(ivr/a b.wav) XML default Al 4420 30").unwrap();
        assert_eq!(wanted.dial, "{a=1,b='x y'}user/1001");
        assert_eq!(wanted.then, Then::Application { name: "playback".into(), data: "ivr/a b.wav".into() });
        assert_eq!((wanted.caller_name.as_deref(), wanted.caller_number.as_deref()), (Some("Al"), Some("4420")));
        assert_eq!(wanted.timeout, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_target_may_be_a_number_or_an_application_without_arguments() {
        assert_eq!(Wanted::parse("user/1 1000").unwrap().then, Then::Transfer("1000".into()));
        let park = Then::Application { name: "park".into(), data: String::new() };
        assert_eq!(Wanted::parse("user/1 &park").unwrap().then, park);
        assert_eq!(Wanted::parse("user/1 &park()").unwrap().then, park);
        assert_eq!(
            Wanted::parse("user/1 &socket(127.0.0.1:8085 async full)").unwrap().then,
            Then::Application { name: "socket".into(), data: "127.0.0.1:8085 async full".into() }
        );
        for bad in ["", "user/1", "user/1 ", "user/1 ''", "{a=1 b}"] {
            assert_eq!(Wanted::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_target_may_be_a_list_of_applications() {
        let step = |application: &str, data: &str| Step { application: application.into(), data: data.into() };
        let list = Wanted::parse("user/1 'answer,playback:user/a b.wav' inline default Al 4420").unwrap();
        assert_eq!(list.then, Then::List(vec![step("answer", ""), step("playback", "user/a b.wav")]));
        assert_eq!(list.caller_number.as_deref(), Some("4420"));
        let park = Then::Application { name: "park".into(), data: String::new() };
        assert_eq!(Wanted::parse("user/1 &park() inline").unwrap().then, park);
        assert_eq!(Wanted::parse("user/1 , inline"), None);
    }

    #[test]
    fn what_holds_blanks_may_be_quoted() {
        let application = |name: &str, data: &str| Then::Application { name: name.into(), data: data.into() };
        for (target, expected) in [
            ("'&socket(127.0.0.1:8084 async full)'", application("socket", "127.0.0.1:8084 async full")),
            ("&socket('127.0.0.1:8084 async full')", application("socket", "127.0.0.1:8084 async full")),
            ("'&park()'", application("park", "")),
            ("'&park'", application("park", "")),
            ("&bridge('user/1002')", application("bridge", "user/1002")),
            ("'&bridge({a='x y'}user/1002)'", application("bridge", "{a='x y'}user/1002")),
            ("&bridge({a='x y'}user/1002)", application("bridge", "{a='x y'}user/1002")),
            ("'1000'", Then::Transfer("1000".into())),
        ] {
            let wanted = Wanted::parse(&format!("user/1 {target} XML default 'Al Bo' 4420 30")).unwrap();
            let named = (wanted.caller_name.as_deref(), wanted.caller_number.as_deref());
            assert_eq!((wanted.then, named), (expected, (Some("Al Bo"), Some("4420"))), "{target}");
        }
    }
}
