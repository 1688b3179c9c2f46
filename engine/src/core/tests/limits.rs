//! What customers may spend, and what their calls cost, whatever routing scripts make of them.

use super::class4::{Trunks, config};

fn limited(limits: &str) -> Trunks {
    let config = config("cost = 60").replace("addresses = [\"203", &format!("limits = {{ {limits} }}\naddresses = [\"203"));
    Trunks::new(&config, &[])
}

#[test]
fn customers_stay_within_their_limits() {
    let mut trunks = limited("calls_per_second = 1");
    trunks.dial("442012345678");
    trunks.dial("442012345678");
    assert_eq!(trunks.caller_saw(), ["503 Call Rate Exceeded"]);
    let refused = trunks.lab.at(trunks.caller).last_response.clone().unwrap();
    assert_eq!(refused.headers.get("Retry-After").unwrap().text(), "1");

    let mut trunks = limited("concurrent = 1");
    trunks.dial("442012345678");
    trunks.dial("442012345679");
    assert_eq!(trunks.caller_saw(), ["503 Too Many Concurrent Calls"]);
    trunks.lab.respond(trunks.first, 486);
    trunks.dial("442012345678");
    assert_eq!(trunks.caller_saw(), ["486 Busy Here"], "its place is free again");

    let mut trunks = limited("spend_per_day = 5");
    trunks.dial("442012345678");
    trunks.lab.pick_up(trunks.first);
    trunks.lab.wait(5_000);
    trunks.lab.hang_up(trunks.caller);
    trunks.caller_saw();
    trunks.dial("442012345678");
    assert_eq!(trunks.caller_saw(), ["403 Spending Limit Reached"]);
}

#[test]
fn whoever_is_past_a_rate_is_told_when_to_try_again_however_the_number_comes_to_be_dialled() {
    let did = "[[did]]\nnumber = \"1800\"\ncustomer = 12\ndestinations = [\"external:4420222\"]";
    let dials = "async function main(data, ctx) { await ctx.bridge('442012345678'); }";
    let limited = config(did).replace("addresses = [\"203", "limits = { calls_per_second = 0.2 }\naddresses = [\"203");
    for to in ["1800", "1000"] {
        let mut trunks = Trunks::new(&limited, &[("1000", dials)]);
        trunks.dial(to);
        trunks.dial(to);
        assert_eq!(trunks.caller_saw(), ["503 Call Rate Exceeded"], "{to}");
        let refused = trunks.lab.at(trunks.caller).last_response.clone().unwrap();
        assert_eq!(refused.headers.get("Retry-After").unwrap().text(), "1", "{to}");
    }
}

#[test]
fn numbers_that_one_call_dials_together_count_each() {
    let dials = |strategy: &str| {
        format!(
            "async function main(data, ctx) {{
               const to = ['442012345678', '442012345679', '442012345670'];
               const {{ code }} = await ctx.bridge(to, {{ strategy: '{strategy}', continue_on: true }});
               await ctx.bridge('442012345671', {{ continue_on: true }});
               throw code + ' Both';
             }}"
        )
    };
    for (strategy, rung) in [("parallel", 2), ("sequential", 1)] {
        let limits = config("customers = [12]").replace("addresses = [\"203", "limits = { concurrent = 2 }\naddresses = [\"203");
        let mut trunks = Trunks::new(&limits, &[("1000", &dials(strategy))]);
        trunks.dial("1000");
        let invites = trunks.lab.seen(trunks.first);
        assert_eq!(invites.len(), rung, "{strategy}: {invites:?}");
    }
}

#[test]
fn what_calls_under_way_have_cost_counts_and_ends_them_where_that_is_wanted() {
    let mut trunks = limited("spend_per_day = 90");
    trunks.dial("442012345678");
    trunks.lab.pick_up(trunks.first);
    trunks.caller_saw();
    trunks.lab.wait(89_000);
    trunks.dial("442012345679");
    assert_eq!(trunks.lab.seen(trunks.first).last().map(String::as_str), Some("invite"));
    trunks.lab.respond(trunks.first, 486);
    trunks.lab.wait(1_000);
    trunks.caller_saw();
    trunks.dial("442012345679");
    assert_eq!(trunks.caller_saw(), ["403 Spending Limit Reached"]);
    trunks.lab.wait(60_000);
    assert_eq!(trunks.caller_saw(), [""; 0], "the call goes on");

    let mut trunks = limited("spend_per_day = 90, cut_off = true");
    trunks.dial("442012345678");
    trunks.lab.pick_up(trunks.first);
    trunks.caller_saw();
    trunks.lab.wait(89_000);
    assert_eq!(trunks.caller_saw(), [""; 0]);
    trunks.lab.wait(3_000);
    assert_eq!(
        (trunks.caller_saw(), trunks.lab.seen(trunks.first).last().cloned()),
        (vec!["bye SIP;cause=403;text=\"Spending Limit Reached\"".to_owned()], Some("bye".to_owned()))
    );
    let record = trunks.lab.book.borrow_mut().records.pop().unwrap();
    assert_eq!((record.by.as_str(), record.reason.as_str()), ("engine", "Spending Limit Reached"));
    assert!(record.cost.is_some_and(|cost| (90.0..=93.0).contains(&cost)), "{:?}", record.cost);
}

