//! Scripts in the way of calls, run by something that stands for them.

use std::cell::Cell;
use std::future::ready;

use serde_json::json;

use super::*;
use crate::core::tests::lab::programs;
use crate::runs::RunLog;

/// Stands for a script that returns this; `None`: what it was given.
#[derive(Default)]
struct Returns {
    result: Option<String>,
    /// How often something was done by another thread.
    beside: Cell<usize>,
    /// Results that were told to be no routing objects.
    refused: Cell<usize>,
}

impl Runner for Returns {
    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<RunSuccess, RunFailure>> {
        let (took, sandbox_time, log) = (Duration::ZERO, Duration::ZERO, RunLog::default());
        let result = self.result.clone().or(Some(request.data));
        ready(Ok(RunSuccess { run: request.id, result, took, sandbox_time, log })).boxed()
    }

    fn refused(&self, _: &str, _: &Arc<str>, _: &str) {
        self.refused.set(self.refused.get() + 1);
    }

    fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<'_, Option<T>> {
        self.beside.set(self.beside.get() + 1);
        ready(Some(work())).boxed()
    }
}

const ROUTE: &str =
    "[[gateway]]\nid = 7\naddress = \"sip:a.example.net\"\n[[route]]\nprefix = \"\"\ngateways = [7]\nscript = \"script-x\"";

fn routed(result: &Value) -> (Result<Decision, Rejection>, usize) {
    let table = Arc::new(RouteTable::new(&toml::from_str(ROUTE).unwrap()));
    let facts = Facts { dialled: "442".into(), ..Facts::default() };
    let runner = Returns { result: Some(result.to_string()), ..Returns::default() };
    let decision = route(&table, &ProgramSet::default(), &runner, &facts).now_or_never().unwrap();
    (decision, runner.beside.get())
}

#[test]
fn what_a_script_gave_is_read_beside_the_calls_where_it_is_much() {
    let rows = |count: usize| json!({ "egress_routing": vec![json!({ "gw": { "7": {} } }); count] });
    let (few, beside) = routed(&rows(3));
    assert_eq!((few.unwrap().attempts.len(), beside), (3, 0));
    let (many, beside) = routed(&rows(20_000));
    assert_eq!((many.unwrap().attempts.len(), beside), (32, 2));
}

