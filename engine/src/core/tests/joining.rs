//! Calls that are joined from outside.

use lockstep_ctx_api::{ErrorCode, OpResult};
use lockstep_sip::endpoint::{Body, DialogRequest, Reply};
use lockstep_sip::message::{Method, StatusCode};
use tokio::sync::oneshot;

use super::lab::{Lab, PhoneId};
use super::watching::{ask, channels, only_call, play};
use crate::core::Asker;
use crate::core::Execution;
use crate::core::handle::{EngineError, Request};

const WAITS: &str = "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }";
const PLAYS: &str = "async function main(data, ctx) { await ctx.play('user/x.wav'); }";
const DIALS: &str = "async function main(data, ctx) { await ctx.answer(); await ctx.bridge('1001'); }";
const USER: &str = "[[user]]\nname = \"1001\"\npassword = \"pw1\"\n[[did]]\nnumber = \"4420\"\ndestinations = [\"user:1001\"]\n";

/// Two callers whose calls were answered, and the calls' ids.
fn two_calls(lab: &mut Lab, numbers: [&str; 2]) -> ([PhoneId; 2], [String; 2]) {
    let phones = [lab.phone("127.0.0.1:5070"), lab.phone("127.0.0.1:5071")];
    for (phone, number) in phones.iter().zip(numbers) {
        lab.dial(*phone, number);
    }
    let ids: Vec<String> = lab.switch.calls.values().map(|call| call.facts.id.clone()).collect();
    (phones, [ids[0].clone(), ids[1].clone()])
}

fn join(lab: &mut Lab, ids: &[String; 2]) -> Result<(), EngineError> {
    let [first, second] = ids.clone();
    ask(lab, |reply| Request::Join { first, second, reply })
}

fn set(lab: &mut Lab, id: &str, name: &str, value: &str) {
    let (id, name, value) = (id.to_owned(), name.to_owned(), Some(value.to_owned()));
    ask(lab, |reply| Request::SetVariable { id, name, value, reply }).unwrap();
}

#[test]
fn what_others_play_is_over_before_the_calls_are_joined() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    let mut watcher = lab.switch.events.watch();
    let execution = Box::new(Execution::new(play().unwrap(), "playback", "", "op-1".into()));
    let id = ids[0].clone();
    let mut played = ask(&mut lab, |reply| Request::Execute { id, execution, reply }).unwrap();
    join(&mut lab, &ids).unwrap();
    assert!(played.try_recv().unwrap().is_err());
    lab.hang_up(phones[1]);
    assert_eq!(
        channels(&mut watcher),
        [
            "a operation-started playback",
            "a operation-completed playback",
            "a bridged",
            "a unbridged",
            "a hung-up 200",
            "a destroyed",
            "a hung-up 200",
            "a destroyed",
        ]
    );
    assert_eq!(lab.seen(phones[0]), ["200", "bye"]);
    let media = lab.book.borrow().media.clone();
    assert_eq!(media.iter().filter(|line| line.starts_with("join")).collect::<Vec<_>>(), ["join 1 2"]);
}