#[test]
fn a_call_that_has_tried_hundreds_of_numbers_costs_what_the_next_costs() {
    let dials = "async function main(data, ctx) {
      for (let i = 0; i < 205; i += 1) await ctx.bridge(String(442000000 + i), true);
      await ctx.bridge('442012345678');
    }";
    let limited =
        config("cost = 60").replace("addresses = [\"203", "limits = { spend_per_day = 90, cut_off = true }\naddresses = [\"203");
    let mut trunks = Trunks::new(&limited, &[("1000", dials)]);
    trunks.dial("1000");
    for _ in 0..205 {
        trunks.lab.respond(trunks.first, 486);
    }
    trunks.lab.pick_up(trunks.first);
    trunks.lab.wait(92_000);
    assert_eq!(trunks.caller_saw().last().map(String::as_str), Some("bye SIP;cause=403;text=\"Spending Limit Reached\""));
    let record = trunks.lab.book.borrow_mut().records.pop().unwrap();
    assert_eq!(record.attempts.len(), 200);
    assert!(record.cost.is_some_and(|cost| (90.0..=93.0).contains(&cost)), "{:?}", record.cost);
}

#[test]
fn numbers_that_ring_no_more_hold_nothing_back() {
    let dials = "async function main(data, ctx) {
      await ctx.bridge(['442012345678', '442012345679', '442012345670'], { strategy: 'parallel' });
    }";
    let limits = "limits = { spend_per_day = 1.5 }\naddresses = [\"203";
    let limited = config("cost = 0.6").replace("addresses = [\"203", limits);
    let mut trunks = Trunks::new(&limited, &[("1000", dials)]);
    trunks.dial("1000");
    trunks.lab.pick_up(trunks.first);
    trunks.lab.wait(1_000);
    trunks.lab.seen(trunks.first);
    trunks.dial("442012345671");
    assert_eq!(trunks.lab.seen(trunks.first), ["invite"]);
}

#[test]
fn a_number_that_a_script_decides_on_after_another_has_answered_holds_nothing_back() {
    let dials = "async function main(data, ctx) { await ctx.bridge(['461000', '442000'], { strategy: 'parallel' }); }";
    let limits = "limits = { spend_per_day = 0.5 }\naddresses = [\"203";
    let limited = config(&format!("{HOOKED}\n{FREE}")).replace("addresses = [\"203", limits);
    let mut trunks = Trunks::new(&limited, &[("hook", "function main() {}"), ("1000", dials)]);
    trunks.lab.decides = false;
    trunks.dial("1000");
    trunks.lab.pick_up(trunks.first);
    trunks.lab.decides = true;
    trunks.lab.settle();
    trunks.lab.seen(trunks.first);
    trunks.dial("442012345671");
    assert_eq!(trunks.lab.seen(trunks.first), ["invite"]);
}

const HOOKED: &str = "cost = 0.6\nscript = \"script-hook\"";
/// A route without a price beside the one that has one.
const FREE: &str = "[[route]]\nprefix = \"46\"\ngateways = [7]";

/// The price of each INVITE, and what the call has cost, of the call that was over last.
fn prices(trunks: &mut Trunks) -> (Vec<Option<f64>>, Option<f64>) {
    let record = trunks.lab.book.borrow_mut().records.pop().unwrap();
    (record.attempts.iter().map(|attempt| attempt.price).collect(), record.cost)
}

#[test]
fn calls_that_wait_for_a_routing_script_together_spend_no_more_than_may_be_spent() {
    let limited = config(HOOKED).replace("addresses = [\"203", "limits = { spend_per_day = 1 }\naddresses = [\"203");
    let mut trunks = Trunks::new(&limited, &[("hook", "function main(data) { return data; }")]);
    trunks.lab.decides = false;
    for _ in 0..4 {
        trunks.dial("442012345678");
    }
    assert!(trunks.caller_saw().is_empty(), "all of them were let in");
    trunks.lab.decides = true;
    trunks.lab.settle();
    assert_eq!(trunks.lab.seen(trunks.first), ["invite", "invite"]);
    assert_eq!(trunks.caller_saw(), ["403 Spending Limit Reached", "403 Spending Limit Reached"]);
}

#[test]
fn a_call_costs_what_the_number_costs_that_a_script_has_led_it_to() {
    for (dialled, led_to, price) in [("461000", "442000", Some(0.6)), ("442000", "461000", None)] {
        let hook = format!("function main(data) {{ data.routing.dest_number = '{led_to}'; }}");
        let free = format!("{HOOKED}\n{FREE}\nscript = \"script-hook\"");
        let mut trunks = Trunks::new(&config(&free), &[("hook", &hook)]);
        trunks.dial(dialled);
        trunks.lab.pick_up(trunks.first);
        trunks.lab.wait(500);
        trunks.lab.hang_up(trunks.caller);
        let (attempts, cost) = prices(&mut trunks);
        assert_eq!((attempts, cost.is_some()), (vec![price], price.is_some()), "{dialled} to {led_to}");
    }
}

