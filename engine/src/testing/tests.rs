mod bridging;

use std::sync::Arc;

use lockstep_ctx_api::wire::ScriptType;

use super::runner::{Plan, Verdict, run_one};
use super::{TestFile, tap};
use crate::config::Config;
use crate::core::tests::lab::programs;
use crate::script::{Program, ProgramSet};
use crate::simulation::Project;

const MENU: &str = "async function main(data, ctx) {
  await ctx.answer();
  const { value } = await ctx.ivr('tone:440,300/0', 5, 1, 1);
  await ctx.tts(`you pressed ${value}`);
}";

fn file(source: &str) -> Result<TestFile, String> {
    file_of(project_of(programs(&[("1000", MENU)])), source)
}

fn project_of(set: Arc<ProgramSet>) -> Project {
    let config: Config = toml::from_str("[[user]]\nname = \"1001\"\npassword = \"secret\"").expect("sound");
    Project::new(config, set, "/nonexistent".into()).expect("threads can be started")
}

fn file_of(project: Project, source: &str) -> Result<TestFile, String> {
    TestFile::of_source(
        "menu.test.js".to_owned(),
        &format!(
            "import {{ test, expect, phone, network, http, time, kv, class4, driver, replays, run }} from 'lockstep:test';\n{source}"
        ),
        project,
        1,
    )
}

/// What a test with this body comes to: nothing, or the whole report.
fn outcome(body: &str) -> Option<String> {
    let file = file(&format!("test('it', async () => {{\n{body}\n}});")).expect("it loads");
    let report = run_one(&file, 0, &Plan::default());
    matches!(report.verdict, Verdict::Failed { .. }).then(|| tap(1, &report))
}

#[track_caller]
fn fails(body: &str, with: &str) {
    let report = outcome(body).unwrap_or_else(|| panic!("{body}\npasses"));
    assert!(report.contains(with), "{body}\nexpected: {with}\n{report}");
}

const DIALLED: &str = "const call = await phone.dial('1000'); await call.answered();";

#[test]
fn a_menu_is_heard_answered_and_spoken() {
    let body = format!(
        "{DIALLED} await call.hears({{ tone: 440 }}); await call.press('7'); await call.hears({{ tts: /pressed 7/ }}); expect((await call.ended()).by).toBe('remote');"
    );
    assert_eq!(outcome(&body), None);
}

#[test]
fn jobs_run_when_they_come_due_and_whoever_waits_is_told() {
    let waits = "async function main(data, ctx) {
      await ctx.answer();
      const job = await require('cxJob').add('script-2000', 'double', { n: 21 }, { delay_ms: 20_000 });
      await ctx.tts(`it is ${await job.result}`);
    }";
    let works = "const { setProgress } = require('cxJob');
      exports.double = async ({ n }) => {
        await setProgress(50);
        await new Promise((done) => setTimeout(done, 10_000));
        return n * 2;
      };
      exports.refuse = async () => {
        await require('cxPubSub').publish('drawn', crypto.randomUUID());
        throw new Error(`job ${process.env.JOB_ID} is odd`);
      };";
    let source = format!(
        "import {{ add, get }} from 'cxJob';
      import {{ subscribe }} from 'cxPubSub';
      test('it', async () => {{
        {DIALLED}
        const began = time.now();
        await time.advance(25_000);
        expect(await get(1)).toMatchObject({{ state: 'active', progress: 50 }});
        await call.hears({{ tts: /it is 42/ }});
        await call.ended();
        expect(time.now() - began).toBeGreaterThan(30_000);
        const tried = time.now();
        const drawn = new Set();
        subscribe('drawn', (drew) => {{ drawn.add(drew); }});
        const job = await add('script-2000', 'refuse', {{}}, {{ attempts: 3, backoff_ms: 1_000 }});
        const error = await job.result.catch((error) => error);
        expect([error.name, time.now() - tried]).toEqual(['JobFailed', 3_000]);
        expect(await job.state()).toMatchObject({{ state: 'failed', attempt: 3, error: expect.stringContaining('job 2 is odd') }});
        expect(await (await get(1)).result).toBe(42);
        const again = await job.result.catch((error) => error.message);
        expect(again).toContain('is odd');
        expect(drawn.size).toBe(3);
      }});"
    );
    let file = file_of(project_of(programs(&[("1000", waits), ("2000", works)])), &source).expect("it loads");
    let report = run_one(&file, 0, &Plan::default());
    assert!(matches!(report.verdict, Verdict::Passed), "{}", tap(1, &report));
}

