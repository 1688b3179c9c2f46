//! Operations that do not wait for the queue: variables, headers, keys, recordings.

use std::time::Instant;

use lockstep_ctx_api::op::{RecordAction, RecordArgs, RecordControlArgs, RecordDirection, SetArgs};
use lockstep_ctx_api::{ErrorCode, OpError, OpId, OpResult, Outcome};

use super::wire::Awaited;
use super::{CHECK_TIME, FreeSwitchBackend, UNKNOWN_LENGTH, argument};
use crate::esl::{Event, Unsendable};

/// What an operation beside the queue waits for.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    doing: Beside,
    /// When to ask whether it was done; `None`: its answer tells.
    check_at: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Beside {
    Set {
        key: String,
        value: Option<String>,
    },
    /// All keys blocked, or none.
    Block,
    Start {
        recording: Recording,
    },
    PauseOrResume,
    Stop {
        recording: Recording,
        /// The recording has stopped; how long it became is being asked.
        is_asking: bool,
    },
}

/// A recording that has begun.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// On the media server.
    path: String,
    /// As scripts name it.
    file: String,
    began: Instant,
}

impl FreeSwitchBackend {
    pub(super) fn set(&mut self, now: Instant, id: OpId, args: SetArgs) {
        if args.skip_write {
            return self.complete(id, Ok(Outcome::Unit));
        }
        let checked = argument::variable("set", &args.key).and_then(|key| {
            let value = args.value.as_deref().map(|value| argument::literal("set", "value", value)).transpose()?;
            Ok((key, value))
        });
        match checked {
            Ok((key, value)) => self.set_checked(now, id, key, value),
            Err(error) => self.complete(id, Err(error)),
        }
    }

    fn set_checked(&mut self, now: Instant, id: OpId, key: &str, value: Option<&str>) {
        self.note_set(key, value);
        let doing = Beside::Set { key: key.to_owned(), value: value.map(str::to_owned) };
        self.put_aside(now, id, doing, |backend| match (backend.wire.is_full, value) {
            (true, _) => backend.wire.set(now, key, value, Awaited::Aside(id)),
            (false, Some(value)) => backend.beside(now, id, "set", &format!("{key}={value}")),
            (false, None) => backend.beside(now, id, "unset", key),
        });
    }

    /// The connection broke: what may be done again is, and nothing is known of the rest.
    pub(super) fn settle_asides(&mut self, now: Instant) {
        for (id, Aside { doing, .. }) in std::mem::take(&mut self.asides) {
            match doing {
                Beside::Set { key, value } => self.set_checked(now, id, &key, value.as_deref()),
                Beside::Stop { recording, is_asking: true } => {
                    let duration_ms = crate::call::millis(now.saturating_duration_since(recording.began));
                    self.complete(id, Ok(Outcome::Recorded { file: recording.file, duration_ms }));
                }
                Beside::Start { .. } | Beside::Stop { .. } | Beside::PauseOrResume => {
                    self.complete(id, Err(super::recover::unconfirmed("record")));
                }
                Beside::Block => self.complete(id, Err(super::recover::unconfirmed("blockDtmf"))),
            }
        }
    }

    /// The media server blocks all keys or none.
    pub(super) fn block_dtmf(&mut self, now: Instant, id: OpId, digits: &str) {
        let all = "0123456789".chars().all(|digit| digits.contains(digit));
        if !digits.is_empty() && !all {
            let message = "blockDtmf: FreeSWITCH blocks all keys or none";
            return self.complete(id, Err(OpError::new(ErrorCode::Unsupported, message)));
        }
        self.blocked = digits.to_owned();
        let app = if all { "block_dtmf" } else { "unblock_dtmf" };
        self.put_aside(now, id, Beside::Block, |backend| backend.beside(now, id, app, ""));
    }

    pub(super) fn record(&mut self, now: Instant, id: OpId, args: &RecordArgs) {
        let (path, file) = match self.settings.recording("record", &args.name, args.format.extension()) {
            Ok(named) => named,
            Err(error) => return self.complete(id, Err(error)),
        };
        let recording = Recording { path: path.clone(), file, began: now };
        let only = |direction| (args.direction == direction).then_some("true");
        let stereo = args.stereo.then_some("true");
        self.put_aside(now, id, Beside::Start { recording }, |backend| {
            for (name, value) in [
                ("RECORD_STEREO", stereo),
                ("RECORD_READ_ONLY", only(RecordDirection::In)),
                ("RECORD_WRITE_ONLY", only(RecordDirection::Out)),
            ] {
                backend.wire.set(now, name, value, Awaited::Nothing)?;
            }
            backend.control(now, id, "start", "record_session", &path)
        });
    }

    pub(super) fn control_recording(&mut self, now: Instant, id: OpId, args: &RecordControlArgs) {
        let Some(recording) = self.recordings.get(&args.recording).cloned() else {
            let message = format!("{}: the recording has ended", args.action.name());
            return self.complete(id, Err(OpError::new(ErrorCode::InvalidState, message)));
        };
        let path = recording.path.clone();
        let (action, app, doing) = match args.action {
            RecordAction::Pause => ("pause", "record_session_pause", Beside::PauseOrResume),
            RecordAction::Resume => ("resume", "record_session_resume", Beside::PauseOrResume),
            RecordAction::Stop => {
                self.recordings.remove(&args.recording);
                ("stop", "stop_record_session", Beside::Stop { recording, is_asking: false })
            }
        };
        self.put_aside(now, id, doing, |backend| backend.control(now, id, action, app, &path));
    }

