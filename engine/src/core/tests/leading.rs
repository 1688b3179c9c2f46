//! Where calls are led: by their DID's destinations one after another, by scripts that dial a DID, and by those who transfer them.

use super::lab::{Lab, PhoneId};
use super::outgoing::{USERS, registered};
use super::scripts::logged;
use super::watching::{WAITS, ask, only_call};
use crate::block_on::block_on;
use crate::config::JournalConfig;
use crate::core::handle::{EngineError, Originate, Request};
use crate::core::{Asker, Claim};
use crate::journals::{Journals, MasterKey};
use crate::store::{Clock, Store};

const CALLER: &str = "127.0.0.1:5070";
const CARRIER: &str = "127.0.0.1:5091";
const ANSWERS: &str = "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }";
const STAYS: &str = "async function main(data, ctx) { await ctx.waitForHangup(); }";
const GATEWAY: &str = "[[gateway]]\nid = 7\naddress = \"sip:127.0.0.1:5091\"\n";

fn did(number: &str, rest: &str) -> String {
    format!("[[did]]\nnumber = \"{number}\"\n{rest}\n")
}

fn dialled(lab: &mut Lab, to: &str) -> PhoneId {
    let caller = lab.phone(CALLER);
    lab.dial(caller, to);
    caller
}

fn transfer(lab: &mut Lab, target: &str, asker: Asker) -> Result<(), EngineError> {
    let id = only_call(lab);
    ask(lab, |reply| Request::Transfer { id, target: target.to_owned(), asker, reply })
}

#[test]
fn a_dids_next_destination_follows_one_whose_script_did_not_answer() {
    let next = "200";
    for (script, heard) in [
        ("function main() {}", next),
        ("async function main(data, ctx) { await ctx.ring(); }", next),
        ("function main(data) { data.missing.field; }", next),
        ("function main(data, ctx) { ctx.play('user/x.wav'); data.missing.field; }", next),
        ("async function main(data, ctx) { await ctx.bridge('1001', true); }", next),
        ("function main() { throw '486 Busy Here'; }", "486 Busy Here"),
        ("async function main(data, ctx) { await ctx.reject(603); }", "603 Decline"),
        ("async function main(data, ctx) { await ctx.hangup(); }", "603 Decline"),
        ("async function main(data, ctx) { await ctx.bridge('1001'); }", "480 Temporarily Unavailable"),
    ] {
        let config = USERS.to_owned() + &did("4420", "destinations = [\"class5:1000\", \"class5:2000\"]");
        let mut lab = Lab::new(&config, &[("1000", script), ("2000", ANSWERS)]);
        let caller = dialled(&mut lab, "4420");
        assert_eq!(lab.seen(caller).last().map(String::as_str), Some(heard), "{script}");
        let has = lab.switch.calls.values().next().and_then(|call| call.script_name());
        assert_eq!(has.is_some_and(|name| name == "script-2000"), heard == next, "{script}");
    }
}

#[test]
fn what_the_last_destination_came_to_is_the_reply() {
    for (destinations, heard) in [
        ("\"class5:1000\", \"class5:2000\"", "500 Script Error"),
        ("\"class5:2000\", \"class5:1000\"", "480 Temporarily Unavailable"),
        ("\"class5:2000\", \"class5:nowhere\"", "500 Script Error"),
    ] {
        let config = did("4420", &format!("destinations = [{destinations}]"));
        let mut lab =
            Lab::new(&config, &[("1000", "function main() {}"), ("2000", "function main(data) { data.missing.field; }")]);
        let caller = dialled(&mut lab, "4420");
        assert_eq!(lab.seen(caller), [heard], "{destinations}");
    }
}

#[test]
fn an_answered_call_does_not_go_to_the_next_destination() {
    let config = did("4420", "destinations = [\"class5:1000\", \"class5:2000\"]");
    for (script, heard) in [
        ("async function main(data, ctx) { await ctx.answer(); }", "bye"),
        ("async function main(data, ctx) { await ctx.answer(); data.missing.field; }", "bye SIP;cause=500;text=\"Script Error\""),
    ] {
        let mut lab = Lab::new(&config, &[("1000", script), ("2000", ANSWERS)]);
        let caller = dialled(&mut lab, "4420");
        assert_eq!(lab.seen(caller), ["200", heard], "{script}");
    }
}

