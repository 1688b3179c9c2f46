//! Calls through the Class 4 hook, by SIP.

use lockstep_sip::endpoint::Reply;
use lockstep_sip::message::StatusCode;

use super::lab::{Lab, PhoneId};

const CALLER: &str = "203.0.113.9:5060";
const FIRST: &str = "127.0.0.1:5091";
const SECOND: &str = "127.0.0.1:5092";

/// A customer, two gateways, a route through both of them with `script-hook`.
pub(super) fn config(route: &str) -> String {
    format!(
        r#"
        [[gateway]]
        id = 7
        address = "sip:{FIRST}"
        [[gateway]]
        id = 8
        address = "sip:{SECOND}"
        [[customer]]
        id = 12
        addresses = ["203.0.113.9"]
        vars = {{ greeting = "customer", tenant = "t12" }}
        [[route]]
        prefix = "44"
        gateways = [7, 8]
        vars = {{ greeting = "route" }}
        {route}
        "#
    )
}

pub(super) struct Trunks {
    pub(super) lab: Lab,
    pub(super) caller: PhoneId,
    pub(super) first: PhoneId,
    pub(super) second: PhoneId,
}

impl Trunks {
    pub(super) fn new(config: &str, scripts: &[(&str, &str)]) -> Self {
        let mut lab = Lab::new(config, scripts);
        let caller = lab.phone(CALLER);
        let (first, second) = (lab.phone(FIRST), lab.phone(SECOND));
        Self { lab, caller, first, second }
    }

    /// Under the script of the route.
    fn hooked(script: &str) -> Self {
        Self::new(&config("script = \"script-hook\""), &[("hook", script)])
    }

    pub(super) fn dial(&mut self, number: &str) {
        self.lab.dial(self.caller, number);
    }

    pub(super) fn header(&mut self, phone: PhoneId, name: &str) -> Vec<String> {
        let invite = self.lab.at(phone).invited.clone().expect("an INVITE came");
        invite.headers.get_all(name).map(|value| value.text().into_owned()).collect()
    }

    fn from(&mut self, phone: PhoneId) -> String {
        let invite = self.lab.at(phone).invited.clone().expect("an INVITE came");
        invite.headers.from().unwrap().unwrap().uri.user().unwrap_or_default().into_owned()
    }

    pub(super) fn caller_saw(&mut self) -> Vec<String> {
        self.lab.seen(self.caller)
    }
}

#[test]
fn a_customers_call_is_routed_rung_through_and_joined() {
    let mut trunks = Trunks::new(&config(""), &[]);
    trunks.dial("+442012345678");
    assert_eq!(trunks.lab.seen(trunks.first), ["invite"]);
    let invite = trunks.lab.at(trunks.first).invited.clone().unwrap();
    assert_eq!(invite.uri.to_string(), format!("sip:+442012345678@{FIRST}"));
    assert_eq!(trunks.from(trunks.first), "caller");
    trunks.lab.respond(trunks.first, 180);
    trunks.lab.pick_up(trunks.first);
    assert_eq!(trunks.caller_saw(), ["180", "200"]);
    trunks.lab.hang_up(trunks.caller);
    assert_eq!(trunks.lab.seen(trunks.first), ["bye"]);
    assert!(trunks.lab.seen(trunks.second).is_empty());
}

#[test]
fn whoever_no_route_leads_for_is_refused() {
    let mut trunks = Trunks::new(&config("customers = [13]\n[[customer]]\nid = 13"), &[]);
    trunks.dial("442012345678");
    trunks.dial("33123");
    assert_eq!(trunks.caller_saw(), ["404 Not Found", "404 Not Found"]);
    let stranger = trunks.lab.phone("198.51.100.1:5060");
    trunks.lab.dial(stranger, "442012345678");
    assert_eq!(trunks.lab.seen(stranger), ["challenged", "401 Unauthorized"]);
    assert!(trunks.lab.past().is_empty(), "none of them became a call");
}

