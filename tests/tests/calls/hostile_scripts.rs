//! Scripts that loop, recurse, allocate or flood: their own call ends cleanly, and a neighbour on the same worker hears nothing of it.

use lockstep_engine::phone::{Dial, EndedBy};
use lockstep_tests::caller::{Caller, Story, phone};
use lockstep_tests::engine::{Engine, Setup, within};

/// Plays the key that was pressed; `#` ends.
const NEIGHBOUR: &str = "await ctx.answer();
for (;;) {
  const { value, status } = await ctx.gather({ min: 1, max: 1, terminators: '', timeout_ms: 50_000 });
  if (status !== 'success' || value === '#') break;
  await ctx.play(`ivr/${value}.wav`);
}
await ctx.play('ivr/goodbye.wav');";

fn setup() -> Setup {
    Engine::setup().variable("LOCKSTEP_SCRIPTS__WORKERS", "1").main("100", NEIGHBOUR)
}

fn hostile(setup: Setup, number: &str, body: &str) -> Setup {
    let header = format!("// @lockstep class5_destination={number} turn_ms=400 memory_mb=16\n");
    setup.script(&format!("h{number}.js"), &format!("{header}export async function main(data, ctx) {{\n{body}\n}}\n"))
}

/// Runs each hostile body once; meanwhile the neighbour's keys are answered with their prompts.
async fn beside_a_neighbour(cases: &[(&str, u16, &str)]) {
    let mut setup = setup();
    for (index, (body, ..)) in cases.iter().enumerate() {
        setup = hostile(setup, &format!("2{index:02}"), body);
    }
    let engine = setup.start();
    let mut neighbour = Caller::answered(&engine, "100").await;
    neighbour.events.tolerate_loss();
    let mut heard = 0;
    for (index, (body, code, message)) in cases.iter().enumerate() {
        let mut guest = Caller::answered(&engine, &format!("2{index:02}")).await;
        guest.events.tolerate_loss();
        guest.call.press("5");
        let key = ["1", "2", "3"][index % 3];
        neighbour.call.press(key);
        heard = neighbour.hears(&format!("{key}.wav"), heard).await;
        let story = guest.over(&engine).await;
        assert_eq!(
            (story.ended.by, story.ended.code),
            (EndedBy::Remote, *code),
            "{body}: {}, {:?}",
            story.ended,
            story.logs().last()
        );
        assert!(story.has_logged(message), "{body}: {} lines, the last: {:?}", story.logs().len(), story.logs().last());
    }
    neighbour.call.press("#");
    let story: Story = neighbour.over(&engine).await;
    story.assert_unbroken();
    assert_eq!(story.ended.code, 200);
    let errors: Vec<&str> = story.logs();
    assert!(errors.is_empty(), "the neighbour's script was disturbed: {errors:?}");
}

#[tokio::test]
async fn loops_end_at_the_turn_limit() {
    beside_a_neighbour(&[
        ("await ctx.answer();\nfor (;;);", 500, "400 ms"),
        ("await ctx.answer();\nfor (;;) { try { for (;;); } catch {} }", 500, "400 ms"),
        ("await ctx.answer();\nconst again = () => { Promise.resolve().then(again); };\nagain();", 500, "400 ms"),
        ("await ctx.answer();\n/(a+)+$/.test('a'.repeat(60) + 'b');", 500, "400 ms"),
        ("await ctx.answer();\nctx.on('dtmf', () => { for (;;); });\nawait ctx.waitForHangup();", 500, "400 ms"),
    ])
    .await;
}

#[tokio::test]
async fn what_stays_inside_one_built_in_is_killed_and_the_neighbour_is_rebuilt() {
    beside_a_neighbour(&[
        ("await ctx.answer();\nconst big = new Uint8Array(8_000_000);\nfor (;;) big.fill(1);", 500, ""),
        ("await ctx.answer();\nconst text = 'a'.repeat(2_000_000);\nfor (;;) text.indexOf('a'.repeat(1_000) + 'b');", 500, ""),
    ])
    .await;
}

#[tokio::test]
async fn memory_without_end_ends_the_run() {
    beside_a_neighbour(&[
        ("await ctx.answer();\nconst all = [];\nfor (;;) all.push(new Array(1_000).fill(1));", 500, "16 MB"),
        ("await ctx.answer();\nlet text = 'x';\nfor (;;) text += text;", 500, ""),
        ("await ctx.answer();\nconst all = [];\nfor (;;) { try { all.push(new Uint8Array(1 << 20)); } catch {} }", 500, "16 MB"),
        ("await ctx.answer();\nconst f = () => f() + 1;\nf();", 500, ""),
    ])
    .await;
}

#[tokio::test]
async fn floods_of_operations_and_output_are_bounded() {
    beside_a_neighbour(&[
        ("await ctx.answer();\nfor (let i = 0; i < 1e6; i += 1) ctx.sleep(1);", 500, ""),
        ("await ctx.answer();\nfor (let i = 0; i < 1e6; i += 1) ctx.set(`k${i}`, 'x'.repeat(1_000));", 500, ""),
        ("await ctx.answer();\nfor (let i = 0; i < 2_000; i += 1) console.log('x'.repeat(1_000));", 200, "more than 1000 lines"),
        ("await ctx.answer();\nconst all = [];\nfor (let i = 0; i < 1e7; i += 1) all.push(new Promise(() => {}));", 500, ""),
        ("await ctx.answer();\nfor (let i = 0; i < 1e6; i += 1) setTimeout(() => {}, 1);", 500, ""),
    ])
    .await;
}

#[tokio::test]
async fn a_script_that_fails_before_the_answer_gets_500() {
    let engine = hostile(hostile(setup(), "200", "for (;;);"), "201", "await ctx.earlyMedia();\nfor (;;);").start();
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