#[test]
fn the_party_that_is_left_goes_where_its_variable_says() {
    let mut lab = Lab::new("", &[("1000", WAITS), ("2000", PLAYS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    set(&mut lab, &ids[0], "transfer_after_bridge", "2000:XML:default");
    join(&mut lab, &ids).unwrap();
    lab.hang_up(phones[1]);
    let left = lab.switch.calls.values().find(|call| call.ended.is_none()).unwrap();
    assert_eq!(left.script_name().as_deref(), Some("script-2000"));
    lab.audio_ends();
    assert_eq!(lab.seen(phones[0]), ["200", "bye"]);
}

#[test]
fn the_party_that_is_left_is_hung_up_where_its_variable_names_an_application() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    set(&mut lab, &ids[0], "transfer_after_bridge", "socket:198.51.100.1:8084 full");
    join(&mut lab, &ids).unwrap();
    lab.hang_up(phones[1]);
    assert_eq!(lab.seen(phones[0]), ["200", "bye"]);
    assert!(lab.book.borrow().applications.is_empty());
}

#[test]
fn a_call_without_a_script_waits_where_its_variable_says_so() {
    let mut lab = Lab::new(USER, &[("1000", WAITS)]);
    let callee = lab.phone("127.0.0.1:5079");
    lab.knows_password(callee, "1001", "pw1");
    lab.register(callee, "1001");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "4420");
    lab.pick_up(callee);
    let other = lab.phone("127.0.0.1:5071");
    lab.dial(other, "1000");
    let ids: Vec<String> = lab.switch.calls.values().map(|call| call.facts.id.clone()).collect();
    let ids = [ids[0].clone(), ids[1].clone()];
    set(&mut lab, &ids[0], "park_after_bridge", "true");
    let mut watcher = lab.switch.events.watch();
    join(&mut lab, &ids).unwrap();
    assert_eq!(lab.seen(callee).last().map(String::as_str), Some("bye"), "the leg it was bridged to is given up");
    lab.hang_up(other);
    assert_eq!(lab.seen(caller), ["200"]);
    assert!(channels(&mut watcher).contains(&"a operation-started park".to_owned()));
    lab.hang_up(caller);
}

#[test]
fn a_call_that_is_taken_elsewhere_leaves_the_other_to_its_end() {
    let mut lab = Lab::new("", &[("1000", WAITS), ("2000", PLAYS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    join(&mut lab, &ids).unwrap();
    let id = ids[0].clone();
    ask(&mut lab, |reply| Request::Transfer { id, target: "2000".into(), asker: Asker::Operator, reply }).unwrap();
    assert_eq!(lab.seen(phones[1]), ["200", "bye"]);
    lab.audio_ends();
    assert_eq!(lab.seen(phones[0]), ["200", "bye"]);
}

#[test]
fn a_bridge_of_a_script_ends_when_its_call_is_joined_with_another() {
    let mut lab = Lab::new(USER, &[("1000", WAITS), ("3000", DIALS)]);
    let callee = lab.phone("127.0.0.1:5079");
    lab.knows_password(callee, "1001", "pw1");
    lab.register(callee, "1001");
    let (phones, ids) = two_calls(&mut lab, ["3000", "1000"]);
    lab.pick_up(callee);
    join(&mut lab, &ids).unwrap();
    assert_eq!(lab.seen(callee).last().map(String::as_str), Some("bye"));
    assert_eq!(lab.seen(phones[0]), ["200"]);
    lab.hang_up(phones[1]);
    assert_eq!(lab.seen(phones[0]), ["bye"]);
}

#[test]
fn keys_by_info_go_on_to_the_other_party() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    join(&mut lab, &ids).unwrap();
    lab.book.borrow_mut().media.clear();
    let now = lab.now.instant;
    let phone = lab.at(phones[0]);
    let request = DialogRequest::new(Method::Info).with_body(Body::new("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"));
    phone.endpoint.request(now, phone.dialog.unwrap(), request).unwrap();
    lab.settle();
    assert_eq!(lab.book.borrow().media, ["2 keys 5"]);
}

#[test]
fn only_two_answered_calls_can_be_joined() {
    let silent = "async function main(data, ctx) { await ctx.waitForHangup(); }";
    let mut lab = Lab::new("", &[("1000", WAITS), ("2000", silent)]);
    let (_, ids) = two_calls(&mut lab, ["1000", "2000"]);
    assert_eq!(join(&mut lab, &ids), Err(EngineError::NotAnswered(ids[1].clone())));
    let same = [ids[0].clone(), ids[0].clone()];
    assert_eq!(join(&mut lab, &same), Err(EngineError::SameCall));
    let unknown = [ids[0].clone(), "nobody".to_owned()];
    assert_eq!(join(&mut lab, &unknown), Err(EngineError::NoSuchCall("nobody".into())));
}

fn broadcast(lab: &mut Lab, id: &str, far: bool) -> Result<oneshot::Receiver<OpResult>, EngineError> {
    let execution = Box::new(Execution::new(play().unwrap(), "playback", "", format!("far-{far}")));
    let id = id.to_owned();
    ask(lab, |reply| Request::Broadcast { id, execution, far, reply })
}

#[test]
fn what_is_broadcast_into_a_conversation_is_heard_at_once_by_the_side_it_is_for() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    join(&mut lab, &ids).unwrap();
    lab.book.borrow_mut().media.clear();
    let mut watcher = lab.switch.events.watch();
    let mut played = [false, true].map(|far| broadcast(&mut lab, &ids[0], far).unwrap());
    assert_eq!(lab.book.borrow().media, ["1 play", "2 play"]);
    lab.audio_ends();
    assert!(played.iter_mut().all(|played| played.try_recv().unwrap().is_ok()));
    let seen = channels(&mut watcher);
    assert_eq!(seen.iter().filter(|line| *line == "a operation-completed playback").count(), 2, "{seen:?}");
    lab.hang_up(phones[0]);
}

#[test]
fn what_is_broadcast_can_be_broken_off_and_ends_with_the_call() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    join(&mut lab, &ids).unwrap();
    let mut broken = broadcast(&mut lab, &ids[0], false).unwrap();
    let id = ids[0].clone();
    ask(&mut lab, |reply| Request::Break { id, all: false, reply }).unwrap();
    assert_eq!(broken.try_recv().unwrap().unwrap_err().code, ErrorCode::AbortError);
    let mut ended = broadcast(&mut lab, &ids[0], false).unwrap();
    lab.hang_up(phones[0]);
    assert_eq!(ended.try_recv().unwrap().unwrap_err().code, ErrorCode::CallEnded);
}

#[test]
fn the_far_end_of_a_bridge_hears_what_is_broadcast_to_it() {
    let mut lab = Lab::new(USER, &[("3000", DIALS)]);
    let callee = lab.phone("127.0.0.1:5079");
    lab.knows_password(callee, "1001", "pw1");
    lab.register(callee, "1001");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "3000");
    let id = lab.switch.calls.values().next().unwrap().facts.id.clone();
    assert_eq!(broadcast(&mut lab, &id, true).unwrap_err(), EngineError::NotBridged(id.clone()));
    lab.pick_up(callee);
    lab.book.borrow_mut().media.clear();
    let mut played = broadcast(&mut lab, &id, true).unwrap();
    assert_eq!(lab.book.borrow().media, ["2 play"]);
    lab.hang_up(callee);
    assert!(played.try_recv().unwrap().is_err());
}