#[test]
fn what_a_carrier_brings_is_not_sent_to_carriers() {
    let carrier = "[[gateway]]\nid = 9\naddress = \"sip:198.51.100.7\"";
    let mut trunks = Trunks::new(&config(carrier), &[]);
    let carrier = trunks.lab.phone("198.51.100.7:5060");
    trunks.lab.dial(carrier, "442012345678");
    assert_eq!(trunks.lab.seen(carrier), ["404 Not Found"]);
}

#[test]
fn gateways_fail_over_until_the_callee_has_spoken() {
    for (code, goes_on) in
        [(302, true), (401, true), (404, true), (480, true), (500, true), (503, true), (604, true), (486, false), (603, false)]
    {
        let mut trunks = Trunks::new(&config(""), &[]);
        trunks.dial("442012345678");
        trunks.lab.respond(trunks.first, code);
        let second = if goes_on { vec!["invite"] } else { vec![] };
        assert_eq!(trunks.lab.seen(trunks.second), second, "{code}");
        if goes_on {
            trunks.lab.pick_up(trunks.second);
            assert_eq!(trunks.caller_saw(), ["200"], "{code}");
        }
    }
}

#[test]
fn the_caller_is_told_what_came_of_it_and_nothing_of_the_gateways() {
    for (codes, told) in [
        ([503, 486], "486 Busy Here"),
        ([404, 503], "404 Not Found"),
        ([302, 302], "480 Temporarily Unavailable"),
        ([407, 401], "502 Bad Gateway"),
        ([503, 503], "502 Bad Gateway"),
    ] {
        let mut trunks = Trunks::new(&config(""), &[]);
        trunks.dial("442012345678");
        trunks.lab.respond(trunks.first, codes[0]);
        trunks.lab.respond(trunks.second, codes[1]);
        assert_eq!(trunks.caller_saw(), [told], "{codes:?}");
    }
}

#[test]
fn the_caller_is_told_the_same_where_what_a_did_has_besides_is_not_there() {
    let did = "[[did]]\nnumber = \"1800\"\ndestinations = [\"external:4420222\", \"class5:gone\"]";
    for (code, told) in [(401, "502 Bad Gateway"), (503, "502 Bad Gateway"), (302, "480 Temporarily Unavailable")] {
        let mut trunks = Trunks::new(&config(did), &[]);
        trunks.dial("1800");
        trunks.lab.respond(trunks.first, code);
        trunks.lab.respond(trunks.second, code);
        assert_eq!(trunks.caller_saw(), [told], "{code}");
    }
    let hooked = config(&format!("script = \"script-hook\"\n{did}"));
    let mut trunks = Trunks::new(&hooked, &[("hook", "function main() { throw '604 Number on DNC List'; }")]);
    trunks.dial("1800");
    assert_eq!(trunks.caller_saw(), ["604 Number on DNC List"]);
}

#[test]
fn a_gateway_that_says_nothing_is_left_after_five_seconds_and_one_that_only_rings_when_told_so() {
    let silent = config("").replace("5091", "5099");
    let mut trunks = Trunks::new(&silent, &[]);
    trunks.dial("442012345678");
    trunks.lab.wait(4_900);
    assert!(trunks.lab.seen(trunks.second).is_empty());
    trunks.lab.wait(200);
    assert_eq!(trunks.lab.seen(trunks.second), ["invite"]);

    let mut trunks = Trunks::new(&config("ring_s = 20"), &[]);
    trunks.dial("442012345678");
    trunks.lab.respond(trunks.first, 180);
    trunks.lab.wait(20_000);
    assert_eq!(trunks.lab.seen(trunks.first), ["invite", "cancel"]);
    assert_eq!(trunks.lab.seen(trunks.second), ["invite"]);
    trunks.lab.respond(trunks.second, 180);
    trunks.lab.wait(30_000);
    assert!(trunks.lab.seen(trunks.second).is_empty(), "the last one rings as long as the call may");
}

