//! What runs write to their consoles, as much of it as somebody can read: a routing script that writes a line for each call must not
//! fill the log.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use lockstep_ctx_api::wire::LogLevel;
use tracing::Level;

use super::desk::Ticket;
use crate::core::{EventLog, SCRIPT_LINES};
use crate::script::Program;

/// Lines of one run that are shown in a window, and as many warnings and errors.
const MAX_OF_RUN: u32 = 500;
/// Those of all runs of one script.
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
    lines: Shown,
    /// And errors. What goes wrong is shown however much else is written.
    warnings: Shown,
    left_out: u64,
}

#[derive(Debug, Default)]
struct Shown {
    all: u32,
    of_runs: HashMap<Ticket, u32>,
}

impl Shown {
    /// Counts a line; whether it is one more that is shown.
    fn take(&mut self, ticket: Ticket) -> bool {
        let of_run = self.of_runs.get(&ticket).copied().unwrap_or(0);
        let is_shown = self.all < MAX_OF_SCRIPT && of_run < MAX_OF_RUN;
        if is_shown {
            self.all += 1;
            self.of_runs.insert(ticket, of_run + 1);
        }
        is_shown
    }
}

/// Lines of a script that were not shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) script: String,
    pub(super) account: String,
    pub(super) lines: u64,
}

impl LineBounds {
    /// Whether a line is shown. It counts where anybody would see it: the engine's log has this level, or somebody watches.
    pub(super) fn take(&mut self, now: Instant, ticket: Ticket, program: &Program, level: LogLevel, events: &EventLog) -> bool {
        if !events.is_watched() && !is_logged(level) {
            return false;
        }
        self.until.get_or_insert_with(|| now + WINDOW);
        let tally = self.scripts.entry(program.name.clone()).or_insert_with(|| Tally {
            account: program.account.clone(),
            lines: Shown::default(),
            warnings: Shown::default(),
            left_out: 0,
        });
        let shown = match level {
            LogLevel::Debug | LogLevel::Info => &mut tally.lines,
            LogLevel::Warn | LogLevel::Error => &mut tally.warnings,
        };
        let is_shown = shown.take(ticket);
        tally.left_out += u64::from(!is_shown);
        is_shown
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

/// Whether the engine's log takes what scripts write at this level.
fn is_logged(level: LogLevel) -> bool {
    match level {
        LogLevel::Debug => tracing::enabled!(target: SCRIPT_LINES, Level::DEBUG),
        LogLevel::Info => tracing::enabled!(target: SCRIPT_LINES, Level::INFO),
        LogLevel::Warn => tracing::enabled!(target: SCRIPT_LINES, Level::WARN),
        LogLevel::Error => tracing::enabled!(target: SCRIPT_LINES, Level::ERROR),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin; time moves by addition")]
mod tests {
    use super::*;
    use crate::runs::tests::program;

    fn told(bounds: &mut LineBounds, now: Instant, ticket: u64, lines: u32, level: LogLevel, events: &EventLog) -> usize {
        let program = program("", None);
        (0..lines).filter(|_| bounds.take(now, Ticket(ticket), &program, level, events)).count()
    }

    /// Of lines that somebody watches.
    fn shown(bounds: &mut LineBounds, now: Instant, ticket: u64, lines: u32) -> usize {
        let events = EventLog::default();
        let _watcher = events.watch();
        told(bounds, now, ticket, lines, LogLevel::Info, &events)
    }

    #[test]
    fn what_nobody_would_see_does_not_count() {
        let (mut bounds, start, events) = (LineBounds::default(), Instant::now(), EventLog::default());
        let log = tracing_subscriber::fmt().with_max_level(Level::INFO).with_writer(std::io::sink).finish();
        tracing::subscriber::with_default(log, || {
            assert_eq!(told(&mut bounds, start, 1, 2_000, LogLevel::Debug, &events), 0);
            assert_eq!(bounds.next_timeout(), None);
            assert_eq!(told(&mut bounds, start, 1, 600, LogLevel::Info, &events), 500);
            let watcher = events.watch();
            assert_eq!(told(&mut bounds, start, 2, 1, LogLevel::Debug, &events), 1, "to whoever watches");
            drop(watcher);
        });
        assert_eq!(bounds.left_out(start + WINDOW).iter().map(|left_out| left_out.lines).sum::<u64>(), 100);
    }

    #[test]
    fn warnings_are_told_however_much_else_is_written() {
        let (mut bounds, start, events) = (LineBounds::default(), Instant::now(), EventLog::default());
        let _watcher = events.watch();
        for ticket in 1..=3 {
            told(&mut bounds, start, ticket, 500, LogLevel::Debug, &events);
        }
        assert_eq!(told(&mut bounds, start, 1, 400, LogLevel::Warn, &events), 400);
        assert_eq!(told(&mut bounds, start, 1, 400, LogLevel::Error, &events), 100, "within bounds of their own");
        assert_eq!(bounds.left_out(start + WINDOW).iter().map(|left_out| left_out.lines).sum::<u64>(), 800);
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
