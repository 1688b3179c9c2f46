//! The commands of one client: of one that came to us, or of the application that has a call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_ctx_api::CallState;

use super::access::Rights;
use super::api;
use super::applications;
use super::execute::{self, Wait};
use super::hub::Hub;
use super::listeners::Listener;
use super::notices;
use super::reach::{self, By};
use super::wants::Format;
use super::{cause::Cause, channel_headers, events};
use crate::core::Channel;
use crate::esl::{Command, Event, Headers, Message};

/// Jobs of `bgapi` that one client may have under way.
const MAX_JOBS: usize = 64;
/// How long a connection may outlive its call where the client names no time.
const LONGEST_LINGER: Duration = Duration::from_secs(300);

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    Close,
}

/// How an application has its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Application {
    pub(super) call: String,
    /// Otherwise each operation is over before its command is answered.
    pub(super) is_async: bool,
    /// Otherwise only commands about the call are taken.
    pub(super) full: bool,
}

/// How long a connection stays when its call is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Linger {
    #[default]
    No,
    /// Until the client goes.
    Long,
    Seconds(u32),
}

impl Linger {
    pub(super) fn time(self) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::Long => Some(LONGEST_LINGER),
            Self::Seconds(seconds) => Some(Duration::from_secs(seconds.into()).min(LONGEST_LINGER)),
        }
    }

    pub(super) fn seconds(self) -> Option<u32> {
        match self {
            Self::No | Self::Long => None,
            Self::Seconds(seconds) => Some(seconds),
        }
    }
}

/// See the module.
pub(super) struct Client {
    hub: Arc<Hub>,
    listener: Arc<Listener>,
    application: Option<Application>,
    pub(super) linger: Linger,
    jobs: Arc<tokio::sync::Semaphore>,
    rights: Rights,
    /// It has said `exit`, and was told goodbye.
    pub(super) has_left: bool,
}

impl Client {
    /// A client that has logged in.
    pub(super) fn inbound(hub: Arc<Hub>, listener: Arc<Listener>, rights: Rights) -> Self {
        let jobs = Arc::new(tokio::sync::Semaphore::new(MAX_JOBS));
        listener.wants().allow_only(rights.events.clone());
        Self { hub, listener, application: None, linger: Linger::No, jobs, rights, has_left: false }
    }

    /// The application of a call.
    pub(super) fn outbound(hub: Arc<Hub>, listener: Arc<Listener>, application: Application) -> Self {
        let rights = Rights { account: listener.account.clone(), ..Rights::default() };
        Self { application: Some(application), ..Self::inbound(hub, listener, rights) }
    }

    /// Sends what is no answer.
    pub(super) fn tell(&self, frame: Bytes) {
        self.listener.outbox.events([frame]);
    }

    /// Carries out one command. Events that come meanwhile follow its answer.
    pub(super) async fn command(&mut self, command: Command) -> Flow {
        self.listener.outbox.hold();
        let verb = command.verb().to_ascii_lowercase();
        let answer = self.carry_out(&verb, &command).await;
        let mut frame = Vec::new();
        match answer {
            Answer::Reply(text) => Message::reply(&text).write(&mut frame),
            Answer::Response(text) => Message::api_response(text).write(&mut frame),
            Answer::Frame(bytes) => frame = bytes,
            Answer::Bye => {
                Message::reply("+OK bye").write(&mut frame);
                self.listener.outbox.reply(frame);
                self.listener.outbox.release();
                self.tell(notices::goodbye());
                self.has_left = true;
                return Flow::Close;
            }
        }
        self.listener.outbox.reply(frame);
        self.listener.outbox.release();
        Flow::Go
    }

