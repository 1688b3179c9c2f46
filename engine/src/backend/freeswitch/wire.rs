//! The connection of one channel: what is sent, and which answer belongs to what.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockstep_ctx_api::OpId;

use super::channel::Channel;
use crate::esl::{Command, Unsendable};

/// How long the media server may take to answer before the connection is taken for dead.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long nothing may be heard before the media server is asked whether the channel is still there.
const QUIET_TIME: Duration = Duration::from_secs(30);

/// What an answer is to. They come in the order of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Nothing depends on it.
    Nothing,
    /// The `number`th application was accepted; without `async` it is then over.
    Step(u64),
    /// Part of an operation that runs beside the queue.
    Aside(OpId),
    /// `uuid_exists`: whether the channel is still there.
    Exists,
    /// A variable that the `number`th application leaves behind.
    Trace(u64),
    /// `uuid_dump`: how the channel is.
    Dump,
}

/// Commands that have to wait for another connection.
#[derive(Debug)]
pub(super) struct Kept {
    out: Vec<u8>,
    awaited: VecDeque<(Awaited, Instant)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) uuid: String,
    pub(super) is_async: bool,
    pub(super) is_full: bool,
    out: Vec<u8>,
    awaited: VecDeque<(Awaited, Instant)>,
    heard_at: Instant,
    is_asking: bool,
    /// The connection takes commands about every channel: each has to say which it means.
    is_shared: bool,
    /// There is no connection at the moment.
    is_broken: bool,
}

impl Wire {
    pub(super) fn new(now: Instant, channel: &Channel) -> Self {
        Self {
            uuid: channel.uuid.clone(),
            is_async: channel.is_async,
            is_full: channel.is_full,
            out: Vec::new(),
            awaited: VecDeque::new(),
            heard_at: now,
            is_asking: false,
            is_shared: false,
            is_broken: false,
        }
    }

    /// The connection is gone; what was not answered. From now on commands are written for one that they share with others.
    pub(super) fn broken(&mut self) -> Vec<Awaited> {
        self.out.clear();
        (self.is_full, self.is_shared, self.is_broken, self.is_asking) = (true, true, true, false);
        self.awaited.drain(..).map(|(awaited, _)| awaited).collect()
    }

    /// There is a connection again; what was to be sent meanwhile is given back, to be sent behind other commands.
    pub(super) fn resume(&mut self, now: Instant) -> Kept {
        (self.is_broken, self.heard_at) = (false, now);
        Kept { out: std::mem::take(&mut self.out), awaited: std::mem::take(&mut self.awaited) }
    }

    /// Sends what had to wait.
    pub(super) fn append(&mut self, now: Instant, kept: Kept) {
        self.out.extend_from_slice(&kept.out);
        self.awaited.extend(kept.awaited.into_iter().map(|(awaited, _)| (awaited, now)));
    }