#[test]
fn scripts_outside_calls_and_the_test_itself_listen() {
    let hears = "const { subscribe } = require('cxPubSub');
      function main() { return new Promise((resolve) => subscribe('news', resolve)); }";
    let says = "function main() { return require('cxPubSub').publish('news', 'hello'); }";
    let source = "import { subscribe } from 'cxPubSub';
      test('it', async () => {
        const own = new Promise((resolve) => subscribe('news', resolve));
        const heard = run('script-1000', 'main');
        await time.advance(10);
        expect(await run('script-2000', 'main')).toBe(2);
        expect([await heard, await own]).toEqual(['hello', 'hello']);
      });";
    let file = file_of(project_of(programs(&[("1000", hears), ("2000", says)])), source).expect("it loads");
    let report = run_one(&file, 0, &Plan::default());
    assert!(matches!(report.verdict, Verdict::Passed), "{}", tap(1, &report));
}

#[test]
fn what_is_not_heard_is_told_with_what_was() {
    let report =
        outcome(&format!("{DIALLED} await call.press('7'); await call.hears({{ tts: 'pressed 8' }});")).expect("it fails");
    for part in
        ["expected to hear speech \"pressed 8\"", "menu.test.js:3", "script tts", "you pressed 7", "test   press(0, \"7\")"]
    {
        assert!(report.contains(part), "{part}\n{report}");
    }
}

#[test]
fn wrong_use_says_what_was_expected() {
    fails("await phone.dial('1000', { form: '1' });", "unknown option 'form'; expected from,");
    for option in ["from: '441'", "codecs: ['pcma']", "ptime_ms: 30", "network: network({ loss: 0.1 })"] {
        let dial = format!("const p = phone.register('1001'); await p.dial('1000', {{ {option} }});");
        fails(&dial, "is of the phone: expected where it is registered");
    }
    fails("phone.register('1009');", "no [[user]] of the configuration has that name; it has 1001");
    fails(&format!("{DIALLED} await call.press('x');"), "expected keys out of 0-9 * # A-D");
    fails(&format!("{DIALLED} await call.hears(/x/);"), "a pattern fits speech only");
    fails(&format!("{DIALLED} call.press('1');"), "was not awaited");
    fails(&format!("{DIALLED} await call.answer();"), "answer: the call is up already");
    fails("network({ loss: 10 });", "`loss` must be a share between 0 and 1, got 10");
    fails("http.on('ftp://x').reply(200);", "expected an http or https URL");
    fails("expect(Promise.resolve(1)).toBe(1);", "got a promise; await it");
    fails("await new Promise(() => {});", "waits for something that nothing can bring about");
    fails("await (await phone.dial('1999')).answered();", "expected the call to be answered: it ended: 404");
}

#[test]
fn a_wrong_option_of_one_test_fails_the_whole_file_rather_than_leaving_its_tests_out() {
    let seed = "`seed` must be a whole number, 0 or more";
    for (options, expected) in [
        ("{ seed: -1 }", seed),
        ("{ seed: '7' }", seed),
        ("{ seed: 1.5 }", seed),
        ("{ network: network({ seed: -7 }) }", seed),
        ("{ network: { delay_ms: Infinity } }", "delay_ms: expected milliseconds, got Infinity"),
        ("{ vars: { a: 1 } }", "unknown option 'vars'; expected network, timeout, seed, at"),
    ] {
        let error = file(&format!("test('sound', () => {{}});\ntest('it', {options}, () => {{}});")).err();
        assert!(error.as_ref().is_some_and(|error| error.contains(expected)), "{options}: {error:?}");
    }
}

