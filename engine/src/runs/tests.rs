//! The desk over scripts in this process, on a clock of the test's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::op::{Op, OpId, Vars};
use lockstep_ctx_api::outcome::{FetchResponse, Outcome};
use lockstep_ctx_api::wire::{Bundle, ScriptType};

use super::desk::{Desk, DeskOutput, Order, Ticket};
use super::request::{RunError, RunKind};
use crate::config::ScriptEntry;
use crate::script::supervisor::RunBounds;
use crate::script::{InProcess, Moment, Program, ProgramLimits};

struct Office {
    desk: Desk,
    now: Moment,
}

pub(super) fn program(source: &str, concurrency: Option<u32>) -> Arc<Program> {
    let bundle = Bundle { entry: "main.js".into(), files: [("main.js".to_owned(), source.into())].into(), ..Bundle::default() };
    Arc::new(Program {
        name: "main".into(),
        file: "main.js".into(),
        uuid: "00000000-0000-8000-8000-000000000000".into(),
        id: 1,
        account: "default".into(),
        script_type: ScriptType::App,
        settings: ScriptEntry { concurrency, ..ScriptEntry::new("main.js") },
        limits: ProgramLimits { memory_bytes: 16 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
        time_zone: "UTC".into(),
        env: Vars::new(),
        environment: Default::default(),
        bundle_id: 1,
        bundle: Arc::new(bundle),
        version: "0123456789abcdef".into(),
        sources: BTreeMap::new(),
    })
}

fn order(program: &Arc<Program>, kind: RunKind) -> Order {
    Order {
        program: Arc::clone(program),
        kind,
        function: None,
        data: r#"{"n":1}"#.into(),
        env: Vars::new(),
        timeout: Duration::from_secs(2),
        seed: [7; 32],
    }
}

impl Office {
    fn new() -> Self {
        let now = Moment { unix_ms: 1_700_000_000_000, ..Moment::now() };
        Self { desk: Desk::new(Box::new(InProcess::new(now, RunBounds::default()))), now }
    }

    fn submit(&mut self, program: &Arc<Program>, kind: RunKind) -> Ticket {
        self.desk.submit(self.now, order(program, kind)).expect("few are waiting")
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap();
        self.desk.handle_timeout(self.now);
    }

    fn outputs(&mut self) -> Vec<DeskOutput> {
        std::iter::from_fn(|| self.desk.poll_output()).collect()
    }

    /// How runs have ended since the last look.
    fn ends(&mut self) -> Vec<(Ticket, Result<Option<String>, RunError>)> {
        let ends = self.outputs().into_iter().filter_map(|output| match output {
            DeskOutput::Settled { ticket, end, .. } => Some((ticket, end)),
            _ => None,
        });
        ends.collect()
    }

    /// Answers every request under way.
    fn answer_fetches(&mut self) {
        for output in self.outputs() {
            if let DeskOutput::Perform { ticket, op, what: Op::Fetch(_) } = output {
                self.answer(ticket, op);
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, op: OpId) {
        self.desk.completed(self.now, ticket, op, Ok(Outcome::Fetched(response())));
    }
}

fn response() -> FetchResponse {
    FetchResponse {
        status: 200,
        status_text: String::new(),
        url: String::new(),
        redirected: false,
        headers: Default::default(),
        body: Vec::new(),
    }
}

const FETCHES: &str = "async function main(data) { const r = await fetch('https://example.net/'); return r.status }";

#[test]
fn a_result_comes_with_its_end() {
    let mut office = Office::new();
    let ticket = office.submit(&program("function main(data) { return data.n + 1 }", None), RunKind::Hook);
    assert_eq!(office.ends(), [(ticket, Ok(Some("2".to_owned())))]);
    assert_eq!(office.desk.runs(), 0);
}

#[test]
fn runs_of_a_script_take_turns() {
    let mut office = Office::new();
    let program = program(FETCHES, None);
    let first = office.submit(&program, RunKind::Form);
    let second = office.submit(&program, RunKind::Driver);
    assert_eq!((office.desk.is_waiting(first), office.desk.is_waiting(second)), (Some(false), Some(true)));
    office.answer_fetches();
    assert_eq!(office.desk.is_waiting(second), Some(false));
    office.answer_fetches();
    assert_eq!(office.desk.runs(), 0);
}

#[test]
fn a_script_says_how_many_of_its_runs_go_on_at_once() {
    let mut office = Office::new();
    let program = program(FETCHES, Some(2));
    let tickets = [0; 3].map(|_| office.submit(&program, RunKind::Hook));
    assert_eq!(tickets.map(|ticket| office.desk.is_waiting(ticket).unwrap()), [false, false, true]);
}

const LEAVES_BEHIND: &str = "function main(data) { fetch('https://example.net/'); return data.n }";

#[test]
fn what_a_hook_leaves_behind_keeps_no_turn_but_past_a_bound() {
    let mut office = Office::new();
    let program = program(LEAVES_BEHIND, None);
    for _ in 0..super::desk::MAX_ASIDE {
        let ticket = office.submit(&program, RunKind::Hook);
        assert_eq!(office.desk.is_waiting(ticket), Some(false));
    }
    let last = office.submit(&program, RunKind::Hook);
    let waits = office.submit(&program, RunKind::Hook);
    assert_eq!((office.desk.is_waiting(last), office.desk.is_waiting(waits)), (Some(false), Some(true)));
    office.answer(last, OpId { turn: 0, ordinal: 0 });
    assert_eq!(office.desk.is_waiting(waits), Some(false));
    office.pass(Duration::from_secs(2));
    assert_eq!(office.desk.runs(), 0, "all of them have a time");
}

#[test]
fn what_a_form_leaves_behind_keeps_its_turn_until_it_is_done() {
    let mut office = Office::new();
    let program = program(LEAVES_BEHIND, None);
    let (_, next) = (office.submit(&program, RunKind::Form), office.submit(&program, RunKind::Form));
    assert_eq!(office.desk.is_waiting(next), Some(true));
    office.answer_fetches();
    assert_eq!(office.desk.is_waiting(next), Some(false));
}

#[test]
fn a_job_is_over_when_what_its_main_has_not_awaited_is_and_fails_by_it() {
    let text = "async function main(data) { one(); } \
                async function one() { await new Promise((on) => setTimeout(on, 500)); await fetch('https://example.net/'); throw new Error('late'); }";
    for (kind, ends_at_once) in [(RunKind::Hook, true), (RunKind::Job, false), (RunKind::Schedule, false)] {
        let mut office = Office::new();
        let ticket = office.submit(&program(text, None), kind);
        assert_eq!(!office.ends().is_empty(), ends_at_once, "{kind:?}");
        if ends_at_once {
            continue;
        }
        office.pass(Duration::from_millis(500));
        office.answer_fetches();
        let ends = office.ends();
        let [(ended, Err(error))] = ends.as_slice() else { panic!("{kind:?}: {ends:?}") };
        assert!(*ended == ticket && error.to_string().contains("late"), "{kind:?}: {error}");
    }
}

#[test]
fn jobs_do_not_wait_for_forms() {
    let mut office = Office::new();
    let program = program(FETCHES, None);
    office.submit(&program, RunKind::Form);
    let job = office.submit(&program, RunKind::Job);
    assert_eq!(office.desk.is_waiting(job), Some(false));
}

#[test]
fn more_than_the_bound_do_not_wait() {
    let mut office = Office::new();
    let program = program(FETCHES, None);
    for _ in 0..=1_000 {
        office.submit(&program, RunKind::Hook);
    }
    let refused = office.desk.submit(office.now, order(&program, RunKind::Hook));
    assert_eq!(refused, Err(RunError::Busy { waiting: 1_000 }));
}

#[test]
fn wall_time_counts_waiting_and_running() {
    let mut office = Office::new();
    let program = program(FETCHES, None);
    let running = office.submit(&program, RunKind::Hook);
    office.pass(Duration::from_secs(1));
    let waiting = office.submit(&program, RunKind::Hook);
    office.outputs();
    office.pass(Duration::from_secs(1));
    let limit = Duration::from_secs(2);
    assert_eq!(office.ends(), [(running, Err(RunError::TimedOut { limit, waited: Duration::ZERO }))]);
    assert_eq!(office.desk.is_waiting(waiting), Some(false));
    office.pass(Duration::from_secs(1));
    let error = RunError::TimedOut { limit, waited: Duration::from_secs(1) };
    let said = "the run was ended: it took longer than 2 s, 1.000 s of which it waited for earlier runs of the script";
    assert_eq!(error.to_string(), said);
    assert_eq!(office.ends(), [(waiting, Err(error))]);
    assert_eq!((office.desk.runs(), office.desk.stats().runs), (0, 0));
}

#[test]
fn those_that_did_not_come_to_their_turn_do_not_begin_when_their_time_is_over() {
    let mut office = Office::new();
    let program = program(FETCHES, None);
    let [running, second, third] = [0; 3].map(|_| office.submit(&program, RunKind::Hook));
    office.pass(Duration::from_secs(2));
    let limit = Duration::from_secs(2);
    let mut ends = office.ends();
    ends.sort_by_key(|(ticket, _)| *ticket);
    let waited_for_nothing = || Err(RunError::TimedOutWaiting { limit });
    let ended = Err(RunError::TimedOut { limit, waited: Duration::ZERO });
    assert_eq!(ends, [(running, ended), (second, waited_for_nothing()), (third, waited_for_nothing())]);
    assert_eq!((office.desk.runs(), office.desk.stats().runs), (0, 0));
}

#[test]
fn a_cancelled_run_leaves_nothing_behind() {
    let mut office = Office::new();
    let ticket = office.submit(&program(FETCHES, None), RunKind::Api);
    let [DeskOutput::Perform { op, .. }] = office.outputs()[..] else { panic!("a request is made") };
    office.desk.cancel(office.now, ticket);
    let outputs = office.outputs();
    assert!(outputs.contains(&DeskOutput::Abandon { ticket, op }), "{outputs:?}");
    assert!(matches!(outputs.last(), Some(DeskOutput::Gone { ticket: gone, .. }) if *gone == ticket));
    assert_eq!(office.desk.stats().runs, 0);
    office.answer(ticket, op);
    assert_eq!(office.outputs(), []);
}

#[test]
fn a_hook_answers_before_what_it_left_behind_is_done() {
    let mut office = Office::new();
    let script = program("function main(data) { fetch('https://example.net/'); return data.n }", None);
    let ticket = office.submit(&script, RunKind::Hook);
    let outputs = office.outputs();
    assert!(outputs.iter().any(|output| matches!(output, DeskOutput::Settled { .. })), "{outputs:?}");
    assert_eq!(office.desk.runs(), 1);
    office.answer(ticket, OpId { turn: 0, ordinal: 0 });
    assert!(office.outputs().iter().any(|output| matches!(output, DeskOutput::Gone { ticket: gone, .. } if *gone == ticket)));
}

#[test]
fn any_other_run_answers_when_all_is_done() {
    let mut office = Office::new();
    let script = program("function main(data) { fetch('https://example.net/'); return data.n }", None);
    let ticket = office.submit(&script, RunKind::Form);
    let outputs = office.outputs();
    assert!(!outputs.iter().any(|output| matches!(output, DeskOutput::Settled { .. })), "{outputs:?}");
    office.answer(ticket, OpId { turn: 0, ordinal: 0 });
    assert_eq!(office.ends(), [(ticket, Ok(Some("1".to_owned())))]);
}

#[test]
fn what_settles_together_is_told_in_its_order() {
    let mut office = Office::new();
    let source = "async function main() {
        const order = [];
        await Promise.all(['a', 'b'].map((name) => fetch(`https://${name}.example.net/`).then(() => order.push(name))));
        return order;
    }";
    let ticket = office.submit(&program(source, None), RunKind::Form);
    let performed: Vec<(Ticket, OpId)> = office
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            DeskOutput::Perform { ticket, op, .. } => Some((ticket, op)),
            _ => None,
        })
        .collect();
    let fetched = |(ticket, op)| (ticket, op, Ok(Outcome::Fetched(response())));
    // Nobody waits for the last one any more.
    let stray = (Ticket(99), OpId { turn: 0, ordinal: 0 });
    office.desk.all_completed(office.now, performed.into_iter().rev().chain([stray]).map(fetched));
    assert_eq!(office.ends(), [(ticket, Ok(Some(r#"["b","a"]"#.to_owned())))]);
    assert_eq!(office.desk.runs(), 0);
}

#[test]
fn a_promise_that_nothing_settles_ends_the_run() {
    let mut office = Office::new();
    let ticket = office.submit(&program("function main() { return new Promise(() => {}) }", None), RunKind::Api);
    assert_eq!(office.ends(), [(ticket, Err(RunError::Stuck))]);
}

#[test]
fn timers_go_with_the_clock() {
    let mut office = Office::new();
    let script = program("function main() { return new Promise((r) => setTimeout(() => r('late'), 500)) }", None);
    let ticket = office.submit(&script, RunKind::Api);
    office.pass(Duration::from_millis(499));
    assert_eq!(office.ends(), []);
    office.pass(Duration::from_millis(1));
    assert_eq!(office.ends(), [(ticket, Ok(Some("\"late\"".to_owned())))]);
}

#[test]
fn an_error_is_the_scripts_with_its_place() {
    let mut office = Office::new();
    office.submit(&program("function main() {\n  null.x;\n}", None), RunKind::Api);
    let [(_, Err(RunError::Script(error)))] = &office.ends()[..] else { panic!("it throws") };
    assert_eq!(error.at.as_ref().map(|at| (&*at.file, at.line)), Some(("main.js", 2)));
}

#[test]
fn sip_replies_are_what_the_contract_says() {
    let limit = Duration::from_secs(2);
    assert_eq!(RunError::TimedOut { limit, waited: Duration::ZERO }.sip(), (500, "ScriptForge Timeout".to_owned()));
    assert_eq!(RunError::Busy { waiting: 1 }.sip(), (503, "Service Unavailable".to_owned()));
    let mut office = Office::new();
    office.submit(&program("function main() { throw '404 Not Found' }", None), RunKind::Hook);
    let [(_, Err(error))] = &office.ends()[..] else { panic!("it throws") };
    assert_eq!((error.sip(), error.is_deliberate()), ((404, "Not Found".to_owned()), true));
}