#[test]
fn an_accounts_script_leads_a_call_where_the_routes_do() {
    let gateways = "[[gateway]]\nid = 7\naddress = \"sip:a.example.net\"\n[[gateway]]\nid = 8\naddress = \"sip:b.example.net\"\n";
    let rows = json!([{ "gw": { "8": {} } }, { "gw": { "7": { "cli": "1" } } }]);
    for (owner, number, expected) in
        [("north", "442", vec![7]), ("north", "900", vec![]), ("default", "442", vec![8, 7]), ("default", "900", vec![8, 7])]
    {
        let scripts = programs(&[(format!("{owner}@x").as_str(), "")]);
        let route_of = format!("[[route]]\nprefix = \"44\"\ngateways = [7]\nscript = \"script-{owner}@x\"");
        let table = Arc::new(RouteTable::new(&toml::from_str(&format!("{gateways}{route_of}")).unwrap()));
        let facts = Facts { dialled: "442".into(), ..Facts::default() };
        let result = json!({ "egress_routing": rows, "routing": { "dest_number": number } }).to_string();
        let runner = Returns { result: Some(result), ..Returns::default() };
        let decision = route(&table, &scripts, &runner, &facts).now_or_never().unwrap();
        let dialled = decision.map(|decision| decision.attempts.iter().map(|attempt| attempt.gateway).collect::<Vec<_>>());
        assert_eq!(dialled.unwrap_or_default(), expected, "{owner} {number}");
        let given = Given::read(r#"{"routing":{"dest_number":"442"}}"#).unwrap();
        let data = hook(&table, &scripts, &runner, given, (None, None)).now_or_never().unwrap().unwrap();
        let left: Vec<Value> = serde_json::from_str(data.routing("egress_routing").unwrap()).unwrap();
        let gateway = |row: &Value| row["gw"].as_object().unwrap().keys().next().unwrap().parse::<i64>().unwrap();
        assert_eq!(left.iter().map(gateway).collect::<Vec<_>>(), expected, "{owner} {number}, by HTTP");
    }
}

#[test]
fn rows_for_the_number_of_a_did_lead_past_no_script() {
    let config = "[[gateway]]\nid = 7\naddress = \"sip:a.example.net\"\n\
                  [[route]]\nprefix = \"44\"\ngateways = [7]\nscript = \"script-check\"\n";
    let scripts = programs(&[("check", ""), ("filter", ""), ("north@own", ""), ("last:north@2", "")]);
    for (script, asked_for, sets, are_left) in [
        ("north@own", None, "442080", true),
        ("north@own", None, "+442080", true),
        ("north@own", None, "", true),
        ("north@own", Some("script-north@own"), "442080", true),
        ("filter", None, "442080", true),
        ("north@own", None, "442081", false),
    ] {
        let did = format!("[[did]]\nnumber = \"442080\"\naccount = \"north\"\nscript = \"script-{script}\"");
        let table = Arc::new(RouteTable::new(&toml::from_str(&format!("{config}{did}")).unwrap()));
        let result = json!({ "egress_routing": [{ "gw": { "7": {} } }], "routing": { "dest_number": sets } }).to_string();
        let runner = Returns { result: Some(result), ..Returns::default() };
        let facts = Facts { did: Some("442080".into()), dialled: "442080".into(), ..Facts::default() };
        let decision = route(&table, &scripts, &runner, &facts).now_or_never().unwrap().unwrap();
        assert_eq!(decision.attempts.len(), usize::from(are_left), "{script} sets {sets}: {:?}", decision.log);
        for rows in ["", r#","egress_routing":[{"gw":{"7":{}}}]"#] {
            let given = Given::read(&format!(r#"{{"routing":{{"dest_number":"442080"{rows}}}}}"#)).unwrap();
            let data = hook(&table, &scripts, &runner, given, (asked_for, None)).now_or_never().unwrap().unwrap();
            assert_eq!(data.routing("egress_routing") != Some("[]"), are_left, "{script} sets {sets}, by HTTP");
        }
    }
}

#[test]
fn an_object_for_a_did_that_names_no_customer_is_of_the_dids() {
    let config = "[[customer]]\nid = 12\nvars = { a = 1 }\n[[customer]]\nid = 13\n\
                  [[did]]\nnumber = \"+4420800\"\ncustomer = 12\ndestinations = [\"class5:1\"]";
    let table = Arc::new(RouteTable::new(&toml::from_str(config).unwrap()));
    let runner = Returns::default();
    for (account, expected, has_vars) in
        [("", Some(12), true), (r#","account_id":null"#, Some(12), true), (r#","account_id":13"#, Some(13), false)]
    {
        let given = Given::read(&format!(r#"{{"routing":{{"dest_number":"4420800"{account}}}}}"#)).unwrap();
        let data = hook(&table, &ProgramSet::default(), &runner, given, (None, None)).now_or_never().unwrap().unwrap();
        assert_eq!((data.account(), data.has("a")), (expected, has_vars), "{account}");
    }
}

#[test]
fn an_accounts_globals_apply_to_its_own_calls_and_the_operators_to_all() {
    let scripts = programs(&[("first:north@1", ""), ("first:default@2", ""), ("last:south@3", ""), ("last:south@4", "")]);
    let configured = scripts.iter().map(|program| {
        let mut program = Program::clone(program);
        program.settings.run_is_configured = program.name == "script-last:south@4";
        Arc::new(program)
    });
    let scripts = ProgramSet::new(configured.collect::<Vec<_>>(), Vec::new());
    for (account, expected) in [
        (None, vec!["first:default@2", "last:south@4"]),
        (Some("default"), vec!["first:default@2", "last:south@4"]),
        (Some("north"), vec!["first:default@2", "first:north@1", "last:south@4"]),
        (Some("south"), vec!["first:default@2", "last:south@3", "last:south@4"]),
    ] {
        let links = chain(&scripts, &Hook::default(), Globals::Of(account));
        let names: Vec<_> = links.iter().filter_map(|link| link.script.strip_prefix("script-")).collect();
        assert_eq!(names, expected, "{account:?}");
    }
    assert!(chain(&scripts, &Hook::default(), Globals::None).is_empty());
}

#[test]
fn a_script_is_whose_it_is_whatever_another_is_named() {
    let scripts = programs(&[("first:north@1", ""), ("2", "")]);
    let renamed = scripts.iter().map(|program| {
        let mut program = Program::clone(program);
        if program.account == "north" {
            program.name = "script-2.js".to_owned();
        }
        Arc::new(program)
    });
    let scripts = ProgramSet::new(renamed.collect::<Vec<_>>(), Vec::new());
    let hook = Hook { script: Some("script-2.js".to_owned()), ..Hook::default() };
    let links = chain(&scripts, &hook, Globals::Of(Some("north")));
    let seen: Vec<_> = links.iter().map(|link| (link.script.as_str(), link.is_accounts)).collect();
    assert_eq!(seen, [("script-2.js", true), ("script-2", false)]);
}

#[test]
fn a_call_is_of_the_account_of_its_did_or_customer_or_of_who_dials() {
    let config = "[[customer]]\nid = 12\naccount = \"north\"\n\
                  [[did]]\nnumber = \"331\"\naccount = \"south\"\ndestinations = [\"class5:1\"]\n";
    let table = Arc::new(RouteTable::new(&toml::from_str(&format!("{config}{ROUTE}")).unwrap()));
    let who = |did: Option<&str>, customer, account: Option<&str>| {
        let (did, account) = (did.map(str::to_owned), account.map(str::to_owned));
        table.build(&Facts { dialled: "442".into(), did, customer, account, ..Facts::default() }).unwrap().account
    };
    assert_eq!(who(Some("331"), Some(12), None).as_deref(), Some("south"));
    assert_eq!(who(None, Some(12), Some("south")).as_deref(), Some("north"));
    assert_eq!(who(None, None, Some("south")).as_deref(), Some("south"));
    assert_eq!(who(None, None, None), None);
}

#[test]
fn an_account_that_asks_sees_its_own_dids_alone() {
    let config = "[[customer]]\nid = 12\naccount = \"north\"\nvars = { a = 1 }\n[[customer]]\nid = 13\naccount = \"south\"\n\
                  [[did]]\nnumber = \"+4420800\"\ncustomer = 12\nscript = \"x\"\nvars = { pin = \"1\" }";
    let table = Arc::new(RouteTable::new(&toml::from_str(config).unwrap()));
    let runner = Returns::default();
    let given = |account: &str| Given::read(&format!(r#"{{"routing":{{"dest_number":"4420800"{account}}}}}"#)).unwrap();
    for (asker, account, is_theirs) in [
        ("north", "", true),
        ("north", r#","account_id":12"#, true),
        ("north", r#","account_id":13"#, false),
        ("north", r#","account_id":"x""#, false),
        ("south", "", false),
        ("south", r#","account_id":13"#, true),
    ] {
        assert_eq!(is_of(&table, asker, &given(account)), is_theirs, "{asker} {account}");
    }
    for (asker, account, has_pin) in
        [(Some("north"), "", true), (Some("south"), r#","account_id":13"#, false), (None, r#","account_id":13"#, true)]
    {
        let scripts = ProgramSet::default();
        let data = hook(&table, &scripts, &runner, given(account), (None, asker)).now_or_never().unwrap().unwrap();
        assert_eq!(data.has("pin"), has_pin, "{asker:?}");
    }
}

#[test]
fn rows_for_an_object_without_a_caller_id_that_can_be_shown_have_none() {
    let table = Arc::new(RouteTable::new(&toml::from_str(ROUTE).unwrap()));
    let runner = Returns::default();
    for (cli, gateway, said) in [
        ("", "{}", 0),
        (r#","cli":"441""#, r#"{"cli":"441"}"#, 0),
        (r#","cli":441"#, r#"{"cli":"441"}"#, 0),
        (r#","cli":null"#, "{}", 1),
        (r#","cli":[1]"#, "{}", 1),
        (r#","cli":true"#, "{}", 1),
        (r#","cli":"4 41""#, "{}", 1),
    ] {
        let given = Given::read(&format!(r#"{{"routing":{{"dest_number":"442"{cli}}}}}"#)).unwrap();
        let data = hook(&table, &ProgramSet::default(), &runner, given, (None, None)).now_or_never().unwrap().unwrap();
        let rows: Value = serde_json::from_str(data.routing("egress_routing").unwrap()).unwrap();
        assert_eq!(rows[0]["gw"]["7"].to_string(), gateway, "{cli}");
        let log: Vec<String> = serde_json::from_str(data.routing("log").unwrap()).unwrap();
        assert_eq!(log.len(), said, "{cli}: {log:?}");
    }
}

#[test]
fn a_result_that_cannot_be_read_is_told_whatever_becomes_of_the_call() {
    let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
    for (result, on_error) in
        [("7".to_owned(), "reject"), ("null".to_owned(), "continue"), (format!(r#"{{"headers":[],"deep":{deep}}}"#), "continue")]
    {
        let table = Arc::new(RouteTable::new(&toml::from_str(&format!("{ROUTE}\non_error = \"{on_error}\"")).unwrap()));
        let facts = Facts { dialled: "442".into(), ..Facts::default() };
        let runner = Returns { result: Some(result.clone()), ..Returns::default() };
        let decision = route(&table, &ProgramSet::default(), &runner, &facts).now_or_never().unwrap();
        assert_eq!((decision.is_ok(), runner.refused.get()), (on_error == "continue", 1), "{result}");
    }
}

#[test]
fn a_result_without_end_is_a_failure_of_the_script() {
    let (refused, _) = routed(&json!({ "routing": {}, "x": "x".repeat(2 << 20) }));
    let refused = refused.unwrap_err();
    assert_eq!((refused.code, refused.text.as_str()), (500, "Script Error"));
    assert!(refused.why.is_some_and(|why| why.contains("octets, expected at most 1048576")));
}
