use std::time::Duration;

use lockstep_ctx_api::event::Event;
use lockstep_ctx_api::wire::{EntryKind, ScriptErrorKind, ToWorker};

use super::fleet::{Fleet, large_program};

#[test]
fn busy_workers_are_looked_at_and_idle_ones_are_not() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.pass(Duration::from_millis(10));
    assert_eq!(fleet.observed, [fleet.home(run).unwrap()]);
    fleet.work();
    fleet.observed.clear();
    fleet.pass(Duration::from_millis(10));
    fleet.pass(Duration::from_millis(10));
    assert_eq!(fleet.observed, []);
    assert_eq!(fleet.supervisor.next_timeout(), None);
}

#[test]
fn a_worker_that_is_sent_a_run_behind_a_large_bundle_is_looked_at() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start_with(large_program());
    let home = fleet.home(run).unwrap();
    fleet.pass(Duration::from_millis(10));
    assert_eq!(fleet.observed, [home]);
    fleet.observe(home, Some((run, 2_030)));
    assert_eq!(fleet.killed, [home]);
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::TurnLimit)]);
}

#[test]
fn a_worker_that_does_not_take_in_a_large_bundle_is_killed() {
    let mut fleet = Fleet::new(1);
    fleet.is_deaf = true;
    fleet.start_with(large_program());
    for _ in 0..33 {
        fleet.pass(Duration::from_secs(1));
    }
    assert!(!fleet.killed.is_empty());
}

#[test]
fn neighbours_with_something_to_do_move_out_of_the_way_of_a_slow_turn() {
    let mut fleet = Fleet::new(1);
    let (slow, busy, idle) = (fleet.start(), fleet.start(), fleet.start());
    fleet.work();
    fleet.outputs();
    fleet.complete(slow, 0);
    fleet.complete(busy, 0);
    let home = fleet.home(slow).unwrap();
    fleet.observe(home, Some((slow, 40)));
    assert_eq!(fleet.home(busy), Some(home));
    fleet.observe(home, Some((slow, 60)));
    let refuge = fleet.home(busy).unwrap();
    assert_ne!(refuge, home);
    assert_eq!((fleet.home(slow), fleet.home(idle)), (Some(home), Some(home)));

    while fleet.work_once(refuge) {}
    assert_eq!(fleet.turns(), [(busy, 1)]);
    fleet.complete(idle, 0);
    assert_eq!(fleet.home(idle), Some(refuge), "an entry does not wait behind the slow turn either");
    while fleet.work_once(refuge) {}
    assert_eq!(fleet.turns(), [(idle, 1)]);
}

#[test]
fn who_takes_longer_to_rebuild_than_the_slow_turn_has_taken_waits_for_it() {
    let mut fleet = Fleet::new(1);
    let (slow, costly) = (fleet.start(), fleet.start());
    let home = fleet.home(slow).unwrap();
    fleet.work_once(home);
    fleet.work_for(home, Duration::from_millis(150));
    fleet.complete(slow, 0);
    fleet.complete(costly, 0);
    fleet.observe(home, Some((slow, 60)));
    fleet.entry(costly, EntryKind::Event(Event::Hold));
    fleet.observe(home, Some((slow, 140)));
    assert_eq!(fleet.home(costly), Some(home), "moving it would take longer than it has waited");
    fleet.observe(home, Some((slow, 150)));
    assert_ne!(fleet.home(costly), Some(home));
}

#[test]
fn after_a_stall_the_runs_that_take_longer_to_rebuild_stay_where_they_are() {
    let mut fleet = Fleet::new(1);
    let (slow, cheap) = (fleet.start(), fleet.start());
    let home = fleet.home(slow).unwrap();
    fleet.work_for(home, Duration::from_millis(80));
    fleet.observe(home, Some((cheap, 60)));
    let another = fleet.start();
    let refuge = fleet.home(another).unwrap();
    assert_ne!(refuge, home);
    let third = fleet.start();
    assert_eq!(fleet.home(third), Some(refuge), "it holds as many runs as the other one");
    fleet.work();
    fleet.all_ready();
    fleet.work();
    fleet.complete(slow, 0);
    fleet.complete(another, 0);
    assert_eq!((fleet.home(slow), fleet.home(another)), (Some(home), Some(home)));
}

#[test]
fn a_slow_turn_that_ends_counts_and_its_neighbours_old_runtimes_do_not() {
    let mut fleet = Fleet::new(1);
    let (slow, busy) = (fleet.start(), fleet.start());
    fleet.work();
    fleet.complete(slow, 0);
    fleet.complete(busy, 0);
    fleet.outputs();
    let home = fleet.home(slow).unwrap();
    fleet.observe(home, Some((slow, 60)));
    fleet.all_ready();
    fleet.work();
    let mut turns = fleet.turns();
    turns.sort();
    assert_eq!(turns, [(slow, 1), (busy, 1)]);
    assert_eq!(fleet.killed, []);
    fleet.complete(slow, 1);
    fleet.complete(busy, 1);
    fleet.work();
    assert_eq!(fleet.turns().len(), 2);
}

