//! Scripts that loop, recurse, allocate or flood: their own call ends cleanly, and a neighbour on the same worker hears nothing of it.

use lockstep_engine::phone::{Dial, EndedBy};
use lockstep_tests::caller::{Caller, Story, phone};
use lockstep_tests::engine::{Engine, Setup, within};
use lockstep_tests::neighbour::{self, Neighbour, ROUNDS};

fn setup() -> Setup {
    Engine::setup().variable("LOCKSTEP_SCRIPTS__WORKERS", "1").main("100", neighbour::SCRIPT)
}

fn hostile(setup: Setup, number: &str, turn_ms: u32, body: &str) -> Setup {
    let header = format!("// @lockstep class5_destination={number} turn_ms={turn_ms} memory_mb=16\n");
    setup.script(&format!("h{number}.js"), &format!("{header}export async function main(data, ctx) {{\n{body}\n}}\n"))
}

fn assert_ended(story: &Story, body: &str, code: u16, message: &str) {
    let last = story.logs().last().copied();
    assert_eq!((story.ended.by, story.ended.code), (EndedBy::Remote, code), "{body}: {}, {last:?}", story.ended);
    assert!(story.has_logged(message), "{body}: {} lines, the last: {last:?}", story.logs().len());
}

/// Runs each hostile body once; meanwhile the neighbour's keys are answered with their prompts.
async fn beside_a_neighbour(cases: &[(&str, u16, &str)]) {
    let mut setup = setup();
    for (index, (body, ..)) in cases.iter().enumerate() {
        // The turn is no limit here: what the guest takes is.
        setup = hostile(setup, &format!("2{index:02}"), 30_000, body);
    }
    let engine = setup.start();
    let mut neighbour = Neighbour::call(&engine, "100").await;
    for (index, (body, code, message)) in cases.iter().enumerate() {
        let mut guest = Caller::answered(&engine, &format!("2{index:02}")).await;
        guest.events.tolerate_loss();
        neighbour.asks(&engine).await;
        assert_ended(&guest.over(&engine).await, body, *code, message);
    }
    neighbour.leaves(&engine).await;
}

/// Runs bodies whose turn takes a second of CPU time, which is their limit. Meanwhile the neighbour, which is on the same worker, is
/// rebuilt on another one: its keys are answered as soon as ever.
async fn beside_a_neighbour_who_moves_out(cases: &[&str], message: &str) -> Engine {
    let mut setup = setup();
    for (index, body) in cases.iter().enumerate() {
        setup = hostile(setup, &format!("2{index:02}"), 1_000, body);
    }
    let engine = setup.start();
    let mut neighbour = Neighbour::call(&engine, "100").await;
    for (index, body) in cases.iter().enumerate() {
        let mut least = None;
        for _ in 0..ROUNDS {
            let rebuilds = engine.metric("lockstep_rebuilds_total").await;
            let mut guest = Caller::answered(&engine, &format!("2{index:02}")).await;
            guest.events.tolerate_loss();
            guest.call.press("5");
            // By now its turn takes long: as soon as it was answered, or because of the key.
            guest.entry("the guest's key", |entry| entry["kind"] == "dtmf").await;
            let noticed = neighbour.asks(&engine).await;
            assert_ended(&guest.over(&engine).await, body, 500, message);
            if engine.metric("lockstep_rebuilds_total").await > rebuilds {
                least = Some(least.map_or(noticed, |least| noticed.least(least)));
            }
            if least.is_some_and(|noticed| noticed.is_nothing()) {
                break;
            }
        }
        assert!(least.is_some_and(|noticed| noticed.is_nothing()), "{body}: {least:?} (nothing: it never moved)");
    }
    neighbour.leaves(&engine).await;
    engine
}

