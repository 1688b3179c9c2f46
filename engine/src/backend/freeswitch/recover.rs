//! What is done when something got lost: the completion of an application, or the connection itself.
//!
//! | lost | what is done |
//! |---|---|
//! | a completion, `async full` | a marker is queued behind the application: once it comes back, so has the application |
//! | a completion, otherwise | the variables that the application leaves behind are asked for (`getvar`) |
//! | the connection | the channel, which FreeSWITCH keeps parked, is steered over another one (`sendmsg UUID`); see [`FreeSwitchBackend::connection_lost`] |
//!
//! Nothing is sent a second time but settings of variables, which do the same however often they are made.

use std::time::{Duration, Instant};

use lockstep_ctx_api::{CallState, ErrorCode, OpError, Outcome};

use super::FreeSwitchBackend;
use super::collect::{DIGITS, REFUSED, RESULT, TERMINATOR};
use super::task::{Doing, Finish, Task};
use super::wire::Awaited;
use crate::esl::Event;

/// How long another way to a channel is looked for.
pub(crate) const RETURN_TIME: Duration = Duration::from_secs(10);

/// What the channel's events are called: what `myevents` stands for, where it cannot be used.
const EVENTS: &str = "event plain CHANNEL_EXECUTE CHANNEL_EXECUTE_COMPLETE CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_ANSWER \
                      CHANNEL_BRIDGE CHANNEL_UNBRIDGE CHANNEL_HOLD CHANNEL_UNHOLD CHANNEL_HANGUP CHANNEL_HANGUP_COMPLETE DTMF";

/// Variables that are being asked for, to see whether an application is over.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// Which application of the call.
    number: u64,
    /// Not answered yet, in order.
    names: std::collections::VecDeque<&'static str>,
    /// What a completion would have said.
    found: Event,
}

/// What tells of an application without its completion.
fn traces(task: &Task) -> &'static [&'static str] {
    match &task.finish {
        Finish::Play(_) => &[
            "current_application_response",
            "playback_terminator_used",
            "playback_last_offset_pos",
            "playback_ms",
            "write_rate",
            "read_rate",
        ],
        Finish::Collect(_) => &[DIGITS, REFUSED, TERMINATOR, RESULT],
        Finish::Bridge(_) => &[
            "originate_disposition",
            "bridge_hangup_cause",
            "last_bridge_hangup_cause",
            "last_bridge_proto_specific_hangup_cause",
            "bridge_uuid",
        ],
        Finish::Unit | Finish::Unstoppable | Finish::Routing(_) => &["uuid"],
    }
}

impl FreeSwitchBackend {
    /// An application ought to be over by now.
    pub(super) fn ask_for_completion(&mut self, now: Instant) {
        let Some(task) = &self.task else { return };
        let Doing::Executing(executing) = &task.doing else { return };
        let number = executing.number;
        if self.wire.is_async && self.wire.is_full {
            // It waits until what runs is over (`event-lock`): once it comes back, so has the other one.
            let _ = self.wire.execute(now, "set", "lockstep_mark=true", &format!("mark/{number}"), Awaited::Nothing);
            return;
        }
        // Without `async`, its answer has not come: it runs.
        if !self.wire.is_answering() {
            return;
        }
        let names = traces(task);
        self.wire.ask_now(now);
        for name in names {
            // None of them has a line end.
            let _ = self.wire.command(now, format!("getvar {name}"), Awaited::Trace(number));
        }
        let found = Event::new("CHANNEL_EXECUTE_COMPLETE");
        self.inquiry = Some(Inquiry { number, names: names.iter().copied().collect(), found });
    }

    /// One variable was answered.
    pub(super) fn trace(&mut self, now: Instant, number: u64, value: &str) {
        let Some(inquiry) = self.inquiry.as_mut().filter(|inquiry| inquiry.number == number) else { return };
        let Some(name) = inquiry.names.pop_front() else { return };
        if !value.is_empty() && !value.starts_with("-ERR") && value != "_undef_" {
            inquiry.found.push(&format!("variable_{name}"), value);
            if name == "current_application_response" {
                inquiry.found.push("Application-Response", value);
            }
        }
        if !inquiry.names.is_empty() {
            return;
        }
        let Some(Inquiry { found, .. }) = self.inquiry.take() else { return };
        let is_current = self.task.as_ref().is_some_and(|task| match &task.doing {
            Doing::Executing(executing) => executing.number == number && self.has_left_traces(task, &found),
            Doing::Idle | Doing::Waiting(_) => false,
        });
        if is_current {
            let vars = self.changed_variables(&found);
            self.tell(now, self.state, vars);
            self.step_over(now, &found);
        }
    }

