//! A run that loses its runtime at any point goes on as if nothing had happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::error::{CallEndedCause, EndedBy, OpError};
use lockstep_ctx_api::event::{CallFacts, Event};
use lockstep_ctx_api::journal::{Journal, lines};
use lockstep_ctx_api::op::{DtmfMethod, OpId, Vars};
use lockstep_ctx_api::outcome::{Outcome, PlayReason, Played};
use lockstep_ctx_api::wire::{Bundle, CallStart, EntryKind, RunId, ScriptErrorKind, ScriptType};
use lockstep_engine::config::ScriptEntry;
use lockstep_engine::script::supervisor::RunBounds;
use lockstep_engine::script::{
    InProcess, Moment, Program, ProgramLimits, ScriptHost, ScriptOutput, StartRun, digest_of, version_of,
};

const SCRIPT: &str = "
async function main(data, ctx) {
  const digits = [];
  ctx.on('dtmf', e => { digits.push(e.digit); console.log('key', e.digit, Math.random()); });
  await ctx.answer();
  const started = Date.now();
  const id = crypto.randomUUID();
  const audio = ctx.play('user/menu.wav');
  const choice = await ctx.waitFor(/[1-9]{2}/, undefined, 60);
  await audio;
  await new Promise(done => setTimeout(done, 250));
  console.log('choice', choice, id, Date.now() - started);
  ctx.set('choice', choice + Math.random());
  try {
    await ctx.sleep(60000, { signal: AbortSignal.timeout(500) });
  } catch (error) {
    console.log(error.name);
  }
  ctx.play('user/bye-' + digits.join('') + '-' + Math.floor(Math.random() * 1e9) + '.wav');
  const cause = await ctx.waitForHangup();
  console.log('end', cause.code, Date.now() - started);
}";

fn program(source: &str) -> Arc<Program> {
    let file = "menu.js".to_owned();
    let sources = BTreeMap::from([(file.clone(), digest_of(source))]);
    Arc::new(Program {
        name: "menu".into(),
        file: file.clone(),
        uuid: "00000000-0000-8000-8000-000000000001".into(),
        id: 1,
        script_type: ScriptType::App,
        account: "default".to_owned(),
        settings: ScriptEntry::new(file.clone()),
        limits: ProgramLimits { memory_bytes: 32 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
        time_zone: "UTC".into(),
        env: Vars::new(),
        environment: Default::default(),
        bundle_id: 1,
        version: version_of(&file, &sources),
        sources,
        bundle: Arc::new(Bundle { entry: file.clone(), files: [(file, source.into())].into(), ..Bundle::default() }),
    })
}

/// A host, a clock and what came out so far.
struct Stage {
    host: InProcess,
    now: Moment,
    run: RunId,
    outputs: Vec<String>,
    issued: Vec<OpId>,
}

impl Stage {
    fn new(source: &str) -> Self {
        let now = Moment { unix_ms: 1_700_000_000_000, ..Moment::now() };
        let mut host = InProcess::new(now, RunBounds::default());
        let call = CallStart { facts: CallFacts { id: "c".into(), ..CallFacts::default() }, ..CallStart::default() };
        let start = StartRun {
            program: program(source),
            function: None,
            data: "{}".into(),
            call: Some(call),
            env: Vars::new(),
            seed: [5; 32],
            is_awaited: false,
        };
        let run = host.start(now, start);
        let mut stage = Self { host, now, run, outputs: Vec::new(), issued: Vec::new() };
        stage.drain();
        stage
    }

    fn drain(&mut self) {
        while let Some(output) = self.host.poll_output() {
            let shown = match output {
                ScriptOutput::Turn(_, mut turn) => {
                    turn.cpu_us = 0;
                    self.issued.extend(turn.issued.iter().map(|(id, ..)| *id));
                    format!("{turn:?}")
                }
                other => format!("{other:?}"),
            };
            self.outputs.push(shown);
        }
    }

    fn entry(&mut self, kind: EntryKind) {
        self.host.entry(self.now, self.run, kind);
        self.drain();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Complete(at) => {
                let played = Played { played_ms: 5, reason: PlayReason::Completed, digit: None };
                let op = self.issued[*at];
                self.entry(EntryKind::Outcome { op, result: Ok(Outcome::Played(played)) });
            }
            Step::Abort(at) => {
                let op = self.issued[*at];
                self.entry(EntryKind::Outcome { op, result: Err(OpError::aborted("sleep")) });
            }
            Step::Digit(digit) => {
                let event = Event::Dtmf { digit: *digit, duration_ms: 100, method: DtmfMethod::Rfc4733 };
                self.entry(EntryKind::Event(event));
            }
            Step::Pass(ms) => {
                self.now.instant += Duration::from_millis(*ms);
                self.now.unix_ms += ms;
                self.host.handle_timeout(self.now);
                self.drain();
            }
            Step::End => {
                self.entry(EntryKind::CallEnded(CallEndedCause { code: 200, reason: "OK".into(), by: EndedBy::Caller }));
            }
        }
    }

    fn crash(&mut self) {
        self.host.crash(self.now);
        self.drain();
    }
}

