//! Frames between the engine and a worker process.
//!
//! A frame is a `u32` length (little endian, without itself) followed by one MessagePack value. Both sides are ours, but the
//! worker runs tenants' code: the engine reads its frames as hostile input, bounded by [`MAX_FRAME`].

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::error::CallEndedCause;
use crate::event::{CallFacts, Event};
use crate::op::{Headers, Op, OpId, Vars};
use crate::outcome::OpResult;
use crate::packages::Packages;

/// The largest frame either side accepts, in bytes.
pub const MAX_FRAME: usize = 16 << 20;
/// The most operations a turn may end with: read, each takes many times what it takes in its frame.
pub const MAX_ISSUED: usize = 10_000;

/// Names one run (a call's script, or a run outside any call) within an engine process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub u64);

/// Counts the rebuilds of a run. Frames of an older epoch are ignored by both sides.
pub type Epoch = u32;

/// Engine to worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Sources that runs refer to by `bundle`; sent once per worker, before the first run that needs them.
    Bundle { bundle: u64, sources: Arc<Bundle> },
    /// No live run uses the bundle any more.
    DropBundle { bundle: u64 },
    /// Creates a run. The first turn is this frame's.
    Start { run: RunId, epoch: Epoch, header: Arc<RunHeader>, start: Arc<Start> },
    /// Feeds the next entry; its turn is the one after the last entry's.
    Entry { run: RunId, epoch: Epoch, entry: Entry },
    /// Frees the run's runtime, whatever it is doing between turns.
    Drop { run: RunId, epoch: Epoch },
}

/// Worker to engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// The worker is up; says which sandbox layers hold.
    Ready {
        sandbox: Vec<String>,
    },
    /// A console or warning line, sent at once. `seq` counts the lines of the turn, so that a replayed one is recognised.
    Log {
        run: RunId,
        epoch: Epoch,
        turn: u32,
        seq: u32,
        line: LogLine,
    },
    TurnEnd(TurnEnd),
}

/// The end of a turn: everything the script asked for in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnEnd {
    pub run: RunId,
    pub epoch: Epoch,
    /// Counted from 0, the turn of `Start`.
    pub turn: u32,
    /// Operations issued in this turn, in program order: the n-th has ordinal n.
    #[serde(deserialize_with = "at_most_issued")]
    pub issued: Vec<Issued>,
    /// Operations of this or earlier turns whose promise was listened to for the first time.
    pub awaited: Vec<OpId>,
    /// Operations whose signal was aborted.
    pub cancels: Vec<OpId>,
    /// When the run next wants a `Wake`, on the script's clock; `None`: no timer is pending.
    pub wake_at: Option<u64>,
    /// Its call is over, and a timer that it has set since, which does not repeat, is still to fire.
    pub lingers: bool,
    pub state: RunState,
    /// CPU time the turn took, µs.
    pub cpu_us: u32,
    /// The run is over and its worker holds nothing of it: there is nothing to drop.
    pub gone: bool,
}

impl TurnEnd {
    /// Nothing has to happen because of this turn: it can be told later.
    pub fn asks_for_nothing(&self) -> bool {
        self.issued.is_empty() && self.awaited.is_empty() && self.cancels.is_empty() && self.state == RunState::Running
    }
}

/// One operation, as issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issued {
    pub op: Op,
    /// Where in the script; absent for operations the runtime issues itself.
    pub at: Option<Location>,
}

/// Reads operations, but no more than [`MAX_ISSUED`].
fn at_most_issued<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Issued>, D::Error> {
    struct Operations;

    impl<'de> Visitor<'de> for Operations {
        type Value = Vec<Issued>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_ISSUED} operations")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut operations = Vec::new();
            while let Some(operation) = seq.next_element()? {
                if operations.len() == MAX_ISSUED {
                    return Err(A::Error::invalid_length(MAX_ISSUED + 1, &self));
                }
                operations.push(operation);
            }
            Ok(operations)
        }
    }

    deserializer.deserialize_seq(Operations)
}

/// Where a run stands after a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RunState {
    /// `main` has neither returned nor thrown.
    Running,
    /// `main` returned, or `exit` was called. Listeners keep nothing alive. `result` is JSON, `None` for `undefined`.
    Finished {
        result: Option<String>,
    },
    Failed(ScriptError),
}

/// An uncaught error of a script, or the limit it ran into.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ScriptError {
    /// A SIP reply the script asked for by throwing `404 Not Found` and its like; `None`: 500 Script Error.
    pub sip: Option<(u16, String)>,
    pub kind: ScriptErrorKind,
    /// Name and message as JavaScript shows them.
    pub message: String,
    pub at: Option<Location>,
    /// Stack, innermost first, already mapped to the script's own lines.
    pub stack: Vec<String>,
}

/// What stopped a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScriptErrorKind {
    /// Does not parse, or imports what does not exist.
    Load,
    Thrown,
    /// A turn ran longer than `turn_ms`.
    TurnLimit,
    MemoryLimit,
    StackLimit,
    /// A bound of the engine was reached: operations of one turn, pending operations, entries that wait for the worker.
    Limit,
    /// Its worker died twice at the same turn, or once when the run was not rebuildable.
    WorkerDied,
    /// Replaying the journal did not give the same operations.
    Diverged,
    /// An uncaught `CallEnded`: a normal end.
    CallEnded,
    /// It has no function of the name that was asked for.
    NoFunction,
}