    /// Whether an application that has run for longer than it ought to is over, by what it has left behind.
    fn has_left_traces(&self, task: &Task, found: &Event) -> bool {
        if !self.wire.is_async {
            // It was answered, which happens at its end.
            return true;
        }
        let is_set = |name: &str| found.variable(name).is_some();
        match &task.finish {
            Finish::Play(_) => is_set("current_application_response"),
            Finish::Bridge(bridging) if task.steps.is_empty() => {
                let failed = found.variable("originate_disposition").is_some_and(|disposition| disposition != "SUCCESS");
                failed || is_set("bridge_hangup_cause") || bridging.lasted > Duration::ZERO
            }
            // Their time was known from the beginning, and is over.
            Finish::Collect(_) | Finish::Bridge(_) => true,
            // It lasts until somebody ends it.
            Finish::Unit => !matches!(&task.doing, Doing::Executing(executing) if executing.app == "echo"),
            Finish::Unstoppable | Finish::Routing(_) => false,
        }
    }

    /// The connection has ended. With `can_return`, the call waits for another way to the channel: everything that is pending
    /// stays so until [`connection_back`](Self::connection_back), or settles when none was found in time. FreeSWITCH keeps the
    /// channel only with `async`; without, its dialplan goes on.
    pub fn connection_lost(&mut self, now: Instant, can_return: bool) {
        if self.is_ended {
            return;
        }
        if !can_return || !self.wire.is_async {
            return self.gone(now, None);
        }
        self.inquiry = None;
        self.lost_until = Some(now + RETURN_TIME);
        let unanswered = self.wire.broken();
        if let Some(Task { doing: Doing::Executing(executing), .. }) = &mut self.task {
            executing.is_doubtful = !executing.has_begun && unanswered.contains(&Awaited::Step(executing.number));
        }
        self.settle_asides(now);
    }

    /// Whether another way to the channel is being looked for.
    pub fn is_lost(&self) -> bool {
        self.lost_until.is_some() && !self.is_ended
    }

    /// There is no way to the channel any more, or it is over.
    pub fn connection_gone(&mut self, now: Instant) {
        self.lost_until = None;
        self.gone(now, None);
    }

    /// There is another connection to the media server, which takes commands about every channel: what has happened meanwhile
    /// is asked for.
    pub fn connection_back(&mut self, now: Instant) {
        if !self.is_lost() {
            return;
        }
        self.lost_until = None;
        let kept = self.wire.resume(now);
        for line in [format!("filter Unique-ID {}", self.wire.uuid), EVENTS.to_owned()] {
            // Ids of channels hold no line end.
            let _ = self.wire.command(now, line, Awaited::Nothing);
        }
        let _ = self.wire.api(now, "uuid_dump", "", Awaited::Dump);
        if let Some(task) = &self.task {
            let (is_executing, is_stopping) = (matches!(task.doing, Doing::Executing(_)), task.stop_by.is_some());
            if is_stopping {
                self.stop_running(now);
            }
            if is_executing {
                self.ask_for_completion(now);
            }
        }
        if self.leaving.is_some() {
            // A cause has no line end.
            let _ = self.wire.hang_up(now, "NORMAL_CLEARING");
        }
        self.wire.append(now, kept);
    }

    /// Nothing was heard of the channel while the connection was broken: what `uuid_dump` says of it.
    pub(super) fn dumped(&mut self, now: Instant, text: &str) {
        let Ok(event) = Event::from_plain(text) else { return self.wire.ask_now(now) };
        if text.starts_with("-ERR") || event.get("Answer-State") == Some("hangup") {
            // How it ended got lost on the way.
            return self.gone(now, Some(&event));
        }
        let state = match event.get("Answer-State") {
            Some("answered") => CallState::Answered,
            Some("early") => CallState::Early,
            Some(_) | None => self.state,
        };
        let vars = self.changed_variables(&event);
        self.tell(now, state, vars);
    }

    /// The marker came back, and of the application before it was never heard that it was taken.
    pub(super) fn doubtful_over(&mut self, now: Instant, event: &Event) {
        let Some(task) = &self.task else { return };
        let is_answered = task.name == "answer" && event.get("Answer-State") == Some("answered");
        let result = if is_answered { Ok(Outcome::Unit) } else { Err(unconfirmed(task.name)) };
        self.complete_task(now, result);
    }
}

/// Nobody knows whether it was done, and doing it again could do it twice.
pub(super) fn unconfirmed(operation: &str) -> OpError {
    let message = format!("{operation}: the connection with FreeSWITCH broke before it had confirmed the operation");
    OpError::new(ErrorCode::NetworkError, message)
}
