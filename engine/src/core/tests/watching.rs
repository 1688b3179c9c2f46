//! What watchers see of calls, and what they may do to them.

use std::sync::Arc;

use lockstep_ctx_api::op::{Op, PlayArgs, SetArgs};
use lockstep_ctx_api::{ErrorCode, OpResult, Outcome};
use tokio::sync::oneshot;

use super::lab::Lab;
use crate::core::EngineEvent;
use crate::core::handle::{EngineError, Request};
use crate::core::{Asker, ChannelEvent, Claim, Execution, Watcher};

pub(super) const WAITS: &str = "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }";
const PLAYS: &str = "async function main(data, ctx) { await ctx.answer(); await ctx.play('user/x.wav'); }";
const SOCKET: &str = "[[did]]\nnumber = \"4420\"\ndestinations = [\"socket:127.0.0.1:8085 async full\", \"class5:1000\"]\n";

/// What happened to channels, as `uuid-or-leg what`.
pub(super) fn channels(watcher: &mut Watcher) -> Vec<String> {
    std::iter::from_fn(|| watcher.try_recv())
        .filter_map(|event| match &event.unwrap().event {
            EngineEvent::Channel { channel, what } => {
                let leg = if channel.uuid == channel.call { "a" } else { "b" };
                let detail = match what {
                    ChannelEvent::Started(activity) | ChannelEvent::Completed { activity, .. } => {
                        format!(" {}", activity.application.as_deref().unwrap_or(activity.operation))
                    }
                    ChannelEvent::HungUp => format!(" {}", channel.cause.as_ref().unwrap().code),
                    _ => String::new(),
                };
                Some(format!("{leg} {}{detail}", what.name()))
            }
            _ => None,
        })
        .collect()
}

