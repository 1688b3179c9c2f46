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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use lockstep_ctx_api::wire::{Bundle, ScriptType};

    use super::*;
    use crate::config::ScriptEntry;
    use crate::jobs::JobFilter;
    use crate::script::ProgramLimits;
    use crate::store::{Clock, Store};

    /// Noon of a day, in UTC.
    const NOON: u64 = 1_767_225_600_000 + 43_200_000;
    const MINUTE: u64 = 60_000;

    struct Office {
        store: Store,
        hand: Arc<AtomicU64>,
        programs: ProgramSet,
    }

    impl Office {
        fn new(schedule: &str) -> Self {
            let hand = Arc::new(AtomicU64::new(NOON));
            let store = Store::in_memory(Clock::manual(Arc::clone(&hand))).unwrap();
            let settings = ScriptEntry { schedule: Some(toml::from_str(schedule).unwrap()), ..ScriptEntry::new("tick.js") };
            let program = Program {
                name: "tick".into(),
                file: "tick.js".into(),
                uuid: "00000000-0000-8000-8000-000000000000".into(),
                id: 1,
                account: "default".into(),
                script_type: ScriptType::App,
                settings,
                limits: ProgramLimits { memory_bytes: 16 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
                time_zone: "UTC".into(),
                env: BTreeMap::new(),
                environment: Default::default(),
                bundle_id: 1,
                bundle: Arc::new(Bundle { entry: "tick.js".into(), files: BTreeMap::new(), packages: Default::default() }),
                version: "0123456789abcdef".into(),
                sources: BTreeMap::new(),
            };
            Self { store, hand, programs: ProgramSet::new([Arc::new(program)], Vec::new()) }
        }

        fn pass(&self, ms: u64) {
            self.hand.fetch_add(ms, Ordering::SeqCst);
        }

        /// Minutes after noon that jobs were made for, the newest first.
        async fn made(&self) -> Vec<u64> {
            let jobs = Jobs::new(&self.store).list("default", JobFilter::default(), 100).await.unwrap();
            let minute = |data: &str| {
                let data: serde_json::Value = serde_json::from_str(data).unwrap();
                (data["scheduled_at"].as_u64().unwrap() - NOON) / MINUTE
            };
            jobs.iter().map(|job| minute(&job.data)).collect()
        }
    }

    #[tokio::test]
    async fn each_time_makes_one_job() {
        let office = Office::new("minutes = [10, 20]");
        let mut keeper = Keeper::new(Jobs::new(&office.store));
        keeper.look(&office.programs).await;
        assert_eq!((keeper.next(), office.made().await), (Some(NOON + 10 * MINUTE), vec![]));
        office.pass(10 * MINUTE - 1);
        keeper.look(&office.programs).await;
        assert_eq!(office.made().await, [0; 0]);
        office.pass(1);
        for _ in 0..3 {
            keeper.look(&office.programs).await;
        }
        assert_eq!((keeper.next(), office.made().await), (Some(NOON + 20 * MINUTE), vec![10]));
        office.pass(10 * MINUTE);
        keeper.look(&office.programs).await;
        assert_eq!(office.made().await, [20, 10]);
    }

    #[tokio::test]
    async fn what_was_due_while_the_engine_was_down_runs_once_where_it_is_caught_up() {
        for (catch_up, expected) in [(true, vec![50]), (false, vec![])] {
            let office = Office::new(&format!("minutes = [10, 20, 50]\ncatch_up = {catch_up}"));
            Keeper::new(Jobs::new(&office.store)).look(&office.programs).await;
            office.pass(55 * MINUTE);
            let mut keeper = Keeper::new(Jobs::new(&office.store));
            keeper.look(&office.programs).await;
            keeper.look(&office.programs).await;
            assert_eq!(office.made().await, expected, "catch_up = {catch_up}");
            office.pass(15 * MINUTE);
            keeper.look(&office.programs).await;
            assert_eq!(office.made().await.first(), Some(&70), "the next one runs in its time");
        }
    }

    #[tokio::test]
    async fn a_long_time_down_is_one_job_of_the_latest_time() {
        let office = Office::new("");
        Keeper::new(Jobs::new(&office.store)).look(&office.programs).await;
        office.pass(100 * DAY_MS + 30_000);
        Keeper::new(Jobs::new(&office.store)).look(&office.programs).await;
        assert_eq!(office.made().await, [100 * DAY_MS / MINUTE]);
    }

    #[tokio::test]
    async fn a_script_that_is_gone_is_not_waited_for() {
        let office = Office::new("minutes = [10]");
        let mut keeper = Keeper::new(Jobs::new(&office.store));
        keeper.look(&office.programs).await;
        keeper.look(&ProgramSet::default()).await;
        assert_eq!(keeper.next(), None);
    }
}