#[test]
fn a_script_that_an_answered_call_is_led_to_may_answer_it_once() {
    let twice = "async function main(data, ctx) {
      await ctx.ring();
      await ctx.earlyMedia();
      await ctx.answer();
      await ctx.answer().catch((error) => { throw `486 ${error.name}`; });
    }";
    let mut lab = Lab::new("", &[("1000", ANSWERS), ("2000", ANSWERS), ("3000", twice)]);
    let caller = dialled(&mut lab, "1000");
    for target in ["2000", "3000"] {
        transfer(&mut lab, target, Asker::Operator).unwrap();
    }
    assert_eq!(lab.seen(caller), ["200", "bye SIP;cause=486;text=\"InvalidState\""]);
}

#[test]
fn a_script_whose_call_is_led_elsewhere_ends_as_at_a_hang_up_while_the_next_has_the_call() {
    let served = "const { kv } = require('cxKV');
    async function main(data, ctx) {
      ctx.on('hangup', async () => { await kv.set('a', '1'); await kv.set('b', '2'); console.log('listened'); });
      ctx.waitForHangup().then((cause) => console.log('heard', cause.code, cause.reason, cause.by));
      await ctx.answer();
      try {
        await ctx.play('user/x.wav', { loop: true });
      } catch (error) {
        console.log('caught', error.name);
      } finally {
        await kv.set('c', '1');
        console.log('left');
        await ctx.play('user/x.wav');
      }
    }";
    let plays = "async function main(data, ctx) { await ctx.answer(); await ctx.play('user/x.wav'); console.log('played'); }";
    let mut lab = Lab::new("", &[("1000", served), ("2000", plays)]);
    let caller = dialled(&mut lab, "1000");
    transfer(&mut lab, "2000", Asker::Tenant).unwrap();
    assert_eq!(only_script(&lab).as_deref(), Some("script-2000"));
    lab.services_answer();
    lab.services_answer();
    assert_eq!(lab.seen(caller), ["200"], "what the first script does is nothing to the call");
    assert_eq!(lab.switch.runs.len(), 1, "the first script is over");
    lab.audio_ends();
    assert_eq!(lab.seen(caller), ["bye"]);
    let mut lines = logged(&lab);
    lines.sort();
    assert_eq!(lines, ["caught CallEnded", "heard 200 Transferred engine", "left", "listened", "played"]);
    let entries = serde_json::to_value(&lab.past()[0].entries).unwrap();
    let operations: Vec<_> = entries.as_array().unwrap().iter().filter(|entry| entry["kind"] == "operation").collect();
    assert!(operations.len() > 6 && operations.iter().all(|operation| operation["ok"].is_boolean()), "{operations:?}");
}

#[test]
fn what_a_script_has_set_for_its_next_leg_does_not_go_to_whom_its_call_is_led_to() {
    let sets = "async function main(data, ctx) {
      await ctx.answer();
      await ctx.header('X-Pin', '4711');
      await ctx.waitForHangup();
    }";
    let mut lab = Lab::new(USERS, &[("1000", sets)]);
    let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    dialled(&mut lab, "1000");
    transfer(&mut lab, "1001", Asker::Operator).unwrap();
    let invite = lab.at(phone).invited.clone().expect("an INVITE came");
    assert!(invite.headers.get("X-Pin").is_none());
}

#[test]
fn what_a_script_has_asked_of_a_service_is_answered_when_its_call_is_elsewhere() {
    let stores = "const { kv } = require('cxKV');
    async function main(data, ctx) {
      await ctx.answer();
      await kv.set('a', '1');
      console.log('stored');
      await ctx.play('user/x.wav');
    }";
    let mut lab = Lab::new("", &[("1000", stores), ("2000", stores)]);
    let caller = dialled(&mut lab, "1000");
    transfer(&mut lab, "2000", Asker::Tenant).unwrap();
    assert_eq!(lab.switch.runs.len(), 2);
    lab.services_answer();
    assert_eq!(lab.switch.runs.len(), 1);
    lab.audio_ends();
    assert_eq!(lab.seen(caller), ["200", "bye"]);
    assert_eq!(logged(&lab), ["stored", "stored"]);
}

