use std::time::Duration;

use lockstep_ctx_api::error::{CallEndedCause, EndedBy};
use lockstep_ctx_api::event::Event;
use lockstep_ctx_api::wire::{Entry, EntryKind, FromWorker, RunId, RunState, ToWorker};

use super::fleet::Fleet;
use crate::script::host::ScriptOutput;

/// The run's next turn ends with a timer `after_ms` from now, on the script's clock.
fn turn_with_timer(fleet: &mut Fleet, run: RunId, after_ms: Option<u64>) {
    let home = fleet.home(run).unwrap();
    let mut end = fleet.turn(home).unwrap();
    end.wake_at = after_ms.map(|after| fleet.now.unix_ms + after);
    fleet.send(home, FromWorker::TurnEnd(end));
}

/// Entries in the inbox of the run's worker.
fn inbox(fleet: &Fleet, run: RunId) -> Vec<Entry> {
    let home = fleet.home(run).unwrap();
    let entry = |frame: &ToWorker| match frame {
        ToWorker::Entry { entry, .. } => Some(entry.clone()),
        _ => None,
    };
    fleet.workers[&home].inbox.iter().filter_map(entry).collect()
}

#[test]
fn a_timer_wakes_its_script_once_and_not_before_it_is_due() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    turn_with_timer(&mut fleet, run, Some(500));
    fleet.pass(Duration::from_millis(499));
    assert_eq!(inbox(&fleet, run), []);
    fleet.pass(Duration::from_millis(1));
    let entries = inbox(&fleet, run);
    assert_eq!(entries, [Entry { at: fleet.now.unix_ms, kind: EntryKind::Wake }]);
    fleet.pass(Duration::from_secs(5));
    assert_eq!(inbox(&fleet, run).len(), 1);
}

#[test]
fn a_turn_that_ends_while_a_wake_is_on_its_way_does_not_ask_for_another() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    turn_with_timer(&mut fleet, run, Some(500));
    fleet.entry(run, EntryKind::Event(Event::Hold));
    fleet.pass(Duration::from_millis(500));
    assert_eq!(inbox(&fleet, run).len(), 2);
    // The turn of the event knows nothing of the wake yet.
    turn_with_timer(&mut fleet, run, Some(0));
    fleet.pass(Duration::from_millis(100));
    assert_eq!(inbox(&fleet, run).len(), 1);
    turn_with_timer(&mut fleet, run, Some(200));
    fleet.pass(Duration::from_millis(200));
    assert_eq!(inbox(&fleet, run).len(), 1, "the next timer is served");
}

#[test]
fn a_cleared_timer_wakes_nobody() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    turn_with_timer(&mut fleet, run, Some(500));
    fleet.complete(run, 0);
    turn_with_timer(&mut fleet, run, None);
    fleet.pass(Duration::from_secs(1));
    assert_eq!(inbox(&fleet, run), []);
}

#[test]
fn timers_take_as_long_as_they_take_however_the_wall_clock_is_set() {
    for by_ms in [-3_600_000, 3_600_000] {
        let mut fleet = Fleet::new(1);
        let run = fleet.start();
        let started = fleet.now.unix_ms;
        turn_with_timer(&mut fleet, run, Some(500));
        fleet.pass(Duration::from_millis(100));
        fleet.now.unix_ms = fleet.now.unix_ms.saturating_add_signed(by_ms);
        fleet.entry(run, EntryKind::Event(Event::Hold));
        let set = started.saturating_add_signed(by_ms);
        let told = [
            Entry { at: started + 100, kind: EntryKind::ClockSet { by_ms } },
            Entry { at: set + 100, kind: EntryKind::Event(Event::Hold) },
        ];
        assert_eq!(inbox(&fleet, run), told);
        // As the script has it once it has been told: the timer moves with its clock.
        turn_with_timer(&mut fleet, run, Some(400));
        turn_with_timer(&mut fleet, run, Some(400));
        fleet.pass(Duration::from_millis(399));
        assert_eq!(inbox(&fleet, run), []);
        fleet.pass(Duration::from_millis(1));
        assert_eq!(inbox(&fleet, run), [Entry { at: set + 500, kind: EntryKind::Wake }]);
    }
}

