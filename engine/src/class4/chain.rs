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
    if !before.routing("log").is_some_and(|log| log.starts_with('[')) {
        before.set_routing("log", "[]");
    }
    if !has_rows {
        let cli = caller_id(&mut before);
        // A DID is where a call has come to.
        let rows = if did.is_some() { Vec::new() } else { table.rows(&number, customer, &cli) };
        before.set_rows(&Value::Array(rows).to_string());
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
        let dialled = data.routing("dest_number").and_then(plain).unwrap_or_default();
        if let Some(why) = trail.passed_by(table, programs, &facts, &dialled) {
            data.set_rows("[]");
            data.log(&why);
        }
    }
    data.set("sandbox_time", &Value::from(sandbox_ms).to_string());
    Ok(data)
}

fn number_of(given: &Given) -> String {
    given.object.routing("dest_number").and_then(plain).unwrap_or_default()
}

/// The caller id that somebody else's object is laid out with; empty: none that can be shown.
fn caller_id(object: &mut RoutingObject) -> String {
    let Some(said) = object.routing("cli") else { return String::new() };
    if let Some(cli) = plain(said).filter(|cli| decision::is_plain(cli)) {
        return cli;
    }
    let shown: String = said.chars().take(100).collect();
    object.log(&format!("routing.cli: {shown} is no number or name that can be shown: the rows have none"));
    String::new()
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
    let is_dialled = |number: &String| !number.is_empty() && decision::is_plain(number);
    let number_in = |data: &RoutingObject| data.routing("dest_number").and_then(plain).filter(is_dialled);
    let (mut sandbox, mut took) = (Duration::ZERO, Duration::ZERO);
    // One caller waits for all of them: together they have what the route gives, else as long as the one with the most time.
    let total = hook.timeout.or_else(|| scripts.iter().map(|link| link.time).max()).unwrap_or_default();
    for Link { script, time, .. } in scripts {
        let Some(left) = total.checked_sub(took).filter(|left| !left.is_zero()) else {
            return Err(hook.timeout_action.clone().because("the scripts before it took all of the time"));
        };
        numbers.push(number_in(&data));
        let left = if hook.timeout.is_some() { left } else { left.min(*time) };
        let request = RunRequest::named(script.clone(), RunKind::Hook, data.print()).timeout(Some(left));
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
    /// Its name; what was asked for, where there is none.
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
        programs.iter().filter(routes).map(|program| link(&program.name, Some(program)))
    };
    let own = hook.script.iter().map(|script| link(script, programs.by_name(script)));
    globals(GlobalRun::First).chain(own).chain(globals(GlobalRun::Last)).collect()
}

fn link(asked: &str, program: Option<&Arc<Program>>) -> Link {
    let own = program.and_then(|program| program.settings.timeout_s);
    let own = own.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Link {
        script: program.map_or(asked, |program| program.name.as_str()).to_owned(),
        time: own.unwrap_or_else(|| RunKind::Hook.timeout()),
        is_accounts: program.is_some_and(bounds::is_of_an_account),
    }
}

#[cfg(test)]
mod tests;