#[test]
fn both_calls_of_a_pair_can_be_led_elsewhere() {
    let mut lab = Lab::new("", &[("1000", WAITS), ("2000", PLAYS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    join(&mut lab, &ids).unwrap();
    let id = ids[0].clone();
    ask(&mut lab, |reply| Request::TransferOther { id, target: "2000".into(), both: true, asker: Asker::Operator, reply })
        .unwrap();
    let scripts: Vec<Option<String>> = lab.switch.calls.values().map(|call| call.script_name()).collect();
    assert_eq!(scripts, [Some("script-2000".to_owned()), Some("script-2000".to_owned())]);
    lab.audio_ends();
    for phone in phones {
        assert_eq!(lab.seen(phone), ["200", "bye"]);
    }
}

#[test]
fn one_call_of_a_pair_is_led_elsewhere_where_the_other_has_just_ended() {
    let mut lab = Lab::new("", &[("1000", WAITS), ("2000", PLAYS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    join(&mut lab, &ids).unwrap();
    let id = ids[0].clone();
    let (reply, _answer) = oneshot::channel();
    lab.switch.request(Request::Hangup { id: id.clone(), code: None, reason: None, reply });
    let led =
        ask(&mut lab, |reply| Request::TransferOther { id, target: "2000".into(), both: true, asker: Asker::Operator, reply });
    assert_eq!(led, Err(EngineError::CallOver(ids[0].clone())));
    let other = lab.switch.calls.values().find(|call| call.facts.id == ids[1]).unwrap();
    assert_eq!(other.script_name().as_deref(), Some("script-2000"));
    assert_eq!(lab.seen(phones[0]), ["200", "bye"]);
}

#[test]
fn a_hold_that_meets_an_offer_of_the_partys_own_follows_its_ack() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let (phones, ids) = two_calls(&mut lab, ["1000", "1000"]);
    lab.seen(phones[0]);
    lab.offer_without_ack(phones[0]);
    let id = ids[0].clone();
    ask(&mut lab, |reply| Request::Hold { id, hold: true, music: None, reply }).unwrap();
    assert_eq!(lab.seen(phones[0]), ["response 200", "offer"]);
}

#[test]
fn a_hold_that_the_party_cannot_take_now_is_offered_again() {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let mut watcher = lab.switch.events.watch();
    let id = only_call(&lab);
    ask(&mut lab, |reply| Request::Hold { id, hold: true, music: None, reply }).unwrap();
    lab.respond(caller, 491);
    assert_eq!(lab.seen(caller), ["200", "offer"]);
    // The one that did not make the Call-ID tries again within two seconds.
    lab.wait(2_000);
    assert_eq!(lab.seen(caller), ["offer"]);
    lab.pick_up(caller);
    assert_eq!(channels(&mut watcher), ["a held"]);
}

/// A caller who knows no UPDATE and has asked us to refresh the session: our re-INVITE is there.
fn refreshing() -> (Lab, PhoneId) {
    let mut lab = Lab::new("", &[("1000", WAITS)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial_with_headers(caller, "1000", &[("Session-Expires", "90;refresher=uas"), ("Allow", "INVITE, ACK, BYE")]);
    lab.wait(45_000);
    assert_eq!(lab.seen(caller), ["200", "offer"]);
    (lab, caller)
}

#[test]
fn a_party_may_put_us_on_hold_in_its_answer_to_a_session_refresh() {
    let (mut lab, caller) = refreshing();
    let mut watcher = lab.switch.events.watch();
    let now = lab.now.instant;
    let sdp =
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40006 RTP/AVP 0\r\na=sendonly\r\n";
    let phone = lab.at(caller);
    let id = phone.ringing.take().expect("a re-INVITE came");
    phone.endpoint.respond(now, id, Reply::new(StatusCode::OK).body(Body::sdp(sdp))).unwrap();
    lab.settle();
    assert_eq!(channels(&mut watcher), ["a held"]);
}

#[test]
fn a_hold_that_meets_a_session_refresh_follows_its_answer() {
    let (mut lab, caller) = refreshing();
    let id = only_call(&lab);
    ask(&mut lab, |reply| Request::Hold { id, hold: true, music: None, reply }).unwrap();
    assert_eq!(lab.seen(caller), [""; 0]);
    lab.pick_up(caller);
    assert_eq!(lab.seen(caller), ["offer"]);
}