#[test]
fn headers_of_all_and_of_one_row_are_removed_then_added() {
    let mut trunks = Trunks::hooked(
        "function main(data) {
           data.headers.push({ key: 'X-All', value: 1 });
           data.remove_headers.push('x-old');
           const row = data.routing.egress_routing[1];
           row.headers.push({ key: 'X-Row', value: 'r' }, { key: 'X-Old', value: 'new' }, { key: 'X-Bad', value: 'a\\r\\nVia: b' });
           row.remove_headers.push('X-Kept');
           return data;
         }",
    );
    let sdp_headers = [("X-Old", "1"), ("X-Kept", "2")];
    trunks.lab.dial_with_headers(trunks.caller, "442012345678", &sdp_headers);
    let first = trunks.first;
    assert_eq!((trunks.header(first, "X-All"), trunks.header(first, "X-Row")), (vec!["1".to_owned()], vec![]));
    assert_eq!((trunks.header(first, "X-Old"), trunks.header(first, "X-Kept")), (vec![], vec!["2".to_owned()]));
    trunks.lab.respond(first, 503);
    let second = trunks.second;
    assert_eq!((trunks.header(second, "X-All"), trunks.header(second, "X-Row")), (vec!["1".to_owned()], vec!["r".to_owned()]));
    assert_eq!((trunks.header(second, "X-Old"), trunks.header(second, "X-Kept")), (vec!["new".to_owned()], vec![]));
    assert!(trunks.header(second, "X-Bad").is_empty());
}

#[test]
fn caller_ids_are_of_all_gateways_or_of_one() {
    let mut trunks = Trunks::hooked(
        "function main(data) {
           data.routing.cli = '442000';
           data.routing.egress_routing[1].gw['8'].cli = '442008';
         }",
    );
    trunks.dial("442012345678");
    assert_eq!(trunks.from(trunks.first), "442000");
    trunks.lab.respond(trunks.first, 503);
    assert_eq!(trunks.from(trunks.second), "442008");
}

#[test]
fn rows_are_tried_in_the_order_the_script_leaves_them() {
    let mut trunks = Trunks::hooked("function main(data) { data.routing.egress_routing.reverse(); return data.routing; }");
    trunks.dial("442012345678");
    assert_eq!(trunks.lab.seen(trunks.second), ["invite"]);
    assert!(trunks.lab.seen(trunks.first).is_empty());

    let mut trunks = Trunks::hooked("function main(data) { data.egress_routing = []; return data; }");
    trunks.dial("442012345678");
    assert_eq!(trunks.caller_saw(), ["503 No Routes Available"]);
}

#[test]
fn what_a_script_throws_is_the_reply() {
    for (script, reply) in [
        ("function main() { throw new Error('404 Not Here'); }", "404 Not Here"),
        ("async function main() { return Promise.reject([604, 'Number on DNC List']); }", "604 Number on DNC List"),
        ("function main() { err([403, 'No']); }", "403 No"),
        ("function main() { nonsense(); }", "500 Script Error"),
        ("function main() { return 7; }", "500 Script Error"),
    ] {
        let mut trunks = Trunks::hooked(script);
        trunks.dial("442012345678");
        assert_eq!(trunks.caller_saw(), [reply], "{script}");
    }
    let mut trunks = Trunks::hooked("function main() { throw '302 sip:elsewhere@example.net'; }");
    trunks.dial("442012345678");
    assert_eq!(trunks.caller_saw(), ["302 Moved Temporarily"]);
    let contact = trunks.lab.at(trunks.caller).last_response.clone().unwrap();
    assert_eq!(contact.headers.get("Contact").unwrap().text(), "<sip:elsewhere@example.net>");
}

#[test]
fn after_the_answer_a_scripts_reply_is_the_reason_of_the_bye() {
    let class5 = "async function main(data, ctx) { await ctx.answer(); await ctx.bridge('442012345678'); }";
    let config = config("script = \"script-hook\"");
    let scripts = [("hook", "function main() { throw '603 Not Today'; }"), ("1000", class5)];
    let mut trunks = Trunks::new(&config, &scripts);
    trunks.dial("1000");
    assert_eq!(trunks.caller_saw(), ["200", "bye SIP;cause=603;text=\"Not Today\""]);
}

