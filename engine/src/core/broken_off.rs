//! Calls in whose midst an engine died. The next one ends them where their journals do, so that they are found in lists and
//! leave a record.

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::op::RecordFormat;
use lockstep_ctx_api::wire::EntryKind;
use lockstep_ctx_api::{CallEndedCause, CallState, EndedBy, Outcome};

use super::driver::StartError;
use super::handle::CallSummary;
use super::keeping;
use super::recordings::Recordings;
use super::timeline_replayed::{last_ms, timeline_of};
use crate::background;
use crate::block_on::block_on;
use crate::cdr::{self, Cdr};
use crate::config::DEFAULT_ACCOUNT;
use crate::journals::{JournalError, Journals, OpenCall, Stored};
use crate::platform::{Platform, PlatformError};
use crate::store::{Place, Store};

/// Why such a call ended.
const STOPPED: (u16, &str) = (503, "Engine Stopped");

/// Tells other engines on the same store that this one may have calls, for as long as it is there.
#[derive(Debug)]
pub(super) struct Presence {
    _file: Option<File>,
}

impl Presence {
    /// Announces an engine, once it has done `first` if there is no other.
    fn announce<T>(place: &Place, first: impl FnOnce() -> T) -> io::Result<(Self, Option<T>)> {
        let Place::File(path) = place else { return Ok((Self { _file: None }, Some(first()))) };
        let file = File::create(path.with_extension("engines.lock"))?;
        let done = match file.try_lock() {
            Ok(()) => {
                let done = first();
                file.unlock()?;
                Some(done)
            }
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        file.lock_shared()?;
        Ok((Self { _file: Some(file) }, done))
    }
}

/// Ends the calls of engines before this one, which has none yet, unless another one is there whose calls they may be; nobody waits for it.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn end_all(platform: &Platform, recordings: Recordings) -> Result<Presence, StartError> {
    let open = || block_on(platform.journals.open_calls());
    let (presence, calls) = Presence::announce(platform.store.place(), open).map_err(StartError::Lock)?;
    let Some(calls) = calls.transpose().map_err(PlatformError::from)? else {
        tracing::warn!("another engine has calls on this store: those that were broken off before stay as they are");
        return Ok(presence);
    };
    if calls.is_empty() {
        return Ok(presence);
    }
    tracing::warn!(calls = calls.len(), "calls were broken off when the engine stopped: they end where their journals do");
    let ending = Ending {
        journals: platform.journals.clone(),
        store: platform.store.clone(),
        recordings,
        keeps_records: platform.cdr_ms > 0,
    };
    let work = move || {
        background::step_back(background::UNHURRIED);
        for call in &calls {
            if let Err(error) = block_on(ending.end(call)) {
                tracing::error!(call = %call.name, %error, "a call that was broken off cannot be ended");
            }
        }
        tracing::info!("what was broken off has ended");
    };
    std::thread::Builder::new().name("broken-off".to_owned()).spawn(work).map_err(StartError::Thread)?;
    Ok(presence)
}

struct Ending {
    journals: Journals,
    store: Store,
    recordings: Recordings,
    keeps_records: bool,
}

impl Ending {
    async fn end(&self, call: &OpenCall) -> Result<(), JournalError> {
        let Some(Stored { account, journal: Some(journal), .. }) = self.journals.find(&call.name, false).await? else {
            return Ok(());
        };
        let mut timeline = timeline_of(&journal);
        let (id, started_at) = (timeline.call.id.clone(), timeline.call.started_at);
        // The engine may have died when the call was over already, and only its script still ran.
        let record = self.store.read(move |connection, _| cdr::find(connection, &id, started_at)).await?;
        let cause = match (timeline.ended.take(), &record) {
            (Some(cause), _) => cause,
            (None, Some(record)) => cause_of(record),
            (None, None) => CallEndedCause { code: STOPPED.0, reason: STOPPED.1.to_owned(), by: EndedBy::Engine },
        };
        let lasted = timeline.duration_ms.unwrap_or_else(|| match &record {
            Some(record) => record.ended_at.saturating_sub(started_at),
            None => last_ms(&journal),
        });
        timeline.call.state = CallState::Ended;
        timeline.ended = Some(cause.clone());
        timeline.duration_ms = Some(lasted);
        let summary = CallSummary {
            facts: timeline.call.clone(),
            script: timeline.script.clone(),
            account: account.as_str().into(),
            ended: Some(cause),
            duration_ms: lasted,
        };
        if record.is_none() && self.keeps_records {
            let record = record_of(&summary, &journal);
            self.store.write(move |connection, _| cdr::add(connection, &record)).await?;
        }
        let recordings = self.recordings_of(&account, &journal);
        let outcome = keeping::Outcome { summary: &summary, timeline: &timeline, recordings: &recordings };
        Ok(self.journals.end(call, &outcome.to_json()).await?)
    }

