//! The lockstep rules (contract, section 2.1), operation by operation.

use lockstep_ctx_api::error::{CallEndedCause, EndedBy, ErrorCode, OpError};
use lockstep_ctx_api::op::{FetchArgs, FetchRedirect, HangupArgs, Op, OpId, PlayArgs, RejectArgs, SetArgs, SleepArgs};
use lockstep_ctx_api::outcome::{OpResult, Outcome};
use lockstep_ctx_api::queue::{OpQueue, QueueOutput};

fn id(ordinal: u32) -> OpId {
    OpId { turn: 0, ordinal }
}

fn play() -> Op {
    Op::Play(PlayArgs { sources: vec!["user/a.wav".into()], ..PlayArgs::default() })
}

fn sleep() -> Op {
    Op::Sleep(SleepArgs { duration_ms: 1 })
}

fn set() -> Op {
    Op::Set(SetArgs { key: "k".into(), value: Some("v".into()), skip_write: false })
}

fn hangup() -> Op {
    Op::Hangup(HangupArgs::default())
}

fn reject() -> Op {
    Op::Reject(RejectArgs { code: 486, reason: None, headers: Vec::new() })
}

fn fetch() -> Op {
    Op::Fetch(FetchArgs {
        method: "GET".into(),
        url: "https://example.net/".into(),
        headers: Vec::new(),
        body: None,
        redirect: FetchRedirect::Follow,
        timeout_ms: None,
    })
}

fn cause() -> CallEndedCause {
    CallEndedCause { code: 200, reason: "OK".into(), by: EndedBy::Caller }
}

fn unit() -> OpResult {
    Ok(Outcome::Unit)
}

fn aborted() -> OpResult {
    Err(OpError::aborted("play"))
}

/// Outputs in short: `+n` started, `~n` cancelled, `=n` settled well, `!n:Code` settled badly, `idle`.
fn drain(queue: &mut OpQueue) -> Vec<String> {
    std::iter::from_fn(|| queue.poll_output())
        .map(|output| match output {
            QueueOutput::Start(id, _) => format!("+{}", id.ordinal),
            QueueOutput::Cancel(id) => format!("~{}", id.ordinal),
            QueueOutput::Settle(id, Ok(_)) => format!("={}", id.ordinal),
            QueueOutput::Settle(id, Err(error)) => format!("!{}:{}", id.ordinal, error.code.name()),
            QueueOutput::Idle => "idle".to_owned(),
        })
        .collect()
}

/// One turn that issues `ops`, from ordinal `from`, and awaits those listed.
fn turn(queue: &mut OpQueue, from: u32, ops: Vec<Op>, awaited: &[u32]) -> Vec<String> {
    for (ordinal, op) in (from..).zip(ops) {
        queue.submit(id(ordinal), op);
    }
    for ordinal in awaited {
        queue.awaited(id(*ordinal));
    }
    drain(queue)
}

fn complete(queue: &mut OpQueue, ordinal: u32, result: OpResult) -> Vec<String> {
    queue.completed(id(ordinal), result);
    drain(queue)
}

#[test]
fn queued_operations_run_one_after_another_in_program_order() {
    let mut queue = OpQueue::new();
    assert_eq!(turn(&mut queue, 0, vec![play(), sleep(), play()], &[]), ["+0"]);
    assert_eq!(complete(&mut queue, 0, unit()), ["=0", "+1"]);
    assert_eq!(complete(&mut queue, 1, unit()), ["=1", "+2"]);
    assert!(!queue.is_idle());
    assert_eq!(complete(&mut queue, 2, unit()), ["=2", "idle"]);
    assert!(queue.is_idle());
}

#[test]
fn a_failed_operation_does_not_hold_up_the_next() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), play()], &[]);
    let missing = Err(OpError::new(ErrorCode::NotFound, "user/a.wav"));
    assert_eq!(complete(&mut queue, 0, missing), ["!0:NotFound", "+1"]);
}

#[test]
fn settings_do_not_wait_for_the_queue() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), play()], &[]);
    assert_eq!(turn(&mut queue, 2, vec![set()], &[]), ["+2"]);
    assert_eq!(complete(&mut queue, 2, unit()), ["=2"]);
}

#[test]
fn a_setting_issued_after_an_operation_is_not_seen_before_it() {
    let mut queue = OpQueue::new();
    assert_eq!(turn(&mut queue, 0, vec![set(), play(), set()], &[]), ["+0", "+1", "+2"]);
}

#[test]
fn a_hangup_waits_for_what_nobody_awaited() {
    let mut queue = OpQueue::new();
    assert_eq!(turn(&mut queue, 0, vec![play(), hangup()], &[1]), ["+0"]);
    assert_eq!(complete(&mut queue, 0, unit()), ["=0", "+1"]);
}