#[test]
fn a_script_that_takes_too_long_has_the_routes_action() {
    let slow = "async function main() { await new Promise((done) => setTimeout(done, 60000)); }";
    for (route, reply) in [
        ("timeout_s = 0.5", "500 ScriptForge Timeout"),
        ("timeout_s = 1\ntimeout_action = \"486 Try Later\"", "486 Try Later"),
        ("on_error = \"continue\"", "500 ScriptForge Timeout"),
    ] {
        let config = config(&format!("script = \"script-hook\"\n{route}"));
        let mut trunks = Trunks::new(&config, &[("hook", slow)]);
        trunks.dial("442012345678");
        assert_eq!(trunks.caller_saw(), [reply], "{route}");
    }
}

#[test]
fn scripts_without_a_time_of_their_own_have_two_seconds_together() {
    let waits =
        |ms: u32| format!("async function main(data) {{ await new Promise((done) => setTimeout(done, {ms})); return data; }}");
    for (each, reply) in [(600, vec![]), (900, vec!["500 ScriptForge Timeout".to_owned()])] {
        let source = waits(each);
        let scripts = [("last:z", source.as_str()), ("hook", &source), ("first:a", &source)];
        let mut trunks = Trunks::new(&config("script = \"script-hook\""), &scripts);
        trunks.dial("442012345678");
        assert_eq!(trunks.caller_saw(), reply, "{each} ms each");
    }
}

#[test]
fn an_error_need_not_stop_the_call() {
    let config = config("script = \"script-hook\"\non_error = \"continue\"");
    let mut trunks = Trunks::new(&config, &[("hook", "function main(data) { data.routing.cli = '1'; nonsense(); }")]);
    trunks.dial("442012345678");
    assert_eq!(trunks.from(trunks.first), "caller", "unchanged");
}

#[test]
fn half_a_character_does_not_stop_the_call() {
    let script = "function main(data) { data.note = '😀x'.slice(0, 1); data.routing.log.push(data.note); data.routing.cli = '449'; return data }";
    for on_error in ["reject", "continue"] {
        let config = config(&format!("script = \"script-hook\"\non_error = \"{on_error}\""));
        let mut trunks = Trunks::new(&config, &[("hook", script)]);
        trunks.dial("442012345678");
        assert_eq!(trunks.lab.seen(trunks.first), ["invite"], "{on_error}");
        assert_eq!(trunks.from(trunks.first), "449", "{on_error}");
    }
}

#[test]
fn what_cannot_be_read_back_is_an_error_of_the_script() {
    let script = "function main(data) { data.deep = []; for (let i = 0; i < 126; i += 1) data.deep = [data.deep]; return data }";
    for (on_error, replies) in [("reject", vec!["500 Script Error"]), ("continue", vec![])] {
        let config = config(&format!("script = \"script-hook\"\non_error = \"{on_error}\""));
        let mut trunks = Trunks::new(&config, &[("hook", script)]);
        trunks.dial("442012345678");
        assert_eq!(trunks.caller_saw(), replies, "{on_error}");
        assert_eq!(trunks.lab.seen(trunks.first).len(), usize::from(on_error == "continue"), "{on_error}");
    }
}

#[test]
fn globals_run_before_and_after_and_each_sees_what_came_before() {
    let config = config("script = \"script-hook\"");
    let step = |name: &str| format!("function main(data) {{ data.routing.cli += '-{name}'; return data; }}");
    let (a, b, c) = (step("first"), step("route"), step("last"));
    let mut trunks = Trunks::new(&config, &[("last:z", &c), ("hook", &b), ("first:a", &a)]);
    trunks.dial("442012345678");
    assert_eq!(trunks.from(trunks.first), "caller-first-route-last");
}

#[test]
fn a_script_is_told_of_the_call() {
    let script = "function main(data) {
      const r = data.routing;
      data.headers.push({ key: 'X-Seen', value: JSON.stringify([r.account_id, r.cli, r.dest_number, r.ou, r.direction,
        r.params.fU, r.params.oU, r.params.si, r.params.sp, r.params.proto, r.callid === r.params.callid, r.callidb.length,
        data.greeting, data.tenant, Object.keys(r.egress_routing[0].gw), typeof r.profile.total]) });
    }";
    let mut trunks = Trunks::hooked(script);
    trunks.dial("442012345678");
    let seen = trunks.header(trunks.first, "X-Seen");
    let expected = "[12,\"caller\",\"442012345678\",\"442012345678\",\"term\",\"caller\",\"442012345678\",\"203.0.113.9\",5060,\
                    \"udp\",true,36,\"route\",\"t12\",[\"7\"],\"number\"]";
    assert_eq!(seen, [expected]);
}

