use std::time::Duration;

use lockstep_ctx_api::event::Event;
use lockstep_ctx_api::op::Op;
use lockstep_ctx_api::wire::{EntryKind, FromWorker, LogLevel, LogLine, ScriptErrorKind, ToWorker};

use super::fleet::Fleet;
use crate::script::host::ScriptOutput;

#[test]
fn a_run_whose_worker_dies_in_a_turn_is_rebuilt_and_no_turn_takes_effect_twice() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    fleet.complete(run, 0);
    fleet.work();
    fleet.complete(run, 1);
    assert_eq!(fleet.turns(), [(run, 0), (run, 1)]);

    fleet.die_under(run);
    fleet.work();
    assert_eq!(fleet.turns(), [(run, 2)]);
    assert_eq!(fleet.epoch(run), 2);
    fleet.complete(run, 2);
    fleet.work();
    assert_eq!(fleet.turns(), [(run, 3)]);
}

#[test]
fn the_rebuilt_runtime_is_fed_the_same_entries_at_the_same_times() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    fleet.pass(Duration::from_millis(350));
    fleet.complete(run, 0);
    fleet.work();
    let recorded = fleet.supervisor.journal(run).unwrap().clone();
    fleet.pass(Duration::from_millis(50));
    fleet.complete(run, 1);
    fleet.die_under(run);

    let home = fleet.home(run).unwrap();
    let frames: Vec<ToWorker> = fleet.workers[&home].inbox.iter().cloned().collect();
    let [ToWorker::Bundle { .. }, ToWorker::Start { start, header, .. }, entries @ ..] = frames.as_slice() else {
        panic!("{frames:?}")
    };
    assert_eq!((start, header), (&recorded.start, &recorded.header.run));
    let times: Vec<u64> = entries
        .iter()
        .map(|frame| match frame {
            ToWorker::Entry { entry, epoch: 2, .. } => entry.at - start.at,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(times, [350, 400]);
}

#[test]
fn an_idle_run_is_rebuilt_only_when_its_next_entry_comes() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    let home = fleet.home(run).unwrap();
    fleet.die(home, None);
    fleet.all_ready();
    assert_eq!(fleet.home(run), None);
    assert_eq!(fleet.supervisor.stats().rebuilds, 0);

    fleet.complete(run, 0);
    assert!(fleet.home(run).is_some());
    fleet.outputs();
    fleet.work();
    assert_eq!(fleet.turns(), [(run, 1)]);
}

#[test]
fn idle_deaths_never_end_a_run() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    for turn in 0..5 {
        let home = fleet.home(run).unwrap();
        fleet.die(home, None);
        // Deaths that nothing explains are made good more and more slowly.
        fleet.pass(Duration::from_secs(10));
        fleet.all_ready();
        fleet.complete(run, turn);
        fleet.work();
    }
    assert_eq!(fleet.failures(), []);
}

#[test]
fn two_deaths_at_the_same_turn_end_the_run() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    fleet.complete(run, 0);
    fleet.outputs();
    fleet.die_under(run);
    fleet.all_ready();
    assert_eq!(fleet.failures(), []);
    let home = fleet.home(run).unwrap();
    fleet.work_once(home);
    fleet.die_under(run);
    assert_eq!(fleet.failures(), [(run, ScriptErrorKind::WorkerDied)]);
    fleet.complete(run, 1);
    assert_eq!(fleet.home(run), None);
}

#[test]
fn deaths_at_different_turns_do_not_add_up() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    for turn in 0..3 {
        fleet.complete(run, turn);
        fleet.die_under(run);
        fleet.all_ready();
        fleet.work();
    }
    assert_eq!(fleet.failures(), []);
}

#[test]
fn only_the_run_that_was_executing_is_suspected() {
    let mut fleet = Fleet::new(1);
    let (culprit, neighbour) = (fleet.start(), fleet.start());
    for _ in 0..2 {
        fleet.die_under(culprit);
        fleet.all_ready();
    }
    assert_eq!(fleet.failures(), [(culprit, ScriptErrorKind::WorkerDied)]);
    fleet.work();
    assert_eq!(fleet.turns(), [(neighbour, 0)]);
}

#[test]
fn without_a_probes_word_the_run_whose_turn_was_next_is_suspected() {
    let mut fleet = Fleet::new(1);
    let (done, first, second) = (fleet.start(), fleet.start(), fleet.start());
    let home = fleet.home(done).unwrap();
    fleet.work_once(home);
    fleet.outputs();
    for _ in 0..2 {
        assert_eq!(fleet.failures(), []);
        let home = fleet.home(first).unwrap();
        fleet.die(home, None);
        fleet.all_ready();
    }
    assert_eq!(fleet.failures(), [(first, ScriptErrorKind::WorkerDied)]);
    fleet.work();
    assert_eq!(fleet.turns(), [(second, 0)]);
}

