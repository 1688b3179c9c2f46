//! How a repeated turn differs from the recorded one.

use std::fmt;

use thiserror::Error;

use super::entry::TurnRecord;
use crate::op::Op;
use crate::wire::{Issued, Location, RunState, TurnEnd};

/// Longest rendering of one operation in a divergence, in characters.
const SHOWN: usize = 200;

/// The ways in which a repeated turn can differ. The codes are explained in docs/replay.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DivergenceCode {
    /// Another operation, or other arguments.
    Operation,
    /// An operation that the recorded turn issued is missing.
    MissingOperation,
    /// An operation that the recorded turn did not issue.
    ExtraOperation,
    /// Other operations were awaited.
    Awaited,
    /// Other operations were aborted.
    Cancels,
    /// Another timer is next.
    Timer,
    /// The script ended where it went on, or ended otherwise.
    State,
}

impl DivergenceCode {
    /// The code users look up.
    pub fn code(self) -> &'static str {
        match self {
            Self::Operation => "LS-R001",
            Self::MissingOperation => "LS-R002",
            Self::ExtraOperation => "LS-R003",
            Self::Awaited => "LS-R004",
            Self::Cancels => "LS-R005",
            Self::Timer => "LS-R006",
            Self::State => "LS-R007",
        }
    }
}

impl fmt::Display for DivergenceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The first difference between a recorded turn and its repetition.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{code}: turn {turn}: recorded {recorded}, replay gave {attempted}")]
pub struct Divergence {
    pub code: DivergenceCode,
    pub turn: u32,
    pub recorded: String,
    pub attempted: String,
    /// Where in the script, as the repetition saw it, else as recorded.
    pub at: Option<Location>,
}

impl Divergence {
    /// The first difference, `None` when the repetition is faithful.
    pub fn find(recorded: &TurnRecord, attempted: &TurnEnd) -> Option<Self> {
        let differs = |code, recorded: String, attempted_text: String, at: Option<&Location>| {
            Some(Self { code, turn: attempted.turn, recorded, attempted: attempted_text, at: at.cloned() })
        };
        for (ordinal, was) in recorded.issued.iter().enumerate() {
            match attempted.issued.get(ordinal) {
                None => {
                    return differs(DivergenceCode::MissingOperation, show_issued(was), "nothing".into(), was.at.as_ref());
                }
                Some(is) if is.op != was.op => {
                    let at = is.at.as_ref().or(was.at.as_ref());
                    return differs(DivergenceCode::Operation, show_issued(was), show_issued(is), at);
                }
                Some(_) => {}
            }
        }
        if let Some(extra) = attempted.issued.get(recorded.issued.len()) {
            return differs(DivergenceCode::ExtraOperation, "nothing".into(), show_issued(extra), extra.at.as_ref());
        }
        let place = attempted.issued.last().and_then(|issued| issued.at.as_ref());
        if recorded.awaited != attempted.awaited {
            return differs(DivergenceCode::Awaited, show_list(&recorded.awaited), show_list(&attempted.awaited), place);
        }
        if recorded.cancels != attempted.cancels {
            return differs(DivergenceCode::Cancels, show_list(&recorded.cancels), show_list(&attempted.cancels), place);
        }
        if recorded.wake_at != attempted.wake_at {
            return differs(DivergenceCode::Timer, show_wake(recorded.wake_at), show_wake(attempted.wake_at), place);
        }
        if recorded.state != attempted.state {
            return differs(DivergenceCode::State, show_state(&recorded.state), show_state(&attempted.state), place);
        }
        None
    }
}

fn show_issued(issued: &Issued) -> String {
    let op = show_op(&issued.op);
    match &issued.at {
        Some(at) => format!("{op} at {at}"),
        None => op,
    }
}

/// Name and arguments; the derived form reads well enough and shows every argument.
fn show_op(op: &Op) -> String {
    clip(&format!("ctx.{}: {op:?}", op.name()))
}

fn show_list(ids: &[crate::op::OpId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    clip(&format!("[{}]", ids.join(", ")))
}

fn show_wake(wake_at: Option<u64>) -> String {
    wake_at.map_or_else(|| "no timer".to_owned(), |at| format!("a timer at {at} ms"))
}

fn show_state(state: &RunState) -> String {
    match state {
        RunState::Running => "a running script".to_owned(),
        RunState::Finished { result } => clip(&format!("a finished script with {}", result.as_deref().unwrap_or("undefined"))),
        RunState::Failed(error) => clip(&format!("a failed script ({error})")),
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
