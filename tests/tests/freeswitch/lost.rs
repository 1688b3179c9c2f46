//! Events that get lost or come late, and connections that break, at every step of a call.

use lockstep_ctx_api::op::*;
use lockstep_ctx_api::{ErrorCode, OpId};
use lockstep_tests::engine::Engine;
use lockstep_tests::freeswitch::{Peer, Server, Setup};

use super::desk::{Desk, Fault};
use super::fleet::connected;

/// A call with an operation of every kind.
fn life() -> Vec<Op> {
    let bridge = BridgeArgs {
        targets: vec![BridgeTarget { uri: "1001".to_owned(), ..BridgeTarget::default() }],
        strategy: BridgeStrategy::Parallel,
        timeout_ms: 20_000,
        caller_id: None,
        from_name: None,
        headers: Vec::new(),
        ringback: None,
        early_media: true,
        whisper: None,
        screen: None,
        hangup_on: None,
        continue_on: ContinueOn::Always,
        record: None,
        codecs: Vec::new(),
    };
    vec![
        Op::Answer(AnswerArgs::default()),
        Op::Play(PlayArgs { sources: vec!["tone:440,400/0".to_owned()], ..PlayArgs::default() }),
        Op::Set(SetArgs { key: "color".to_owned(), value: Some("blue".to_owned()), skip_write: false }),
        Op::Ivr(IvrArgs { min: 1, max: 1, tries: 1, timeout_ms: 1_000, terminators: "#".into(), ..IvrArgs::default() }),
        Op::Bridge(bridge),
        Op::Hangup(HangupArgs::default()),
    ]
}

fn setup(is_async: bool, is_full: bool) -> Setup {
    let peers = vec![(String::new(), Peer::Answers { after_ms: 200, talks_ms: 400 })];
    Setup { is_async, is_full, peers, ..Setup::default() }
}

/// Runs the operations one after another; the connection is lost at `broken_ms` and there again 300 ms later.
fn live(desk: &mut Desk, broken_ms: Option<u64>) -> Vec<OpId> {
    let mut ids = Vec::new();
    let mut gone = false;
    for op in life() {
        let name = op.name();
        let id = desk.submit(op);
        ids.push(id);
        let mut patience = 90 * 60_000 / 20;
        while desk.result(id).is_none() {
            desk.pass(20);
            patience -= 1;
            assert!(patience > 0, "{name} stays pending: {:?}", desk.channel);
            if !gone && broken_ms.is_some_and(|at| desk.ms() >= at) {
                gone = true;
                desk.lose();
                desk.pass(300);
                desk.back();
            }
        }
    }
    ids
}

/// Everything has settled once, and was done at most once.
fn check(desk: &Desk, ids: &[OpId], what: &str) {
    for id in ids {
        assert_eq!(desk.done.iter().filter(|(own, _)| own == id).count(), 1, "{what}: {id} settles once");
    }
    let executed = desk.executed();
    for app in ["answer(", "playback(", "play_and_get_digits(", "bridge("] {
        assert!(executed.iter().filter(|text| text.starts_with(app)).count() <= 1, "{what}: {app} {executed:?}");
    }
    assert_eq!(desk.channel.incidents, [""; 0], "{what}");
    assert!(desk.ended.is_some(), "{what}: the call is over");
}

const MODES: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

#[test]
fn an_event_that_is_lost_or_late_leaves_nothing_pending_and_runs_nothing_twice() {
    for (is_async, is_full) in MODES {
        let mut whole = Desk::new(setup(is_async, is_full));
        live(&mut whole, None);
        let events = whole.heard();
        assert!(events > 10, "{events}");
        for at in 0..events {
            for fault in [Fault::Lost, Fault::Late] {
                let what = format!("async {is_async}, full {is_full}, event {at} {fault:?}");
                let mut desk = Desk::new(setup(is_async, is_full));
                desk.fault = Some((at, fault));
                let ids = live(&mut desk, None);
                check(&desk, &ids, &what);
                for (id, result) in &desk.done {
                    assert!(result.is_ok(), "{what}: {id} {result:?}");
                }
            }
        }
    }
}

