use lockstep_ctx_api::event::Event;
use lockstep_ctx_api::journal::Bounds;
use lockstep_ctx_api::op::{OpId, PlayArgs, Vars};
use lockstep_ctx_api::outcome::Outcome;
use lockstep_ctx_api::wire::{EntryKind, FromWorker, LogLevel, LogLine, RunState, ScriptError, ScriptErrorKind, ToWorker};

use super::super::RunBounds;
use super::fleet::{Fleet, issue};
use crate::script::host::ScriptOutput;

#[test]
fn too_many_operations_in_one_turn_end_the_run_and_none_takes_effect() {
    let mut fleet = Fleet::with_bounds(1, RunBounds { issued_per_turn: 3, ..RunBounds::default() });
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let mut end = fleet.turn(home).unwrap();
    end.issued = (0..4).flat_map(issue).collect();
    fleet.send(home, FromWorker::TurnEnd(end));
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::Limit)]);
}

#[test]
fn settled_operations_make_room_for_new_ones() {
    let mut fleet = Fleet::with_bounds(1, RunBounds { pending: 2, ..RunBounds::default() });
    let run = fleet.start();
    fleet.work();
    for turn in 0..10 {
        fleet.complete(run, turn);
        fleet.work();
    }
    assert_eq!(fleet.failures(), []);
    for _ in 0..2 {
        fleet.entry(run, EntryKind::Event(Event::Hold));
        fleet.work();
    }
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::Limit)]);
}

#[test]
fn what_is_pending_is_bounded_in_bytes_and_settling_makes_room() {
    let mut fleet = Fleet::with_bounds(1, RunBounds { pending_bytes: 10_000, ..RunBounds::default() });
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let ask = |fleet: &mut Fleet| {
        let end = fleet.turn(home).unwrap();
        fleet.supervisor.frame(fleet.now, home, FromWorker::TurnEnd(end), 6_000).unwrap();
    };
    for turn in 0..3 {
        ask(&mut fleet);
        fleet.complete(run, turn);
    }
    ask(&mut fleet);
    assert_eq!(fleet.failures(), []);
    fleet.entry(run, EntryKind::Event(Event::Hold));
    ask(&mut fleet);
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::Limit)]);
}

#[test]
fn what_waits_for_a_worker_is_bounded_in_bytes() {
    let bounds = RunBounds { journal: Bounds { entries: 1, bytes: 1 << 20 }, waiting_bytes: 100_000, ..RunBounds::default() };
    let mut fleet = Fleet::with_bounds(1, bounds);
    let run = fleet.start();
    let vars = [("k".to_owned(), "x".repeat(10_000))].into();
    let facts = lockstep_ctx_api::event::FactsChange { vars, ..Default::default() };
    // Nothing is carried out meanwhile, so nothing leaves the buffer.
    let mut feed = |count| {
        for _ in 0..count {
            fleet.supervisor.entry(fleet.now, run, EntryKind::Event(Event::Facts(facts.clone())));
        }
        fleet.failures()
    };
    assert_eq!(feed(30), []);
    assert_eq!(feed(15), [(run, ScriptErrorKind::Limit)]);
}

#[test]
fn past_the_journals_bound_the_run_goes_on_and_the_log_says_so_once() {
    let bounds = RunBounds { journal: Bounds { entries: 3, bytes: 1 << 20 }, ..RunBounds::default() };
    let mut fleet = Fleet::with_bounds(1, bounds);
    let run = fleet.start();
    fleet.work();
    for turn in 0..6 {
        fleet.complete(run, turn);
        fleet.work();
    }
    let outputs = fleet.outputs();
    let turns = outputs.iter().filter(|output| matches!(output, ScriptOutput::Turn(..))).count();
    let warnings = outputs.iter().filter(|output| matches!(output, ScriptOutput::Log { .. })).count();
    assert_eq!((turns, warnings), (7, 1));
    assert_eq!(fleet.supervisor.journal(run).unwrap().truncated_at, Some(4));

    fleet.die_under(run);
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::WorkerDied)]);
}

#[test]
fn the_journals_bytes_are_bounded_too() {
    let bounds = RunBounds { journal: Bounds { entries: 1_000, bytes: 2_000 }, ..RunBounds::default() };
    let mut fleet = Fleet::with_bounds(1, bounds);
    let run = fleet.start();
    fleet.work();
    for turn in 0..30 {
        fleet.complete(run, turn);
        fleet.work();
    }
    let journal = fleet.supervisor.journal(run).unwrap();
    assert!(journal.truncated_at.is_some_and(|turn| turn < 30));
    assert_eq!(fleet.failures(), []);
}