#[test]
fn numbers_that_class_5_scripts_and_dids_dial_go_through_the_hook() {
    let hook = "function main(data) {
      data.headers.push({ key: 'X-Cli', value: data.routing.cli });
      data.routing.cli = '442000';
    }";
    let class5 = "async function main(data, ctx) { await ctx.bridge('442012345678', { caller_id: '1555' }); }";
    let did = "[[did]]\nnumber = \"1800\"\ndestinations = [\"external:442099999999\"]\ncustomer = 12";
    let config = format!("{}\n{did}", config("script = \"script-hook\""));
    let mut trunks = Trunks::new(&config, &[("hook", hook), ("1000", class5)]);
    trunks.dial("1000");
    assert_eq!((trunks.from(trunks.first), trunks.header(trunks.first, "X-Cli")), ("442000".into(), vec!["1555".into()]));
    trunks.lab.give_up(trunks.caller);
    trunks.dial("1800");
    assert_eq!((trunks.from(trunks.first), trunks.header(trunks.first, "X-Cli")), ("442000".into(), vec!["caller".into()]));
}

const DID: &str = "[[user]]\nname = \"1001\"\npassword = \"pw1\"\n[[did]]\nnumber = \"1800\"\ndestinations = [\"class5:1000\"]\n\
                   script = \"script-filter\"\nvars = { block = \"13\" }";

#[test]
fn the_script_of_a_did_refuses_callers_and_changes_what_its_destination_sees() {
    let filter = "function main(data) {
      const { cli, direction, dest_number, egress_routing } = data.routing;
      if (direction !== 'orig' || dest_number !== '1800' || egress_routing.length) throw '500 Wrong';
      if (data.deny) throw '603 Not You';
      data.routing.cli = '+' + cli;
      data.headers.push({ key: 'X-Filter', value: data.block });
      data.remove_headers.push('X-Old');
    }";
    let class5 = "async function main(data, ctx) {
      throw '488 ' + [data.from, data.headers['X-Filter'], data.headers['X-Old'], ctx.get('sip_h_X-Filter'), ctx.get('caller_id_number')];
    }";
    let mut trunks = Trunks::new(&config(DID), &[("filter", filter), ("1000", class5)]);
    trunks.lab.dial_with_headers(trunks.caller, "1800", &[("X-Old", "1")]);
    assert_eq!(trunks.caller_saw(), ["488 +caller,13,,13,+caller"]);

    let denying = DID.replace("block", "deny");
    let mut trunks = Trunks::new(&config(&denying), &[("filter", filter), ("1000", class5)]);
    trunks.dial("1800");
    assert_eq!(trunks.caller_saw(), ["603 Not You"]);
}

#[test]
fn rows_that_a_script_gives_a_did_are_dialled_before_its_destinations() {
    let filter = "function main(data) {
      data.routing.dest_number = '4420111';
      data.egress_routing.push({ gw: { 8: {} } });
    }";
    let class5 = "function main() { throw '488 Reached'; }";
    let mut trunks = Trunks::new(&config(DID), &[("filter", filter), ("1000", class5)]);
    trunks.dial("1800");
    let invite = trunks.lab.at(trunks.second).invited.clone().unwrap();
    assert_eq!(invite.uri.user().as_deref(), Some("4420111"));
    trunks.lab.respond(trunks.second, 503);
    assert_eq!(trunks.caller_saw(), ["488 Reached"]);
}

#[test]
fn rows_that_could_not_be_dialled_are_not_dialled_for_another_number() {
    let filter = "function main(data) {
      data.routing.dest_number = '4420111';
      data.egress_routing.push({ gw: { 8: {} } });
    }";
    let class5 = "async function main(data, ctx) { await ctx.sleep(1000); await ctx.bridge('442012345678'); }";
    let mut trunks = Trunks::new(&config(DID), &[("filter", filter), ("1000", class5)]);
    trunks.lab.book.borrow_mut().has_no_ports = true;
    trunks.dial("1800");
    trunks.lab.book.borrow_mut().has_no_ports = false;
    trunks.lab.wait(1_000);
    let invite = trunks.lab.at(trunks.first).invited.clone().expect("an INVITE came");
    assert_eq!(invite.uri.user().as_deref(), Some("442012345678"));
}