#[test]
fn nobody_is_suspected_when_a_dropped_run_was_executing() {
    let mut fleet = Fleet::new(1);
    let neighbour = fleet.start();
    for _ in 0..3 {
        let dropped = fleet.start();
        let (home, epoch) = (fleet.home(dropped).unwrap(), fleet.epoch(dropped));
        fleet.supervisor.drop_run(fleet.now, dropped);
        fleet.die(home, Some((dropped, epoch)));
        fleet.all_ready();
    }
    fleet.work();
    assert_eq!(fleet.turns(), [(neighbour, 0)]);
}

#[test]
fn frames_of_an_older_epoch_are_ignored() {
    let mut fleet = Fleet::new(2);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let late = fleet.turn(home).unwrap();
    fleet.die_under(run);
    fleet.send(home, FromWorker::TurnEnd(late.clone()));
    let new_home = fleet.home(run).unwrap();
    fleet.send(new_home, FromWorker::TurnEnd(late));
    assert_eq!(fleet.turns(), []);
    fleet.work();
    assert_eq!(fleet.turns(), [(run, 0)]);
}

#[test]
fn a_repetition_that_differs_ends_the_run_and_says_how() {
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    fleet.work();
    fleet.complete(run, 0);
    fleet.outputs();
    fleet.die_under(run);
    let home = fleet.home(run).unwrap();
    let mut end = fleet.turn(home).unwrap();
    end.issued[0].op = Op::EarlyMedia;
    fleet.send(home, FromWorker::TurnEnd(end));
    let outputs = fleet.outputs();
    let [ScriptOutput::Failed { error, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!(error.kind, ScriptErrorKind::Diverged);
    assert!(error.message.starts_with("LS-R001: turn 0: recorded ctx.play"), "{}", error.message);
    assert!(error.message.contains("replay gave ctx.earlyMedia"), "{}", error.message);
    assert_eq!(fleet.supervisor.stats().divergences, 1);
    assert!(matches!(fleet.workers[&home].inbox.back(), Some(ToWorker::Drop { .. })));
}

#[test]
fn console_lines_of_repeated_turns_are_not_shown_again() {
    let line = |text: &str| LogLine { level: LogLevel::Info, text: text.into(), at: None };
    let mut fleet = Fleet::new(1);
    let run = fleet.start();
    let home = fleet.home(run).unwrap();
    let log = |epoch, turn, seq, text: &str| FromWorker::Log { run, epoch, turn, seq, line: line(text) };
    fleet.send(home, log(1, 0, 0, "hello"));
    fleet.work();
    fleet.complete(run, 0);
    fleet.send(home, log(1, 1, 0, "half"));
    fleet.die_under(run);
    let home = fleet.home(run).unwrap();
    fleet.send(home, log(2, 0, 0, "hello"));
    fleet.work_once(home);
    fleet.send(home, log(2, 1, 0, "half"));
    fleet.send(home, log(2, 1, 1, "whole"));
    let texts: Vec<String> = fleet
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            ScriptOutput::Log { line, .. } => Some(line.text),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["hello", "half", "whole"]);
}

#[test]
fn fifty_runs_survive_the_death_of_their_worker() {
    let mut fleet = Fleet::new(2);
    let runs: Vec<_> = (0..50).map(|_| fleet.start()).collect();
    fleet.work();
    for (index, run) in runs.iter().enumerate().filter(|(index, _)| index % 3 != 0) {
        fleet.complete(*run, 0);
        if index % 2 == 0 {
            fleet.entry(*run, EntryKind::Event(Event::Hold));
        }
    }
    let victim = fleet.home(runs[1]).unwrap();
    fleet.outputs();
    let executing = Some((runs[1], fleet.epoch(runs[1])));
    fleet.die(victim, executing);
    fleet.all_ready();
    fleet.work();
    for run in &runs {
        let next = fleet.supervisor.journal(*run).unwrap().turns_ended();
        fleet.complete(*run, next - 1);
    }
    fleet.work();
    assert_eq!(fleet.failures(), []);
    for run in &runs {
        let journal = fleet.supervisor.journal(*run).unwrap();
        assert_eq!(journal.turns_ended(), journal.next_turn(), "every entry has been answered");
    }
    assert!(fleet.supervisor.stats().rebuilds >= 20);
}
