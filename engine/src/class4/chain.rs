//! The scripts of a route, one after another: Run First globals, the script of the route or DID, Run Last globals.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use lockstep_ctx_api::wire::ScriptType;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Rejection;
use super::answer::{Asked, Gateways, settle};
use super::bounds::{self, Trail};
use super::change::{Given, RoutingObject, plain};
use super::decision::{self, Decision};
use super::facts::Facts;
use super::table::{Built, Hook, RouteTable};
use crate::config::{GlobalRun, OnError};
use crate::runs::{RunError, RunFailure, RunKind, RunRequest, RunSuccess, RunsHandle};
use crate::script::{Program, ProgramSet};

/// Octets of what a script gave that are read at once. What is longer is read elsewhere: all calls share the thread that asks.
const AT_ONCE: usize = 16 << 10;
/// How many of those are read at a time: each takes many times its size meanwhile.
static READERS: Semaphore = Semaphore::const_new(2);

/// Makes the runs of routing scripts: [`RunsHandle`], and whatever stands for it in a simulation.
pub(crate) trait Runner {
    /// Makes a run and waits for its end.
    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<RunSuccess, RunFailure>>;

    /// What a run returned is no routing object.
    fn refused(&self, script: &str, run: &Arc<str>, why: &str);

    /// Has another thread do what takes the longer the more a script has given; `None`: it could not.
    fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<'_, Option<T>>;
}

impl Runner for RunsHandle {
    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<RunSuccess, RunFailure>> {
        Self::run(self, request).boxed()
    }

    fn refused(&self, script: &str, run: &Arc<str>, why: &str) {
        Self::refused(self, script, run, why);
    }

    fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<'_, Option<T>> {
        let read = async move {
            let _turn = READERS.acquire().await.ok()?;
            tokio::task::spawn_blocking(work).await.ok()
        };
        read.boxed()
    }
}

/// Does what takes the longer the more a script has given: here if that is little.
async fn read<T: Send + 'static>(
    runner: &impl Runner,
    octets: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Rejection> {
    if octets <= AT_ONCE {
        return Ok(work());
    }
    let failed = || Rejection::new(500, "Script Error").because("what the scripts gave could not be read");
    runner.beside(work).await.ok_or_else(failed)
}

/// Lays a call out, has the scripts change it, and reads what is to be dialled.
///
/// # Errors
/// The SIP reply in place of a route.
pub(crate) async fn route(
    table: &Arc<RouteTable>,
    programs: &ProgramSet,
    runner: &impl Runner,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let Built { data, hook, account } = table.build(facts)?;
    let scripts = chain(programs, &hook, Globals::Of(account.as_deref()));
    if scripts.is_empty() {
        return decide(table, facts, &data, &hook, 0.0);
    }
    let Ran { data: changed, sandbox_ms, last, numbers } = run_all(runner, RoutingObject::from(&data), &hook, &scripts).await?;
    let octets = changed.size();
    let (own, cli, dialled, customer) = (Arc::clone(table), facts.cli.clone(), facts.dialled.clone(), facts.customer);
    let work = move || {
        let changed = serde_json::from_str::<Value>(&changed.print());
        changed.map(|changed| decision::read(&own, &changed, &cli, &dialled, customer))
    };
    match read(runner, octets, work).await? {
        Ok(decision) => {
            let trail = Trail { scripts: &scripts, numbers: &numbers, hook: &hook };
            decided(facts, &hook, bounds::within_routes(table, programs, facts, &trail, decision), sandbox_ms)
        }
        Err(error) => {
            unreadable(runner, &hook, last, &error)?;
            decide(table, facts, &data, &hook, sandbox_ms)
        }
    }
}

/// What scripts made of a call cannot be read.
///
/// # Errors
/// Unless the routes go on unchanged then.
fn unreadable(
    runner: &impl Runner,
    hook: &Hook,
    last: Option<(&str, Arc<str>)>,
    error: &serde_json::Error,
) -> Result<(), Rejection> {
    let why = format!("what the scripts made of the routes cannot be read: {error}");
    if let Some((script, run)) = last {
        runner.refused(script, &run, &why);
    }
    hook.failed(&why)
}