    async fn carry_out(&mut self, verb: &str, command: &Command) -> Answer {
        let args = command.args();
        match verb {
            "exit" | "quit" | "..." => return Answer::Bye,
            "sendmsg" | "sendevent" if !self.rights.allow_steering() => return denied(),
            "api" | "bgapi" if !self.rights.allow_api(args) => return denied(),
            "log" if self.rights.without_log => return denied(),
            "sendmsg" => return self.send_message(command).await,
            "connect" if self.application.is_some() => return self.connect().await,
            "getvar" if self.application.is_some() => return self.variable(args).await,
            "myevents" => return self.my_events(args).await,
            "divert_events" => return self.divert(args),
            "resume" if self.application.is_some() => return Answer::ok("+OK"),
            _ => {}
        }
        if self.application.as_ref().is_some_and(|application| !application.full) {
            return not_found();
        }
        let answer = match verb {
            // Some clients write it so, and servers that look for the first letters take it.
            "event" | "events" => self.events(args),
            "nixevent" => self.edit_events(args),
            "noevents" => {
                let had_any = self.listener.wants().forget();
                Answer::ok(if had_any { "+OK no longer listening for events" } else { "-ERR not listening for events" })
            }
            "filter" => self.filter(args),
            "linger" => {
                self.linger = match args.parse() {
                    Ok(seconds) => Linger::Seconds(seconds),
                    Err(_) => Linger::Long,
                };
                match self.linger.seconds() {
                    Some(seconds) => Answer::Reply(format!("+OK will linger {seconds} seconds")),
                    None => Answer::ok("+OK will linger"),
                }
            }
            "nolinger" => {
                self.linger = Linger::No;
                Answer::ok("+OK will not linger")
            }
            "log" => self.log(args),
            "nolog" => {
                let was_on = self.listener.wants().log(None);
                Answer::ok(if was_on { "+OK no longer logging" } else { "-ERR not loging" })
            }
            "api" if args.is_empty() => Answer::ok("-ERR no command"),
            "api" => {
                let text = api::run(&self.hub, args, &self.by()).await;
                Answer::Response(text)
            }
            "bgapi" => self.background(command),
            "sendevent" => self.send_event(command),
            _ => not_found(),
        };
        if self.application.is_some() && self.listener.wants().is_general() {
            self.hub.widen(&self.listener);
        }
        answer
    }

    fn by(&self) -> By {
        let own = self.own_channel().map(str::to_owned);
        By { own, account: self.rights.account.clone(), is_restricted: self.rights.is_restricted() }
    }

    fn own_channel(&self) -> Option<&str> {
        self.application.as_ref().map(|application| application.call.as_str())
    }

    async fn connect(&self) -> Answer {
        let Some(application) = &self.application else { return not_found() };
        let Ok(channel) = self.hub.engine.channel(&application.call).await else {
            return Answer::ok("-ERR the call is over");
        };
        Answer::Frame(connect_reply(&self.hub, &channel, application))
    }

    async fn variable(&self, name: &str) -> Answer {
        let Some(call) = self.own_channel() else { return not_found() };
        match self.hub.engine.channel(call).await {
            Ok(channel) => Answer::Reply(channel_headers::variable(&channel, name).unwrap_or_default()),
            Err(error) => Answer::Reply(format!("-ERR {error}")),
        }
    }

    /// `myevents [UUID] [FORMAT]`
    async fn my_events(&self, args: &str) -> Answer {
        let mut format = None;
        let mut channel = self.own_channel().map(str::to_owned);
        for word in args.split_whitespace() {
            match Format::parse(word) {
                Some(named) => format = Some(named),
                None if self.application.is_none() => channel = Some(word.to_owned()),
                None => {}
            }
        }
        let Some(channel) = channel else { return Answer::ok("-ERR missing uuid") };
        if self.application.is_none() && self.hub.engine.channel(&channel).await.is_err() {
            return Answer::ok("-ERR invalid uuid");
        }
        let mut wants = self.listener.wants();
        wants.only_of(&channel);
        wants.format = format.unwrap_or(wants.format);
        Answer::ok("+OK Events Enabled")
    }

    fn divert(&self, args: &str) -> Answer {
        let Some(call) = self.own_channel() else { return Answer::ok("-ERR not controlling a session") };
        let on = !args.eq_ignore_ascii_case("off");
        self.listener.wants().divert(on.then(|| call.to_owned()));
        Answer::ok(if on { "+OK event divert enabled" } else { "+OK event divert disabled" })
    }

    /// `event [FORMAT] NAMES…`
    fn events(&self, args: &str) -> Answer {
        let (word, rest) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
        let mut wants = self.listener.wants();
        let (format, names) = match Format::parse(word) {
            Some(format) => (format, rest),
            None => (wants.format, args),
        };
        if wants.add(names) == 0 {
            return Answer::ok("-ERR no keywords supplied");
        }
        wants.format = format;
        Answer::Reply(format!("+OK event listener enabled {}", format.name()))
    }