#[test]
fn entries_past_the_bound_reach_a_busy_worker_in_order() {
    let bounds = RunBounds { journal: Bounds { entries: 2, bytes: 1 << 20 }, ..RunBounds::default() };
    let mut fleet = Fleet::with_bounds(1, bounds);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    for turn in 0..5 {
        fleet.complete(run, turn);
    }
    let mut seen = Vec::new();
    for frame in &fleet.workers[&home].inbox {
        if let ToWorker::Entry { entry, .. } = frame
            && let EntryKind::Outcome { op, .. } = &entry.kind
        {
            seen.push(op.turn);
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[test]
fn a_worker_that_does_not_read_is_not_sent_without_bound() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let mut vars = Vars::new();
    vars.insert("k".into(), "x".repeat(10_000));
    let facts = lockstep_ctx_api::event::FactsChange { vars, ..Default::default() };
    // Nothing is carried out, so nothing leaves the buffer.
    for _ in 0..90 {
        fleet.supervisor.entry(fleet.now, run, EntryKind::Event(Event::Facts(facts.clone())));
    }
    assert!(fleet.supervisor.outbound(home).len() < 300_000);
    fleet.carry_out();
    let entries = fleet.workers[&home].inbox.iter().filter(|frame| matches!(frame, ToWorker::Entry { .. })).count();
    assert_eq!(entries, 90);
    fleet.work();
    assert_eq!(fleet.turns().len(), 91);
}

#[test]
fn a_run_with_much_to_take_does_not_keep_others_waiting() {
    let mut fleet = Fleet::new(1);
    let greedy = fleet.start();
    let home = fleet.home(greedy).unwrap();
    let vars = [("k".to_owned(), "x".repeat(10_000))].into();
    let facts = lockstep_ctx_api::event::FactsChange { vars, ..Default::default() };
    // Nothing is carried out meanwhile, so nothing leaves the buffer.
    for _ in 0..90 {
        fleet.supervisor.entry(fleet.now, greedy, EntryKind::Event(Event::Facts(facts.clone())));
    }
    let modest = fleet.start();
    let inbox = &fleet.workers[&home].inbox;
    let started = inbox.iter().position(|frame| matches!(frame, ToWorker::Start { run, .. } if *run == modest)).unwrap();
    let behind = inbox.iter().skip(started).filter(|frame| matches!(frame, ToWorker::Entry { .. })).count();
    assert!(behind > 50, "it came before only {behind} of the 90");
    fleet.work();
    assert_eq!(fleet.turns().len(), 92);
}

#[test]
fn an_entry_too_large_to_frame_ends_the_run() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    fleet.outputs();
    let file = "x".repeat(lockstep_ctx_api::wire::MAX_FRAME);
    fleet.entry(run, EntryKind::Outcome { op: OpId { turn: 0, ordinal: 0 }, result: Ok(Outcome::Recording { file }) });
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::Limit)]);
}

#[test]
fn a_run_whose_turn_fitted_no_frame_is_over_before_and_after_its_function_is() {
    for is_finished in [false, true] {
        let mut fleet = Fleet::new(1);
        let run = fleet.start();
        let home = fleet.home(run).unwrap();
        if is_finished {
            let mut end = fleet.turn(home).unwrap();
            end.state = RunState::Finished { result: None };
            fleet.send(home, FromWorker::TurnEnd(end));
            fleet.complete(run, 0);
        }
        fleet.complete(run, 0);
        let mut end = fleet.turn(home).unwrap();
        let message = "too large".to_owned();
        let error = ScriptError { sip: None, kind: ScriptErrorKind::Limit, message, at: None, stack: Vec::new() };
        (end.issued, end.awaited, end.state, end.gone) = (Vec::new(), Vec::new(), RunState::Failed(error), true);
        fleet.send(home, FromWorker::TurnEnd(end));
        assert_eq!(fleet.failures(), [(run, ScriptErrorKind::Limit)]);
        assert!(fleet.supervisor.is_quiet(run));
        fleet.workers.get_mut(&home).unwrap().inbox.clear();
        fleet.entry(run, EntryKind::Event(Event::Hold));
        assert!(!fleet.work_once(home), "its worker was given an entry");
        fleet.observe(home, None);
        fleet.pass(std::time::Duration::from_millis(10));
        fleet.pass(std::time::Duration::from_millis(10));
        assert_eq!(fleet.supervisor.next_timeout(), None, "nobody looks at the worker any more");
    }
}