#[test]
fn a_script_whose_call_is_elsewhere_runs_on_for_its_time_and_no_longer() {
    let lingers = "async function main(data, ctx) { await ctx.answer(); await new Promise(() => {}); }";
    let mut lab = Lab::new("", &[("1000", lingers), ("2000", ANSWERS)]);
    let caller = dialled(&mut lab, "1000");
    transfer(&mut lab, "2000", Asker::Tenant).unwrap();
    lab.hang_up(caller);
    assert_eq!(lab.past().len(), 0);
    lab.wait(10_000);
    let past = lab.switch.past.newest_first().next().unwrap();
    assert_eq!(past.journal.as_ref().map(|journal| journal.header.script.as_str()), Some("script-2000.js"));
}

#[test]
fn the_kept_journal_of_a_script_goes_on_to_its_end_without_the_call() {
    for (target, script) in [("1001", "script-1000.js"), ("2000", "script-2000.js")] {
        let store = Store::in_memory(Clock::system()).unwrap();
        let journals = Journals::start(&store, MasterKey::passing(), &JournalConfig::default()).unwrap();
        let mut lab = Lab::new(USERS, &[("1000", ANSWERS), ("2000", ANSWERS)]);
        lab.switch.keeping.journals = Some(journals.clone());
        registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let caller = dialled(&mut lab, "1000");
        let id = only_call(&lab);
        lab.wait(1_000);
        transfer(&mut lab, target, Asker::Operator).unwrap();
        lab.hang_up(caller);
        let past = lab.switch.past.newest_first().next().unwrap();
        block_on(journals.flush());
        let kept = block_on(journals.find(&id, false)).unwrap().unwrap();
        assert!(kept.outcome.is_some(), "{target}");
        let (kept, past) = (kept.journal.unwrap(), past.journal.as_ref().unwrap());
        assert_eq!((kept.header.script.as_str(), kept.entries.len()), (script, past.entries.len()), "{target}");
        let last = format!("{:?}", kept.entries.last().unwrap().kind);
        assert_eq!(last.contains("Transferred"), target == "1001", "{last}");
        assert!(block_on(journals.open_calls()).unwrap().is_empty(), "{target}");
    }
}

#[test]
fn a_script_that_leads_its_call_on_without_end_leaves_few_behind() {
    let lingers = "async function main(data, ctx) { await ctx.answer(); await new Promise(() => {}); }";
    let mut lab = Lab::new("", &[("1000", lingers)]);
    let caller = dialled(&mut lab, "1000");
    for _ in 0..40 {
        transfer(&mut lab, "1000", Asker::Tenant).unwrap();
    }
    assert_eq!(lab.switch.runs.len(), 17);
    lab.hang_up(caller);
    lab.wait(10_000);
    assert_eq!((lab.past().len(), lab.switch.runs.len()), (1, 0));
}

fn only_script(lab: &Lab) -> Option<String> {
    lab.switch.calls.values().next().and_then(|call| call.script_name())
}

#[test]
fn a_phone_is_not_told_who_a_withheld_caller_is_and_a_carrier_is() {
    for (destination, told) in [("user:1001", false), ("external:1001", false), ("sip:1@127.0.0.1:5091", true)] {
        let config = format!("{USERS}{GATEWAY}{}", did("4420", &format!("destinations = [\"{destination}\"]")));
        let mut lab = Lab::new(&config, &[]);
        let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let (carrier, caller) = (lab.phone(CARRIER), lab.phone(CALLER));
        let fields = [("P-Asserted-Identity", "<sip:+44123@x>"), ("Privacy", "id"), ("X-Id", "1")];
        lab.dial_with_headers(caller, "4420", &fields);
        let called = if told { carrier } else { phone };
        let invite = lab.at(called).invited.clone().expect("an INVITE came");
        let shown = fields.map(|(name, _)| invite.headers.get(name).is_some());
        assert_eq!(shown, [told, true, true], "{destination}");
    }
}