    fn edit_events(&self, args: &str) -> Answer {
        if self.listener.wants().remove(args) == 0 {
            return Answer::ok("-ERR no keywords supplied");
        }
        Answer::ok("+OK events nixed")
    }

    /// `filter NAME VALUE`, `filter delete NAME [VALUE]`, `filter delete all`
    fn filter(&self, args: &str) -> Answer {
        let mut words = args.splitn(2, char::is_whitespace);
        let (first, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().trim());
        let mut wants = self.listener.wants();
        if first.eq_ignore_ascii_case("delete") {
            let (name, value) = rest.split_once(char::is_whitespace).map_or((rest, ""), |(name, value)| (name, value.trim()));
            if name.is_empty() {
                return Answer::ok("-ERR invalid syntax");
            }
            wants.unfilter(name, Some(value).filter(|value| !value.is_empty()));
            return Answer::Reply(format!("+OK filter deleted. [{name}]=[{value}]"));
        }
        if first.is_empty() || rest.is_empty() {
            return Answer::ok("-ERR invalid syntax");
        }
        match wants.filter(first, rest) {
            Ok(()) => Answer::Reply(format!("+OK filter added. [{first}]=[{rest}]")),
            Err(why) => Answer::Reply(format!("-ERR {why}")),
        }
    }

