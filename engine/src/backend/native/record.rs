//! `record` and its handle. Recordings run beside the queue.

use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{RecordAction, RecordArgs, RecordControlArgs, RecordDirection};
use lockstep_ctx_api::{CallEndedCause, ErrorCode, OpError, OpId, Outcome};
use lockstep_media::recording::{RecordingDirection, RecordingId, RecordingOptions};
use lockstep_media::stream::{Command, MAX_RECORDINGS};

use super::NativeBackend;
use crate::call::{LegId, RecordingFile, Switchboard, millis};

/// The most recordings of one call, finished ones included.
const MAX_IN_ALL: u64 = 32;

/// A recording a script has started.
#[derive(Debug)]
pub(super) struct Recording {
    started_by: OpId,
    file: String,
    state: State,
}

impl Recording {
    /// Whether it takes a place in the media, which is free again as soon as they are told to stop.
    fn is_under_way(&self) -> bool {
        match self.state {
            State::Starting { .. } | State::Running => true,
            State::Stopping { .. } | State::Stopped { .. } | State::Failed(_) => false,
        }
    }
}

#[derive(Debug)]
enum State {
    /// Its file is being opened. `op` waits for that, unless the recording is a bridge's own.
    Starting {
        op: Option<OpId>,
    },
    Running,
    /// The last samples are on their way to the file.
    Stopping {
        waiting: Vec<OpId>,
    },
    Stopped {
        duration: Duration,
    },
    Failed(OpError),
}

/// What becomes of a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordingEvent {
    Started,
    /// It is over and its file is complete.
    Saved {
        duration: Duration,
    },
    Failed(OpError),
}

impl<S: Switchboard> NativeBackend<S> {
    pub(super) fn start_record(&mut self, now: Instant, id: OpId, args: RecordArgs) {
        let begun = self.audio_path(now, "record").and_then(|()| self.open_recording(id, Some(id), args)).map(drop);
        if let Err(error) = begun {
            self.complete(id, Err(error));
        }
    }

    /// Starts a recording of what leg A says and hears. `waiting` is completed once it runs.
    pub(super) fn open_recording(
        &mut self,
        started_by: OpId,
        waiting: Option<OpId>,
        args: RecordArgs,
    ) -> Result<RecordingId, OpError> {
        let number = self.recordings.len() as u64;
        let under_way = self.recordings.values().filter(|recording| recording.is_under_way()).count();
        if number >= MAX_IN_ALL || under_way >= MAX_RECORDINGS {
            let message = format!("record: at most {MAX_IN_ALL} recordings a call, {MAX_RECORDINGS} at a time");
            return Err(OpError::new(ErrorCode::LimitError, message));
        }
        let id = RecordingId(number);
        let direction = match args.direction {
            RecordDirection::Both => RecordingDirection::Both,
            RecordDirection::In => RecordingDirection::Received,
            RecordDirection::Out => RecordingDirection::Sent,
        };
        let options = RecordingOptions { stereo: args.stereo, direction };
        let file = RecordingFile { name: args.name, format: args.format, options };
        let file = self.board.record(LegId::A, id, &file, self.a.codec()).map_err(|error| super::prefixed("record", error))?;
        self.recordings.insert(id, Recording { started_by, file, state: State::Starting { op: waiting } });
        Ok(id)
    }