#[test]
fn rows_that_a_script_gives_a_did_count_against_its_customers_limits() {
    let did = "[[did]]\nnumber = \"1800\"\ncustomer = 12\ndestinations = [\"external:4420222\"]\nscript = \"script-did\"";
    let forwards = "function main(data) { data.routing.dest_number = '4420111'; data.egress_routing.push({ gw: { 8: {} } }); }";
    let limits = "limits = { concurrent = 1 }\naddresses = [\"203";
    let limited = config(&format!("cost = 0.6\n{did}")).replace("addresses = [\"203", limits);
    let mut trunks = Trunks::new(&limited, &[("did", forwards)]);
    trunks.dial("1800");
    trunks.dial("1800");
    assert_eq!((trunks.lab.seen(trunks.second), trunks.lab.seen(trunks.first)), (vec!["invite".to_owned()], Vec::new()));
    assert_eq!(trunks.caller_saw(), ["503 Too Many Concurrent Calls"]);
    trunks.lab.book.borrow_mut().records.clear();
    trunks.lab.pick_up(trunks.second);
    trunks.lab.wait(500);
    trunks.lab.hang_up(trunks.caller);
    assert_eq!(prices(&mut trunks), (vec![Some(0.6)], Some(0.01)));
}

/// Dials 442000 or 461000 as a customer of an account with these scripts of its own; the operator's `hook` says which number it was
/// asked about, and changes one of them.
fn asked(dialled: &str, route_of_46: &str, scripts: &[(&str, &str)]) -> String {
    let hook = "function main(data) {
      const { dest_number } = data.routing;
      data.headers.push({ key: 'X-Asked', value: String(dest_number) });
      if (dest_number === '442013') data.routing.dest_number = '442014';
    }";
    let routes = format!("script = \"script-hook\"\n{FREE}\n{route_of_46}");
    let config = config(&routes).replace("addresses = [\"203", "account = \"north\"\naddresses = [\"203");
    let mut trunks = Trunks::new(&config, &[&[("hook", hook)][..], scripts].concat());
    trunks.dial(dialled);
    if let Some(reply) = trunks.caller_saw().pop() {
        return reply;
    }
    let number = trunks.lab.at(trunks.first).invited.clone().unwrap().uri.user().unwrap_or_default().into_owned();
    format!("{number} of {}", trunks.header(trunks.first, "X-Asked").join(","))
}

#[test]
fn an_accounts_script_leads_past_no_script_of_the_operators() {
    let to = |number: &str| format!("function main(data) {{ data.routing.dest_number = '{number}'; }}");
    let (own, other, changed, free, free_too) = (to("442000"), to("442001"), to("442013"), to("461000"), to("461001"));
    let forgets = "function main(data) { delete data.routing.dest_number; }";
    let with_hook = "script = \"script-hook\"";
    let first = |source| ("first:north@1", source);
    let last = |source| ("last:north@2", source);
    let refused = "503 No Routes Available";
    for (dialled, route_of_46, scripts, expected) in [
        ("442000", "", vec![], "442000 of 442000"),
        ("442000", "", vec![first("function main() {}")], "442000 of 442000"),
        ("461000", "", vec![first(own.as_str())], refused),
        ("461000", with_hook, vec![first(own.as_str())], "442000 of 442000"),
        ("442000", "", vec![first(other.as_str())], "442001 of 442001"),
        ("442000", "", vec![last(other.as_str())], refused),
        ("442000", "", vec![first(other.as_str()), last(own.as_str())], refused),
        ("442000", "", vec![last(free.as_str())], "461000 of 442000"),
        ("442000", "", vec![first(changed.as_str())], "442014 of 442013"),
        ("442000", "", vec![first(changed.as_str()), last(changed.as_str())], refused),
        ("442000", "", vec![first(forgets)], refused),
        ("442000", "", vec![last(forgets)], "442000 of 442000"),
        ("461000", "script = \"script-north@x\"", vec![("north@x", free_too.as_str())], "461001 of "),
        ("461000", "script = \"script-north@x\"", vec![("north@x", own.as_str())], refused),
    ] {
        assert_eq!(asked(dialled, route_of_46, &scripts), expected, "{dialled} {route_of_46} {scripts:?}");
    }
}

#[test]
fn rows_for_the_number_of_a_did_lead_past_no_script_of_the_operators() {
    let did = "script = \"script-hook\"\n[[did]]\nnumber = \"442080\"\naccount = \"north\"\nscript = \"script-north@did\"";
    for (sets, expected) in [("442080", vec!["invite"]), ("442081", vec![])] {
        let own = format!(
            "function main(data) {{
               data.routing.dest_number = '{sets}';
               data.egress_routing.push({{ gw: {{ 8: {{}} }} }});
             }}"
        );
        let mut trunks = Trunks::new(&config(did), &[("hook", "function main() {}"), ("north@did", &own)]);
        trunks.dial("442080");
        assert_eq!(trunks.lab.seen(trunks.second), expected, "{sets}");
    }
}
