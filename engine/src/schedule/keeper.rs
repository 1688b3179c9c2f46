//! Turns schedules into jobs, each time once.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::next_after;
use crate::config::Schedule;
use crate::jobs::{self, JobKind, Jobs, NewJob};
use crate::script::{Program, ProgramSet};
use crate::store::StoreError;

const DAY_MS: u64 = 86_400_000;

/// Looks after the schedules of all scripts.
pub(crate) struct Keeper {
    jobs: Jobs,
    started_ms: u64,
    /// When each scheduled script runs next, by account and name.
    next: BTreeMap<(String, String), u64>,
}

impl Keeper {
    /// One that has not looked yet: what came due before now was missed.
    pub(crate) fn new(jobs: Jobs) -> Self {
        let started_ms = jobs.store().clock().now_ms();
        Self { jobs, started_ms, next: BTreeMap::new() }
    }

    /// When the next script is due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next.values().min().copied()
    }

    /// Makes jobs of what has come due.
    pub(crate) async fn look(&mut self, programs: &ProgramSet) {
        let now = self.jobs.store().clock().now_ms();
        let mut known = BTreeSet::new();
        for program in programs.iter() {
            let Some(schedule) = &program.settings.schedule else { continue };
            let key = (program.account.clone(), program.name.clone());
            known.insert(key.clone());
            if self.next.get(&key).is_some_and(|next| *next > now && next_after(schedule, now) == Some(*next)) {
                continue;
            }
            match self.settle(program, schedule, now).await {
                Ok(()) => {
                    match next_after(schedule, now) {
                        Some(next) => self.next.insert(key, next),
                        None => self.next.remove(&key),
                    };
                }
                Err(error) => tracing::error!(script = program.name, %error, "a schedule cannot be looked after"),
            }
        }
        self.next.retain(|key, _| known.contains(key));
    }

    /// Makes one job of whatever came due since the script was last looked after, in the same write that says it was.
    async fn settle(&self, program: &Program, schedule: &Schedule, now: u64) -> Result<(), StoreError> {
        let (account, script, schedule) = (program.account.clone(), program.name.clone(), schedule.clone());
        let started_ms = self.started_ms;
        let write = move |connection: &Connection, _| {
            let seen: Option<u64> = connection
                .prepare_cached("SELECT seen_ms FROM schedules WHERE account = ? AND script = ?")?
                .query_row(params![account, script], |row| row.get(0))
                .optional()?;
            let due = seen.and_then(|seen| latest(&schedule, seen, now)).filter(|due| *due >= started_ms || schedule.catch_up);
            if let Some(due) = due {
                let data = json!({ "scheduled_at": due, "schedule": described(&schedule) }).to_string();
                let new = NewJob { kind: JobKind::Schedule, ..NewJob::new(account.clone(), script.clone(), data) };
                jobs::add(connection, now, &new)?;
            }
            let sql = "INSERT INTO schedules (account, script, seen_ms) VALUES (?, ?, ?)
                       ON CONFLICT DO UPDATE SET seen_ms = excluded.seen_ms";
            connection.prepare_cached(sql)?.execute(params![account, script, now])?;
            Ok(())
        };
        self.jobs.store().write(write).await
    }
}

/// The latest time after `seen` and up to `now`. Looked for near `now` first: a schedule of minutes has many.
fn latest(schedule: &Schedule, seen: u64, now: u64) -> Option<u64> {
    [now.saturating_sub(DAY_MS), now.saturating_sub(40 * DAY_MS), 0].into_iter().find_map(|from| {
        let times = std::iter::successors(next_after(schedule, from.max(seen)), |at| next_after(schedule, *at));
        times.take_while(|at| *at <= now).last()
    })
}

fn described(schedule: &Schedule) -> serde_json::Value {
    let weekdays: Vec<String> = schedule.weekdays.iter().map(|day| format!("{day:?}").to_lowercase()).collect();
    json!({
        "minutes": schedule.minutes, "hours": schedule.hours, "days": schedule.days, "weekdays": weekdays,
        "timezone": schedule.timezone, "catch_up": schedule.catch_up,
    })
}