/// The same where no script has a say in it; `None`: one has.
pub(crate) fn route_without_scripts(
    table: &RouteTable,
    programs: &ProgramSet,
    facts: &Facts,
) -> Option<Result<Decision, Rejection>> {
    let Built { data, hook, account } = match table.build(facts) {
        Ok(built) => built,
        Err(rejection) => return Some(Err(rejection)),
    };
    chain(programs, &hook, Globals::Of(account.as_deref())).is_empty().then(|| decide(table, facts, &data, &hook, 0.0))
}

fn decide(table: &RouteTable, facts: &Facts, data: &Value, hook: &Hook, sandbox_ms: f64) -> Result<Decision, Rejection> {
    decided(facts, hook, decision::read(table, data, &facts.cli, &facts.dialled, facts.customer), sandbox_ms)
}

fn decided(facts: &Facts, hook: &Hook, decision: Decision, sandbox_ms: f64) -> Result<Decision, Rejection> {
    // A DID has destinations of its own.
    if decision.attempts.is_empty() && facts.did.is_none() {
        let said = decision.log.last().map(|line| format!("; routing.log ends with: {line}"));
        return Err(Rejection::new(503, "No Routes Available").because(format!("no row is left{}", said.unwrap_or_default())));
    }
    Ok(Decision { sandbox_ms, ring: hook.ring, ..decision })
}

/// Routes calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Class4 {
    table: Arc<RouteTable>,
    runs: RunsHandle,
}

impl Class4 {
    /// Over the routes of a configuration and the scripts there are.
    pub fn new(table: &Arc<RouteTable>, runs: &RunsHandle) -> Self {
        Self { table: Arc::clone(table), runs: runs.clone() }
    }

    /// Lays a call out, has the scripts change it, and reads what is to be dialled.
    ///
    /// # Errors
    /// The SIP reply in place of a route.
    pub async fn route(&self, facts: &Facts) -> Result<Decision, Rejection> {
        let programs = self.runs.programs();
        route(&self.table, &programs, &self.runs, facts).await
    }

    /// The hook over HTTP: an object laid out by somebody else, changed by `script`, or by all that apply to it. An object that says
    /// nothing of `egress_routing` gets the rows of our own routes. What scripts have put there and would not go out by SIP is left out.
    /// To an account that asks, DIDs of others are numbers as any; `asker`: `None` for whoever sees everybody's.
    ///
    /// # Errors
    /// The SIP reply in place of a route.
    pub(crate) async fn hook(&self, given: Given, script: Option<&str>, asker: Option<&str>) -> Result<RoutingObject, Rejection> {
        hook(&self.table, &self.runs.programs(), &self.runs, given, (script, asker)).await
    }

    /// Whether an object is of a call of this account: it names one of its customers, or none and one of its DIDs.
    pub(crate) fn is_of(&self, account: &str, given: &Given) -> bool {
        is_of(&self.table, account, given)
    }
}

/// See [`Class4::hook`].
pub(crate) async fn hook(
    table: &Arc<RouteTable>,
    programs: &ProgramSet,
    runner: &impl Runner,
    given: Given,
    (script, asker): (Option<&str>, Option<&str>),
) -> Result<RoutingObject, Rejection> {
    let number = number_of(&given);
    let has_customer = names_customer(&given);
    let Given { object: mut before, has_rows } = given;
    let did = table.did_seen(&number, asker);
    let mut customer = before.account();
    if let Some(own) = did.and_then(|did| did.customer).filter(|_| !has_customer) {
        customer = Some(own);
        before.set_routing("account_id", &own.to_string());
    }
    if !has_rows {
        let cli = before.routing("cli").map(plain).unwrap_or_default();
        // A DID is where a call has come to.
        let rows = if did.is_some() { Vec::new() } else { table.rows(&number, customer, &cli) };
        before.set_rows(&Value::Array(rows).to_string());
    }
    if !before.routing("log").is_some_and(|log| log.starts_with('[')) {
        before.set_routing("log", "[]");
    }
    for (name, value) in table.vars_of(&number, did, customer) {
        if !before.has(&name) {
            before.set(&name, &value.to_string());
        }
    }
    let mut hook = table.hook_of(&number, did, customer);
    if let Some(script) = script {
        hook.script = Some(script.to_owned());
    }
    let globals = if script.is_none() { Globals::Of(table.account_of(did, customer)) } else { Globals::None };
    let scripts = chain(programs, &hook, globals);
    let has_accounts = scripts.iter().any(|link| link.is_accounts);
    let gateways = match has_rows {
        true => Gateways::Theirs,
        false if has_accounts => Gateways::Routed(Arc::clone(table), customer),
        false => Gateways::Ours(Arc::clone(table)),
    };
    let asked = Asked::with(&before);
    let unchanged = (hook.on_error == OnError::Continue).then(|| before.clone());
    let Ran { data, sandbox_ms, last, numbers } = run_all(runner, before, &hook, &scripts).await?;
    let mut data = match read(runner, data.size(), move || settle(data, &asked, &gateways)).await? {
        Ok(settled) => settled,
        Err(error) => {
            unreadable(runner, &hook, last, &error)?;
            unchanged.unwrap_or_default()
        }
    };
    if has_accounts && data.routing("egress_routing") != Some("[]") {
        let facts = Facts { did: did.map(|_| number.clone()), dialled: number, customer, ..Facts::default() };
        let trail = Trail { scripts: &scripts, numbers: &numbers, hook: &hook };
        let dialled = data.routing("dest_number").map(plain).unwrap_or_default();
        if let Some(why) = trail.passed_by(table, programs, &facts, &dialled) {
            data.set_rows("[]");
            data.log(&why);
        }
    }
    data.set("sandbox_time", &Value::from(sandbox_ms).to_string());
    Ok(data)
}