#[test]
fn what_a_dids_script_adds_goes_to_every_destination_once() {
    let filter = "function main(data) {
      data.headers.push({ key: 'X-Did', value: 1 }, { key: 'Account', value: 'a7' });
      data.egress_routing.push({ gw: { 8: {} }, headers: [{ key: 'X-Row', value: 'r' }], remove_headers: ['X-Did'] });
    }";
    let did = DID.replace("class5:1000", "external:4420222");
    let mut trunks = Trunks::new(&config(&did), &[("filter", filter)]);
    trunks.lab.dial_with_headers(trunks.caller, "1800", &[("X-Did", "0"), ("X-Own", "1"), ("Call-Info", "<sip:x@y>")]);
    let second = trunks.second;
    let names = ["X-Did", "Account", "X-Row", "X-Own", "Call-Info"];
    assert_eq!(names.map(|name| trunks.header(second, name).join(",")), ["1", "a7", "r", "1", ""]);
    trunks.lab.respond(second, 503);
    let first = trunks.first;
    assert_eq!(names.map(|name| trunks.header(first, name).join(",")), ["0,1", "a7", "", "1", ""]);
}

#[test]
fn a_caller_who_gives_up_while_a_script_decides_is_not_routed() {
    let mut trunks = Trunks::hooked("function main(data) { return data; }");
    trunks.lab.decides = false;
    trunks.dial("442012345678");
    trunks.lab.give_up(trunks.caller);
    // The CANCEL goes once our 100 has come.
    trunks.lab.wait(300);
    trunks.lab.decides = true;
    trunks.lab.settle();
    assert!(trunks.lab.seen(trunks.first).is_empty());
    assert_eq!(trunks.lab.past()[0].ended.as_ref().map(|cause| cause.code), Some(487));
}

#[test]
fn a_call_leaves_a_record_of_every_gateway_it_tried() {
    let hook = "function main(data) { data.routing.log.push('chosen'); }";
    let mut trunks = Trunks::new(&config("cost = 0.6\nscript = \"script-hook\""), &[("hook", hook)]);
    trunks.dial("442012345678");
    trunks.lab.wait(1_000);
    trunks.lab.respond(trunks.first, 503);
    trunks.lab.wait(2_000);
    trunks.lab.respond(trunks.second, 180);
    trunks.lab.wait(3_000);
    trunks.lab.pick_up(trunks.second);
    trunks.lab.wait(30_000);
    trunks.lab.hang_up(trunks.caller);
    let record = trunks.lab.book.borrow_mut().records.pop().unwrap();
    let at = |ms: u64| Some(record.started_at + ms);
    assert_eq!((record.ringing_at, record.answered_at, Some(record.ended_at)), (at(3_000), at(6_000), at(36_000)));
    assert_eq!((record.customer, record.code, record.by.as_str()), (Some(12), 200, "caller"));
    assert_eq!((record.from.as_str(), record.to.as_str()), ("caller", "442012345678"));
    let tried: Vec<_> = record.attempts.iter().map(|attempt| (attempt.gateway, attempt.code, attempt.answered_at)).collect();
    assert_eq!(tried, [(7, Some(503), None), (8, Some(200), at(6_000))]);
    assert_eq!(record.attempts[0].ended_at, at(1_000));
    assert!((record.cost.unwrap() - 0.3).abs() < 1e-9, "{:?}", record.cost);
    let lines = serde_json::to_string(&trunks.lab.past()[0].entries).unwrap();
    assert!(lines.contains("chosen"), "{lines}");
}

#[test]
fn a_refusal_leaves_a_record_too() {
    let mut trunks = Trunks::hooked("function main() { throw '604 Number on DNC List'; }");
    trunks.dial("442012345678");
    let record = trunks.lab.book.borrow_mut().records.pop().unwrap();
    assert_eq!((record.code, record.reason.as_str(), record.by.as_str()), (604, "Number on DNC List", "script"));
    assert!(record.attempts.is_empty());
}

