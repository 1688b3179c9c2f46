//! The rules of lockstep under random operations and a random network: every operation settles once, nothing stays pending after
//! the call, order is kept, no digit is counted twice.
//!
//! A scenario is decided by its number. A failure prints it; `LOCKSTEP_SCENARIO=N` runs that one alone,
//! `LOCKSTEP_SCENARIOS=N` as many as that.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Caller, project};
use crate::simulation::{Conditions, Options, State};

/// Scenarios of an ordinary run of the tests.
const FEW: u64 = 60;
/// Calls on each kind of line: as many as show a share of 99.9 %, fewer where nothing is optimised.
const SET_UPS: u64 = if cfg!(debug_assertions) { 250 } else { 2_000 };
/// Longer than any scenario: what is still pending then, stays so.
const LONG: Duration = Duration::from_secs(600);

fn pick<'a>(rng: &mut ChaCha8Rng, from: &[&'a str]) -> &'a str {
    let index = usize::try_from(rng.next_u32()).unwrap_or(0) % from.len().max(1);
    from.get(index).copied().unwrap_or_default()
}

fn number(rng: &mut ChaCha8Rng, below: u32) -> u64 {
    u64::from(rng.next_u32() % below.max(1))
}

/// A script of random operations, each of which says when it begins and how it settled.
fn script(rng: &mut ChaCha8Rng) -> String {
    let mut body = String::new();
    let operations = 2 + number(rng, 8);
    for id in 0..operations {
        let operation = match number(rng, 12) {
            0 | 1 => format!("ctx.play('tone:440,{}/0')", 100 + number(rng, 900)),
            2 => "ctx.play(['silence:200', 'tone:600,150/0'], { stop_on: '0123456789' })".to_owned(),
            3 | 4 => format!("ctx.ivr('tone:350,300/0', {}, 1, {}, '#')", 1 + number(rng, 3), 1 + number(rng, 4)),
            5 => "ctx.gather({ prompt: 'tone:500,200/0', max: 2, timeout_ms: 1500 })".to_owned(),
            6 => format!("ctx.sleep({})", number(rng, 800)),
            7 => "ctx.play('user/missing.wav')".to_owned(),
            8 => "ctx.sendDtmf('42')".to_owned(),
            9 => format!("ctx.play('tone:440,5000/0', {{ signal: AbortSignal.timeout({}) }})", 50 + number(rng, 1_000)),
            10 => "ctx.bridge('nobody', { timeout_ms: 2000, continue_on: true })".to_owned(),
            _ => "ctx.echo(20, { signal: AbortSignal.timeout(300) })".to_owned(),
        };
        let awaited = if number(rng, 4) == 0 { "" } else { "await " };
        body.push_str(&format!("  {awaited}step({id}, () => {operation});\n"));
    }
    let ending =
        pick(rng, &["", "  await ctx.hangup();\n", "  await ctx.waitForHangup();\n", "  throw new Error('486 Busy');\n"]);
    format!(
        "let order = 0;\nasync function main(data, ctx) {{\n\
         ctx.on('dtmf', ({{ digit }}) => console.log('key', digit));\n\
         function step(id, start) {{\n  console.log('begin', id);\n  let settled = 0;\n\
         return start().then(() => 'ok', (error) => error.name).then((how) => {{ settled += 1; console.log('end', id, how, settled); }});\n}}\n\
         await ctx.answer();\n{body}{ending}}}"
    )
}

fn conditions(rng: &mut ChaCha8Rng, loss: f64) -> Conditions {
    Conditions {
        loss,
        delay: Duration::from_millis(1 + number(rng, 80)),
        jitter: Duration::from_millis(number(rng, 40)),
        reorder: f64::from(rng.next_u32() % 5) / 100.0,
        duplicate: f64::from(rng.next_u32() % 5) / 100.0,
    }
}

