//! Tells turns that are being repeated from new ones.
//!
//! ```text
//!   Replaying ──last recorded turn repeated──► Processing ──finished, dropped──► Closed
//!       └───────────────diverged──────────────────────────────────────────────────┘
//! ```

use thiserror::Error;

use super::diff::Divergence;
use super::entry::Journal;
use crate::wire::TurnEnd;

/// Where a runtime stands in its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Repeating turns that have ended before; `next` is the turn whose end is due.
    Replaying {
        next: u32,
    },
    /// Every recorded turn has been repeated: what comes is new.
    Processing {
        next: u32,
    },
    Closed,
}

/// What the end of a turn means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It was recorded before and came out the same: its operations must not run again.
    Repeated,
    /// It is new: record it and carry out what it asks for.
    New,
}

/// Why the end of a turn cannot be accepted.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ReplayError {
    #[error(transparent)]
    Diverged(#[from] Box<Divergence>),
    /// The worker broke the protocol.
    #[error("end of turn {got}, expected turn {expected}")]
    OutOfTurn { expected: u32, got: u32 },
    #[error("end of turn {got} of a run that is closed")]
    Closed { got: u32 },
}

/// Follows one runtime through its journal. A fresh one is made for every rebuild.
#[derive(Debug)]
pub struct Replayer {
    state: State,
}

impl Replayer {
    /// For a fresh runtime that is fed `journal` from its start.
    pub fn new(journal: &Journal) -> Self {
        Self { state: Self::at(0, journal) }
    }

    /// The turn whose end is due.
    pub fn next_turn(&self) -> Option<u32> {
        match self.state {
            State::Replaying { next } | State::Processing { next } => Some(next),
            State::Closed => None,
        }
    }

    /// Turns are being repeated.
    pub fn is_replaying(&self) -> bool {
        matches!(self.state, State::Replaying { .. })
    }

    /// Takes the end of a turn. After an error the replayer is closed.
    pub fn turn_end(&mut self, journal: &Journal, end: &TurnEnd) -> Result<Progress, ReplayError> {
        let (next, recorded) = match self.state {
            State::Replaying { next } => (next, journal.turn(next)),
            State::Processing { next } => (next, None),
            State::Closed => return Err(ReplayError::Closed { got: end.turn }),
        };
        self.state = State::Closed;
        if end.turn != next {
            return Err(ReplayError::OutOfTurn { expected: next, got: end.turn });
        }
        if let Some(divergence) = recorded.and_then(|recorded| Divergence::find(recorded, end)) {
            return Err(ReplayError::Diverged(Box::new(divergence)));
        }
        match recorded {
            Some(_) => {
                self.state = Self::at(next + 1, journal);
                Ok(Progress::Repeated)
            }
            None => {
                self.state = State::Processing { next: next.saturating_add(1) };
                Ok(Progress::New)
            }
        }
    }

    /// Nothing of this runtime counts any more.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    fn at(next: u32, journal: &Journal) -> State {
        if next < journal.turns_ended() { State::Replaying { next } } else { State::Processing { next } }
    }
}
