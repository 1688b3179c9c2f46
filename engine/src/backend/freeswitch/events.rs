//! What the connection brings: answers, events, notices, its end.

use std::time::Instant;

use lockstep_ctx_api::op::{DtmfMethod, Vars};
use lockstep_ctx_api::{BackendOutput, CallState, ErrorCode, Event as CallEvent, OpError};

use super::channel::variables_of;
use super::task::{Doing, Finish};
use super::wire::Awaited;
use super::{CHECK_TIME, FreeSwitchBackend, argument};
use crate::call::is_key;
use crate::esl::{Event, Kind, Message, Notice};

impl FreeSwitchBackend {
    /// A message came.
    pub fn handle_message(&mut self, now: Instant, message: &Message) {
        self.wire.heard(now);
        if self.is_ended {
            return;
        }
        match message.kind() {
            Kind::CommandReply | Kind::ApiResponse => self.answered(now, &message.reply_text()),
            Kind::EventPlain | Kind::EventJson => match message.to_event() {
                Some(Ok(event)) => self.event(now, &event),
                Some(Err(error)) => tracing::debug!(call = %self.call_id, %error, "an event that cannot be read"),
                None => {}
            },
            Kind::DisconnectNotice => match message.notice() {
                // The events of the end may still come.
                Some(Notice::Linger { .. }) => self.wire.ask_now(now),
                Some(Notice::Disconnect) | None => self.gone(now, None),
            },
            Kind::RudeRejection => self.gone(now, None),
            Kind::AuthRequest | Kind::EventXml | Kind::Log | Kind::Other => {
                tracing::debug!(call = %self.call_id, "a message that was not asked for");
            }
        }
    }

    fn answered(&mut self, now: Instant, text: &str) {
        let Some(awaited) = self.wire.answered() else {
            tracing::debug!(call = %self.call_id, %text, "an answer to nothing");
            return;
        };
        let is_refused = text.starts_with("-ERR");
        match awaited {
            Awaited::Nothing => {
                if is_refused {
                    tracing::debug!(call = %self.call_id, %text, "FreeSWITCH refused a command");
                }
            }
            Awaited::Aside(id) => self.aside_answered(now, id, text),
            Awaited::Trace(number) => self.trace(now, number, text),
            Awaited::Dump => self.dumped(now, text),
            Awaited::Exists => {
                if text == "false" || is_refused || (text.is_empty() && !self.wire.is_full) {
                    // How it ended got lost on the way.
                    self.gone(now, Some(&Event::default()));
                }
            }
            Awaited::Step(number) => {
                let Some(task) = &mut self.task else { return };
                let Doing::Executing(executing) = &mut task.doing else { return };
                if executing.number != number {
                    return;
                }
                if is_refused {
                    let message = format!("{}: FreeSWITCH: {}", task.name, text.trim_start_matches("-ERR").trim());
                    self.complete_task(now, Err(OpError::new(ErrorCode::InvalidState, message)));
                    return self.wire.ask_now(now);
                }
                if !self.wire.is_async {
                    // It is over: its events come right behind the answer.
                    executing.check_at = now + CHECK_TIME;
                    executing.has_begun = true;
                }
            }
        }
    }

    fn event(&mut self, now: Instant, event: &Event) {
        if event.get("Unique-ID").is_some_and(|uuid| uuid != self.wire.uuid) {
            return;
        }
        // Whatever the event is about, it says whether the call is answered: one that got lost is made up for.
        let state = match event.get("Answer-State") {
            Some("answered") => CallState::Answered,
            Some("early") => CallState::Early,
            Some(_) | None => self.state,
        };
        match event.name() {
            "CHANNEL_EXECUTE" => {
                self.tell(now, state, Vars::new());
                self.execute_began(event);
            }
            "CHANNEL_EXECUTE_COMPLETE" => {
                let vars = self.changed_variables(event);
                self.tell(now, state, vars);
                self.execute_over(now, event);
            }
            "CHANNEL_PROGRESS" => self.tell(now, state.max(CallState::Ringing), Vars::new()),
            "CHANNEL_PROGRESS_MEDIA" => self.tell(now, state.max(CallState::Early), Vars::new()),
            "CHANNEL_ANSWER" => self.tell(now, CallState::Answered, Vars::new()),
            "DTMF" => self.digit(event),
            "CHANNEL_BRIDGE" => self.joined(now, event),
            "CHANNEL_UNBRIDGE" => self.parted(now),
            "CHANNEL_HOLD" => self.outputs.push_back(BackendOutput::Event(CallEvent::Hold)),
            "CHANNEL_UNHOLD" => self.outputs.push_back(BackendOutput::Event(CallEvent::Unhold)),
            "CHANNEL_HANGUP" | "CHANNEL_HANGUP_COMPLETE" | "CHANNEL_DESTROY" => self.gone(now, Some(event)),
            _ => self.tell(now, state, Vars::new()),
        }
    }

