//! What runs write to their consoles, as much of it as somebody can read: a routing script that writes a line for each call must not
//! fill the log.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::desk::Ticket;
use crate::script::Program;

/// Lines of one run that are shown in a window.
const MAX_OF_RUN: u32 = 500;
/// Lines of all runs of one script.
const MAX_OF_SCRIPT: u32 = 1_000;
/// It begins with the first line, whoever writes it, and when it is over the lines that were left out are summed up.
const WINDOW: Duration = Duration::from_secs(60);

/// Decides which lines are shown.
#[derive(Debug, Default)]
pub(super) struct LineBounds {
    /// When the window is over; `None`: nothing has been written.
    until: Option<Instant>,
    /// By script; only of those that have written in this window.
    scripts: BTreeMap<String, Tally>,
}

#[derive(Debug)]
struct Tally {
    account: String,
    shown: u32,
    of_runs: HashMap<Ticket, u32>,
    left_out: u64,
}

/// Lines of a script that were not shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) script: String,
    pub(super) account: String,
    pub(super) lines: u64,
}

impl LineBounds {
    /// Counts a line; whether it is shown.
    pub(super) fn take(&mut self, now: Instant, ticket: Ticket, program: &Program) -> bool {
        self.until.get_or_insert_with(|| now + WINDOW);
        let tally = self.scripts.entry(program.name.clone()).or_insert_with(|| Tally {
            account: program.account.clone(),
            shown: 0,
            of_runs: HashMap::new(),
            left_out: 0,
        });
        let of_run = tally.of_runs.get(&ticket).copied().unwrap_or(0);
        if tally.shown >= MAX_OF_SCRIPT || of_run >= MAX_OF_RUN {
            tally.left_out += 1;
            return false;
        }
        tally.shown += 1;
        tally.of_runs.insert(ticket, of_run + 1);
        true
    }

    /// When [`left_out`](Self::left_out) is to be called next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.until
    }

    /// What was not shown in a window that is over.
    pub(super) fn left_out(&mut self, now: Instant) -> Vec<LeftOut> {
        if self.until.is_none_or(|until| until > now) {
            return Vec::new();
        }
        self.until = None;
        let scripts = std::mem::take(&mut self.scripts).into_iter().filter(|(_, tally)| tally.left_out > 0);
        scripts.map(|(script, tally)| LeftOut { script, account: tally.account, lines: tally.left_out }).collect()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin; time moves by addition")]
mod tests {
    use super::*;
    use crate::runs::tests::program;

    fn shown(bounds: &mut LineBounds, now: Instant, ticket: u64, lines: u32) -> usize {
        let program = program("", None);
        (0..lines).filter(|_| bounds.take(now, Ticket(ticket), &program)).count()
    }

    #[test]
    fn what_a_run_and_a_script_write_without_end_is_left_out_and_counted() {
        let (mut bounds, start) = (LineBounds::default(), Instant::now());
        assert_eq!(shown(&mut bounds, start, 1, 700), 500);
        assert_eq!(shown(&mut bounds, start, 2, 300), 300, "another run is heard");
        let flood: usize = (3..1_003).map(|ticket| shown(&mut bounds, start, ticket, 1)).sum();
        assert_eq!(flood, 200, "a line of each of many runs");
        let due = bounds.next_timeout().unwrap();
        assert_eq!(bounds.left_out(due - Duration::from_millis(1)), []);
        let left_out = LeftOut { script: "main".into(), account: "default".into(), lines: 1_000 };
        assert_eq!(bounds.left_out(due), [left_out]);
        assert_eq!((bounds.next_timeout(), shown(&mut bounds, due, 1, 1)), (None, 1), "then it begins anew");
    }

    #[test]
    fn nothing_is_due_before_the_first_line_and_nothing_said_of_what_was_shown() {
        let (mut bounds, start) = (LineBounds::default(), Instant::now());
        assert_eq!((bounds.next_timeout(), bounds.left_out(start)), (None, Vec::new()));
        assert_eq!(shown(&mut bounds, start, 1, 3), 3);
        assert_eq!((bounds.left_out(start + WINDOW), bounds.next_timeout()), (Vec::new(), None));
    }
}
