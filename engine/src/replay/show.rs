//! A replay as people read it.

use std::fmt::Write as _;

use lockstep_ctx_api::journal::{Divergence, DivergenceCode, Journal};
use lockstep_ctx_api::wire::{EntryKind, LogLevel, RunState};
use lockstep_ctx_api::{Event, OpId};

use super::Step;
use crate::core::{op_detail, outcome_text};
use crate::log::on_one_line;

/// One turn in a few lines: what came in, what the script said and asked for, and what has changed.
pub(crate) fn step(journal: &Journal, step: &Step) -> String {
    let mut text = String::new();
    let what =
        step.entry.as_ref().map_or_else(|| format!("start of {}", journal.header.script), |entry| entry_text(journal, entry));
    let new = if step.is_new { " (its end was not recorded)" } else { "" };
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "turn {:<4} {:>9.3}  {}{new}", step.turn, step.at_ms as f64 / 1_000.0, on_one_line(what));
    let mut line = |kind: &str, what: String, at: Option<String>| {
        let at = at.map(|at| format!("  {at}")).unwrap_or_default();
        let _ = writeln!(text, "  {kind:<9} {}{at}", on_one_line(what));
    };
    for logged in &step.lines {
        let level = match logged.level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        line(level, logged.text.clone(), logged.at.as_ref().map(ToString::to_string));
    }
    for (ordinal, issued) in (0..).zip(&step.end.issued) {
        let id = OpId { turn: step.turn, ordinal };
        let what = format!("{}({})  [{id}]", issued.op.name(), op_detail(&issued.op));
        line("operation", what, issued.at.as_ref().map(ToString::to_string));
    }
    for id in &step.end.cancels {
        line("aborts", format!("{} [{id}]", name_of(journal, *id)), None);
    }
    for (scope, name, value) in &step.changed {
        line("variable", format!("{name} = {value}"), Some(scope.clone()));
    }
    match &step.end.state {
        RunState::Running => {}
        RunState::Finished { result } => line("returned", result.clone().unwrap_or_else(|| "undefined".to_owned()), None),
        RunState::Failed(error) => line("threw", error.message.clone(), error.at.as_ref().map(ToString::to_string)),
    }
    text
}

/// A difference, in lines: what was recorded, what came instead, and where.
pub(crate) fn divergence(found: &Divergence) -> String {
    let what = match found.code {
        DivergenceCode::Operation => "another operation, or the same with other arguments",
        DivergenceCode::MissingOperation => "an operation is missing",
        DivergenceCode::ExtraOperation => "an operation more than was recorded",
        DivergenceCode::Awaited => "other operations were awaited",
        DivergenceCode::Cancels => "other operations were aborted",
        DivergenceCode::Timer => "another timer is next",
        DivergenceCode::State => "the script ended where it went on, or otherwise",
    };
    let at = found.at.as_ref().map(|at| format!("\n  line       {at}")).unwrap_or_default();
    let (recorded, attempted) = (on_one_line(&found.recorded), on_one_line(&found.attempted));
    format!("turn {}: {what} ({})\n  recorded   {recorded}\n  attempted  {attempted}{at}", found.turn, found.code)
}

fn entry_text(journal: &Journal, entry: &EntryKind) -> String {
    match entry {
        EntryKind::Outcome { op, result } => {
            let result = match result {
                Ok(outcome) => outcome_text(outcome),
                Err(error) => error.to_string(),
            };
            format!("{} = {result}  [{op}]", name_of(journal, *op))
        }
        EntryKind::Event(Event::Dtmf { digit, .. }) => format!("key {digit}"),
        EntryKind::Event(Event::Facts(change)) => match change.state {
            Some(state) => format!("the call is {}", state.name()),
            None => "facts of the call".to_owned(),
        },
        EntryKind::Event(event) => event.name().unwrap_or("event").to_owned(),
        EntryKind::Wake => "a timer is due".to_owned(),
        EntryKind::ClockSet { by_ms } => format!("the clock was set by {by_ms:+} ms"),
        EntryKind::CallEnded(cause) => format!("the call has ended: {} {} by {}", cause.code, cause.reason, cause.by.name()),
    }
}

/// The name of an operation that was issued before.
fn name_of(journal: &Journal, id: OpId) -> &'static str {
    let issued = journal.turn(id.turn).and_then(|turn| turn.issued.get(usize::try_from(id.ordinal).ok()?));
    issued.map_or("an operation", |issued| issued.op.name())
}