    pub(super) fn control_recording(&mut self, id: OpId, args: &RecordControlArgs) {
        let name = args.action.name();
        let found = self.recordings.iter_mut().find(|(_, recording)| recording.started_by == args.recording);
        let Some((recording_id, recording)) = found else {
            return self.complete(id, Err(OpError::new(ErrorCode::InvalidState, format!("{name}: it has not started"))));
        };
        let result = match (&mut recording.state, args.action) {
            (State::Failed(error), _) => Err(OpError::new(error.code, format!("{name}: {}", error.message))),
            (State::Running | State::Starting { .. }, RecordAction::Pause) => {
                self.board.media(LegId::A, Command::PauseRecording(*recording_id));
                Ok(Outcome::Unit)
            }
            (State::Running | State::Starting { .. }, RecordAction::Resume) => {
                self.board.media(LegId::A, Command::ResumeRecording(*recording_id));
                Ok(Outcome::Unit)
            }
            (State::Running | State::Starting { .. }, RecordAction::Stop) => {
                recording.state = State::Stopping { waiting: vec![id] };
                self.board.media(LegId::A, Command::StopRecording(*recording_id));
                return;
            }
            (State::Stopping { waiting }, RecordAction::Stop) => return waiting.push(id),
            (State::Stopped { duration }, RecordAction::Stop) => {
                Ok(Outcome::Recorded { file: recording.file.clone(), duration_ms: millis(*duration) })
            }
            (State::Stopping { .. } | State::Stopped { .. }, RecordAction::Pause | RecordAction::Resume) => {
                Err(OpError::new(ErrorCode::InvalidState, format!("{name}: the recording is stopped")))
            }
        };
        self.complete(id, result);
    }

    /// Ends a recording that no script has in its hand.
    pub(super) fn stop_recording(&mut self, id: RecordingId) {
        if let Some(recording) = self.recordings.get_mut(&id)
            && matches!(recording.state, State::Starting { .. } | State::Running)
        {
            recording.state = State::Stopping { waiting: Vec::new() };
            self.board.media(LegId::A, Command::StopRecording(id));
        }
    }

    /// Something became of a recording.
    pub fn recording_event(&mut self, id: RecordingId, event: RecordingEvent) {
        let Some(recording) = self.recordings.get_mut(&id) else { return };
        let file = recording.file.clone();
        let (state, result) = match event {
            RecordingEvent::Started => (State::Running, Ok(Outcome::Recording { file })),
            RecordingEvent::Saved { duration } => {
                (State::Stopped { duration }, Ok(Outcome::Recorded { file, duration_ms: millis(duration) }))
            }
            RecordingEvent::Failed(error) => {
                // The media go on with it until they are told.
                self.board.media(LegId::A, Command::StopRecording(id));
                let told = OpError::new(error.code, format!("record: {}", error.message));
                (State::Failed(error), Err(told))
            }
        };
        // A stop that overtook the start of its own recording still ends it.
        if matches!(recording.state, State::Stopping { .. }) && matches!(state, State::Running) {
            return;
        }
        let waiting = match std::mem::replace(&mut recording.state, state) {
            State::Starting { op } => op.into_iter().collect(),
            State::Stopping { waiting } => waiting,
            State::Running | State::Stopped { .. } | State::Failed(_) => Vec::new(),
        };
        for op in waiting {
            self.complete(op, result.clone());
        }
    }

    /// A stop is not taken back: the recording ends, and only the waiting for it is over.
    pub(super) fn cancel_recording_stop(&mut self, id: OpId) {
        let waiting = self.recordings.values_mut().find_map(|recording| match &mut recording.state {
            State::Stopping { waiting } => waiting.iter().position(|op| *op == id).map(|at| waiting.remove(at)),
            State::Starting { .. } | State::Running | State::Stopped { .. } | State::Failed(_) => None,
        });
        if let Some(op) = waiting {
            self.complete(op, Err(OpError::aborted(RecordAction::Stop.name())));
        }
    }

    pub(super) fn settle_recordings(&mut self, cause: &CallEndedCause) {
        let waiting: Vec<OpId> = std::mem::take(&mut self.recordings)
            .into_values()
            .flat_map(|recording| match recording.state {
                State::Stopping { waiting } => waiting,
                State::Starting { op } => op.into_iter().collect(),
                State::Running | State::Stopped { .. } | State::Failed(_) => Vec::new(),
            })
            .collect();
        for op in waiting {
            self.complete(op, Err(OpError::call_ended(cause.clone())));
        }
    }
}