pub(super) fn ask<T>(lab: &mut Lab, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> T {
    let (reply, mut answer) = oneshot::channel();
    lab.switch.request(request(reply));
    lab.settle();
    answer.try_recv().unwrap()
}

pub(super) fn only_call(lab: &Lab) -> String {
    lab.switch.calls.values().next().unwrap().facts.id.clone()
}

fn execute(lab: &mut Lab, op: Option<Op>, application: &str) -> oneshot::Receiver<OpResult> {
    let id = only_call(lab);
    let execution = match op {
        Some(op) => Execution::new(op, application, "", "op-1".into()),
        None => Execution { op: None, ..Execution::new(Op::UnblockDtmf, application, "", "op-1".into()) },
    };
    ask(lab, |reply| Request::Execute { id, execution: Box::new(execution), reply }).unwrap()
}

pub(super) fn play() -> Option<Op> {
    Some(Op::Play(PlayArgs { sources: vec!["user/x.wav".into()], ..PlayArgs::default() }))
}

#[test]
fn a_call_is_seen_from_its_beginning_to_its_end() {
    let mut lab = Lab::new("", &[("1000", PLAYS)]);
    let mut watcher = lab.switch.events.watch();
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.audio_ends();
    assert_eq!(
        channels(&mut watcher),
        [
            "a created",
            "a operation-started answer",
            "a answered",
            "a operation-completed answer",
            "a operation-started play",
            "a operation-completed play",
            "a hung-up 200",
            "a destroyed",
        ]
    );
}

/// What was logged, that a call has ended, and that it is over.
fn ends(watcher: &mut Watcher) -> Vec<String> {
    let events = std::iter::from_fn(|| watcher.try_recv()).map(Result::unwrap);
    let words = events.filter_map(|published| {
        let event = serde_json::to_value(&published.event).unwrap();
        match event["type"].as_str().unwrap() {
            "timeline" => Some(event["entry"]["text"].as_str()?.to_owned()),
            "call-over" => Some(format!("over, {}", published.account.as_deref().unwrap())),
            kind => (kind == "call-ended").then(|| kind.to_owned()),
        }
    });
    words.collect()
}

#[test]
fn what_a_script_writes_after_the_end_of_its_call_comes_before_the_news_that_all_is_over() {
    let script = "const { kv } = require('cxKV');
    async function main(data, ctx) {
      ctx.on('hangup', async () => { await kv.set('a', '1'); console.log('saved'); });
      await ctx.answer();
      await ctx.waitForHangup();
    }";
    let mut lab = Lab::new("", &[("1000", script)]);
    let mut watcher = lab.switch.events.watch();
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let id = only_call(&lab);
    let finishing = |lab: &mut Lab| ask(lab, |reply| Request::Timeline(id.clone(), reply)).unwrap().finishing;
    assert!(!finishing(&mut lab));
    lab.hang_up(caller);
    assert_eq!(ends(&mut watcher), ["call-ended"]);
    assert!(finishing(&mut lab), "its listener waits for the store");
    lab.services_answer();
    assert_eq!(ends(&mut watcher), ["saved", "over, default"]);
    assert!(!finishing(&mut lab));
}

#[test]
fn why_a_script_has_failed_is_seen_as_a_line_of_its_log() {
    let mut lab = Lab::new("", &[("1000", "function main(data, ctx) { data.missing.field; }")]);
    let mut watcher = lab.switch.events.watch();
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let seen = ends(&mut watcher);
    assert!(seen[0].contains("TypeError") && seen[1..] == ["call-ended", "over, default"], "{seen:?}");
}

#[test]
fn the_legs_of_a_bridge_are_seen_and_joined() {
    let users = "[[user]]\nname = \"1001\"\npassword = \"pw1\"\n";
    let script = "async function main(data, ctx) { await ctx.bridge('1001'); }";
    let mut lab = Lab::new(users, &[("1000", script)]);
    let callee = lab.phone("127.0.0.1:5071");
    lab.knows_password(callee, "1001", "pw1");
    lab.register(callee, "1001");
    let mut watcher = lab.switch.events.watch();
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.respond(callee, 180);
    lab.pick_up(callee);
    let call = lab.switch.calls.values().next().unwrap();
    let other = call.channel.other.as_ref().unwrap();
    assert_eq!((other.call.as_str(), other.network_addr.as_str()), (call.facts.id.as_str(), "127.0.0.1"));
    lab.hang_up(callee);
    let seen = channels(&mut watcher);
    let far: Vec<&str> = seen.iter().filter(|line| line.starts_with('b')).map(String::as_str).collect();
    assert_eq!(far, ["b created", "b ringing", "b answered", "b hung-up 200", "b destroyed"]);
    let joined: Vec<usize> = ["a answered", "a bridged", "a unbridged"]
        .iter()
        .map(|line| seen.iter().position(|seen| seen == line).unwrap())
        .collect();
    assert!(joined.is_sorted(), "{seen:?}");
}

#[test]
fn a_leg_is_answered_before_it_is_joined_to_a_caller_who_was_answered_already() {
    let users = "[[user]]\nname = \"1001\"\npassword = \"pw1\"\n";
    let script = "async function main(data, ctx) { await ctx.answer(); await ctx.bridge('1001'); }";
    let mut lab = Lab::new(users, &[("1000", script)]);
    let callee = lab.phone("127.0.0.1:5071");
    lab.knows_password(callee, "1001", "pw1");
    lab.register(callee, "1001");
    let mut watcher = lab.switch.events.watch();
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.respond(callee, 180);
    lab.pick_up(callee);
    let seen = channels(&mut watcher);
    let steps: Vec<&str> = seen.iter().map(String::as_str).filter(|line| line.starts_with('b') || *line == "a bridged").collect();
    assert_eq!(steps, ["b created", "b ringing", "b answered", "a bridged"], "{seen:?}");
}

#[test]
fn others_may_add_operations_and_learn_what_came_of_them() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let mut watcher = lab.switch.events.watch();
    let mut played = execute(&mut lab, play(), "playback");
    assert!(played.try_recv().is_err());
    lab.audio_ends();
    assert!(played.try_recv().unwrap().is_ok());
    assert_eq!(channels(&mut watcher), ["a operation-started playback", "a operation-completed playback"]);
    assert_eq!(lab.seen(caller), ["200"], "the script has the call as before");
}

#[test]
fn what_runs_can_be_broken_off_and_what_waits_goes_on() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let mut first = execute(&mut lab, play(), "playback");
    let mut second = execute(&mut lab, play(), "playback");
    let id = only_call(&lab);
    ask(&mut lab, |reply| Request::Break { id, all: false, reply }).unwrap();
    assert!(first.try_recv().unwrap().is_err());
    lab.audio_ends();
    assert!(second.try_recv().unwrap().is_ok());
}