fn number_of(given: &Given) -> String {
    given.object.routing("dest_number").map(plain).unwrap_or_default()
}

fn names_customer(given: &Given) -> bool {
    given.object.routing("account_id").is_some_and(|id| id != "null")
}

/// See [`Class4::is_of`].
fn is_of(table: &RouteTable, account: &str, given: &Given) -> bool {
    let owner = match names_customer(given) {
        true => table.account_of(None, given.object.account()),
        false => table.account_of(table.did_seen(&number_of(given), Some(account)), None),
    };
    owner == Some(account)
}

/// What scripts have made of a call.
struct Ran<'a> {
    data: RoutingObject,
    sandbox_ms: f64,
    /// The script that changed it last, and its run.
    last: Option<(&'a str, Arc<str>)>,
    /// See [`Trail`].
    numbers: Vec<Option<String>>,
}

/// Runs the scripts on `data`.
async fn run_all<'a>(runner: &impl Runner, data: RoutingObject, hook: &Hook, scripts: &'a [Link]) -> Result<Ran<'a>, Rejection> {
    let (mut data, mut last) = (data, None);
    let mut numbers = Vec::with_capacity(scripts.len() + 1);
    let number_in = |data: &RoutingObject| data.routing("dest_number").map(plain).filter(|number| decision::is_plain(number));
    let (mut sandbox, mut took) = (Duration::ZERO, Duration::ZERO);
    // One caller waits for all of them: together they have what the route gives, else as long as the one with the most time.
    let total = hook.timeout.or_else(|| scripts.iter().map(|link| link.time).max()).unwrap_or_default();
    for Link { script, time, .. } in scripts {
        let Some(left) = total.checked_sub(took).filter(|left| !left.is_zero()) else {
            return Err(hook.timeout_action.clone().because("the scripts before it took all of the time"));
        };
        numbers.push(number_in(&data));
        let left = if hook.timeout.is_some() { left } else { left.min(*time) };
        let request = RunRequest::new(script.clone(), RunKind::Hook, data.print()).timeout(Some(left));
        match runner.run(request).await {
            Ok(success) => {
                sandbox += success.sandbox_time;
                took += success.took;
                let (run, result) = (success.run, success.result.unwrap_or_else(|| "null".to_owned()));
                let refused;
                (data, refused) = read(runner, result.len(), move || match RoutingObject::changed(&data, &result) {
                    Ok(changed) => (changed, None),
                    Err(why) => (data, Some(why)),
                })
                .await?;
                if let Some(why) = refused {
                    runner.refused(script, &run, &why);
                    hook.failed(&format!("{script}: {why}"))?;
                } else {
                    last = Some((script.as_str(), run));
                }
            }
            Err(failure) => {
                took += failure.took;
                match (&failure.error, hook.on_error) {
                    (RunError::TimedOut { .. } | RunError::TimedOutWaiting { .. }, _) => {
                        tracing::warn!(%script, error = %failure.error, "a routing script took too long");
                        return Err(hook.timeout_action.clone().because(failure.error.to_string()));
                    }
                    (error, _) if error.is_deliberate() => {
                        let (code, text) = error.sip();
                        return Err(Rejection::new(code, text));
                    }
                    (error, OnError::Continue) => {
                        let at = error.at().map(tracing::field::display);
                        tracing::warn!(%script, %error, at, "a routing script failed: the routes go on unchanged")
                    }
                    (error, OnError::Reject) => {
                        let at = error.at().map(tracing::field::display);
                        tracing::warn!(%script, %error, at, "a routing script failed");
                        let (code, text) = error.sip();
                        return Err(Rejection::new(code, text).because(error.to_string()));
                    }
                }
            }
        }
    }
    numbers.push(number_in(&data));
    Ok(Ran { data, sandbox_ms: sandbox.as_secs_f64() * 1_000.0, last, numbers })
}