/// Bridges to a DID, which has these keys, and dials that script.
fn bridged(keys: &str, second: &str) -> (Lab, PhoneId, PhoneId) {
    let config = format!("{USERS}{GATEWAY}[[customer]]\nid = 12\nvars = {{ week = \"9-21\" }}\n{}", did("4420", keys));
    let bridges = "async function main(data, ctx) { await ctx.bridge('+4420'); }";
    let mut lab = Lab::new(&config, &[("1000", bridges), ("2000", second)]);
    let carrier = lab.phone(CARRIER);
    let caller = dialled(&mut lab, "1000");
    (lab, caller, carrier)
}

#[test]
fn a_did_that_a_script_dials_has_all_of_its_destinations() {
    for keys in [
        "destinations = [\"user:1001\", \"class5:2000\"]",
        "destinations = [\"external:4420\", \"class5:2000\"]",
        "destinations = [\"class5:script-2000\"]",
    ] {
        let (mut lab, caller, _) = bridged(keys, ANSWERS);
        assert_eq!(lab.seen(caller).last().map(String::as_str), Some("200"), "{keys}");
    }
    let (mut lab, _, carrier) = bridged("destinations = [\"sip:desk@127.0.0.1:5091\"]", ANSWERS);
    assert_eq!(lab.seen(carrier), ["invite"]);
    assert_eq!(lab.at(carrier).invited.as_ref().unwrap().uri.to_string(), "sip:desk@127.0.0.1:5091");
}

#[test]
fn a_did_that_a_script_dials_has_its_customer_and_variables() {
    let says = "function main(data) { throw `486 ${data.did} ${data.customer_id} ${data.vars.week} ${data.vars.colour}`; }";
    let (lab, _, _) = bridged("destinations = [\"class5:2000\"]\ncustomer = 12\nvars = { colour = \"red\" }", says);
    let reasons: Vec<String> = lab.past().iter().map(|call| call.ended.clone().unwrap().reason).collect();
    assert!(reasons.iter().any(|reason| reason == "4420 12 9-21 red"), "{reasons:?}");
}

#[test]
fn a_did_that_is_but_another_name_of_a_user_is_that_user() {
    let config = USERS.to_owned() + &did("4420", "destinations = [\"user:1001\"]");
    let mut lab = Lab::new(&config, &[("1000", "async function main(data, ctx) { await ctx.bridge('4420'); }")]);
    let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    dialled(&mut lab, "1000");
    assert_eq!((lab.seen(phone), lab.switch.live), (vec!["invite".to_owned()], 1), "no call in between");
}

#[test]
fn the_script_of_a_did_blocks_whoever_reaches_it() {
    let config = USERS.to_owned() + &did("4420", "destinations = [\"class5:2000\"]\nscript = \"script-block\"");
    let scripts = [
        ("1000", "async function main(data, ctx) { await ctx.bridge('4420'); }"),
        ("2000", ANSWERS),
        ("3000", WAITS),
        ("block", "function main() { throw '603 Decline'; }"),
    ];
    for to in ["4420", "1000"] {
        let mut lab = Lab::new(&config, &scripts);
        let caller = dialled(&mut lab, to);
        assert_eq!(lab.seen(caller), ["603 Decline"], "{to}");
    }
    let mut lab = Lab::new(&config, &scripts);
    let caller = dialled(&mut lab, "3000");
    transfer(&mut lab, "4420", Asker::Tenant).unwrap();
    assert_eq!(lab.seen(caller), ["200", "bye SIP;cause=603;text=\"Decline\""]);
}

#[test]
fn what_the_script_of_a_did_says_is_nothing_to_a_call_that_is_elsewhere_by_then() {
    let config = did("4420", "destinations = [\"class5:2000\"]\nscript = \"script-slow\"");
    for slow in ["function main() {}", "function main() { throw '603 Decline'; }"] {
        for is_claimed in [false, true] {
            let mut lab = Lab::new(&config, &[("1000", WAITS), ("2000", WAITS), ("slow", slow)]);
            lab.decides = false;
            let caller = dialled(&mut lab, "4420");
            if is_claimed {
                let claim = Claim { call: only_call(&lab), targets: Vec::new(), asker: Asker::Operator };
                ask(&mut lab, |reply| Request::Claim(claim, reply)).unwrap();
            } else {
                transfer(&mut lab, "1000", Asker::Operator).unwrap();
            }
            let (heard, script) = if is_claimed { (vec![], None) } else { (vec!["200"], Some("script-1000")) };
            lab.decides = true;
            lab.settle();
            assert_eq!(lab.seen(caller), heard, "{slow}");
            assert_eq!((only_script(&lab).as_deref(), lab.switch.live), (script, 1), "{slow}");
        }
    }
}

