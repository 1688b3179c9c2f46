use std::time::Duration;

use super::{Caller, MENU, project, rough};
use crate::simulation::{Conditions, Options, Simulation};

fn call(options: &Options, step: Option<Duration>) -> ([u8; 32], Vec<String>, Vec<String>) {
    let project = project(&[("1000", MENU)]);
    let mut caller = Caller::dial(&project, options);
    let wait = |caller: &mut Caller, ms: u64| match step {
        None => caller.wait(ms),
        Some(step) => {
            let end = caller.simulation.now() + Duration::from_millis(ms);
            while caller.simulation.now() < end {
                caller.simulation.run_for(step);
            }
        }
    };
    wait(&mut caller, 3_000);
    caller.press("7");
    wait(&mut caller, 10_000);
    (caller.simulation.digest().unwrap(), caller.seen(), caller.logged())
}

#[test]
fn the_same_seed_gives_the_same_run_packet_for_packet() {
    for conditions in [Conditions::CLEAN, rough(0.1)] {
        let options = Options { seed: 42, conditions, ..Options::default() };
        assert_eq!(call(&options, None), call(&options, None));
        let other = Options { seed: 43, ..options.clone() };
        assert_ne!(call(&options, None).0, call(&other, None).0);
    }
}

#[test]
fn skipping_time_in_which_nothing_happens_changes_nothing() {
    for conditions in [Conditions::CLEAN, rough(0.1)] {
        let options = Options { seed: 42, conditions, ..Options::default() };
        assert_eq!(call(&options, None), call(&options, Some(Duration::from_millis(1))));
    }
}

#[test]
fn looking_at_streams_only_when_something_may_come_of_it_changes_nothing() {
    let script = "async function main(data, ctx) {
        await ctx.answer();
        const { value } = await ctx.ivr('tone:440,900/0', 5, 2, 2, '', { tries: 2 });
        const recording = await ctx.record('note', { stereo: true });
        await ctx.play('tone:600,700/0');
        console.log(value, (await recording.stop()).duration_ms);
        const echo = new AbortController();
        ctx.echo(100, { signal: echo.signal }).catch(() => {});
        setTimeout(() => echo.abort(), 800);
        await ctx.play('silence:300');
    }";
    let project = project(&[("1000", script)]);
    for conditions in [Conditions::CLEAN, rough(0.1)] {
        let run = |skips: bool| {
            let mut simulation = Simulation::new(&project, &Options { seed: 9, conditions, ..Options::default() });
            if !skips {
                simulation.skip_nothing();
            }
            let mut caller = Caller::dial_in(simulation);
            caller.wait(1_500);
            caller.press("42");
            caller.wait(10_000);
            (caller.simulation.digest().unwrap(), caller.seen(), caller.logged(), caller.simulation.looks())
        };
        let (skipping, looking) = (run(true), run(false));
        assert_eq!((&skipping.0, &skipping.1, &skipping.2), (&looking.0, &looking.1, &looking.2));
        assert!(skipping.3 < looking.3, "nothing was skipped: {} and {} looks", skipping.3, looking.3);
    }
}

#[test]
fn a_menu_is_walked_through() {
    let (_, seen, logged) = call(&Options::default(), None);
    assert_eq!(logged, ["success 7"]);
    assert_eq!(seen, ["dialled 1000", "200 answered", "first audio", "ended by the other side: 200 OK"]);
}
