//! Variables that a bridge sets for itself alone: afterwards they are as they were before.
//!
//! FreeSWITCH's events tell of them as of all others; scripts do not hear of them. Names of its variables know no case.

use std::collections::BTreeMap;
use std::time::Instant;

use super::wire::Awaited;
use super::{FreeSwitchBackend, argument};
use crate::esl::Unsendable;

/// Names of the variables that the legs of a call get, with commas between.
pub(super) const EXPORTS: &str = "export_vars";

/// See the module; by names in small letters.
#[derive(Debug, Default)]
pub(super) struct Loans {
    open: BTreeMap<String, Loan>,
    /// The latest that were given back: events that were on their way, or come of giving back the others, tell of them still.
    over: BTreeMap<String, Loan>,
}

#[derive(Debug)]
struct Loan {
    /// The name as it was written before.
    name: String,
    value: String,
    former: Option<String>,
}

impl Loans {
    /// Whether it is for a bridge that FreeSWITCH has this value.
    pub(super) fn explain(&self, name: &str, value: &str) -> bool {
        let key = name.to_ascii_lowercase();
        self.open.contains_key(&key) || self.over.get(&key).is_some_and(|loan| loan.value == value)
    }
}

impl FreeSwitchBackend {
    /// Sets variables for the operation under way; those that it had set before and are not among them are as they were before it.
    pub(super) fn lend(&mut self, now: Instant, variables: Vec<(String, String)>) -> Result<(), Unsendable> {
        let mut before = std::mem::take(&mut self.loans.open);
        for (name, value) in variables {
            let key = name.to_ascii_lowercase();
            let known = self.loans.open.remove(&key).or_else(|| before.remove(&key));
            let (written, former) = known.map_or_else(|| self.found(&name), |loan| (loan.name, loan.former));
            let value = match former.as_deref() {
                // What the dialplan has the legs get, they get still.
                Some(names) if name == EXPORTS && !names.is_empty() => format!("{names},{value}"),
                Some(_) | None => value,
            };
            self.wire.set(now, &name, Some(&value), Awaited::Nothing)?;
            self.loans.open.insert(key, Loan { name: written, value, former });
        }
        for Loan { name, former, .. } in before.values() {
            self.wire.set(now, name, former.as_deref(), Awaited::Nothing)?;
        }
        if !before.is_empty() {
            self.loans.over = before;
        }
        Ok(())
    }

    /// The operation is over: what was set for it is as it was before.
    pub(super) fn give_back(&mut self, now: Instant) {
        // What was there before can be set, or it would not be given back.
        let _ = self.lend(now, Vec::new());
    }

    /// How a variable is written, and what it holds that can be set again. Without `full`, FreeSWITCH expands what it is set to,
    /// and what is there may be the caller's.
    fn found(&self, name: &str) -> (String, Option<String>) {
        let Some((written, value)) = self.vars.iter().find(|(written, _)| written.eq_ignore_ascii_case(name)) else {
            return (name.to_owned(), None);
        };
        let can_be_set = if self.wire.is_full {
            !value.contains(['\r', '\n', '\0'])
        } else {
            argument::literal("bridge", "former value", value).is_ok()
        };
        (written.clone(), can_be_set.then(|| value.clone()))
    }

    /// A variable is set, or removed, for longer than an operation.
    pub(super) fn note_set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        if let Some(loan) = self.loans.open.get_mut(&name.to_ascii_lowercase()) {
            (loan.name, loan.former) = (name.to_owned(), value.clone());
        }
        self.vars.retain(|written, _| !written.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            self.vars.insert(name.to_owned(), value);
        }
    }
}
