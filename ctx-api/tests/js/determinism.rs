//! A run is a function of its entries: time and chance come from them alone.

use lockstep_ctx_api::wire::EntryKind;

use crate::harness::{EPOCH_MS, Setup};

#[test]
fn the_clock_moves_only_with_entries() {
    let mut run = Setup::app(
        "function main() {
            const started = Date.now();
            for (let i = 0; i < 1e5; i++);
            console.log(Date.now() - started, performance.now(), new Date().toISOString(), typeof Date(), new Date(0).getTime(), new Date() instanceof Date);
            return new Promise((resolve) => setTimeout(() => resolve([Date.now() - started, performance.now()]), 1500));
        }",
    )
    .start();
    assert_eq!(run.texts(), ["0 0 2023-11-14T22:13:20.000Z string 0 true"]);
    run.wake();
    assert_eq!(run.result(), "[1500,1500]");
    assert_eq!(run.now, EPOCH_MS + 1500);
}

#[test]
fn the_clock_never_goes_back() {
    let mut run = Setup::app("function main() { setInterval(() => console.log(Date.now()), 1000) }").start();
    run.wake();
    run.now -= 500;
    run.entry(EntryKind::Wake);
    run.wake();
    assert_eq!(run.texts(), [format!("{}", EPOCH_MS + 1000), format!("{}", EPOCH_MS + 2000)]);
}

#[test]
fn timers_and_durations_do_not_follow_a_clock_that_is_set() {
    for by_ms in [-3_600_000, 3_600_000] {
        let source = "async function main() {
            const timer = (ms) => new Promise((done) => setTimeout(done, ms));
            const began = Date.now();
            const times = [];
            for (const ms of [1000, 500]) {
                await timer(ms);
                times.push(Date.now() - began, performance.now());
            }
            return times;
        }";
        let mut run = Setup::app(source).start();
        run.now += 400;
        run.entry(EntryKind::ClockSet { by_ms });
        let set = EPOCH_MS.saturating_add_signed(by_ms);
        assert_eq!(run.last().wake_at, Some(set + 1000));
        run.now = set + 999;
        run.entry(EntryKind::Wake);
        assert_eq!(run.last().wake_at, Some(set + 1000));
        run.wake();
        run.wake();
        assert_eq!(run.result(), format!("[{},1000,{},1500]", by_ms + 1000, by_ms + 1500));
        run.assert_replays();
    }
}

#[test]
fn chance_comes_from_the_seed() {
    let source = "function main() { return [Math.random(), Math.random(), crypto.randomUUID(), [...crypto.getRandomValues(new Uint8Array(4))], crypto.randomInt(10)] }";
    let one = Setup::app(source).start();
    assert_eq!(one.result(), Setup::app(source).start().result());
    let mut other = Setup::app(source);
    other.header.seed = [8; 32];
    assert_ne!(one.result(), other.start().result());
    let uuid = one.result().split('"').nth(1).expect("a UUID").to_owned();
    assert!(uuid.len() == 36 && uuid.as_bytes()[14] == b'4', "{uuid}");
    one.assert_replays();
}

#[test]
fn what_could_differ_from_run_to_run_is_gone() {
    let source = "function main() { return ['WeakRef', 'FinalizationRegistry', 'SharedArrayBuffer', 'Atomics'].filter((name) => name in globalThis) }";
    assert_eq!(Setup::app(source).start().result(), "[]");
}