#[test]
fn a_call_of_ours_may_go_to_a_did_whose_destination_is_a_uri() {
    let config = GATEWAY.to_owned() + &did("4420", "destinations = [\"sip:desk@127.0.0.1:5091\"]");
    let mut lab = Lab::new(&config, &[("1000", WAITS)]);
    let carrier = lab.phone(CARRIER);
    let wanted = Originate { to: "4420".into(), destination: "1000".into(), ..Originate::default() };
    ask(&mut lab, |reply| Request::Originate(wanted, reply)).unwrap();
    assert_eq!(lab.seen(carrier), ["invite"]);
}

#[test]
fn a_transferred_call_knows_the_did_it_is_led_to() {
    let says = "function main(data) { throw `486 ${data.did}`; }";
    let config = did("4420", "destinations = [\"class5:2000\"]");
    let mut lab = Lab::new(&config, &[("1000", WAITS), ("2000", says)]);
    let caller = dialled(&mut lab, "1000");
    transfer(&mut lab, "4420", Asker::Tenant).unwrap();
    assert_eq!(lab.seen(caller), ["200", "bye SIP;cause=486;text=\"4420\""]);
}

#[test]
fn a_script_is_told_what_led_its_call_to_it() {
    let says = "function main(data, ctx) {
      throw `486 ${[data.to, ctx.call.to, ctx.get('destination_number')].join(' ')}`;
    }";
    let scripts = [("1000", WAITS), ("/afwd_[a-z0-9]+/", says)];
    for (target, told) in [("afwd_one", "afwd_one"), ("class5:afwd_two", "afwd_two")] {
        let mut lab = Lab::new("", &scripts);
        let caller = dialled(&mut lab, "1000");
        transfer(&mut lab, target, Asker::Tenant).unwrap();
        let heard = format!("bye SIP;cause=486;text=\"{told} {told} {told}\"");
        assert_eq!(lab.seen(caller), ["200", heard.as_str()], "{target}");
    }
    for park in [false, true] {
        let mut lab = Lab::new(USERS, &scripts);
        let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let wanted = Originate { to: "1001".into(), destination: "afwd_one".into(), park, ..Originate::default() };
        ask(&mut lab, |reply| Request::Originate(wanted, reply)).unwrap();
        lab.pick_up(phone);
        if park {
            transfer(&mut lab, "afwd_one", Asker::Tenant).unwrap();
        }
        // A call that was placed has called somebody.
        assert_eq!(lab.seen(phone), ["invite", "bye SIP;cause=486;text=\"1001 1001 afwd_one\""], "park: {park}");
    }
}

#[test]
fn dids_that_lead_to_each_other_end_the_call_before_long() {
    let config = did("4420", "destinations = [\"external:4421\", \"external:4421\", \"external:4421\"]")
        + &did("4421", "destinations = [\"external:4420\", \"external:4420\", \"external:4420\"]");
    let mut lab = Lab::new(&config, &[]);
    let caller = dialled(&mut lab, "4420");
    assert_eq!(lab.seen(caller), ["483 Too Many Hops"]);
    let taken = lab.switch.counters.calls_taken;
    assert!((2..=20).contains(&taken), "{taken} calls");
}

/// A call of `north`, which has a script of its own that nobody can dial; so has `default`, and others that can be dialled.
fn two_accounts() -> Lab {
    let config =
        format!("{USERS}{GATEWAY}[[account]]\nname = \"north\"\n{}", did("4420", "destinations = [\"class5:script-secret\"]"));
    let scripts = [("1000", WAITS), ("own", STAYS), ("secret", STAYS), ("5000", STAYS)];
    let mut lab = Lab::new(&config, &scripts);
    lab.give_script("script-1000", "north", true);
    lab.give_script("script-own", "north", false);
    lab.give_script("script-secret", "default", false);
    dialled(&mut lab, "1000");
    lab
}