/// A place in a script, 1-based.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Severity of a line in a call's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// One line of a call's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    pub level: LogLevel,
    pub text: String,
    pub at: Option<Location>,
}

/// The sources of a script and its siblings, pinned for the life of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// File name (`main-menu.js`) of the entry script.
    pub entry: String,
    /// File name → source text; holds the entry and every sibling of its app.
    pub files: std::collections::BTreeMap<String, Arc<str>>,
    pub packages: Packages,
}

/// What kind of script a run is of (contract, section 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScriptType {
    /// Synchronous only: no `require`, no promises.
    Script,
    #[default]
    App,
    Driver,
    Worker,
}

/// All that pins a run besides its entries, so that the same entries give the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    pub bundle: u64,
    pub script_type: ScriptType,
    /// Exported function to call; `None`: `main`.
    pub function: Option<String>,
    /// `process.env` of the run.
    pub env: Vars,
    pub limits: Limits,
    /// Seeds `Math.random` and `crypto`.
    #[serde(with = "serde_bytes")]
    pub seed: [u8; 32],
    /// IANA name; what `Date` shows local times in.
    pub time_zone: String,
    /// Changes whenever the prelude's behaviour does.
    pub prelude: u32,
    /// Somebody waits for what the function returns: an async one that returned nothing is over then.
    #[serde(default)]
    pub is_awaited: bool,
}

/// In place of a function's name: the run serves a WebSocket with the script's `main(data, ws)` or `onData(data)`.
pub const WEBSOCKET_ENTRY: &str = "@websocket";
/// In place of a function's name: the run is a worker's, with the script's `main` and `onMessage(msg)`.
pub const WORKER_ENTRY: &str = "@worker";

/// Limits of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: u64,
    /// CPU time of one turn.
    pub turn_ms: u32,
    /// How long code may run on after the call has ended.
    pub after_end_ms: u32,
}

/// What a run begins with: entry number 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The script's clock, milliseconds since the Unix epoch.
    pub at: u64,
    /// First argument of the function, as JSON; nothing where a call's script gets it of its [`CallStart`].
    pub data: String,
    /// Present when the run owns a call.
    pub call: Option<CallStart>,
}

/// What a script knows of its call when it starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallStart {
    pub facts: CallFacts,
    /// Call variables: `sip_from_user`, …. A `sip_h_<Header>` that is not among them is that header field.
    pub vars: Arc<Vars>,
    /// Header fields of the INVITE in their order.
    pub headers: Arc<Headers>,
    /// `data.vars` as JSON, where the first argument of the function is made of these facts and header fields.
    #[serde(default)]
    pub data_vars: Option<String>,
}

/// One inbound entry: exactly one turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The script's clock moves to this, milliseconds since the Unix epoch; never backwards, as long as nobody [sets](EntryKind::ClockSet) it.
    pub at: u64,
    pub kind: EntryKind,
}

/// What an entry brings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EntryKind {
    Outcome {
        op: OpId,
        result: OpResult,
    },
    Event(Event),
    /// A timer is due.
    Wake,
    /// The wall clock was set: the script's clock goes on `by_ms` away from where it was, and its timers move with it.
    ClockSet {
        by_ms: i64,
    },
    /// The call is over. Every pending call operation has settled with its own `Outcome` before or settles now.
    CallEnded(CallEndedCause),
}

/// Why a frame could not be read.
#[derive(Debug, Error)]
pub enum WireError {
    #[error("frame of {got} bytes, at most {MAX_FRAME} expected")]
    TooLarge { got: usize },
    #[error("malformed frame: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    #[error("value cannot be framed: {0}")]
    Unencodable(#[from] rmp_serde::encode::Error),
}

/// Appends `value` to `out` as one frame.
pub fn write_frame<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    if let Err(error) = rmp_serde::encode::write(out, value) {
        out.truncate(start);
        return Err(error.into());
    }
    let length = out.len() - start - 4;
    if length > MAX_FRAME {
        out.truncate(start);
        return Err(WireError::TooLarge { got: length });
    }
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Reads one frame off the front of `buffer`: the value and how many bytes it took, `None` when it is not whole yet.
pub fn read_frame<T: for<'de> Deserialize<'de>>(buffer: &[u8]) -> Result<Option<(T, usize)>, WireError> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > MAX_FRAME {
        return Err(WireError::TooLarge { got: length });
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    Ok(Some((rmp_serde::from_slice(body)?, 4 + length)))
}

/// Whether [`read_frame`] would find a frame, whole or malformed.
pub fn has_whole_frame(buffer: &[u8]) -> bool {
    buffer.split_first_chunk::<4>().is_some_and(|(head, rest)| rest.len() >= u32::from_le_bytes(*head) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_read_up_to_its_bound_of_operations() {
        let read = |count| {
            let end = TurnEnd {
                run: RunId(1),
                epoch: 1,
                turn: 0,
                issued: vec![Issued { op: Op::UnblockDtmf, at: None }; count],
                awaited: Vec::new(),
                cancels: Vec::new(),
                wake_at: None,
                lingers: false,
                state: RunState::Running,
                cpu_us: 0,
                gone: false,
            };
            let mut frame = Vec::new();
            write_frame(&FromWorker::TurnEnd(end), &mut frame).unwrap();
            read_frame::<FromWorker>(&frame).map(|read| read.is_some())
        };
        assert!(matches!(read(MAX_ISSUED), Ok(true)));
        assert!(matches!(read(MAX_ISSUED + 1), Err(WireError::Malformed(_))));
    }
}