#[tokio::test]
async fn loops_end_at_the_turn_limit() {
    let cases = [
        "await ctx.answer();\nfor (;;);",
        "await ctx.answer();\nfor (;;) { try { for (;;); } catch {} }",
        "await ctx.answer();\nconst again = () => { Promise.resolve().then(again); };\nagain();",
        "await ctx.answer();\n/(a+)+$/.test('a'.repeat(60) + 'b');",
        "await ctx.answer();\nctx.on('dtmf', () => { for (;;); });\nawait ctx.waitForHangup();",
    ];
    beside_a_neighbour_who_moves_out(&cases, "1000 ms of CPU time").await;
}

#[tokio::test]
async fn what_stays_inside_one_built_in_is_killed_and_the_neighbour_is_rebuilt() {
    let cases = [
        "await ctx.answer();\nconst big = new Uint8Array(8_000_000);\nfor (;;) big.fill(1);",
        "await ctx.answer();\nconst text = 'a'.repeat(2_000_000);\nfor (;;) text.indexOf('a'.repeat(1_000) + 'b');",
    ];
    let engine = beside_a_neighbour_who_moves_out(&cases, "took longer than 1000 ms").await;
    assert!(engine.metric("lockstep_worker_kills_total").await >= 2.0);
}

#[tokio::test]
async fn memory_without_end_ends_the_run() {
    beside_a_neighbour(&[
        ("await ctx.answer();\nconst all = [];\nfor (;;) all.push(new Array(1_000).fill(1));", 500, "16 MB"),
        ("await ctx.answer();\nlet text = 'x';\nfor (;;) text += text;", 500, "string too long"),
        ("await ctx.answer();\nconst all = [];\nfor (;;) { try { all.push(new Uint8Array(1 << 20)); } catch {} }", 500, "16 MB"),
        ("await ctx.answer();\nconst f = () => f() + 1;\nf();", 500, "Maximum call stack size"),
    ])
    .await;
}

#[tokio::test]
async fn floods_of_operations_and_output_are_bounded() {
    beside_a_neighbour(&[
        ("await ctx.answer();\nfor (let i = 0; i < 1e6; i += 1) ctx.sleep(1);", 500, "16 MB"),
        ("await ctx.answer();\nfor (let i = 0; i < 1e6; i += 1) ctx.set(`k${i}`, 'x'.repeat(1_000));", 500, "16 MB"),
        ("await ctx.answer();\nfor (let i = 0; i < 2_000; i += 1) console.log('x'.repeat(1_000));", 200, "more than 1000 lines"),
        ("await ctx.answer();\nconst all = [];\nfor (let i = 0; i < 1e7; i += 1) all.push(new Promise(() => {}));", 500, "16 MB"),
        ("await ctx.answer();\nfor (let i = 0; i < 1e6; i += 1) setTimeout(() => {}, 1);", 500, "16 MB"),
    ])
    .await;
}

#[tokio::test]
async fn a_script_that_fails_before_the_answer_gets_500() {
    let engine = hostile(hostile(setup(), "200", 400, "for (;;);"), "201", 400, "await ctx.earlyMedia();\nfor (;;);").start();
    for number in ["200", "201"] {
        let story = Caller::dial(&engine, number).await.over(&engine).await;
        assert_eq!((story.ended.code, story.ended.reason.as_str()), (500, "Script Error"), "{number}");
        assert!(!story.sip("out").contains(&"BYE"), "{:?}", story.sip("out"));
    }
}

#[tokio::test]
async fn a_script_with_a_syntax_error_is_not_live_and_says_where() {
    let engine = setup().script("broken.js", "// @lockstep class5_destination=300\nexport function main( {\n").start();
    let line = engine.log().line("broken.js").await;
    assert!(line.contains("broken.js:2:") || line.contains("broken.js:3:"), "{line}");
    Caller::answered(&engine, "100").await.hang_up(&engine).await;
    let phone = phone("a").await;
    let mut call = phone.dial(&engine.uri("300"), Dial::default()).await.unwrap();
    assert_eq!(within("a refusal", call.ended()).await.code, 404);
}