    /// The files that the script was told of, each once, in the order they were begun.
    fn recordings_of(&self, account: &str, journal: &Journal) -> Vec<PathBuf> {
        let owner: Option<Arc<str>> = (account != DEFAULT_ACCOUNT).then(|| account.into());
        let mut paths = Vec::new();
        for entry in &journal.entries {
            let EntryKind::Outcome { result: Ok(Outcome::Recording { file } | Outcome::Recorded { file, .. }), .. } = &entry.kind
            else {
                continue;
            };
            if let Ok((_, path)) = self.recordings.file(owner.as_ref(), file, RecordFormat::of(file))
                && !paths.contains(&path)
            {
                paths.push(path);
            }
        }
        paths
    }
}

fn cause_of(record: &Cdr) -> CallEndedCause {
    let all = [EndedBy::Caller, EndedBy::Callee, EndedBy::Script, EndedBy::Engine];
    let by = all.into_iter().find(|by| by.name() == record.by).unwrap_or(EndedBy::Engine);
    CallEndedCause { code: record.code, reason: record.reason.clone(), by }
}

/// What a journal tells of a call that leaves no other record: nothing of gateways, nor of what they cost.
fn record_of(call: &CallSummary, journal: &Journal) -> Cdr {
    let CallSummary { facts, script, account, ended, duration_ms } = call;
    let vars = journal.start.call.as_ref().map(|call| &call.vars);
    let ended = ended.as_ref();
    Cdr {
        call: facts.id.clone(),
        sip_call_id: vars.and_then(|vars| vars.get("sip_call_id")).cloned().unwrap_or_default(),
        direction: facts.direction.clone(),
        from: facts.from.clone(),
        to: facts.to.clone(),
        did: facts.did.clone(),
        customer: facts.customer_id,
        account: account.to_string(),
        script: script.clone(),
        started_at: facts.started_at,
        answered_at: facts.answered_at,
        ended_at: facts.started_at.saturating_add(*duration_ms),
        code: ended.map_or(STOPPED.0, |cause| cause.code),
        reason: ended.map(|cause| cause.reason.clone()).unwrap_or_default(),
        by: ended.map_or(EndedBy::Engine, |cause| cause.by).name().to_owned(),
        ..Cdr::default()
    }
}

#[cfg(test)]
mod tests {
    use lockstep_ctx_api::event::FactsChange;
    use lockstep_ctx_api::journal::{FORMAT, JournalHeader, Mark};
    use lockstep_ctx_api::op::Vars;
    use lockstep_ctx_api::wire::{Bundle, CallStart, Entry, Limits, RunHeader, ScriptType, Start};
    use lockstep_ctx_api::{CallFacts, Event, OpId};
    use lockstep_media::prompt::Folders;
    use serde_json::json;

    use super::*;
    use crate::cdr::CdrFilter;
    use crate::config::JournalConfig;
    use crate::journals::{Begin, MasterKey, Piece, ScriptStart};
    use crate::store::Clock;

    const BEGAN: u64 = 1_000_000;

    fn journal(call: &str, entries: Vec<(u64, EntryKind)>) -> Journal {
        let run = RunHeader {
            bundle: 1,
            script_type: ScriptType::App,
            function: None,
            env: Vars::new(),
            limits: Limits { memory_bytes: 1, turn_ms: 1, after_end_ms: 1 },
            seed: [1; 32],
            time_zone: "UTC".into(),
            prelude: 1,
            is_awaited: false,
        };
        let header = JournalHeader {
            format: FORMAT,
            script: "menu.js".into(),
            version: "0".into(),
            sources: Default::default(),
            run: Arc::new(run),
        };
        let facts = CallFacts { id: call.to_owned(), from: "441".into(), started_at: BEGAN, ..CallFacts::default() };
        let vars: Vars = [("sip_call_id".to_owned(), "abc@x".to_owned())].into();
        let start = CallStart { facts, vars: vars.into(), headers: Default::default(), data_vars: None };
        let mut journal = Journal::new(header, Arc::new(Start { at: BEGAN, data: "{}".into(), call: Some(start) }));
        journal.entries = entries.into_iter().map(|(at, kind)| Entry { at: BEGAN + at, kind }).collect();
        journal
    }

    /// What an engine has written that dies now.
    fn dying(journals: &Journals, journal: &Journal) {
        let name = journal.start.call.as_ref().unwrap().facts.id.clone();
        let script = ScriptStart {
            header: journal.header.clone(),
            start: Arc::clone(&journal.start),
            bundle_id: 1,
            bundle: Arc::new(Bundle::default()),
        };
        let begin = Begin { name, account: "default".into(), started_ms: BEGAN, script: Some(script) };
        let tail = Some(journal.since(Mark::default()));
        let id = journals.open();
        assert!(journals.keep(Piece { journal: id, begin: Some(Box::new(begin)), tail, outcome: None, closes: None, bytes: 1 }));
        block_on(journals.flush());
    }