#[test]
fn expectations_hold_or_say_why_not() {
    let holds = "expect({ a: [1, { b: 2 }], c: undefined }).toEqual({ a: [1, { b: 2 }] });
      expect({ a: 1, b: 2 }).toMatchObject({ a: expect.any(Number) });
      expect(() => { throw new TypeError('no such thing'); }).toThrow(/such/);
      expect([1, 2]).not.toContain(3);
      await expect(Promise.reject(new Error('x'))).rejects.toThrow('x');
      await expect(Promise.resolve(3)).resolves.toBeGreaterThan(2);";
    assert_eq!(outcome(holds), None);
    fails("expect({ a: 1 }).toStrictEqual({ a: 1, b: undefined });", "toStrictEqual");
    fails("expect(2 + 2).toBe(5);", "received: 4");
    fails("await expect(Promise.resolve(1)).rejects.toThrow();", "it resolved with 1");
}

#[test]
fn time_keys_and_requests_are_the_stages_own() {
    let body = "const before = time.now(); await time.advance(3_600_000); expect(time.now() - before).toBe(3_600_000);
      await kv.set('a', '1', 60); expect(await kv.get('a')).toBe('1'); await time.advance(61_000); expect(await kv.get('a')).toBe(null);
      http.on('https://a.example/').reply(200, { n: 1 });
      expect(await (await fetch('https://a.example/')).json()).toEqual({ n: 1 });";
    assert_eq!(outcome(body), None);
}

#[test]
fn audio_by_url_is_heard_under_the_url_that_was_written() {
    let script = "async function main(data, ctx) {
      await ctx.answer();
      for (const voice of ['x', 'y']) await ctx.play(`https://a.example/a.ulaw?voice=${voice}`);
    }";
    let source = "test('it', async () => {
      for (const [voice, seed] of [['x', 7], ['y', 1234]]) {
        let n = seed;
        const noise = Array.from({ length: 4800 }, () => String.fromCharCode(33 + (n = (n * 16807) % 2147483647) % 89));
        http.on(`https://a.example/a.ulaw?voice=${voice}`).reply(200, noise.join(''));
      }
      const call = await phone.dial('1000');
      await call.hears('https://a.example/a.ulaw?voice=x', { timeout_ms: 5_000 });
      await call.hears('https://a.example/a.ulaw?voice=y', { timeout_ms: 5_000 });
    });";
    let file = file_of(project_of(programs(&[("1000", script)])), source).expect("it loads");
    let report = run_one(&file, 0, &Plan::default());
    assert!(matches!(report.verdict, Verdict::Passed), "{}", tap(1, &report));
}

#[test]
fn tables_suites_and_hooks_make_tests() {
    let source = "import { describe, beforeEach } from 'lockstep:test';
      let seen = [];
      describe('table', () => { beforeEach(() => seen.push('before')); test.each([[1, 2], [2, 4]])('%s doubled is %s', (a, b) => { seen.push(a); expect(a * 2).toBe(b); expect(seen).toEqual(['before', a]); }); });
      test.skip('later', () => {}); test.todo('one day');";
    let file = file(source).unwrap();
    let names: Vec<String> = file.tests.iter().map(super::Listed::name).collect();
    assert_eq!(names, ["table › 1 doubled is 2", "table › 2 doubled is 4", "later", "one day"]);
    let verdicts: Vec<Verdict> = (0..4).map(|index| run_one(&file, index, &Plan::default()).verdict).collect();
    assert!(
        matches!(
            verdicts.as_slice(),
            [Verdict::Passed, Verdict::Passed, Verdict::Skipped { why: None }, Verdict::Skipped { why: Some(_) }]
        ),
        "{verdicts:?}"
    );
}

#[test]
fn a_file_that_does_not_parse_is_told_with_its_line() {
    let refused = file("test('x', () => {").err().expect("it does not parse");
    assert!(refused.starts_with("menu.test.js:"), "{refused}");
}

/// The lines that a test with this body writes.
fn lines(project: Project, body: &str) -> Vec<String> {
    let file = file_of(project, &format!("test('it', async () => {{\n{body}\n}});")).expect("it loads");
    let report = run_one(&file, 0, &Plan::default());
    assert!(matches!(report.verdict, Verdict::Passed), "{}", tap(1, &report));
    report.lines.into_iter().map(|line| line.text).collect()
}

