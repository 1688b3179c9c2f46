//! Whatever becomes of the log, calls go on.

use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;
use serde_json::Value;

#[tokio::test]
async fn a_call_is_answered_and_ended_where_nobody_reads_the_log() {
    let engine = Engine::setup().main("5001", "await ctx.answer();").log_unread().start();
    let caller = Caller::answered(&engine, "5001").await;
    let story = caller.over(&engine).await;
    assert_eq!(story.ended.code, 200);

    let Value::String(metrics) = engine.get("/metrics").await else { panic!("metrics are text") };
    let lost = metrics.lines().find_map(|line| line.strip_prefix("lockstep_log_lines_lost_total "));
    let lost: u64 = lost.and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(lost > 0, "the lines about the call went somewhere: {metrics}");
}