#[test]
fn a_customer_behind_no_fixed_address_shows_a_password() {
    let config = config("").replace("addresses = [\"203.0.113.9\"]", "user = \"pbx\"\npassword = \"pw\"");
    let mut trunks = Trunks::new(&config, &[]);
    trunks.lab.knows_password(trunks.caller, "pbx", "pw");
    trunks.dial("442012345678");
    trunks.lab.pick_up(trunks.first);
    assert_eq!(trunks.caller_saw(), ["200"]);
    trunks.lab.register(trunks.caller, "pbx");
    assert_eq!(trunks.caller_saw(), ["response 403"], "it is no phone");
    trunks.lab.hang_up(trunks.first);
    assert_eq!(trunks.lab.book.borrow().records[0].customer, Some(12));
}

#[test]
fn a_customers_call_stays_its_own_through_another_script() {
    let first = "async function main(data, ctx) { await ctx.bridge('2000'); }";
    let second = "async function main(data, ctx) { await ctx.bridge('442012345678'); }";
    let mut trunks = Trunks::new(&config("customers = [12]"), &[("1000", first), ("2000", second)]);
    trunks.dial("1000");
    assert_eq!(trunks.lab.seen(trunks.first), ["invite"]);
}

#[test]
fn a_gateway_that_does_not_answer_probes_is_tried_last() {
    let config = config("").replace("id = 7", "id = 7\nprobe_s = 10").replace("5091", "5099");
    let mut trunks = Trunks::new(&config, &[]);
    trunks.lab.wait(16_000);
    trunks.dial("442012345678");
    assert_eq!(trunks.lab.seen(trunks.second), ["invite"], "the other one is tried at once");
    // Somebody is there now.
    let back = trunks.lab.phone("127.0.0.1:5099");
    trunks.lab.give_up(trunks.caller);
    trunks.lab.wait(60_000);
    trunks.dial("442012345678");
    assert!(trunks.lab.seen(back).contains(&"invite".to_owned()));
}

#[test]
fn a_gateway_that_says_when_it_takes_calls_again_is_tried_last_until_then() {
    let mut trunks = Trunks::new(&config(""), &[]);
    for (asked, kept) in [("30", 30_000), ("86400", 300_000)] {
        trunks.dial("442012345678");
        assert!(trunks.lab.seen(trunks.first).contains(&"invite".to_owned()));
        let busy = Reply::new(StatusCode::SERVICE_UNAVAILABLE).header("Retry-After", asked);
        trunks.lab.respond_with(trunks.first, busy);
        trunks.lab.give_up(trunks.caller);
        trunks.lab.wait(kept - 1_000);
        let _ = (trunks.lab.seen(trunks.first), trunks.lab.seen(trunks.second));
        trunks.dial("442012345678");
        assert!(trunks.lab.seen(trunks.first).is_empty(), "the other one is tried first");
        assert!(trunks.lab.seen(trunks.second).contains(&"invite".to_owned()));
        trunks.lab.give_up(trunks.caller);
        trunks.lab.wait(1_000);
    }
}

#[test]
fn probes_go_on_whatever_else_is_provisioned() {
    let config = config("").replace("id = 7", "id = 7\nprobe_s = 10").replace("5091", "5099");
    let mut trunks = Trunks::new(&config, &[]);
    let parsed = toml::from_str(&config).unwrap();
    let current = crate::platform::Platform::in_memory(&parsed).unwrap().provisioning.current();
    for _ in 0..8 {
        trunks.lab.wait(2_000);
        trunks.lab.switch.set_provisioning(&current);
        trunks.lab.settle();
    }
    let sent = trunks.lab.switch.exchange.borrow().endpoint.transaction_count();
    assert!(sent <= 2, "{sent} requests wait for a gateway that is asked every 10 s");
    trunks.dial("442012345678");
    assert_eq!(trunks.lab.seen(trunks.second), ["invite"], "the one that does not answer is tried last");
}
