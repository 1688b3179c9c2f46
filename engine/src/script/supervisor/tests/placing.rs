use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::wire::{FromWorker, RunState, ToWorker, TurnEnd};

use super::super::{RunBounds, Settings, Supervisor};
use super::fleet::{Fleet, large_program, program};

#[test]
fn runs_are_spread_over_the_workers_and_the_spare_gets_none() {
    let mut fleet = Fleet::new(2);
    let runs: Vec<_> = (0..10).map(|_| fleet.start()).collect();
    let mut loads: Vec<usize> =
        fleet.workers.keys().map(|key| runs.iter().filter(|run| fleet.home(**run) == Some(*key)).count()).collect();
    loads.sort_unstable();
    assert_eq!(loads, [0, 5, 5]);
}

#[test]
fn runs_that_come_before_the_first_worker_wait_for_it() {
    let mut fleet = Fleet::new(1);
    let settings = Settings { workers: 1, spare: false, back_off: Duration::ZERO, bounds: RunBounds::default() };
    fleet.supervisor = Supervisor::new(fleet.now, settings);
    fleet.workers.clear();
    fleet.carry_out();
    let run = fleet.start();
    assert_eq!(fleet.home(run), None);
    fleet.all_ready();
    fleet.work();
    assert_eq!(fleet.turns(), [(run, 0)]);
}

#[test]
fn a_bundle_is_sent_once_to_a_worker_and_dropped_when_retired_and_unused() {
    let mut fleet = Fleet::new(1);
    let program = program();
    let (first, second) = (fleet.start_with(Arc::clone(&program)), fleet.start_with(program));
    let home = fleet.home(first).unwrap();
    let bundles = fleet.workers[&home].inbox.iter().filter(|frame| matches!(frame, ToWorker::Bundle { .. })).count();
    assert_eq!(bundles, 1);
    fleet.supervisor.retire(1);
    fleet.supervisor.drop_run(fleet.now, first);
    fleet.carry_out();
    let dropped = |fleet: &Fleet| fleet.workers[&home].inbox.contains(&ToWorker::DropBundle { bundle: 1 });
    assert!(!dropped(&fleet));
    fleet.supervisor.drop_run(fleet.now, second);
    fleet.carry_out();
    assert!(dropped(&fleet));
}

#[test]
fn a_bundle_that_was_retired_before_its_last_run_was_started_is_dropped_with_it() {
    let mut fleet = Fleet::new(1);
    fleet.supervisor.retire(1);
    for _ in 0..2 {
        let run = fleet.start();
        let home = fleet.home(run).unwrap();
        fleet.supervisor.drop_run(fleet.now, run);
        fleet.carry_out();
        let inbox = std::mem::take(&mut fleet.workers.get_mut(&home).unwrap().inbox);
        assert!(inbox.contains(&ToWorker::DropBundle { bundle: 1 }));
    }
}

#[test]
fn a_bundle_that_fills_the_buffer_is_sent_all_the_same() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start_with(large_program());
    fleet.work();
    assert_eq!(fleet.turns(), [(run, 0)]);
}

#[test]
fn a_dead_worker_is_replaced_by_the_spare_at_once_and_a_new_spare_is_started() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.die_under(run);
    assert!(fleet.home(run).is_some(), "the spare has taken over");
    assert_eq!(fleet.spawned.len(), 1);
}

#[test]
fn workers_that_cannot_start_are_tried_again_later_and_later() {
    let mut fleet = Fleet::new(1);
    let keys: Vec<_> = fleet.workers.keys().copied().collect();
    for key in keys {
        fleet.die(key, None);
    }
    let mut attempts = 0;
    for _ in 0..60 {
        for key in std::mem::take(&mut fleet.spawned) {
            attempts += 1;
            fleet.die(key, None);
        }
        fleet.pass(Duration::from_secs(1));
    }
    assert!((5..=40).contains(&attempts), "{attempts} attempts in a minute");
    fleet.pass(Duration::from_secs(10));
    let run = fleet.start();
    fleet.all_ready();
    fleet.work();
    assert_eq!(fleet.turns(), [(run, 0)]);
}

#[test]
fn dropping_a_run_hands_over_its_journal_and_frees_the_runtime() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    fleet.complete(run, 0);
    let home = fleet.home(run).unwrap();
    let journal = fleet.supervisor.drop_run(fleet.now, run).unwrap();
    fleet.carry_out();
    assert_eq!((journal.entries.len(), journal.turns.len()), (1, 1));
    assert_eq!(journal.header.script, "menu.js");
    assert!(fleet.workers[&home].inbox.contains(&ToWorker::Drop { run, epoch: 1 }));
    assert_eq!(fleet.supervisor.stats().runs, 0);
    assert!(fleet.supervisor.drop_run(fleet.now, run).is_none());
}

#[test]
fn what_a_worker_has_nothing_of_is_not_dropped_there() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let end = fleet.turn(home).unwrap();
    let state = RunState::Finished { result: None };
    fleet.send(home, FromWorker::TurnEnd(TurnEnd { issued: Vec::new(), awaited: Vec::new(), state, gone: true, ..end }));
    assert!(fleet.supervisor.drop_run(fleet.now, run).is_some());
    fleet.carry_out();
    assert!(fleet.workers[&home].inbox.is_empty());
}

/// Frames in the inbox of a fleet's only regular worker, and how many of them start a run.
fn ahead(fleet: &Fleet) -> (usize, usize) {
    let inboxes = || fleet.workers.values().flat_map(|worker| &worker.inbox);
    let starts = inboxes().filter(|frame| matches!(frame, ToWorker::Start { .. })).count();
    (inboxes().filter(|frame| matches!(frame, ToWorker::Start { .. } | ToWorker::Entry { .. })).count(), starts)
}

#[test]
fn a_worker_with_much_to_do_ends_what_it_has_before_more_is_started_there() {
    let mut fleet = Fleet::new(1);
    let first = fleet.start();
    let home = fleet.home(first).unwrap();
    fleet.work();
    let runs: Vec<_> = (0..1_000).map(|_| fleet.start()).collect();
    let (frames, starts) = ahead(&fleet);
    assert_eq!(frames, starts);
    assert!(starts < runs.len() / 10, "{starts} are started at once");
    // What the first one waits for gets ahead of those that have to wait.
    fleet.complete(first, 0);
    for _ in 0..=starts {
        fleet.work_once(home);
    }
    let mut turns = fleet.turns();
    assert!(turns.contains(&(first, 1)));
    fleet.work();
    turns.extend(fleet.turns());
    assert!(runs.iter().all(|run| turns.contains(&(*run, 0))), "all are started in the end");
}

#[test]
fn runs_are_started_although_others_always_have_something_to_do() {
    let mut fleet = Fleet::new(1);
    let busy: Vec<_> = (0..200).map(|_| fleet.start()).collect();
    fleet.work();
    fleet.turns();
    let home = fleet.home(busy[0]).unwrap();
    for run in &busy {
        fleet.complete(*run, 0);
    }
    let late = fleet.start();
    for _ in 0..1_000 {
        fleet.work_once(home);
        for (run, turn) in fleet.turns() {
            if run == late {
                return;
            }
            fleet.complete(run, turn);
        }
    }
    panic!("it never came");
}