#[test]
fn a_hangup_cuts_off_what_is_awaited() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play()], &[0]);
    assert_eq!(turn(&mut queue, 1, vec![hangup()], &[1]), ["~0"]);
    assert_eq!(complete(&mut queue, 0, aborted()), ["+1"]);
    assert_eq!(complete(&mut queue, 1, unit()), ["=1"]);
    queue.ended(&cause());
    assert_eq!(drain(&mut queue), ["!0:CallEnded", "idle"]);
}

#[test]
fn a_hangup_overtakes_what_is_queued_and_awaited() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), play(), play()], &[0, 1, 2]);
    assert_eq!(turn(&mut queue, 3, vec![hangup()], &[]), ["~0"]);
    assert_eq!(complete(&mut queue, 0, aborted()), ["+3"]);
    queue.ended(&cause());
    assert_eq!(drain(&mut queue), ["!0:CallEnded", "!1:CallEnded", "!2:CallEnded", "!3:CallEnded", "idle"]);
}

#[test]
fn one_unawaited_operation_ahead_is_enough_to_wait() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), play(), play()], &[0, 2]);
    assert_eq!(turn(&mut queue, 3, vec![hangup()], &[3]), Vec::<String>::new());
    complete(&mut queue, 0, unit());
    complete(&mut queue, 1, unit());
    assert_eq!(complete(&mut queue, 2, unit()), ["=2", "+3"]);
}

#[test]
fn an_operation_awaited_in_a_later_turn_counts_from_then_on() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play()], &[]);
    queue.awaited(id(0));
    assert_eq!(drain(&mut queue), Vec::<String>::new());
    assert_eq!(turn(&mut queue, 1, vec![hangup()], &[]), ["~0"]);
}

#[test]
fn when_the_cutting_operation_fails_the_rest_goes_on() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), sleep()], &[0, 1]);
    assert_eq!(turn(&mut queue, 2, vec![reject()], &[2]), ["~0"]);
    assert_eq!(complete(&mut queue, 0, aborted()), ["+2"]);
    let refused = Err(OpError::invalid_state("reject", "answered"));
    assert_eq!(complete(&mut queue, 2, refused), ["!0:AbortError", "!2:InvalidState", "+1"]);
}

#[test]
fn what_was_cut_off_settles_though_what_has_cut_it_off_is_aborted_before_it_has_stopped() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), sleep()], &[0, 1]);
    assert_eq!(turn(&mut queue, 2, vec![hangup()], &[2]), ["~0"]);
    queue.cancel(id(2));
    assert_eq!(drain(&mut queue), ["!2:AbortError"]);
    assert_eq!(complete(&mut queue, 0, aborted()), ["!0:AbortError", "+1"]);
}

#[test]
fn what_ended_by_itself_while_being_cut_off_keeps_its_result() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play()], &[0]);
    turn(&mut queue, 1, vec![hangup()], &[1]);
    assert_eq!(complete(&mut queue, 0, unit()), ["=0", "+1"]);
}

#[test]
fn two_hangups_keep_their_order_and_do_not_stop_each_other() {
    let mut queue = OpQueue::new();
    assert_eq!(turn(&mut queue, 0, vec![hangup(), reject()], &[0, 1]), ["+0"]);
    assert_eq!(complete(&mut queue, 0, unit()), ["=0"]);
    queue.ended(&cause());
    assert_eq!(drain(&mut queue), ["!1:CallEnded", "idle"]);
}

#[test]
fn a_running_operation_is_asked_to_stop_once_and_settles_when_it_has() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play()], &[0]);
    queue.cancel(id(0));
    queue.cancel(id(0));
    assert_eq!(drain(&mut queue), ["~0"]);
    assert_eq!(complete(&mut queue, 0, aborted()), ["!0:AbortError", "idle"]);
}

#[test]
fn an_aborted_operation_that_waits_never_starts() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), play(), play()], &[0, 1, 2]);
    queue.cancel(id(1));
    assert_eq!(drain(&mut queue), ["!1:AbortError"]);
    assert_eq!(complete(&mut queue, 0, unit()), ["=0", "+2"]);
}

#[test]
fn an_operation_aborted_in_its_own_turn_never_starts() {
    let mut queue = OpQueue::new();
    queue.submit(id(0), play());
    queue.cancel(id(0));
    assert_eq!(drain(&mut queue), ["!0:AbortError", "idle"]);
}

#[test]
fn an_abort_during_a_cut_is_an_abort() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play()], &[0]);
    turn(&mut queue, 1, vec![hangup()], &[1]);
    queue.cancel(id(0));
    assert_eq!(complete(&mut queue, 0, aborted()), ["!0:AbortError", "+1"]);
}

#[test]
fn an_abort_that_comes_too_late_is_ignored() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play()], &[0]);
    complete(&mut queue, 0, unit());
    queue.cancel(id(0));
    assert_eq!(drain(&mut queue), Vec::<String>::new());
}

