//! Dialplan applications, as `execute` names them, and the operations they are here. One file a family.

mod bridge;
mod digits;
mod media;
mod signalling;
mod variables;

use lockstep_ctx_api::OpResult;
use lockstep_ctx_api::op::{Op, SleepArgs};

use super::channel_headers;
use super::expand::expand;
use crate::core::{Aftermath, Channel, Consequences, says_yes};

/// How a call ends that is to have an application which is not there.
pub(super) const UNKNOWN: &str = "DESTINATION_OUT_OF_ORDER";

/// What an application comes to.
pub(super) enum Plan {
    /// An operation of the call's queue.
    Operation(Box<Op>, Aftermath),
    /// Variables that are set at once, and nothing else.
    Variables(Vec<(String, Option<String>)>),
    /// The channel waits until it is told otherwise.
    Park,
    /// The call is led elsewhere.
    Transfer(String),
    /// A command about the call, with this argument, is carried out later; nothing else is done.
    Schedule(String),
    /// The party is put on hold, or taken off.
    Hold(bool),
    /// A recording is stopped; `None`: every one.
    StopRecording(Option<String>),
    /// The call is ended: there is no such application, or it cannot go on.
    End(super::cause::Cause),
}

impl Plan {
    fn operation(op: Op) -> Self {
        Self::Operation(Box::new(op), Box::new(|_| Consequences::default()))
    }

    fn with(op: Op, aftermath: impl FnOnce(&OpResult) -> Consequences + Send + 'static) -> Self {
        Self::Operation(Box::new(op), Box::new(aftermath))
    }

    /// It is carried out by doing nothing, when its turn comes.
    fn nothing() -> Self {
        Self::operation(Op::Sleep(SleepArgs { duration_ms: 0 }))
    }

    /// There is such an application, but not here: it says so, and the call goes on.
    fn unsupported(application: &str) -> Self {
        tracing::warn!(application, "an application is not supported by this engine; nothing was done");
        Self::with(Op::Sleep(SleepArgs { duration_ms: 0 }), |_| Consequences {
            vars: Vec::new(),
            response: Some("-ERR not supported by this engine".to_owned()),
        })
    }
}

/// A number as C reads it: what stands ahead of anything else, and 0 where none does.
pub(super) fn number(text: &str) -> i64 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = text.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
    text.get(..sign + digits).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What an application is asked to do.
pub(super) struct Call<'a> {
    pub(super) application: &'a str,
    /// Its argument, variables put in.
    pub(super) data: String,
    /// How often it is carried out, where that makes sense; 0: it is not, negative: until stopped.
    pub(super) loops: i64,
    pub(super) channel: &'a Channel,
    /// The host of a gateway by its name.
    pub(super) gateway: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Call<'a> {
    /// A call of `application` on a channel.
    pub(super) fn new(
        application: &'a str,
        data: &str,
        loops: i64,
        channel: &'a Channel,
        gateway: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let data = expand(data, |name| channel_headers::variable(channel, name));
        Self { application, data, loops, channel, gateway }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.channel.vars.get(name)
    }

    /// Whether a variable says yes.
    fn is_set(&self, name: &str) -> bool {
        self.variable(name).is_some_and(says_yes)
    }

    /// What it comes to.
    pub(super) fn plan(&self) -> Plan {
        if self.loops == 0 {
            return Plan::nothing();
        }
        match self.application {
            "answer" | "pre_answer" | "ring_ready" | "hangup" | "respond" | "redirect" | "deflect" | "transfer"
            | "execute_extension" | "socket" | "park" | "wait_for_answer" => self.signalling(),
            "playback"
            | "endless_playback"
            | "loop_playback"
            | "gentones"
            | "speak"
            | "sleep"
            | "echo"
            | "delay_echo"
            | "record_session"
            | "stop_record_session" => self.media(),
            "play_and_get_digits" | "read" | "send_dtmf" | "block_dtmf" | "unblock_dtmf" => self.digits(),
            "bridge" => self.bridge(),
            "set" | "export" | "multiset" | "unset" | "multiunset" | "set_profile_var" | "set_name" => self.variables(),
            "log"
            | "info"
            | "event"
            | "verbose_events"
            | "flush_dtmf"
            | "start_dtmf"
            | "stop_dtmf"
            | "start_dtmf_generate"
            | "stop_dtmf_generate"
            | "enable_heartbeat"
            | "presence"
            | "sched_heartbeat"
            | "break"
            | "clear_speech_cache"
            | "capture"
            | "privacy" => Plan::nothing(),
            "hold" => Plan::Hold(true),
            "unhold" => Plan::Hold(false),
            "sched_hangup" | "sched_transfer" | "sched_broadcast" => Plan::Schedule(self.data.clone()),
            "record"
            | "conference"
            | "voicemail"
            | "valet_park"
            | "fifo"
            | "callcenter"
            | "say"
            | "phrase"
            | "eavesdrop"
            | "three_way"
            | "att_xfer"
            | "bind_meta_app"
            | "bind_digit_action"
            | "detect_speech"
            | "play_and_detect_speech"
            | "displace_session"
            | "lua"
            | "javascript"
            | "system"
            | "intercept"
            | "pickup"
            | "queue_dtmf"
            | "tone_detect"
            | "avmd_start"
            | "avmd_stop"
            | "spandsp_start_dtmf"
            | "spandsp_stop_dtmf" => Plan::unsupported(self.application),
            _ => Plan::End(super::cause::Cause::parse(UNKNOWN).unwrap_or(super::cause::NORMAL_CLEARING)),
        }
    }
}

/// Whether there is an application of this name, be it one that does nothing here.
pub(super) fn exists(application: &str) -> bool {
    let plan = Call::new(application, "", 1, &Channel::default(), &|_| None).plan();
    !matches!(plan, Plan::End(cause) if cause.name == UNKNOWN)
}

/// Words of an argument; one in single quotes may hold blanks.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut started = false;
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                started = true;
            }
            ' ' if !quoted => {
                if std::mem::take(&mut started) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                started = true;
                word.push(c);
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

/// What stands in quotation marks at the beginning, and what follows. They end before a blank: there may be others inside.
pub(super) fn quoted(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('\'')?;
    let mut marks = inside.match_indices('\'').map(|(at, _)| (inside.get(..at), inside.get(at + 1..)));
    let found = marks.find(|(_, after)| after.is_some_and(|after| after.is_empty() || after.starts_with(' ')))?;
    found.0.zip(found.1)
}

/// The same text without the quotation marks around it, if there are any.
pub(super) fn unquoted(text: &str) -> &str {
    quoted(text).filter(|(_, after)| after.is_empty()).map_or(text, |(inside, _)| inside)
}

#[cfg(test)]
mod tests;