#[test]
fn a_turn_that_writes_without_end_is_cut_short_in_the_log() {
    let mut fleet = Fleet::with_bounds(1, RunBounds { lines_per_turn: 3, ..RunBounds::default() });
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    for seq in 0..10 {
        let line = LogLine { level: LogLevel::Info, text: seq.to_string(), at: None };
        fleet.send(home, FromWorker::Log { run, epoch: 1, turn: 0, seq, line });
    }
    let outputs = fleet.outputs();
    assert_eq!(outputs.len(), 4);
    assert!(matches!(&outputs[3], ScriptOutput::Log { line, .. } if line.level == LogLevel::Warn));
    assert_eq!(fleet.supervisor.stats().log_lines_dropped, 7);
}

#[test]
fn a_turn_that_was_never_begun_is_a_broken_protocol() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let mut end = fleet.turn(home).unwrap();
    end.turn = 7;
    fleet.send(home, FromWorker::TurnEnd(end));
    assert_eq!(fleet.killed, [home]);
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::WorkerDied)]);
}

#[test]
fn finished_is_said_once_and_later_turns_still_count() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let finished = RunState::Finished { result: Some("1".into()) };
    let mut end = fleet.turn(home).unwrap();
    end.state = finished.clone();
    fleet.send(home, FromWorker::TurnEnd(end));
    fleet.complete(run, 0);
    let mut end = fleet.turn(home).unwrap();
    end.state = finished;
    fleet.send(home, FromWorker::TurnEnd(end));
    let outputs = fleet.outputs();
    assert!(
        matches!(
            outputs.as_slice(),
            [
                ScriptOutput::Turn(..),
                ScriptOutput::Finished { .. },
                ScriptOutput::Quiet { .. },
                ScriptOutput::Turn(..),
                ScriptOutput::Quiet { .. }
            ]
        ),
        "{outputs:?}"
    );
}

#[test]
fn a_finished_run_is_quiet_only_once_it_has_heard_everything() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let mut end = fleet.turn(home).unwrap();
    assert!(!fleet.supervisor.is_quiet(run));
    end.state = RunState::Finished { result: None };
    let state = end.state.clone();
    fleet.send(home, FromWorker::TurnEnd(end));
    assert!(fleet.supervisor.is_quiet(run));
    fleet.complete(run, 0);
    assert!(!fleet.supervisor.is_quiet(run));
    let mut end = fleet.turn(home).unwrap();
    end.state = state;
    fleet.send(home, FromWorker::TurnEnd(end));
    assert!(fleet.supervisor.is_quiet(run));
}

#[test]
fn outputs_carry_the_operations_with_their_lines() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    let outputs = fleet.outputs();
    let [ScriptOutput::Turn(_, turn)] = outputs.as_slice() else { panic!("{outputs:?}") };
    let (id, op, at) = &turn.issued[0];
    assert_eq!(*id, OpId { turn: 0, ordinal: 0 });
    let expected = PlayArgs { sources: vec!["user/0.wav".into()], ..PlayArgs::default() };
    assert_eq!(*op, lockstep_ctx_api::op::Op::Play(expected));
    assert_eq!(at.as_ref().unwrap().line, 1);
    assert_eq!(turn.awaited, [*id]);
    let _ = run;
}

#[test]
fn a_run_that_had_to_be_stopped_costs_its_worker_nothing_more() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let mut end = fleet.turn(home).unwrap();
    end.issued = issue(0);
    let error =
        ScriptError { sip: None, kind: ScriptErrorKind::TurnLimit, message: "too long".into(), at: None, stack: Vec::new() };
    end.state = RunState::Failed(error);
    fleet.send(home, FromWorker::TurnEnd(end));
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::TurnLimit)]);
    assert!(fleet.supervisor.is_quiet(run));
    for turn in 0..3 {
        fleet.complete(run, turn);
    }
    assert!(!fleet.work_once(home), "its worker was given an entry");
    assert_eq!(fleet.home(run), None);
    assert_eq!(fleet.failures(), []);
}