#[test]
fn the_end_settles_everything_at_once_in_program_order() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), set(), play(), hangup()], &[]);
    queue.ended(&cause());
    let settled: Vec<QueueOutput> = std::iter::from_fn(|| queue.poll_output()).collect();
    let error = OpError::call_ended(cause());
    let expected: Vec<QueueOutput> = (0..4).map(|n| QueueOutput::Settle(id(n), Err(error.clone()))).collect();
    assert_eq!(settled[..4], expected);
    assert_eq!(settled[4..], [QueueOutput::Idle]);
    assert_eq!(complete(&mut queue, 0, unit()), Vec::<String>::new());
    assert_eq!(queue.pending(), 0);
}

#[test]
fn after_the_end_operations_reject_with_it_unless_the_script_has_hung_up_itself() {
    let after = |by: EndedBy| {
        let mut queue = OpQueue::new();
        queue.ended(&CallEndedCause { by, ..cause() });
        queue.submit(id(0), play());
        let Some(QueueOutput::Settle(_, Err(error))) = queue.poll_output() else { panic!("nothing settled") };
        error
    };
    assert_eq!(after(EndedBy::Caller), OpError::call_ended(cause()));
    let error = after(EndedBy::Script);
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::InvalidState, "play: the call is ended"));
}

#[test]
fn nothing_starts_between_the_operation_that_ends_the_call_and_its_end() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![hangup(), play()], &[]);
    assert_eq!(complete(&mut queue, 0, unit()), ["=0"]);
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), play()], &[]);
    assert_eq!(complete(&mut queue, 0, Err(OpError::call_ended(cause()))), ["!0:CallEnded"]);
    queue.ended(&cause());
    assert_eq!(drain(&mut queue), ["!1:CallEnded", "idle"]);
}

#[test]
fn host_operations_are_concurrent_and_go_on_after_the_end_until_the_run_closes() {
    let mut queue = OpQueue::new();
    assert_eq!(turn(&mut queue, 0, vec![play(), fetch(), fetch()], &[]), ["+0", "+1", "+2"]);
    queue.ended(&cause());
    assert_eq!(drain(&mut queue), ["!0:CallEnded", "idle"]);
    assert_eq!(turn(&mut queue, 3, vec![fetch()], &[]), ["+3"]);
    assert_eq!(complete(&mut queue, 1, unit()), ["=1"]);
    queue.close();
    assert_eq!(drain(&mut queue), ["~2", "!2:AbortError", "~3", "!3:AbortError"]);
    assert_eq!(queue.pending(), 0);
}

#[test]
fn host_operations_do_not_keep_the_call_busy() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![fetch()], &[]);
    assert!(queue.is_idle());
}

