use super::{Caller, MENU, project, rough};
use crate::simulation::Options;

#[test]
fn an_hour_costs_nothing() {
    let script = "async function main(data, ctx) { await ctx.sleep(3600_000); console.log(new Date().toISOString()); await ctx.answer(); }";
    let project = project(&[("1000", script)]);
    let mut caller = Caller::dial(&project, &Options::default());
    caller.wait(3_700_000);
    assert_eq!(caller.logged(), ["2026-01-05T11:00:00.001Z"]);
}

#[test]
fn a_call_ends_with_nothing_left_behind() {
    let project = project(&[("1000", MENU)]);
    let mut caller = Caller::dial(&project, &Options { conditions: rough(0.1), ..Options::default() });
    caller.wait(4_000);
    caller.hang_up();
    caller.wait(70_000);
    assert_eq!(caller.simulation.leftovers(), (0, 0));
    assert_eq!(caller.simulation.calls().len(), 1);
}