enum Step {
    /// The n-th operation issued completes.
    Complete(usize),
    Abort(usize),
    Digit(char),
    Pass(u64),
    End,
}

const STEPS: [Step; 12] = [
    Step::Complete(0),
    Step::Pass(120),
    Step::Digit('4'),
    Step::Pass(30),
    Step::Complete(1),
    Step::Digit('2'),
    Step::Pass(250),
    Step::Complete(2),
    Step::Pass(500),
    Step::Abort(3),
    Step::Pass(40),
    Step::End,
];

fn play_out(crash_after: &[usize]) -> (Vec<String>, Journal, u64) {
    let mut stage = Stage::new(SCRIPT);
    for (index, step) in STEPS.iter().enumerate() {
        if crash_after.contains(&index) {
            stage.crash();
        }
        stage.step(step);
    }
    let rebuilds = stage.host.stats().rebuilds;
    let mut journal = stage.host.drop_run(stage.now, stage.run).unwrap();
    journal.bytes = 0;
    (stage.outputs, journal, rebuilds)
}

#[test]
fn a_crash_before_any_entry_changes_nothing() {
    let (outputs, journal, _) = play_out(&[]);
    let text = outputs.join("\n");
    for expected in ["key 4", "choice 42", "AbortError", "user/bye-42-", "end 200", "Finished"] {
        assert!(text.contains(expected) || expected == "AbortError" && text.contains("TimeoutError"), "{expected}: {text}");
    }
    for at in 0..STEPS.len() {
        let (again, same, rebuilds) = play_out(&[at]);
        assert_eq!(again, outputs, "crashed before step {at}");
        assert_eq!(same, journal, "crashed before step {at}");
        assert!(rebuilds <= 1);
    }
}

#[test]
fn crashes_before_every_entry_change_nothing_either() {
    let (outputs, journal, _) = play_out(&[]);
    let everywhere: Vec<usize> = (0..STEPS.len()).collect();
    let (again, same, rebuilds) = play_out(&everywhere);
    assert_eq!(again, outputs);
    assert_eq!(same, journal);
    assert!(rebuilds > 5, "{rebuilds} rebuilds");
}

#[test]
fn the_journal_of_a_real_run_survives_being_written_as_text() {
    let (_, mut journal, _) = play_out(&[]);
    let text = lines::render(&journal, None);
    journal.bytes = text.len();
    assert_eq!(lines::parse(&text).unwrap(), journal);
}

#[test]
fn a_script_that_is_not_a_function_of_its_journal_is_caught() {
    // The only way out of the journal from within is another source under the same version; so pretend.
    let mut stage = Stage::new(SCRIPT);
    stage.step(&STEPS[0]);
    let mut other = Stage::new("async function main(data, ctx) { await ctx.ring(); }");
    let journal = stage.host.journal(stage.run).unwrap();
    let mut replayer = lockstep_ctx_api::journal::Replayer::new(&journal);
    let theirs = other.host.journal(other.run).unwrap();
    let first = &theirs.turns[0];
    let end = lockstep_ctx_api::wire::TurnEnd {
        run: other.run,
        epoch: 1,
        turn: 0,
        issued: first.issued.clone(),
        awaited: first.awaited.clone(),
        cancels: Vec::new(),
        wake_at: None,
        lingers: false,
        state: first.state.clone(),
        cpu_us: 0,
        gone: false,
    };
    let error = replayer.turn_end(&journal, &end).unwrap_err().to_string();
    assert!(error.contains("ctx.answer") && error.contains("ctx.ring"), "{error}");
    other.crash();
}

#[test]
fn a_syntax_error_fails_the_run_with_its_place() {
    let stage = Stage::new("function main() {\n  let x = ;\n}");
    let failed = stage.outputs.iter().find(|output| output.starts_with("Failed")).expect("it fails");
    assert!(failed.contains(&format!("{:?}", ScriptErrorKind::Load)) && failed.contains("line: 2"), "{failed}");
}