    fn execute_began(&mut self, event: &Event) {
        let Some(task) = &mut self.task else { return };
        if let Doing::Executing(executing) = &mut task.doing
            && event.get("Application-UUID") == Some(executing.uuid.as_str())
        {
            (executing.has_begun, executing.is_doubtful) = (true, false);
        }
    }

    fn execute_over(&mut self, now: Instant, event: &Event) {
        let Some(uuid) = event.get("Application-UUID") else { return };
        // An application that ends with the call says so first; how the call ended follows.
        if event.get("Answer-State") == Some("hangup") {
            return self.wire.ask_now(now);
        }
        let running = self.task.as_ref().and_then(|task| match &task.doing {
            Doing::Executing(executing) => Some(executing),
            Doing::Idle | Doing::Waiting(_) => None,
        });
        let is_over = running.is_some_and(|executing| {
            let mark = uuid.strip_prefix("mark/").and_then(|number| number.parse::<u64>().ok());
            executing.uuid == uuid || mark == Some(executing.number)
        });
        let was_doubtful = running.is_some_and(|executing| executing.is_doubtful && executing.uuid != uuid);
        if is_over && was_doubtful {
            self.doubtful_over(now, event);
        } else if is_over {
            self.step_over(now, event);
        } else if !self.aside_executed(now, uuid, event) {
            // Of a step that was given up, or of the dialplan.
            tracing::trace!(call = %self.call_id, uuid, "an application of nobody's is over");
        }
    }

    /// Channel variables that are not what the script knows. What a bridge sets for itself is not for the script.
    pub(super) fn changed_variables(&mut self, event: &Event) -> Vars {
        let mut changed = Vars::new();
        for (name, value) in variables_of(event) {
            if self.vars.get(&name) != Some(&value) && !self.loans.explain(&name, &value) {
                self.vars.insert(name.clone(), value.clone());
                changed.insert(name, value);
            }
        }
        changed
    }

    fn digit(&mut self, event: &Event) {
        let Some(digit) = event.get("DTMF-Digit").and_then(|digit| digit.chars().next()).filter(|digit| is_key(*digit)) else {
            return;
        };
        if self.blocked.contains(digit) {
            return;
        }
        // In samples at 8,000 a second.
        let duration_ms = event.get("DTMF-Duration").and_then(|samples| samples.parse::<u32>().ok()).map_or(100, |s| s / 8);
        let method = match event.get("DTMF-Source") {
            Some("INBAND_AUDIO") => DtmfMethod::Inband,
            Some("ENDPOINT") => DtmfMethod::Info,
            Some(_) | None => DtmfMethod::Rfc4733,
        };
        self.outputs.push_back(BackendOutput::Event(CallEvent::Dtmf { digit, duration_ms, method }));
    }

    fn joined(&mut self, now: Instant, event: &Event) {
        let peer = ["Bridge-B-Unique-ID", "Other-Leg-Unique-ID"].iter().find_map(|name| event.get(name));
        let bleg = peer.unwrap_or_default().to_owned();
        let mut record = None;
        if let Some(Finish::Bridge(bridging)) = self.task.as_mut().map(|task| &mut task.finish)
            && bridging.joined.is_none()
        {
            bridging.joined = Some((bleg.clone(), now));
            record = bridging.record.clone();
            self.trial_answered(&bleg);
        }
        if let Some(path) = record.filter(|_| self.wire.is_full) {
            let rest = format!("start {}", argument::quoted(&path));
            // The path was checked when the bridge began.
            let _ = self.wire.api(now, "uuid_record", &rest, Awaited::Nothing);
        }
        self.outputs.push_back(BackendOutput::Event(CallEvent::Bridge { bleg }));
    }

    fn parted(&mut self, now: Instant) {
        let Some(Finish::Bridge(bridging)) = self.task.as_mut().map(|task| &mut task.finish) else { return };
        bridging.parted(now);
        if let Some((bleg, _)) = &bridging.joined {
            let bleg = bleg.clone();
            self.outputs.push_back(BackendOutput::Event(CallEvent::Unbridge { bleg }));
        }
    }
}