#[test]
fn a_call_goes_on_over_another_connection_wherever_the_first_one_breaks() {
    for is_full in [true, false] {
        let mut whole = Desk::new(setup(true, is_full));
        live(&mut whole, None);
        let length = whole.ms();
        for at in (0..length).step_by(20) {
            let what = format!("full {is_full}, broken at {at} ms");
            let mut desk = Desk::new(setup(true, is_full));
            let ids = live(&mut desk, Some(at));
            check(&desk, &ids, &what);
            assert_eq!(desk.channel.variable("color"), Some("blue"), "{what}");
            let played = desk.executed().iter().filter(|text| text.starts_with("playback(")).count();
            assert_eq!(played, 1, "{what}");
        }
    }
}

#[test]
fn without_async_the_dialplan_goes_on_and_the_call_is_over() {
    let mut desk = Desk::new(setup(false, true));
    desk.submit(Op::Answer(AnswerArgs::default()));
    desk.pass(100);
    let id = desk.submit(Op::Play(PlayArgs { sources: vec!["tone:440,4000/0".to_owned()], ..PlayArgs::default() }));
    desk.lose();
    assert_eq!(desk.result(id).unwrap().as_ref().unwrap_err().code, ErrorCode::CallEnded);
    assert_eq!(desk.ended.as_ref().map(|cause| cause.code), Some(503));
}

#[test]
fn a_call_that_ended_while_nobody_listened_is_over() {
    let mut desk = Desk::new(setup(true, true));
    desk.submit(Op::Answer(AnswerArgs::default()));
    desk.pass(100);
    let id = desk.submit(Op::Play(PlayArgs { sources: vec!["tone:440,4000/0".to_owned()], ..PlayArgs::default() }));
    desk.lose();
    desk.channel.caller_hangs_up();
    assert_eq!(desk.result(id), None, "it waits for another connection");
    desk.back();
    assert_eq!(desk.result(id).unwrap().as_ref().unwrap_err().code, ErrorCode::CallEnded);
    assert_eq!(desk.ended.as_ref().map(|cause| cause.code), Some(200));
}

#[test]
fn nobody_waits_longer_than_ten_seconds_for_another_connection() {
    let mut desk = Desk::new(setup(true, true));
    desk.submit(Op::Answer(AnswerArgs::default()));
    desk.pass(100);
    let id = desk.submit(Op::Sleep(SleepArgs { duration_ms: 3_600_000 }));
    desk.lose();
    desk.pass(9_900);
    assert_eq!(desk.result(id), None);
    desk.pass(200);
    assert_eq!(desk.result(id).unwrap().as_ref().unwrap_err().code, ErrorCode::CallEnded);
    assert_eq!(desk.ended.as_ref().map(|cause| cause.code), Some(503));
}

#[tokio::test]
async fn a_running_call_outlives_its_connection() {
    let server = Server::start("ClueCon").await;
    let host = format!("[[freeswitch]]\naddress = \"{}\"\npassword = \"ClueCon\"\n", server.address);
    let body = "await ctx.play('tone:440,20000/0');\nctx.log('played');\nawait ctx.set('color', 'blue');\nawait ctx.hangup();";
    let engine =
        Engine::setup().config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"").config(&host).main("4000", body).start();
    connected(&engine).await;
    let mut events = engine.events().await;
    let request = "{\"to\":\"freeswitch:user/1001\",\"destination\":\"4000\"}";
    let (status, answer) = engine.request("POST", "/v1/calls", request).await;
    assert_eq!(status, 201, "{answer}");
    let line = server.line(0).await;
    line.executes("playback").await;
    line.lose();
    events.logged("played").await;
    assert_eq!(line.over().await, "NORMAL_CLEARING");
    let (color, played) = line.with(|channel| {
        let played = channel.executed.iter().filter(|text| text.starts_with("playback")).count();
        (channel.variable("color").map(str::to_owned), played)
    });
    assert_eq!((color.as_deref(), played), (Some("blue"), 1));
    engine.log().line("goes on over another connection").await;
}
