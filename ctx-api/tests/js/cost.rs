//! What a call's runtime costs. The bounds are far above what an optimised build measures: they catch a prelude that has begun to
//! do work for every run.

use std::time::Duration;

use lockstep_ctx_api::js::fixed_cost;

#[test]
fn the_runtime_of_a_run_is_small_and_quickly_made() {
    let cost = fixed_cost(50).expect("runtimes can be made");
    assert!(cost.create < Duration::from_millis(5), "{cost:?}");
    assert!(cost.memory_bytes < 210 << 10, "{cost:?}");
}
