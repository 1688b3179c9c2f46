//! The rules of lockstep as the worker keeps them (contract, section 2.1).

use lockstep_ctx_api::Op;
use lockstep_ctx_api::outcome::{Outcome, PlayReason, Played};

use crate::harness::Setup;

#[test]
fn awaited_operations_go_one_after_another() {
    let mut run = Setup::call("async function main(data, ctx) { await ctx.answer(); const r = await ctx.play('ivr/welcome.wav', { stop_on: '#' }); ctx.log(r.reason, r.digit) }").start();
    assert_eq!(run.pending(), ["answer"]);
    run.done("answer");
    assert_eq!(run.pending(), ["play"]);
    let Op::Play(play) = run.op("play") else { panic!("a play") };
    assert_eq!((play.sources.as_slice(), play.stop_on.as_str()), (&["ivr/welcome.wav".to_owned()][..], "#"));
    run.settle("play", Ok(Outcome::Played(Played { played_ms: 120, reason: PlayReason::Dtmf, digit: Some('#') })));
    assert_eq!(run.result(), "undefined");
    assert_eq!(run.texts(), ["dtmf #"]);
    run.assert_replays();
}
