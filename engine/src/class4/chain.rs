//! The scripts of a route, one after another: Run First globals, the script of the route or DID, Run Last globals.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use lockstep_ctx_api::wire::ScriptType;
use serde_json::Value;

use super::Rejection;
use super::change::{Given, RoutingObject, plain};
use super::decision::{self, Decision};
use super::facts::Facts;
use super::table::{Built, Hook, RouteTable};
use crate::config::{GlobalRun, OnError};
use crate::runs::{RunError, RunFailure, RunKind, RunRequest, RunSuccess, RunsHandle};
use crate::script::{Program, ProgramSet};

/// Makes the runs of routing scripts: [`RunsHandle`], and whatever stands for it in a simulation.
pub(crate) trait Runner {
    /// Makes a run and waits for its end.
    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<RunSuccess, RunFailure>>;
}

impl Runner for RunsHandle {
    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<RunSuccess, RunFailure>> {
        Self::run(self, request).boxed()
    }
}

/// Lays a call out, has the scripts change it, and reads what is to be dialled.
///
/// # Errors
/// The SIP reply in place of a route.
pub(crate) async fn route(
    table: &RouteTable,
    programs: &ProgramSet,
    runner: &impl Runner,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let built = table.build(facts)?;
    let scripts = chain(programs, &built.hook, true);
    let Built { data, hook, costs } = built;
    if scripts.is_empty() {
        return decide(table, facts, &data, (&hook, &costs), 0.0);
    }
    let (changed, sandbox_ms) = run_all(runner, RoutingObject::from(&data), &hook, &scripts).await?;
    let data = match serde_json::from_str(&changed.print()) {
        Ok(changed) => changed,
        Err(error) => {
            hook.failed(&format!("what the scripts made of the routes cannot be read: {error}"))?;
            data
        }
    };
    decide(table, facts, &data, (&hook, &costs), sandbox_ms)
}

/// The same where no script has a say in it; `None`: one has.
pub(crate) fn route_without_scripts(
    table: &RouteTable,
    programs: &ProgramSet,
    facts: &Facts,
) -> Option<Result<Decision, Rejection>> {
    let Built { data, hook, costs } = match table.build(facts) {
        Ok(built) => built,
        Err(rejection) => return Some(Err(rejection)),
    };
    chain(programs, &hook, true).is_empty().then(|| decide(table, facts, &data, (&hook, &costs), 0.0))
}

fn decide(
    table: &RouteTable,
    facts: &Facts,
    data: &Value,
    (hook, costs): (&Hook, &[(i64, Option<f64>)]),
    sandbox_ms: f64,
) -> Result<Decision, Rejection> {
    let decision = decision::read(table, data, &facts.cli, &facts.dialled, costs);
    // A DID has destinations of its own.
    if decision.attempts.is_empty() && facts.did.is_none() {
        return Err(Rejection::new(503, "No Routes Available").because("no row is left"));
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
    /// nothing of `egress_routing` gets the rows of our own routes.
    ///
    /// # Errors
    /// The SIP reply in place of a route.
    pub(crate) async fn hook(&self, given: Given, script: Option<&str>) -> Result<RoutingObject, Rejection> {
        hook(&self.table, &self.runs.programs(), &self.runs, given, script).await
    }
}

/// See [`Class4::hook`].
pub(crate) async fn hook(
    table: &RouteTable,
    programs: &ProgramSet,
    runner: &impl Runner,
    given: Given,
    script: Option<&str>,
) -> Result<RoutingObject, Rejection> {
    let Given { object: mut before, has_rows } = given;
    let number = before.routing("dest_number").map(plain).unwrap_or_default();
    let customer = before.account();
    if !has_rows {
        let cli = before.routing("cli").map(plain).unwrap_or_default();
        before.set_rows(&Value::Array(table.rows(&number, customer, &cli)).to_string());
    }
    if !before.routing("log").is_some_and(|log| log.starts_with('[')) {
        before.set_routing("log", "[]");
    }
    for (name, value) in table.vars_of(&number, customer) {
        if !before.has(&name) {
            before.set(&name, &value.to_string());
        }
    }
    let mut hook = table.hook_of(&number, customer);
    if let Some(script) = script {
        hook.script = Some(script.to_owned());
    }
    let scripts = chain(programs, &hook, script.is_none());
    let (mut data, sandbox_ms) = run_all(runner, before, &hook, &scripts).await?;
    data.set("sandbox_time", &Value::from(sandbox_ms).to_string());
    Ok(data)
}

/// Runs the scripts on `data`; what they made of it and their time, ms.
async fn run_all(
    runner: &impl Runner,
    data: RoutingObject,
    hook: &Hook,
    scripts: &[Link],
) -> Result<(RoutingObject, f64), Rejection> {
    let mut data = data;
    let (mut sandbox, mut took) = (Duration::ZERO, Duration::ZERO);
    // One caller waits for all of them: together they have what the route gives, else as long as the one with the most time.
    let total = hook.timeout.or_else(|| scripts.iter().map(|link| link.time).max()).unwrap_or_default();
    for Link { script, time } in scripts {
        let Some(left) = total.checked_sub(took).filter(|left| !left.is_zero()) else {
            return Err(hook.timeout_action.clone().because("the scripts before it took all of the time"));
        };
        let left = if hook.timeout.is_some() { left } else { left.min(*time) };
        let request = RunRequest::new(script.clone(), RunKind::Hook, data.print()).timeout(Some(left));
        match runner.run(request).await {
            Ok(success) => {
                sandbox += success.sandbox_time;
                took += success.took;
                match RoutingObject::changed(&data, success.result.as_deref().unwrap_or("null")) {
                    Ok(changed) => data = changed,
                    Err(why) => hook.failed(&format!("{script}: {why}"))?,
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
    Ok((data, sandbox.as_secs_f64() * 1_000.0))
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
struct Link {
    script: String,
    /// What it may take where the route says nothing.
    time: Duration,
}

/// Run First globals, the script of the route or DID, Run Last globals.
fn chain(programs: &ProgramSet, hook: &Hook, with_globals: bool) -> Vec<Link> {
    let globals = |when: GlobalRun| {
        let routes = move |program: &&Arc<Program>| {
            with_globals && program.settings.run == Some(when) && program.script_type != ScriptType::Worker
        };
        let wanted = programs.iter().filter(routes);
        wanted.map(|program| program.name.clone())
    };
    let link = |script: String| {
        let own = programs.by_name(&script).and_then(|program| program.settings.timeout_s);
        let own = own.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Link { time: own.unwrap_or_else(|| RunKind::Hook.timeout()), script }
    };
    globals(GlobalRun::First).chain(hook.script.clone()).chain(globals(GlobalRun::Last)).map(link).collect()
}