/// How often each line with statements ran.
fn counted(project: &Project) -> Vec<u64> {
    let coverage = project.coverage.as_ref().expect("it is covered");
    let (_, _, made, counts) = coverage.files().next().expect("there is a script");
    made.statements.iter().map(|statement| counts.of(statement.mark)).collect()
}

#[test]
fn counting_what_is_reached_changes_nothing_that_can_be_seen() {
    let script = "async function main(data, ctx) {
      const long = data.to === '1000' ? 'yes' : 'no'; await ctx.answer(); ctx.log(long);
      if (long) ctx.tts('not waited for'); else await ctx.play('tone:440,100/0');
      await ctx.sleep(100); const there = data.missing && 1; throw new Error(`${long} ${there}`);
    }";
    let body = format!("{DIALLED} await call.ended(); console.log(JSON.stringify(await call.timeline()));");
    let plain = project_of(programs(&[("1000", script)]));
    let covered = plain.covered();
    let timeline = lines(plain, &body);
    assert_eq!(timeline, lines(covered.clone(), &body));
    assert!(timeline.join("").contains("script-1000.js:4"), "{timeline:?}");
    assert_eq!(counted(&covered), [1, 1, 1, 1, 1, 0, 1, 1, 1]);
}

#[test]
fn scripts_are_counted_in_their_frozen_context() {
    let source = "function main(data) { if (data.x > 1) { data.y = 1; } else { data.y = 2; } return data; }";
    let set = programs(&[("1000", source)]);
    let frozen = set.iter().map(|program| Arc::new(Program { script_type: ScriptType::Script, ..program.as_ref().clone() }));
    let covered = project_of(Arc::new(ProgramSet::new(frozen.collect::<Vec<_>>(), Vec::new()))).covered();
    let body = "for (const x of [0, 1, 2]) await class4({ x, routing: {} }, { script: 'script-1000' });";
    lines(covered.clone(), body);
    assert_eq!(counted(&covered), [3, 1, 2, 3]);
}

/// A project with one route, which has this script.
fn routed_by(source: &str) -> Project {
    let config: Config = toml::from_str(
        "[[gateway]]\nid = 7\naddress = \"sip:sbc.example.net\"\n[[customer]]\nid = 12\naddresses = [\"198.51.100.0/24\"]\nvars = { tier = \"gold\" }\n\
         [[route]]\nprefix = \"44\"\ngateways = [7]\nscript = \"script-1000\"",
    )
    .expect("sound");
    Project::new(config, programs(&[("1000", source)]), "/nonexistent".into()).expect("threads can be started")
}

#[test]
fn scripts_of_routes_are_counted_as_others_are() {
    let covered = routed_by("function main(data) { if (data.routing.cli) { data.x = 1; } return data; }").covered();
    let body = "for (const cli of ['', '441']) await class4({ routing: { dest_number: '44123', cli } });";
    lines(covered.clone(), body);
    assert_eq!(counted(&covered), [2, 1, 2]);
}

#[test]
fn the_hook_runs_what_applies_as_it_does_over_http() {
    let source = "function main(data) {
      if (data.routing.dest_number === '44999') throw new Error('603 Not there');
      data.routing.cli = `${data.tier}-${data.routing.egress_routing.length}`;
    }";
    let body = "const routed = await class4({ routing: { dest_number: '44123', account_id: 12 } });
      console.log(routed.routing.cli);
      await class4({ routing: { dest_number: '44999' } }).catch((error) => console.log(error.message));
      console.log((await class4({ routing: { dest_number: '33123' } })).routing.egress_routing.length);";
    assert_eq!(lines(routed_by(source), body), ["gold-1", "603 Not there", "0"]);
}

#[test]
fn the_hook_takes_the_time_that_its_scripts_take() {
    let source =
        "async function main(data) { await fetch('https://a.example/'); if (data.refuse) throw new Error('603 Not there'); }";
    let body = "http.on('https://a.example/').reply(200, {}, { delay_ms: 1500 });
      const timed = async (data, options) => {
        const before = time.now();
        await class4({ routing: { dest_number: '44123' }, ...data }, options).catch((error) => console.log(error.message));
        console.log(time.now() - before);
      };
      await timed();
      await timed({ refuse: 1 }, { script: 'script-1000' });";
    assert_eq!(lines(routed_by(source), body), ["1500", "603 Not there", "1500"]);
}