    fn log(&self, args: &str) -> Answer {
        const LEVELS: [&str; 8] = ["CONSOLE", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG"];
        let named = LEVELS.iter().position(|level| level.eq_ignore_ascii_case(args));
        let level = named.or_else(|| args.parse().ok().filter(|level| *level < LEVELS.len())).unwrap_or(LEVELS.len() - 1);
        self.listener.wants().log(u8::try_from(level).ok());
        let name = LEVELS.get(level).copied().unwrap_or("DEBUG");
        Answer::Reply(format!("+OK log level {name} [{level}]"))
    }

    fn background(&self, command: &Command) -> Answer {
        let line = command.args().to_owned();
        if line.is_empty() {
            return Answer::ok("-ERR Invalid Command");
        }
        let Ok(permit) = Arc::clone(&self.jobs).try_acquire_owned() else {
            return Answer::ok("-ERR too many jobs are under way");
        };
        let uuid = command.headers().get("Job-UUID").map_or_else(new_uuid, str::to_owned);
        let (hub, job, by) = (Arc::clone(&self.hub), uuid.clone(), self.by());
        tokio::spawn(async move {
            let text = api::run(&hub, &line, &by).await;
            drop(permit);
            let (name, args) = line.split_once(' ').unwrap_or((&line, ""));
            let mut event = Event::new("BACKGROUND_JOB");
            event.push("Job-UUID", &job);
            event.push("Job-Command", name);
            if !args.is_empty() {
                event.push("Job-Command-Arg", args);
            }
            event.body = Some(text);
            hub.publish(event, by.account);
        });
        let headers: Headers = [
            ("Content-Type", "command/reply"),
            ("Reply-Text", format!("+OK Job-UUID: {}", one_line(&uuid)).as_str()),
            ("Job-UUID", one_line(&uuid).as_str()),
        ]
        .into_iter()
        .collect();
        Answer::Frame(headers_only(&headers))
    }

    /// `sendevent NAME`, with the event's headers and body.
    fn send_event(&self, command: &Command) -> Answer {
        let name = command.args();
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !plain {
            return Answer::ok("-ERR invalid event name");
        }
        let mut event = Event::new(&name.to_ascii_uppercase());
        let uuid = command.headers().get("Event-UUID").map_or_else(new_uuid, str::to_owned);
        for (name, value) in command.headers().iter() {
            if !["Event-Name", "Content-Length", "Event-UUID"].iter().any(|own| own.eq_ignore_ascii_case(name)) {
                event.push(name, value);
            }
        }
        event.push("Event-UUID", &uuid);
        let body = command.body();
        event.body = (!body.is_empty()).then(|| body.into_owned());
        self.hub.publish(event, self.rights.account.clone());
        Answer::Reply(format!("+OK {uuid}"))
    }

    /// `sendmsg [UUID]`: one operation, or the end of the call.
    async fn send_message(&mut self, command: &Command) -> Answer {
        let target = match (command.args(), self.own_channel()) {
            ("", Some(own)) => own.to_owned(),
            ("", None) => return Answer::ok("-ERR no session id specified"),
            (uuid, own) => {
                let foreign = self.application.as_ref().is_some_and(|application| !application.full) && own != Some(uuid);
                if foreign {
                    return Answer::Reply(format!("-ERR invalid session id [{uuid}]"));
                }
                uuid.to_owned()
            }
        };
        // Its own call is an application's, whoever's that is.
        let account = self.rights.account.as_deref().filter(|_| self.own_channel() != Some(&target));
        let Some(channel) = reach::channel(&self.hub, account, &target).await else {
            return Answer::Reply(format!("-ERR invalid session id [{target}]"));
        };
        let header = |name: &str| command.headers().get(name);
        match header("call-command").map(str::to_ascii_lowercase).as_deref() {
            Some("execute") => self.execute(command, &channel).await,
            Some("hangup") => {
                let cause = header("hangup-cause").and_then(Cause::parse).unwrap_or(super::cause::NORMAL_CLEARING);
                let (code, reason) = cause.to_sip(channel.state == CallState::Answered);
                match self.hub.engine.hangup(&channel.call, code, reason).await {
                    Ok(()) => Answer::ok("+OK"),
                    Err(error) => Answer::Reply(format!("-ERR {error}")),
                }
            }
            // What there is nothing to do for: media paths are the engine's own.
            Some(_) | None => Answer::ok("+OK"),
        }
    }

    async fn execute(&self, command: &Command, channel: &Arc<Channel>) -> Answer {
        let header = |name: &str| command.headers().get(name);
        let Some(application) = header("execute-app-name") else { return Answer::ok("+OK") };
        let body = command.body();
        let data = header("execute-app-arg").unwrap_or_else(|| body.trim_end_matches(['\r', '\n']));
        let uuid = header("Event-UUID").map_or_else(new_uuid, str::to_owned);
        let loops = header("loops").map_or(1, applications::number);
        let in_turn = self.application.as_ref().is_some_and(|application| !application.is_async)
            && !header("async").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let wait = if in_turn { Wait::UntilOver } else { Wait::UntilQueued };
        let order = execute::Order { application, data, uuid, loops, asker: self.by().asker() };
        match execute::execute(&self.hub, channel, order, wait).await {
            Ok(()) => Answer::ok("+OK"),
            Err(error) => Answer::Reply(format!("-ERR {error}")),
        }
    }
}

/// What a command is answered with.
enum Answer {
    Reply(String),
    Response(String),
    Frame(Vec<u8>),
    Bye,
}

impl Answer {
    fn ok(text: &str) -> Self {
        Self::Reply(text.to_owned())
    }
}

/// The user this client has logged in as may not do that.
fn denied() -> Answer {
    Answer::ok("-ERR permission denied")
}

fn not_found() -> Answer {
    Answer::ok("-ERR command not found")
}

/// The answer to `connect`: an event that is a reply, percent-encoded as a whole.
fn connect_reply(hub: &Hub, channel: &Channel, application: &Application) -> Vec<u8> {
    let event = hub.stamped(events::connected(channel), super::hub::unix_ms());
    let mut headers = Headers::new();
    let mut push = |name: &str, value: &str| {
        let mut encoded = String::with_capacity(value.len());
        crate::esl::encode(value, &mut encoded);
        headers.push(name, &encoded);
    };
    for (name, value) in event.headers.iter() {
        push(name, value);
    }
    push("Reply-Text", "+OK\n");
    push("Socket-Mode", if application.is_async { "async" } else { "static" });
    push("Control", if application.full { "full" } else { "single-channel" });
    let mut reply = Headers::new();
    for (name, value) in headers.iter() {
        // The one header that clients look for before anything is decoded.
        if name == "Reply-Text" {
            reply.push("Content-Type", "command/reply");
        }
        reply.push(name, value);
    }
    headers_only(&reply)
}

fn headers_only(headers: &Headers) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in headers.iter() {
        text.push_str(&one_line(name));
        text.push_str(": ");
        text.push_str(&one_line(value));
        text.push('\n');
    }
    text.push('\n');
    text.into_bytes()
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

pub(super) fn new_uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}