#[test]
fn a_timer_that_runs_while_the_wall_clock_is_set_is_due_when_it_was() {
    for by_ms in [-3_600_000, 3_600_000] {
        let mut fleet = Fleet::new(1);
        let run = fleet.start();
        let started = fleet.now.unix_ms;
        turn_with_timer(&mut fleet, run, Some(500));
        fleet.now.unix_ms = fleet.now.unix_ms.saturating_add_signed(by_ms);
        fleet.pass(Duration::from_millis(499));
        assert_eq!(inbox(&fleet, run), []);
        fleet.pass(Duration::from_millis(1));
        let kinds: Vec<EntryKind> = inbox(&fleet, run).into_iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [EntryKind::ClockSet { by_ms }, EntryKind::Wake]);
        assert_eq!(inbox(&fleet, run)[1].at, started.saturating_add_signed(by_ms) + 500);
    }
}

#[test]
fn a_wall_clock_that_is_kept_right_is_not_followed_by_the_millisecond() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let started = fleet.now.unix_ms;
    fleet.now.unix_ms -= 999;
    fleet.pass(Duration::from_millis(10));
    fleet.entry(run, EntryKind::Event(Event::Hold));
    assert_eq!(inbox(&fleet, run), [Entry { at: started + 10, kind: EntryKind::Event(Event::Hold) }]);
}

#[test]
fn a_timer_beyond_all_reason_is_harmless() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let mut end = fleet.turn(home).unwrap();
    end.wake_at = Some(u64::MAX);
    fleet.send(home, FromWorker::TurnEnd(end));
    fleet.pass(Duration::from_secs(86_400));
    assert_eq!(inbox(&fleet, run), []);
}

#[test]
fn a_dormant_run_is_rebuilt_when_its_timer_is_due() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    turn_with_timer(&mut fleet, run, Some(500));
    let home = fleet.home(run).unwrap();
    fleet.die(home, None);
    fleet.all_ready();
    assert_eq!(fleet.home(run), None);
    fleet.pass(Duration::from_millis(500));
    let entries = inbox(&fleet, run);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].kind, EntryKind::Wake);
}

#[test]
fn code_after_the_calls_end_has_its_grace_and_no_more() {
    let mut fleet = Fleet::new(1);
    let (slow, quick) = (fleet.start(), fleet.start());
    fleet.work();
    let ended = EntryKind::CallEnded(CallEndedCause { code: 200, reason: "OK".into(), by: EndedBy::Caller });
    fleet.entry(slow, ended.clone());
    fleet.entry(quick, ended);
    let home = fleet.home(slow).unwrap();
    fleet.work_once(home);
    let mut end = fleet.turn(home).unwrap();
    assert_eq!(end.run, quick);
    end.state = RunState::Finished { result: None };
    fleet.send(home, FromWorker::TurnEnd(end));
    fleet.outputs();
    fleet.pass(Duration::from_millis(9_999));
    assert_eq!(fleet.outputs(), []);
    fleet.pass(Duration::from_millis(1));
    assert_eq!(fleet.outputs(), [ScriptOutput::GraceOver { run: slow }]);
}

#[test]
fn a_timer_that_was_set_since_the_calls_end_keeps_a_script_that_is_over() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let over = |fleet: &mut Fleet, wake_at: Option<u64>, lingers: bool| {
        let mut end = fleet.turn(home).unwrap();
        (end.issued, end.awaited) = (Vec::new(), Vec::new());
        (end.wake_at, end.lingers, end.state) = (wake_at, lingers, RunState::Finished { result: None });
        fleet.send(home, FromWorker::TurnEnd(end));
        fleet.supervisor.is_quiet(run)
    };
    let at = fleet.now.unix_ms + 500;
    assert!(over(&mut fleet, Some(at), false), "one that was set before keeps nothing");
    fleet.entry(run, EntryKind::CallEnded(CallEndedCause { code: 200, reason: "OK".into(), by: EndedBy::Caller }));
    assert!(!over(&mut fleet, Some(at), true));
    fleet.pass(Duration::from_millis(500));
    assert!(over(&mut fleet, None, false));
    assert_eq!(fleet.outputs().last(), Some(&ScriptOutput::Quiet { run }));
}

#[test]
fn what_was_fed_before_a_script_returned_has_the_grace_and_no_more() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    fleet.entry(run, EntryKind::CallEnded(CallEndedCause { code: 200, reason: "OK".into(), by: EndedBy::Caller }));
    let home = fleet.home(run).unwrap();
    let mut end = fleet.turn(home).unwrap();
    end.state = RunState::Finished { result: None };
    let state = end.state.clone();
    fleet.complete(run, 0);
    fleet.send(home, FromWorker::TurnEnd(end));
    let mut end = fleet.turn(home).unwrap();
    end.state = state;
    fleet.send(home, FromWorker::TurnEnd(end));
    fleet.outputs();
    fleet.pass(Duration::from_secs(10));
    assert_eq!(fleet.outputs(), [ScriptOutput::GraceOver { run }]);
}