#[test]
fn a_call_can_be_taken_from_its_script_and_given_to_another() {
    let mut lab = Lab::new("", &[("1000", WAITS), ("2000", PLAYS.replace("await ctx.answer();", "").as_str())]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let mut parked = execute(&mut lab, None, "park");
    let id = only_call(&lab);
    ask(&mut lab, |reply| Request::Transfer { id, target: "2000".into(), asker: Asker::Tenant, reply }).unwrap();
    assert!(parked.try_recv().unwrap().is_ok(), "what lasted until the call changes hands is over");
    assert_eq!(lab.switch.calls.values().next().unwrap().script_name().as_deref(), Some("script-2000"));
    lab.audio_ends();
    assert_eq!(lab.seen(caller), ["200", "bye"]);
}

#[test]
fn a_call_that_is_claimed_is_its_scripts_no_more() {
    const AGAIN: &str = "async function main(data, ctx) { await ctx.answer(); for (;;) await ctx.play('user/x.wav'); }";
    let mut lab = Lab::new("", &[("1000", AGAIN)]);
    let mut watcher = lab.switch.events.watch();
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let mut parked = execute(&mut lab, None, "park");
    let id = only_call(&lab);
    let claim = |lab: &mut Lab, targets: &[&str]| {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        ask(lab, |reply| Request::Claim(Claim { call: id.clone(), targets, asker: Asker::Operator }, reply))
    };
    assert!(matches!(claim(&mut lab, &["1000", "nosuch"]), Err(EngineError::NobodyThere { .. })));
    assert_eq!(lab.switch.calls.values().next().unwrap().script_name().as_deref(), Some("script-1000"), "it stays where it was");

    let _ = channels(&mut watcher);
    let claimed = claim(&mut lab, &[]).unwrap();
    assert!(parked.try_recv().unwrap().is_ok());
    let mut seen = channels(&mut watcher);
    seen.sort();
    assert_eq!(seen, ["a operation-completed park", "a operation-completed play"]);
    lab.audio_ends();
    assert!(channels(&mut watcher).is_empty(), "nobody plays");
    assert_eq!(lab.seen(caller), ["200"]);
    lab.switch.request(Request::ApplicationOver(id.clone(), claimed.takeover, Ok(())));
    lab.settle();
    assert_eq!(lab.seen(caller), ["bye"]);
}

#[test]
fn a_call_that_has_just_ended_is_not_claimed() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let id = only_call(&lab);
    let (reply, _answer) = oneshot::channel();
    lab.switch.request(Request::Hangup { id: id.clone(), code: None, reason: None, reply });
    let claim = Claim { call: id.clone(), targets: Vec::new(), asker: Asker::Operator };
    let claimed = ask(&mut lab, |reply| Request::Claim(claim, reply));
    assert_eq!(claimed.map(|claimed| claimed.takeover), Err(EngineError::CallOver(id)));
    assert_eq!(lab.seen(caller), ["200", "bye"]);
}