impl Hook {
    /// What scripts gave is no routing object.
    ///
    /// # Errors
    /// Unless the routes go on unchanged then.
    fn failed(&self, why: &str) -> Result<(), Rejection> {
        match self.on_error {
            OnError::Continue => {
                tracing::warn!(why, "the routes go on unchanged");
                Ok(())
            }
            OnError::Reject => {
                tracing::warn!(why, "a routing script failed");
                Err(Rejection::new(500, "Script Error").because(why))
            }
        }
    }
}

/// One of the scripts in the way of a call.
pub(super) struct Link {
    pub(super) script: String,
    /// What it may take where the route says nothing.
    time: Duration,
    /// It is not the operator's.
    pub(super) is_accounts: bool,
}

/// Which Run First and Run Last globals are run.
#[derive(Clone, Copy)]
enum Globals<'a> {
    /// Those that apply to a call of this account, or of none.
    Of(Option<&'a str>),
    None,
}

impl Globals<'_> {
    /// An account's script applies to the account's own calls, the operator's to all.
    fn include(self, program: &Program) -> bool {
        match self {
            Self::Of(account) => program.is_operators_global() || account == Some(program.account.as_str()),
            Self::None => false,
        }
    }
}

/// Run First globals, the script of the route or DID, Run Last globals.
fn chain(programs: &ProgramSet, hook: &Hook, applying: Globals<'_>) -> Vec<Link> {
    let globals = |when: GlobalRun| {
        let routes = move |program: &&Arc<Program>| {
            program.settings.run == Some(when) && program.script_type != ScriptType::Worker && applying.include(program)
        };
        let wanted = programs.iter().filter(routes);
        wanted.map(|program| program.name.clone())
    };
    let link = |script: String| {
        let program = programs.by_name(&script);
        let is_accounts = bounds::is_of_an_account(programs, &script);
        let own = program.and_then(|program| program.settings.timeout_s);
        let own = own.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Link { time: own.unwrap_or_else(|| RunKind::Hook.timeout()), is_accounts, script }
    };
    globals(GlobalRun::First).chain(hook.script.clone()).chain(globals(GlobalRun::Last)).map(link).collect()
}

#[cfg(test)]
mod tests {
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
        let gateways =
            "[[gateway]]\nid = 7\naddress = \"sip:a.example.net\"\n[[gateway]]\nid = 8\naddress = \"sip:b.example.net\"\n";
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
    fn rows_for_an_object_without_a_caller_id_have_none() {
        let table = Arc::new(RouteTable::new(&toml::from_str(ROUTE).unwrap()));
        let runner = Returns::default();
        for (cli, gateway) in [("", "{}"), (r#","cli":"441""#, r#"{"cli":"441"}"#)] {
            let given = Given::read(&format!(r#"{{"routing":{{"dest_number":"442"{cli}}}}}"#)).unwrap();
            let data = hook(&table, &ProgramSet::default(), &runner, given, (None, None)).now_or_never().unwrap().unwrap();
            let rows: Value = serde_json::from_str(data.routing("egress_routing").unwrap()).unwrap();
            assert_eq!(rows[0]["gw"]["7"].to_string(), gateway);
        }
    }

    #[test]
    fn a_result_that_cannot_be_read_is_told_whatever_becomes_of_the_call() {
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        for (result, on_error) in
            [("7".to_owned(), "reject"), ("null".to_owned(), "continue"), (format!(r#"{{"deep":{deep}}}"#), "continue")]
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
}
