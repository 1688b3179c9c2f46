//! Calls as the HTTP interface sees, places and ends them.

use lockstep_engine::phone::EndedBy;
use lockstep_tests::audio::whole;
use lockstep_tests::caller::{Caller, USERS, incoming, registered};
use lockstep_tests::engine::{Engine, within};
use serde_json::{Value, json};

#[tokio::test]
async fn a_call_is_placed_and_its_script_runs_once_it_is_answered() {
    let body = "ctx.log('facts ' + JSON.stringify([ctx.call.direction, ctx.call.state, data.vars.ticket]));\nawait ctx.play('ivr/1.wav');";
    let engine = Engine::setup().main("100", body).config(USERS).start();
    let mut events = engine.events().await;
    let mut agent = registered(&engine, "1001").await;
    let order = json!({ "to": "1001", "from": "555", "destination": "100", "vars": { "ticket": 42 } });
    let (status, answer) = engine.request("POST", "/v1/calls", &order.to_string()).await;
    assert_eq!(status, 201, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let id = answer["id"].as_str().unwrap();

    let mut call = incoming(&mut agent).await;
    assert_eq!(call.from().uri.user().as_deref(), Some("555"));
    call.answer();
    within("an ACK", call.answered()).await.unwrap();
    let facts = events.logged("facts").await;
    assert_eq!(facts["text"], "facts [\"outbound\",\"answered\",42]");
    within("a BYE", call.ended()).await;
    let heard = call.heard().with(|capture| capture.in_order().to_vec());
    lockstep_tests::audio::compare(&heard, &[whole(&["1.wav"])]).unwrap();
    events.ended(id).await;
    assert_eq!(engine.timeline(id).await["call"]["to"], "1001");
}

#[tokio::test]
async fn a_call_can_be_seen_and_ended_from_outside() {
    let engine = Engine::setup().main("100", "await ctx.answer();\nawait ctx.play('tone:440,1000/0', { loop: true });").start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.state("answered").await;
    let id = caller.id.clone();
    let live = engine.get("/v1/calls?state=live").await;
    assert_eq!((&live["calls"][0]["id"], &live["calls"][0]["state"]), (&json!(id), &json!("answered")));
    let (status, body) = engine.request("DELETE", &format!("/v1/calls/{id}?code=480&reason=Maintenance"), "").await;
    assert_eq!(status, 204, "{body}");
    let story = caller.over(&engine).await;
    assert_eq!((story.ended.by, story.ended.code, story.ended.reason.as_str()), (EndedBy::Remote, 480, "Maintenance"));
    let (status, body) = engine.request("DELETE", &format!("/v1/calls/{id}"), "").await;
    assert!(status == 404 || status == 409, "{status} {body}");
    let journal = engine.get(&format!("/v1/calls/{id}/journal")).await;
    assert!(journal.as_str().is_some_and(|lines| lines.lines().count() > 2), "{journal}");
}

#[tokio::test]
async fn nobody_is_called_whom_a_script_could_not_call() {
    let engine = Engine::setup().main("100", "await ctx.answer();").config(USERS).start();
    for (to, destination) in [("sip:x@203.0.113.9", "100"), ("441900123456", "100"), ("1001", "nowhere"), ("", "100")] {
        let order = json!({ "to": to, "destination": destination }).to_string();
        let (status, body) = engine.request("POST", "/v1/calls", &order).await;
        assert!((400..500).contains(&status), "{order}: {status} {body}");
        let error: Value = serde_json::from_str(&body).unwrap();
        assert!(error["error"]["code"].is_string() && error["error"]["message"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn an_engine_that_is_asked_to_stop_lets_calls_end_and_takes_no_more() {
    let script =
        "await ctx.answer();\nawait ctx.gather({ min: 1, max: 1, timeout_ms: 50_000 });\nawait ctx.play('ivr/goodbye.wav');";
    for signal in [libc::SIGTERM, libc::SIGQUIT] {
        let engine = Engine::setup().main("100", script).start();
        stops_once_calls_are_over(engine, signal).await;
    }
}

async fn stops_once_calls_are_over(engine: Engine, signal: i32) {
    let mut caller = Caller::answered(&engine, "100").await;
    let wire = lockstep_tests::wire::Wire::to(engine.udp()).await;
    let uri = engine.udp();
    let log = engine.log().clone();
    let stopping = tokio::spawn(engine.stop_by(signal));
    log.line("no more calls are taken").await;
    let invite = lockstep_tests::wire::Request::invite("100", uri, lockstep_tests::wire::plain_offer(wire.address()));
    assert_eq!(wire.exchange(&invite).await.code(), 503);
    caller.call.press("1");
    let ended = within("a BYE", caller.call.ended()).await;
    assert_eq!(ended.code, 200);
    let heard = caller.call.heard().with(|capture| capture.in_order().to_vec());
    lockstep_tests::audio::compare(&heard, &[whole(&["goodbye.wav"])]).unwrap();
    stopping.await.unwrap();
}

#[tokio::test]
async fn what_the_terminal_tells_the_engine_does_not_reach_workers() {
    let engine = Engine::setup().main("100", "await ctx.answer();").start();
    Caller::answered(&engine, "100").await.over(&engine).await;
    let workers = engine.workers();
    assert!(!workers.is_empty());
    for worker in workers {
        // proc_pid_stat(5): after the name in brackets come state, parent and process group.
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).expect("the worker lives");
        let group = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(2));
        assert_eq!(group, Some(worker.to_string().as_str()));
    }
    engine.stop().await;
}