#[test]
fn a_socket_destination_calls_an_application_and_the_next_one_follows_when_it_is_not_there() {
    let mut lab = Lab::new(SOCKET, &[("1000", PLAYS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "4420");
    let wanted = lab.book.borrow_mut().applications.pop().unwrap();
    assert_eq!((wanted.addr.as_str(), wanted.is_async, wanted.full), ("127.0.0.1:8085", true, true));
    lab.switch.request(Request::ApplicationOver(wanted.call, wanted.takeover, Err("refused".into())));
    lab.settle();
    assert_eq!(lab.seen(caller), ["200"]);
}

#[test]
fn the_next_destination_follows_an_application_that_leaves_without_an_answer() {
    let mut lab = Lab::new(SOCKET, &[("1000", PLAYS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "4420");
    let wanted = lab.book.borrow_mut().applications.pop().unwrap();
    lab.switch.request(Request::ApplicationOver(wanted.call, wanted.takeover, Ok(())));
    lab.settle();
    assert_eq!(lab.seen(caller), ["200"]);
}

#[test]
fn an_application_that_has_lost_its_call_to_another_does_not_end_it() {
    let mut lab = Lab::new(SOCKET, &[]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "4420");
    execute(&mut lab, Some(Op::Answer(Default::default())), "answer");
    let id = only_call(&lab);
    ask(&mut lab, |reply| Request::Transfer { id, target: "4420".into(), asker: Asker::Tenant, reply }).unwrap();
    let wanted = std::mem::take(&mut lab.book.borrow_mut().applications);
    let [first, second] = wanted.as_slice() else { panic!("two applications: {wanted:?}") };
    for how in [Ok(()), Err("it is late".to_owned())] {
        lab.switch.request(Request::ApplicationOver(first.call.clone(), first.takeover, how));
        lab.settle();
        assert_eq!(lab.switch.live, 1);
    }
    lab.switch.request(Request::ApplicationOver(second.call.clone(), second.takeover, Ok(())));
    lab.settle();
    assert_eq!(lab.seen(caller), ["200", "bye"]);
}

#[test]
fn only_the_operator_names_an_application() {
    const TARGET: &str = "socket:198.51.100.1:8084 async full";
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let transfer = |lab: &mut Lab, asker| {
        let id = only_call(lab);
        ask(lab, |reply| Request::Transfer { id, target: TARGET.into(), asker, reply })
    };
    assert!(matches!(transfer(&mut lab, Asker::Tenant), Err(EngineError::TargetRefused { .. })));
    assert!(lab.book.borrow().applications.is_empty());
    assert_eq!(lab.switch.calls.values().next().unwrap().script_name().as_deref(), Some("script-1000"), "its script keeps it");
    transfer(&mut lab, Asker::Operator).unwrap();
    assert_eq!(lab.book.borrow().applications.len(), 1);
}

#[test]
fn an_application_that_the_configuration_does_not_name_sees_its_calls_account_alone() {
    let north = "[[account]]\nname = \"north\"\n";
    for (config, to, account) in [
        (format!("{north}{SOCKET}"), "4420", None),
        (format!("{north}{SOCKET}"), "socket:127.0.0.1:8085 async full", None),
        (format!("{north}{SOCKET}"), "socket:127.0.0.1:8086 async full", Some("default")),
        (SOCKET.to_owned(), "socket:127.0.0.1:8086 async full", None),
    ] {
        let mut lab = Lab::new(&config, &[("1000", WAITS)]);
        let caller = lab.phone("127.0.0.1:5070");
        lab.dial(caller, "1000");
        let id = only_call(&lab);
        ask(&mut lab, |reply| Request::Transfer { id, target: to.into(), asker: Asker::Operator, reply }).unwrap();
        assert_eq!(lab.book.borrow().applications[0].account.as_deref(), account, "{to}");
    }
}

#[test]
fn an_application_that_leaves_ends_the_call_once_its_queue_is_empty() {
    let mut lab = Lab::new(SOCKET, &[]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "4420");
    execute(&mut lab, Some(Op::Answer(Default::default())), "answer");
    execute(&mut lab, play(), "playback");
    let id = only_call(&lab);
    lab.switch.request(Request::ApplicationOver(id, 1, Ok(())));
    lab.settle();
    assert_eq!(lab.seen(caller), ["200"]);
    lab.audio_ends();
    assert_eq!(lab.seen(caller), ["bye"]);
}

#[test]
fn variables_are_seen_by_watchers_however_they_were_set() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    for (value, skip_write) in [("1", false), ("3", true)] {
        execute(&mut lab, Some(Op::Set(SetArgs { key: "a".into(), value: Some(value.into()), skip_write })), "set");
    }
    let id = only_call(&lab);
    let (name, value) = ("b".to_owned(), Some("2".to_owned()));
    ask(&mut lab, |reply| Request::SetVariable { id, name, value, reply }).unwrap();
    let id = only_call(&lab);
    let channel: Arc<crate::core::Channel> = ask(&mut lab, |reply| Request::Channel(id, reply)).unwrap();
    let vars = ["a", "b", "destination_number"].map(|name| channel.vars.get(name));
    assert_eq!(vars, [Some("1"), Some("2"), Some("1000")]);
}

#[test]
fn variables_that_others_set_are_bounded_too() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let id = only_call(&lab);
    let half = Some("x".repeat(1 << 20));
    let set = |key: &str| Some(Op::Set(SetArgs { key: key.into(), value: half.clone(), skip_write: false }));
    let [mut first, mut again, mut second] = ["a", "a", "b"].map(|key| execute(&mut lab, set(key), "set"));
    lab.settle();
    assert_eq!(first.try_recv().unwrap(), Ok(Outcome::Unit));
    assert_eq!(again.try_recv().unwrap(), Ok(Outcome::Unit), "in the place of what was there");
    assert_eq!(second.try_recv().unwrap().unwrap_err().code, ErrorCode::LimitError);
    let by_request = |lab: &mut Lab, name: &str, value: Option<String>| {
        ask(lab, |reply| Request::SetVariable { id: id.clone(), name: name.into(), value, reply })
    };
    assert!(matches!(by_request(&mut lab, "b", half.clone()), Err(EngineError::AtCapacity(_))));
    by_request(&mut lab, "a", None).unwrap();
    by_request(&mut lab, "b", half.clone()).unwrap();
}