mod properties {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Submit(u8, bool),
        Await(u32),
        Cancel(u32),
        /// Completes the n-th operation under way, well or badly.
        Complete(usize, u8),
        Drain,
        End,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u8..6, any::<bool>()).prop_map(|(kind, awaited)| Step::Submit(kind, awaited)),
            2 => (0u32..40).prop_map(Step::Await),
            2 => (0u32..40).prop_map(Step::Cancel),
            8 => (0usize..4, 0u8..8).prop_map(|(at, how)| Step::Complete(at, how)),
            6 => Just(Step::Drain),
            1 => Just(Step::End),
        ]
    }

    #[derive(Default)]
    struct Observer {
        classes: BTreeMap<OpId, lockstep_ctx_api::OpClass>,
        started: Vec<OpId>,
        under_way: Vec<OpId>,
        settled: BTreeSet<OpId>,
        ended: bool,
    }

    impl Observer {
        fn drain(&mut self, queue: &mut OpQueue) {
            while let Some(output) = queue.poll_output() {
                match output {
                    QueueOutput::Start(id, op) => {
                        assert!(!self.settled.contains(&id), "{id} started after it settled");
                        assert!(!self.ended || op.class() == lockstep_ctx_api::OpClass::Host, "{id} started after the end");
                        if self.in_line(id) {
                            let alone = !self.under_way.iter().any(|other| self.in_line(*other));
                            assert!(alone, "{id} started beside another");
                        }
                        self.started.push(id);
                        self.under_way.push(id);
                    }
                    QueueOutput::Cancel(id) => assert!(self.started.contains(&id), "{id} was asked to stop before it started"),
                    QueueOutput::Settle(id, _) => {
                        assert!(self.classes.contains_key(&id));
                        assert!(self.settled.insert(id), "{id} settled twice");
                    }
                    QueueOutput::Idle => assert!(queue.is_idle()),
                }
            }
        }

        fn in_line(&self, id: OpId) -> bool {
            matches!(self.classes[&id], lockstep_ctx_api::OpClass::Queued | lockstep_ctx_api::OpClass::Cutting)
        }
    }

    proptest! {
        #[test]
        fn every_operation_settles_once_in_order_and_nothing_is_left(steps in prop::collection::vec(step(), 0..80)) {
            let mut queue = OpQueue::new();
            let mut seen = Observer::default();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Submit(kind, awaited) => {
                        let op = match kind { 0 => set(), 1 => fetch(), 2 => hangup(), 3 => reject(), 4 => sleep(), _ => play() };
                        seen.classes.insert(id(next), op.class());
                        queue.submit(id(next), op);
                        if awaited {
                            queue.awaited(id(next));
                        }
                        next += 1;
                    }
                    Step::Await(ordinal) => queue.awaited(id(ordinal)),
                    Step::Cancel(ordinal) => queue.cancel(id(ordinal)),
                    Step::Complete(at, how) => {
                        seen.drain(&mut queue);
                        if at < seen.under_way.len() {
                            let done = seen.under_way.remove(at);
                            let result = match how {
                                0 => aborted(),
                                1 => Err(OpError::new(ErrorCode::NotFound, "x")),
                                2 => Err(OpError::call_ended(cause())),
                                _ => unit(),
                            };
                            queue.completed(done, result);
                        }
                    }
                    Step::Drain => seen.drain(&mut queue),
                    Step::End => {
                        seen.drain(&mut queue);
                        queue.ended(&cause());
                        seen.ended = true;
                        seen.under_way.retain(|id| seen.classes[id] == lockstep_ctx_api::OpClass::Host);
                    }
                }
            }
            seen.drain(&mut queue);
            // Queued operations start in program order.
            let queued: Vec<OpId> =
                seen.started.iter().copied().filter(|id| seen.classes[id] == lockstep_ctx_api::OpClass::Queued).collect();
            prop_assert!(queued.is_sorted());
            queue.ended(&cause());
            queue.close();
            seen.ended = true;
            seen.drain(&mut queue);
            prop_assert_eq!(seen.settled.len(), seen.classes.len());
            prop_assert_eq!(queue.pending(), 0);
            prop_assert!(queue.is_idle());
        }
    }
}

#[test]
fn a_call_that_somebody_else_has_keeps_its_operations_waiting() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), play()], &[0, 1]);
    queue.hold_back();
    assert_eq!(drain(&mut queue), ["~0"]);
    assert_eq!(complete(&mut queue, 0, aborted()), Vec::<String>::new());
    assert_eq!(turn(&mut queue, 2, vec![set()], &[2]), ["+2"]);
    assert!(!queue.is_idle());
    queue.go_on("a bridge");
    assert_eq!(drain(&mut queue), ["!0:AbortError", "+1"]);
}

#[test]
fn a_call_that_somebody_else_has_can_be_hung_up_and_settles_everything_by_its_end() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), play()], &[0, 1]);
    queue.hold_back();
    drain(&mut queue);
    complete(&mut queue, 0, aborted());
    assert_eq!(turn(&mut queue, 2, vec![hangup()], &[2]), ["+2"]);
    assert_eq!(complete(&mut queue, 2, unit()), ["=2"]);
    queue.ended(&cause());
    assert_eq!(drain(&mut queue), ["!0:CallEnded", "!1:CallEnded", "idle"]);
}

#[test]
fn what_has_not_stopped_yet_when_the_call_comes_back_settles_when_it_has() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play(), sleep()], &[0, 1]);
    queue.hold_back();
    queue.go_on("a bridge from outside");
    assert_eq!(drain(&mut queue), ["~0"]);
    assert_eq!(complete(&mut queue, 0, aborted()), ["!0:AbortError", "+1"]);
}

#[test]
fn a_signal_settles_an_operation_that_was_stopped_for_somebody_else() {
    let mut queue = OpQueue::new();
    turn(&mut queue, 0, vec![play()], &[0]);
    queue.hold_back();
    drain(&mut queue);
    complete(&mut queue, 0, aborted());
    queue.cancel(id(0));
    assert_eq!(drain(&mut queue), ["!0:AbortError", "idle"]);
}

#[test]
fn what_is_not_the_calls_goes_on_apart_when_the_call_is_taken_from_its_script() {
    let mut queue = OpQueue::new();
    assert_eq!(turn(&mut queue, 0, vec![play(), fetch()], &[0, 1]), ["+0", "+1"]);
    let mut apart = queue.part_host_operations(&cause());
    assert!(apart.holds(id(1)) && !apart.holds(id(0)));
    queue.cancel_all();
    assert_eq!(drain(&mut queue), ["~0"]);
    assert_eq!(complete(&mut apart, 1, unit()), ["=1"]);
    assert_eq!(turn(&mut apart, 2, vec![play(), fetch()], &[2, 3]), ["!2:CallEnded", "+3", "idle"]);
}
