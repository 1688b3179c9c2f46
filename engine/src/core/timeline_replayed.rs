//! A timeline from a journal: of a call in whose midst the engine died, nothing else is left.

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::wire::EntryKind;
use lockstep_ctx_api::{CallState, Event, OpId};

use super::timeline::Timeline;
use super::timeline_log::TimelineLog;

/// What a journal tells of its call: operations, keys and events, but no SIP and no log.
pub(crate) fn timeline_of(journal: &Journal) -> Timeline {
    let mut call = journal.start.call.as_ref().map(|call| call.facts.clone()).unwrap_or_default();
    let began = if call.started_at == 0 { journal.start.at } else { call.started_at };
    let mut log = TimelineLog::new(began);
    let mut ended = None;
    let ats = std::iter::once(journal.start.at).chain(journal.entries.iter().map(|entry| entry.at));
    let kinds = std::iter::once(None).chain(journal.entries.iter().map(|entry| Some(&entry.kind)));
    for ((turn, at), kind) in (0..).zip(ats).zip(kinds) {
        match kind {
            Some(EntryKind::Outcome { op, result }) => drop(log.ended(at, *op, result)),
            Some(EntryKind::Event(event)) => {
                if let Event::Facts(change) = event {
                    call.state = change.state.unwrap_or(call.state);
                    call.answered_at = change.answered_at.or(call.answered_at);
                    call.codec = change.codec.clone().or(call.codec);
                }
                log.event(at, event);
            }
            Some(EntryKind::CallEnded(cause)) => {
                call.state = CallState::Ended;
                ended = Some((cause.clone(), at));
            }
            Some(EntryKind::Wake | EntryKind::ClockSet { .. }) | None => {}
        }
        for (ordinal, issued) in (0..).zip(journal.turn(turn).map(|end| end.issued.as_slice()).unwrap_or_default()) {
            log.issued(at, OpId { turn, ordinal }, &issued.op, issued.at.as_ref());
        }
    }
    let (ended, ended_at) = ended.unzip();
    let (entries, dropped) = log.into_entries();
    let script = journal.header.script.rsplit_once('.').map_or(journal.header.script.as_str(), |(name, _)| name);
    Timeline {
        call,
        script: Some(script.to_owned()),
        ended,
        duration_ms: ended_at.map(|at| at.saturating_sub(began)),
        finishing: false,
        entries,
        dropped,
    }
}

/// How long after the call's beginning the journal ends, ms.
pub(crate) fn last_ms(journal: &Journal) -> u64 {
    let began = journal.start.call.as_ref().map_or(journal.start.at, |call| call.facts.started_at);
    journal.entries.last().map_or(0, |entry| entry.at.saturating_sub(began))
}
