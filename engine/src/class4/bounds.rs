//! What scripts of accounts may make of a call.

use std::sync::Arc;

use super::chain::Link;
use super::decision::{Attempt, Decision};
use super::facts::Facts;
use super::table::{Hook, RouteTable, key};
use crate::config::DEFAULT_ACCOUNT;
use crate::script::{Program, ProgramSet};

/// What the scripts of a call saw.
pub(super) struct Trail<'a> {
    pub(super) scripts: &'a [Link],
    /// The number that each of them saw, then the one that was left; `None`: none that can be dialled.
    pub(super) numbers: &'a [Option<String>],
    /// Of the number that was dialled.
    pub(super) hook: &'a Hook,
}

impl Trail<'_> {
    /// The script of the route of a number, by its name.
    fn guard(&self, table: &RouteTable, programs: &ProgramSet, facts: &Facts, number: &str) -> Option<String> {
        let script = match facts.did.is_none() && key(number) == key(&facts.dialled) {
            true => self.hook.script.clone(),
            false => table.hook_of(number, None, facts.customer).script,
        };
        script.map(|script| programs.by_name(&script).map_or(script, |program| program.name.clone()))
    }

    /// The number that the script of its own route was asked about, or that a script of the operator has set, whichever was last.
    fn settled(&self, table: &RouteTable, programs: &ProgramSet, facts: &Facts) -> Option<&str> {
        let mut settled = None;
        for (link, numbers) in self.scripts.iter().zip(self.numbers.windows(2)) {
            let [before, after] = numbers else { continue };
            let guard = before.as_deref().and_then(|number| self.guard(table, programs, facts, number));
            if guard.as_ref() == Some(&link.script) {
                settled = before.as_deref();
            }
            if before != after && !link.is_accounts {
                settled = after.as_deref();
            }
        }
        settled
    }

    /// Why a number is not dialled where a script of an account had a say: the operator's script of its route was not asked about it.
    pub(super) fn passed_by(&self, table: &RouteTable, programs: &ProgramSet, facts: &Facts, number: &str) -> Option<String> {
        // A call to a DID goes by no route, and so past no route's script, unless a script has set another number.
        if facts.did.is_some() && self.numbers.iter().flatten().all(|seen| key(seen) == key(number)) {
            return None;
        }
        let is_accounts = |name: &String| programs.named(name).is_some_and(is_of_an_account);
        let guard = self.guard(table, programs, facts, number).filter(|guard| !is_accounts(guard))?;
        let is_asked = self.settled(table, programs, facts).map(key) == Some(key(number));
        (!is_asked).then(|| format!("{guard}, the script of the route to {number}, was not asked about that number: left out"))
    }
}

/// Whether a script is not the operator's.
pub(super) fn is_of_an_account(program: &Arc<Program>) -> bool {
    program.account != DEFAULT_ACCOUNT
}

/// What is left of a decision in which a script of an account had a say: the call goes where the routes lead it, whatever rows and
/// numbers were written, and past no script of the operator. The operator's scripts may add ways.
pub(super) fn within_routes(
    table: &RouteTable,
    programs: &ProgramSet,
    facts: &Facts,
    trail: &Trail<'_>,
    decision: Decision,
) -> Decision {
    if !trail.scripts.iter().any(|link| link.is_accounts) {
        return decision;
    }
    let Decision { attempts, mut log, .. } = decision;
    let is_led = |attempt: &Attempt| table.leads_through(attempt.gateway, &attempt.number, facts.customer);
    let (mut attempts, others): (Vec<_>, Vec<_>) = attempts.into_iter().partition(is_led);
    let said =
        |Attempt { gateway, number, .. }: Attempt| format!("no route leads to {number} through gateway {gateway}: left out");
    log.extend(others.into_iter().map(said));
    // All of them dial the same number.
    let dialled = attempts.first().map(|attempt| attempt.number.as_str());
    if let Some(why) = dialled.and_then(|number| trail.passed_by(table, programs, facts, number)) {
        log.push(why);
        attempts.clear();
    }
    Decision { attempts, log, ..decision }
}