    /// Bytes to be sent.
    pub(super) fn take_out(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty() && !self.is_broken).then(|| std::mem::take(&mut self.out))
    }

    fn send(&mut self, now: Instant, command: &Command, awaited: Awaited) {
        command.write(&mut self.out);
        self.awaited.push_back((awaited, now));
    }

    /// Sends a command line.
    pub(super) fn command(&mut self, now: Instant, line: String, awaited: Awaited) -> Result<(), Unsendable> {
        self.send(now, &Command::new(line)?, awaited);
        Ok(())
    }

    /// Runs a command of the server about this channel; `full` is needed.
    pub(super) fn api(&mut self, now: Instant, command: &str, rest: &str, awaited: Awaited) -> Result<(), Unsendable> {
        let line = format!("api {command} {} {rest}", self.uuid);
        self.command(now, line.trim_end().to_owned(), awaited)
    }

    fn addressed(&self, command: &str) -> String {
        if self.is_shared { format!("{command} {}", self.uuid) } else { command.to_owned() }
    }

    /// Runs an application on the channel. `id` comes back with its completion.
    ///
    /// With `full`, what runs is stopped through the API, and holds what comes after it (`event-lock`). Without, the only way to
    /// stop an application is another one that runs inside it.
    pub(super) fn execute(&mut self, now: Instant, app: &str, arg: &str, id: &str, awaited: Awaited) -> Result<(), Unsendable> {
        let mut command =
            Command::new(self.addressed("sendmsg"))?.header("call-command", "execute")?.header("execute-app-name", app)?;
        if !arg.is_empty() {
            command = command.header("execute-app-arg", arg)?;
        }
        command = command.header("Event-UUID", id)?;
        if self.is_full && self.is_async {
            command = command.header("event-lock", "true")?;
        }
        self.send(now, &command, awaited);
        Ok(())
    }

    /// Sets a channel variable, or removes it. Ordered before whatever is sent next.
    pub(super) fn set(&mut self, now: Instant, name: &str, value: Option<&str>, awaited: Awaited) -> Result<(), Unsendable> {
        if self.is_full {
            let value = value.filter(|value| !value.is_empty()).map(super::argument::quoted).unwrap_or_default();
            return self.api(now, "uuid_setvar", &format!("{name} {value}"), awaited);
        }
        match value.filter(|value| !value.is_empty()) {
            Some(value) => self.execute(now, "set", &format!("{name}={value}"), "set", awaited),
            None => self.execute(now, "unset", name, "set", awaited),
        }
    }

    /// Hangs the channel up.
    pub(super) fn hang_up(&mut self, now: Instant, cause: &str) -> Result<(), Unsendable> {
        if self.is_full && self.is_async {
            return self.api(now, "uuid_kill", cause, Awaited::Nothing);
        }
        let command = Command::new(self.addressed("sendmsg"))?.header("call-command", "hangup")?.header("hangup-cause", cause)?;
        self.send(now, &command, Awaited::Nothing);
        Ok(())
    }

    /// Hangs up another channel, as far as that is possible without the API: once it runs.
    pub(super) fn hang_up_other(&mut self, now: Instant, uuid: &str) -> Result<(), Unsendable> {
        let command = Command::new(format!("sendmsg {uuid}"))?
            .header("call-command", "hangup")?
            .header("hangup-cause", "ORIGINATOR_CANCEL")?;
        self.send(now, &command, Awaited::Nothing);
        Ok(())
    }

    /// Something came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// An answer came: what it is to.
    pub(super) fn answered(&mut self) -> Option<Awaited> {
        let (awaited, _) = self.awaited.pop_front()?;
        if awaited == Awaited::Exists {
            self.is_asking = false;
        }
        Some(awaited)
    }

    /// Whether answers can be expected now: without `async`, none comes while an application runs.
    pub(super) fn is_answering(&self) -> bool {
        !self.is_broken && (self.is_async || !self.awaited.iter().any(|(awaited, _)| matches!(awaited, Awaited::Step(_))))
    }

    /// When [`is_dead`](Self::is_dead) or [`ask`](Self::ask) are to be looked at again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if !self.is_answering() {
            return None;
        }
        let answer = self.awaited.front().and_then(|(_, since)| since.checked_add(ANSWER_TIME));
        let quiet = self.heard_at.checked_add(QUIET_TIME).filter(|_| !self.is_asking);
        [answer, quiet].into_iter().flatten().min()
    }

    /// A command was not answered for too long.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        let is_late = |since: &Instant| now.saturating_duration_since(*since) >= ANSWER_TIME;
        self.is_answering() && self.awaited.front().is_some_and(|(_, since)| is_late(since) && is_late(&self.heard_at))
    }

    /// Asks whether the channel is still there, when nothing was heard for long.
    pub(super) fn ask(&mut self, now: Instant) {
        if self.is_asking || !self.is_answering() || now.saturating_duration_since(self.heard_at) < QUIET_TIME {
            return;
        }
        self.ask_now(now);
    }

    /// Asks whether the channel is still there.
    pub(super) fn ask_now(&mut self, now: Instant) {
        let asked = if self.is_full {
            self.api(now, "uuid_exists", "", Awaited::Exists)
        } else {
            self.command(now, "getvar uuid".to_owned(), Awaited::Exists)
        };
        self.is_asking = asked.is_ok();
    }
}