#[test]
fn an_account_leads_its_calls_to_what_can_be_dialled_and_to_its_own_scripts() {
    let uuid = |lab: &Lab| lab.switch.exchange.borrow().programs.by_name("script-secret").unwrap().uuid.clone();
    let secret = uuid(&two_accounts());
    for (target, asker, reached) in [
        ("5000", Asker::Tenant, Some("script-5000")),
        ("class5:5000", Asker::Tenant, Some("script-5000")),
        ("class5:script-own", Asker::Tenant, Some("script-own")),
        ("class5:script-own", Asker::Variable, None),
        // The operator has led this number there.
        ("4420", Asker::Tenant, Some("script-secret")),
        ("class5:script-secret", Asker::Tenant, None),
        ("class5:script-secret.js", Asker::Tenant, None),
        (format!("class5:{secret}").as_str(), Asker::Tenant, None),
        ("class5:3", Asker::Tenant, None),
        ("class5:script-secret", Asker::Variable, None),
        ("class5:script-secret", Asker::Operator, Some("script-secret")),
        ("class5:nowhere", Asker::Operator, None),
        ("script-secret", Asker::Tenant, None),
    ] {
        let mut lab = two_accounts();
        let led = transfer(&mut lab, target, asker);
        let has = lab.switch.calls.values().next().and_then(|call| call.script_name());
        assert_eq!(has.as_deref(), Some(reached.unwrap_or("script-1000")), "{target} {asker:?}: {led:?}");
        assert_eq!(matches!(led, Err(EngineError::NobodyThere { .. })), reached.is_none(), "{target} {asker:?}: {led:?}");
    }
}

#[test]
fn a_call_of_ours_that_is_transferred_while_it_rings_goes_there_when_it_is_answered() {
    let says = "async function main(data, ctx) { await ctx.answer(); await ctx.hangup(); }";
    for (target, ends) in [("2000", "bye"), ("1002", "bye SIP;cause=480;text=\"Temporarily Unavailable\"")] {
        let mut lab = Lab::new(USERS, &[("1000", STAYS), ("2000", says)]);
        let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let wanted = Originate { to: "1001".into(), destination: "1000".into(), ..Originate::default() };
        ask(&mut lab, |reply| Request::Originate(wanted, reply)).unwrap();
        lab.respond(phone, 180);
        transfer(&mut lab, target, Asker::Operator).unwrap();
        assert_eq!((lab.seen(phone), only_script(&lab)), (vec!["invite".to_owned()], None), "{target}");
        lab.pick_up(phone);
        assert_eq!(lab.seen(phone), [ends], "{target}");
    }
}

#[test]
fn a_call_stays_where_it_is_when_nobody_is_where_it_is_to_go() {
    for target in ["nosuch", "449", "user:nosuch", "sip:nosuch@127.0.0.1", "sip:x@198.51.100.1", "undefined"] {
        let mut lab = two_accounts();
        let led = transfer(&mut lab, target, Asker::Tenant);
        assert!(matches!(led, Err(EngineError::NobodyThere { .. })), "{target}: {led:?}");
        assert_eq!(lab.switch.calls.values().next().unwrap().script_name().as_deref(), Some("script-1000"), "{target}");
    }
}

#[test]
fn nobody_is_rung_for_a_call_that_cannot_be_led_on() {
    for (destination, is_placed) in
        [("class5:script-secret", false), ("449", false), ("class5:script-own", true), ("5000", true), ("1002", true)]
    {
        let mut lab = two_accounts();
        let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let account = Some("north".to_owned());
        let wanted =
            Originate { to: "1001".into(), destination: destination.into(), park: true, account, ..Originate::default() };
        let placed = ask(&mut lab, |reply| Request::Originate(wanted, reply));
        assert_eq!((placed.is_ok(), lab.seen(phone).len()), (is_placed, usize::from(is_placed)), "{destination}: {placed:?}");
    }
}