#[test]
fn timers_fire_in_order_one_deadline_a_wake() {
    let mut run = Setup::app(
        "function main() {
            setTimeout(() => console.log('c'), 20);
            setTimeout((a) => { console.log(a); Promise.resolve().then(() => console.log('a2')); setImmediate(() => console.log('now')) }, 10, 'a');
            setTimeout(() => console.log('b'), 10);
            const cleared = setTimeout(() => console.log('never'), 10);
            clearTimeout(cleared);
            setImmediate(() => console.log('immediate'));
            queueMicrotask(() => console.log('microtask'));
            console.log('first');
        }",
    )
    .start();
    assert_eq!(run.last().wake_at, Some(EPOCH_MS));
    run.wake();
    assert_eq!(run.last().wake_at, Some(EPOCH_MS + 10));
    run.wake();
    assert_eq!(run.texts(), ["first", "microtask", "immediate", "a", "a2", "b", "now"]);
    assert_eq!(run.last().wake_at, Some(EPOCH_MS + 20));
    run.now += 60_000;
    run.entry(EntryKind::Wake);
    assert_eq!(run.texts().last(), Some(&"c"));
    assert_eq!(run.last().wake_at, None);
    run.assert_replays();
}

#[test]
fn a_late_wake_fires_the_earliest_deadline_only() {
    let mut run = Setup::app("function main() { for (const ms of [30, 10, 20]) setTimeout(() => console.log(ms), ms) }").start();
    run.now += 1_000;
    for expected in [&["10"][..], &["10", "20"], &["10", "20", "30"]] {
        run.entry(EntryKind::Wake);
        assert_eq!(run.texts(), expected);
    }
}

#[test]
fn an_early_wake_fires_nothing() {
    let mut run = Setup::app("function main() { setTimeout(() => console.log('fired'), 30) }").start();
    run.entry(EntryKind::Wake);
    assert_eq!((run.texts().len(), run.last().wake_at), (0, Some(EPOCH_MS + 30)));
}

#[test]
fn an_interval_repeats_until_it_is_cleared_even_from_within() {
    let mut run = Setup::app("function main() { let n = 0; const timer = setInterval(() => { console.log(++n); if (n === 3) clearInterval(timer) }, 100) }").start();
    for _ in 0..3 {
        run.wake();
    }
    assert_eq!((run.texts(), run.last().wake_at, run.now), (vec!["1", "2", "3"], None, EPOCH_MS + 300));
    assert_eq!(run.result(), r#"{"n":1}"#);
}

#[test]
fn a_timer_can_be_put_off_and_revived_but_not_once_it_is_cleared() {
    let mut run = Setup::app(
        "function main() {
            const idle = setTimeout(() => console.log('idle'), 100);
            setTimeout(() => idle.refresh(), 60);
            setTimeout(() => idle.refresh().refresh(), 200);
            const never = setTimeout(() => console.log('never'), 10);
            clearTimeout(never);
            never.refresh();
            const numbered = setTimeout(() => console.log('numbered'), 10);
            clearTimeout(+numbered);
            for (const other of [Symbol(), {}, null, undefined, [+numbered]]) clearTimeout(other);
            numbered.refresh();
            const disposed = setTimeout(() => console.log('disposed'), 10);
            disposed[Symbol.dispose]();
            disposed.refresh();
            if (clearTimeout.name !== 'clearTimeout') console.log(clearTimeout.name);
            const closed = setTimeout(() => console.log('closed'), 10).close();
            closed.refresh();
            const tick = setInterval(() => { console.log('tick'); tick.refresh(); if (tick.seen) clearInterval(tick); tick.seen = true }, 250);
        }",
    )
    .start();
    let mut heard = Vec::new();
    while run.last().wake_at.is_some() {
        run.wake();
        heard.extend(
            run.texts().iter().skip(heard.len()).map(|text| format!("{} {text}", run.now - EPOCH_MS)).collect::<Vec<_>>(),
        );
    }
    assert_eq!(heard, ["160 idle", "250 tick", "300 idle", "500 tick"]);
    run.assert_replays();
}

#[test]
fn timers_say_how_they_are_made_into_promises() {
    let mut run = Setup::app(
        "async function main() {
            const promisified = Symbol.for('nodejs.util.promisify.custom');
            return [await setTimeout[promisified](500, 'late'), await setImmediate[promisified]('now')];
        }",
    )
    .start();
    run.wake();
    assert_eq!((run.now, run.result()), (EPOCH_MS + 500, r#"["late","now"]"#));
}