/// Runs a scenario; what rule it breaks.
fn scenario(seed: u64) -> Result<(), String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let source = script(&mut rng);
    let options = Options { seed, conditions: conditions(&mut rng, 0.1), ..Options::default() };
    let project = project(&[("1000", &source)]);
    let mut caller = Caller::dial(&project, &options);
    let mut pressed = String::new();
    for _ in 0..number(&mut rng, 6) {
        caller.wait(200 + number(&mut rng, 2_500));
        if !matches!(caller.call().state, State::Up { .. }) || caller.call().negotiated().is_none() {
            continue;
        }
        let key = pick(&mut rng, &["1", "2", "5", "#", "0"]);
        pressed.push_str(key);
        caller.press(key);
    }
    caller.wait(number(&mut rng, 8_000));
    if number(&mut rng, 2) == 0 {
        caller.hang_up();
    }
    caller.simulation.run_for(LONG / 4);
    if caller.call().ended().is_none() {
        caller.hang_up();
    }
    caller.simulation.run_for(LONG);

    let broken = |rule: &str, caller: &mut Caller| -> Result<(), String> {
        Err(format!("scenario {seed}: {rule}\n{source}\nseen: {:?}\nlogged: {:#?}", caller.seen(), caller.logged()))
    };
    if caller.call().ended().is_none() {
        return broken("the caller's call never ends", &mut caller);
    }
    let calls = caller.simulation.calls();
    if calls.iter().any(|call| call.ended.is_none()) {
        return broken("a call of the engine never ends", &mut caller);
    }
    let (legs, transactions) = caller.simulation.leftovers();
    if legs != 0 || transactions != 0 {
        return broken(&format!("{legs} legs and {transactions} transactions are left"), &mut caller);
    }
    let logged = caller.logged();
    let words = |line: &String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let begun: Vec<Vec<String>> =
        logged.iter().map(words).filter(|words| words.first().is_some_and(|word| word == "begin")).collect();
    let ended: Vec<Vec<String>> =
        logged.iter().map(words).filter(|words| words.first().is_some_and(|word| word == "end")).collect();
    for begin in &begun {
        let id = begin.get(1).cloned().unwrap_or_default();
        let ends: Vec<_> = ended.iter().filter(|end| end.get(1) == Some(&id)).collect();
        match ends.as_slice() {
            [end] if end.get(3).is_some_and(|count| count == "1") => {}
            _ => return broken(&format!("operation {id} settled {} times", ends.len()), &mut caller),
        }
    }
    // Queued operations end in the order in which they were asked for, as long as the call is up and none is aborted.
    let regular = |end: &&Vec<String>| end.get(2).is_some_and(|how| how == "ok");
    let in_order: Vec<u32> = ended.iter().filter(regular).filter_map(|end| end.get(1)?.parse().ok()).collect();
    if in_order.windows(2).any(|pair| pair[0] > pair[1]) {
        return broken("operations ended in another order than they were asked for", &mut caller);
    }
    let keys: String = logged.iter().filter_map(|line| line.strip_prefix("key ")).collect();
    if !is_subsequence(&keys, &pressed) {
        return broken(&format!("{pressed:?} was pressed and {keys:?} was counted"), &mut caller);
    }
    for id in calls.iter().map(|call| call.facts.id.clone()) {
        let timeline = caller.simulation.timeline(&id).map(|timeline| serde_json::to_value(timeline).unwrap_or_default());
        let entries = timeline.as_ref().and_then(|timeline| timeline["entries"].as_array()).cloned().unwrap_or_default();
        if entries.iter().any(|entry| entry["kind"] == "operation" && entry["ended_ms"].is_null()) {
            return broken("an operation of the timeline has no end", &mut caller);
        }
    }
    Ok(())
}

/// Whether `part` can be had from `whole` by leaving characters out.
fn is_subsequence(part: &str, whole: &str) -> bool {
    let mut whole = whole.chars();
    part.chars().all(|wanted| whole.any(|found| found == wanted))
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_operations_on_a_bad_line_keep_every_rule() {
    let (first, count) = match from_environment("LOCKSTEP_SCENARIO") {
        Some(one) => (one, 1),
        None => (0, from_environment("LOCKSTEP_SCENARIOS").unwrap_or(FEW)),
    };
    let broken: Vec<String> = (first..first + count).filter_map(|seed| scenario(seed).err()).collect();
    assert!(broken.is_empty(), "{} of {count} scenarios break a rule; the first:\n{}", broken.len(), broken[0]);
}

/// The share of calls that are set up on a line with this loss, of `count`.
fn set_up(loss: f64, count: u64) -> f64 {
    let project = project(&[("1000", "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }")]);
    let line = Conditions { loss, delay: Duration::from_millis(30), ..Conditions::CLEAN };
    let is_up = |seed: &u64| {
        let mut caller = Caller::dial(&project, &Options { seed: *seed, conditions: line, ..Options::default() });
        // Both sides retransmit for 64·T1.
        (0..64).any(|_| {
            caller.wait(500);
            let up = matches!(caller.call().state, State::Up { .. });
            let engine = caller.simulation.calls().iter().any(|call| call.facts.answered_at.is_some() && call.ended.is_none());
            up && engine
        })
    };
    (0..count).filter(is_up).count() as f64 / count as f64
}

#[test]
fn calls_are_set_up_on_bad_lines() {
    let count = from_environment("LOCKSTEP_SCENARIOS").unwrap_or(SET_UPS);
    for (loss, wanted) in [(0.05, 0.999), (0.1, 0.995), (0.2, 0.98)] {
        let share = set_up(loss, count);
        assert!(share >= wanted, "{loss} loss: {share} of {count} calls were set up, expected {wanted}");
    }
}

#[test]
fn digits_are_neither_lost_nor_doubled_at_five_percent_loss() {
    let count = from_environment("LOCKSTEP_SCENARIOS").unwrap_or(FEW).min(1_000);
    let script =
        "async function main(data, ctx) { await ctx.answer(); console.log((await ctx.ivr('silence:100', 8, 10, 10)).value); }";
    let project = project(&[("1000", script)]);
    for seed in 0..count {
        let line =
            Conditions { loss: 0.05, delay: Duration::from_millis(20), jitter: Duration::from_millis(10), ..Conditions::CLEAN };
        let mut caller = Caller::dial(&project, &Options { seed, conditions: line, ..Options::default() });
        caller.wait(8_000);
        if !matches!(caller.call().state, State::Up { .. }) {
            continue;
        }
        caller.press("1223334444");
        caller.wait(60_000);
        assert_eq!(caller.logged(), ["1223334444"], "seed {seed}");
    }
}