    /// A command about a recording: by the API, which waits for nothing, or else by an application.
    fn control(&mut self, now: Instant, id: OpId, action: &str, app: &'static str, path: &str) -> Result<(), Unsendable> {
        if self.wire.is_full {
            let rest = format!("{action} {}", argument::quoted(path));
            return self.wire.api(now, "uuid_record", &rest, Awaited::Aside(id));
        }
        self.beside(now, id, app, path)
    }

    fn beside(&mut self, now: Instant, id: OpId, app: &'static str, arg: &str) -> Result<(), Unsendable> {
        self.wire.execute(now, app, arg, &id.to_string(), Awaited::Nothing)
    }

    fn put_aside(&mut self, now: Instant, id: OpId, doing: Beside, send: impl FnOnce(&mut Self) -> Result<(), Unsendable>) {
        let check_at = (!self.wire.is_full).then(|| now + CHECK_TIME);
        self.asides.insert(id, Aside { doing, check_at });
        if let Err(error) = send(self) {
            self.asides.remove(&id);
            self.complete(id, Err(OpError::new(ErrorCode::RangeError, error.to_string())));
        }
    }

    /// When [`ask_for_asides`](Self::ask_for_asides) is due.
    pub(super) fn asides_timeout(&self) -> Option<Instant> {
        self.asides.values().filter_map(|aside| aside.check_at).min()
    }

    /// Asks for operations beside the queue whose completions do not come: they take no time.
    pub(super) fn ask_for_asides(&mut self, now: Instant) {
        for (id, aside) in self.asides.iter_mut().filter(|(_, aside)| aside.check_at.is_some_and(|at| at <= now)) {
            aside.check_at = Some(now + UNKNOWN_LENGTH);
            let name = match &aside.doing {
                Beside::Set { key, .. } => key.as_str(),
                Beside::Block | Beside::Start { .. } | Beside::PauseOrResume | Beside::Stop { .. } => "uuid",
            };
            // The name was checked when the operation began.
            let _ = self.wire.command(now, format!("getvar {name}"), Awaited::Aside(*id));
        }
    }

    /// The answer to an API command of an operation beside the queue, or to the question what became of it.
    pub(super) fn aside_answered(&mut self, now: Instant, id: OpId, text: &str) {
        let Some(Aside { doing, check_at }) = self.asides.remove(&id) else { return };
        match doing {
            Beside::Set { ref value, .. } if check_at.is_some() && value.as_deref().unwrap_or_default() != text => {
                // Its turn has not come yet.
                self.asides.insert(id, Aside { doing, check_at });
            }
            Beside::Stop { recording, is_asking: true } => {
                let told = text.trim().parse().ok();
                let duration_ms = told.unwrap_or_else(|| crate::call::millis(now.saturating_duration_since(recording.began)));
                self.complete(id, Ok(Outcome::Recorded { file: recording.file, duration_ms }));
            }
            _ if text.starts_with("-ERR") || text.starts_with("-USAGE") => {
                let why: String = text.trim_start_matches("-ERR").trim().chars().take(100).collect();
                self.complete(id, Err(OpError::new(ErrorCode::MediaError, format!("FreeSWITCH: {why}"))));
            }
            Beside::Stop { recording, is_asking: false } if check_at.is_none() => {
                let doing = Beside::Stop { recording, is_asking: true };
                self.put_aside(now, id, doing, |backend| backend.wire.api(now, "uuid_getvar", "record_ms", Awaited::Aside(id)));
            }
            Beside::Stop { recording, .. } => {
                let duration_ms = crate::call::millis(now.saturating_duration_since(recording.began));
                self.complete(id, Ok(Outcome::Recorded { file: recording.file, duration_ms }));
            }
            doing => {
                let result = self.aside_done(id, doing);
                self.complete(id, result);
            }
        }
    }

    /// An application of an operation beside the queue is over; whether it was one.
    pub(super) fn aside_executed(&mut self, now: Instant, uuid: &str, event: &Event) -> bool {
        let Some(id) = self.asides.keys().find(|id| id.to_string() == uuid).copied() else { return false };
        let Some(Aside { doing, .. }) = self.asides.remove(&id) else { return false };
        let result = match doing {
            Beside::Stop { recording, .. } => {
                let told = event.variable("record_ms").and_then(|ms| ms.parse().ok());
                let duration_ms = told.unwrap_or_else(|| crate::call::millis(now.saturating_duration_since(recording.began)));
                Ok(Outcome::Recorded { file: recording.file, duration_ms })
            }
            doing => self.aside_done(id, doing),
        };
        self.complete(id, result);
        true
    }

    fn aside_done(&mut self, id: OpId, doing: Beside) -> OpResult {
        match doing {
            Beside::Start { recording } => {
                let file = recording.file.clone();
                self.recordings.insert(id, recording);
                Ok(Outcome::Recording { file })
            }
            Beside::Set { .. } | Beside::Block | Beside::PauseOrResume | Beside::Stop { .. } => Ok(Outcome::Unit),
        }
    }
}