#[test]
fn a_turn_past_its_limit_is_killed_and_fails_alone() {
    let mut fleet = Fleet::new(1);
    let (endless, busy, idle) = (fleet.start(), fleet.start(), fleet.start());
    fleet.work();
    fleet.complete(endless, 0);
    fleet.complete(busy, 0);
    fleet.outputs();
    let home = fleet.home(endless).unwrap();
    fleet.observe(home, Some((endless, 60)));
    fleet.observe(home, Some((endless, 2_020)));
    assert_eq!(fleet.killed, [], "the worker may end it by itself");
    fleet.observe(home, Some((endless, 2_030)));
    assert_eq!(fleet.killed, [home]);
    assert_eq!(fleet.failures(), [(endless, ScriptErrorKind::TurnLimit)]);
    fleet.die(home, Some((endless, 1)));
    fleet.all_ready();
    fleet.complete(idle, 0);
    fleet.work();
    let mut turns = fleet.turns();
    turns.sort();
    assert_eq!(turns, [(busy, 1), (idle, 1)]);
    let stats = fleet.supervisor.stats();
    assert_eq!((stats.worker_kills, stats.worker_deaths), (1, 0));
}

#[test]
fn kills_for_overrunning_turns_never_count_against_the_neighbours() {
    let mut fleet = Fleet::new(1);
    let neighbour = fleet.start();
    for _ in 0..4 {
        let endless = fleet.start();
        let home = fleet.home(endless).unwrap();
        fleet.observe(home, Some((endless, 5_000)));
        fleet.die(home, Some((endless, 1)));
        fleet.all_ready();
    }
    assert!(fleet.failures().iter().all(|(run, _)| *run != neighbour));
    fleet.work();
    assert_eq!(fleet.turns(), [(neighbour, 0)]);
}

#[test]
fn a_dropped_run_that_is_still_executing_is_ended_too() {
    let mut fleet = Fleet::new(1);
    let endless = fleet.start();
    let home = fleet.home(endless).unwrap();
    fleet.supervisor.drop_run(fleet.now, endless);
    fleet.carry_out();
    fleet.pass(Duration::from_millis(10));
    assert_eq!(fleet.observed, [home]);
    fleet.observe(home, Some((endless, 2_030)));
    assert_eq!(fleet.killed, [home]);
}

#[test]
fn stalls_do_not_pile_up_processes() {
    let mut fleet = Fleet::new(1);
    let neighbour = fleet.start();
    fleet.work();
    for turn in 0..20 {
        let slow = fleet.start();
        let home = fleet.home(slow).unwrap();
        fleet.complete(neighbour, turn);
        fleet.observe(home, Some((slow, 100)));
        fleet.all_ready();
        fleet.work();
        fleet.supervisor.drop_run(fleet.now, slow);
        fleet.carry_out();
        for key in std::mem::take(&mut fleet.stopped) {
            fleet.die(key, None);
        }
        fleet.all_ready();
        assert!(fleet.workers.len() <= 4, "{} workers", fleet.workers.len());
    }
    assert_eq!(fleet.failures(), []);
    assert_eq!(fleet.supervisor.stats().worker_deaths, 0);
}

#[test]
fn a_worker_that_shows_no_life_is_killed() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    for _ in 0..33 {
        fleet.pass(Duration::from_secs(1));
    }
    assert!(fleet.killed.contains(&home));
    fleet.die_under(run);
    fleet.all_ready();
    fleet.work();
    assert_eq!(fleet.turns(), [(run, 0)]);
}

#[test]
fn with_no_other_worker_ready_entries_wait_and_are_not_lost() {
    let mut fleet = Fleet::new(1);
    let (slow, busy) = (fleet.start(), fleet.start());
    fleet.work();
    let spare = *fleet.workers.keys().find(|key| Some(**key) != fleet.home(slow)).unwrap();
    fleet.die(spare, None);
    let home = fleet.home(slow).unwrap();
    fleet.complete(slow, 0);
    fleet.complete(busy, 0);
    fleet.outputs();
    fleet.observe(home, Some((slow, 60)));
    assert!(matches!(fleet.workers[&home].inbox.back(), Some(ToWorker::Drop { .. })));
    assert_eq!(fleet.supervisor.stats().runs_unplaced, 1);
    fleet.all_ready();
    let refuge = fleet.home(busy).unwrap();
    while fleet.work_once(refuge) {}
    assert_eq!(fleet.turns(), [(busy, 1)]);
}