#[test]
fn a_global_named_as_anothers_file_is_run_itself() {
    let adds = |mark: char| format!("function main(data) {{ data.routing.cli += '{mark}'; }}");
    let set = programs(&[("first:default@1", adds('g').as_str()), ("1000", adds('r').as_str())]);
    let renamed = set.iter().map(|program| {
        let mut program = program.as_ref().clone();
        if program.settings.run.is_some() {
            program.name = "script-1000.js".to_owned();
        }
        Arc::new(program)
    });
    let set = ProgramSet::new(renamed.collect::<Vec<_>>(), Vec::new());
    let config: Config = toml::from_str(
        "[[gateway]]\nid = 7\naddress = \"sip:sbc.example.net\"\n\
         [[route]]\nprefix = \"44\"\ngateways = [7]\nscript = \"script-1000.js\"",
    )
    .expect("sound");
    let project = Project::new(config, Arc::new(set), "/nonexistent".into()).expect("threads can be started");
    let body = "console.log((await class4({ routing: { dest_number: '44123', cli: 'x' } })).routing.cli);";
    assert_eq!(lines(project, body), ["xgr"]);
}

#[test]
fn the_hook_by_one_script_is_the_same_hook() {
    let source = "function main(data) {
      if (data.refuse) throw new Error('603 Not there');
      if (data.blocks) return new Error('604 Number on DNC List');
      if ('give' in data) return data.give;
      const result = data.bare ? data.routing : data;
      result.headers.push({ key: 'X-A', value: data.tier });
      return result;
    }";
    let body = "const by = (data) => class4(data, { script: 'script-1000' });
      for (const bare of [false, true]) {
        const { headers, routing } = await by({ routing: { account_id: 12 }, bare });
        console.log(JSON.stringify([headers, routing.headers]));
      }
      for (const data of [{ refuse: 1 }, { blocks: 1 }, { give: null }, { give: 5 }, { give: { ok: true } }]) await by(data).catch((error) => console.log(error.message));
      await class4({}, { script: 'none' }).catch((error) => console.log(error.message));";
    let changed = r#"[[{"key":"X-A","value":"gold"}],[{"key":"X-A","value":"gold"}]]"#;
    let expected = [
        changed,
        changed,
        "603 Not there",
        "604 Number on DNC List",
        "500 Script Error: script-1000: the routing script returned null, expected the routing object",
        "500 Script Error: script-1000: the routing script returned a number, expected the routing object",
        "500 Script Error: script-1000: the routing script returned an object with nothing of the routing object, which was expected",
        "no script none",
    ];
    assert_eq!(lines(routed_by(source), body), expected);
}

#[test]
fn results_keep_the_order_of_their_members() {
    let source = "function main(data) { return data } module.exports.dial = (data) => ({ z: data, a: 1 })";
    let body = "const show = (value) => console.log(JSON.stringify(value));
      show(await run('script-1000', 'dial', { y: 1, b: { x: 2, c: 3 } }));
      show(await driver('script-1000', 'dial', { y: 1, b: 2 }));
      show((await class4({ routing: { dest_number: '33123' }, extra: { y: 1, b: 2 } })).extra);";
    let project = project_of(programs(&[("1000", source)]));
    let expected = [r#"{"z":{"y":1,"b":{"x":2,"c":3}},"a":1}"#, r#"{"z":{"y":1,"b":2},"a":1}"#, r#"{"y":1,"b":2}"#];
    assert_eq!(lines(project, body), expected);
}

#[test]
fn a_recorded_call_is_looked_for_beside_the_test_only() {
    for name in ["../x.jsonl", "/etc/passwd", "", "a/../../x"] {
        fails(&format!("await replays('{name}');"), "expected the name of a file beside the test");
    }
    fails("await replays('none.journal.jsonl');", "none.journal.jsonl: No such file");
    fails("await replays('x', { other: 1 });", "replays");
}