    fn next_engine() -> Ending {
        let store = Store::in_memory(Clock::system()).unwrap();
        let journals = Journals::start(&store, MasterKey::passing(), &JournalConfig::default()).unwrap();
        let folders = Folders::beneath(std::path::Path::new("scripts"));
        Ending { journals, store, recordings: Recordings::new(folders, None), keeps_records: true }
    }

    fn end_all(engine: &Ending) -> usize {
        let open = block_on(engine.journals.open_calls()).unwrap();
        open.iter().for_each(|call| block_on(engine.end(call)).unwrap());
        open.len()
    }

    fn records(engine: &Ending) -> Vec<Cdr> {
        let filter = CdrFilter { limit: 10, ..CdrFilter::default() };
        let found = block_on(engine.store.read(move |connection, _| cdr::list(connection, &filter))).unwrap();
        found.into_iter().map(|(_, record)| record).collect()
    }

    #[test]
    fn a_call_that_was_broken_off_ends_with_its_journal_and_leaves_a_record() {
        let engine = next_engine();
        let change = FactsChange { state: Some(CallState::Answered), answered_at: Some(BEGAN + 20), ..FactsChange::default() };
        let recording = Ok(Outcome::Recording { file: "user/a.wav".into() });
        dying(
            &engine.journals,
            &journal(
                "one",
                vec![
                    (20, EntryKind::Event(Event::Facts(change))),
                    (50, EntryKind::Outcome { op: OpId { turn: 0, ordinal: 0 }, result: recording }),
                    (2_000, EntryKind::Wake),
                ],
            ),
        );
        assert_eq!(end_all(&engine), 1);
        let outcome = block_on(engine.journals.find("one", false)).unwrap().unwrap().outcome.unwrap();
        let cause = json!({ "code": 503, "reason": "Engine Stopped", "by": "engine" });
        for part in ["summary", "timeline"] {
            assert_eq!((&outcome[part]["ended"], &outcome[part]["duration_ms"]), (&cause, &json!(2_000)), "{part}");
        }
        assert_eq!((&outcome["summary"]["state"], &outcome["summary"]["id"]), (&json!("ended"), &json!("one")));
        assert_eq!(outcome["recordings"], json!(["scripts/user/a.wav"]));
        let [record]: [Cdr; 1] = records(&engine).try_into().unwrap();
        assert_eq!((record.call.as_str(), record.sip_call_id.as_str(), record.code), ("one", "abc@x", 503));
        assert_eq!((record.answered_at, record.ended_at), (Some(BEGAN + 20), BEGAN + 2_000));
        assert_eq!((end_all(&engine), records(&engine).len()), (0, 1), "once");
    }

    #[test]
    fn an_engine_beside_another_leaves_its_calls_alone() {
        let folder = std::env::temp_dir().join(format!("lockstep-presence-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let place = Place::File(folder.join("lockstep.db"));
        let announce = || Presence::announce(&place, || "alone").unwrap();
        let (first, alone) = announce();
        let (second, beside) = announce();
        assert_eq!((alone, beside), (Some("alone"), None));
        drop(first);
        assert_eq!(announce().1, None, "the second is still there");
        drop(second);
        assert_eq!(announce().1, Some("alone"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_call_that_was_over_before_its_script_keeps_its_cause_and_its_record() {
        let engine = next_engine();
        let cause = CallEndedCause { code: 200, reason: "Normal Clearing".into(), by: EndedBy::Caller };
        dying(&engine.journals, &journal("told", vec![(70, EntryKind::CallEnded(cause.clone()))]));
        dying(&engine.journals, &journal("recorded", vec![]));
        let known = Cdr {
            call: "recorded".into(),
            started_at: BEGAN,
            ended_at: BEGAN + 90,
            code: cause.code,
            reason: cause.reason.clone(),
            by: cause.by.name().to_owned(),
            ..Cdr::default()
        };
        block_on(engine.store.write(move |connection, _| cdr::add(connection, &known))).unwrap();
        assert_eq!(end_all(&engine), 2);
        for (call, lasted) in [("told", 70), ("recorded", 90)] {
            let found = block_on(engine.journals.find(call, false)).unwrap().unwrap().outcome.unwrap();
            assert_eq!((&found["summary"]["ended"], &found["summary"]["duration_ms"]), (&json!(cause), &json!(lasted)), "{call}");
        }
        assert_eq!(records(&engine).len(), 2, "one each");
    }
}
