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
    /// When it looked last.
    looked_ms: u64,
    /// When each scheduled script runs next, and by what.
    next: BTreeMap<Key, (u64, Schedule)>,
    /// Schedules that the store knows; `None`: it has not been asked.
    kept: Option<BTreeSet<Key>>,
    /// Those that could not be looked after when it looked last.
    troubled: BTreeSet<Key>,
}

/// Account and name of a script.
type Key = (String, String);

impl Keeper {
    /// One that has not looked yet: what came due before now was missed.
    pub(crate) fn new(jobs: Jobs) -> Self {
        let started_ms = jobs.store().clock().now_ms();
        let (next, troubled) = (BTreeMap::new(), BTreeSet::new());
        Self { jobs, started_ms, looked_ms: started_ms, next, kept: None, troubled }
    }

    /// When the next script is due. Those that are in trouble wait for the next look, whenever that is.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next.values().map(|(at, _)| *at).min()
    }

    /// Makes jobs of what has come due.
    pub(crate) async fn look(&mut self, programs: &ProgramSet) {
        let now = self.jobs.store().clock().now_ms();
        let scheduled = programs.iter().filter(|program| program.settings.schedule.is_some());
        let known: BTreeSet<Key> = scheduled.map(|program| key_of(program)).collect();
        if let Err(error) = self.forget(programs, &known).await {
            tracing::error!(%error, "schedules that are gone cannot be forgotten");
        }
        for program in programs.iter() {
            let Some(schedule) = &program.settings.schedule else { continue };
            let key = key_of(program);
            let is_ahead =
                |(next, by): &(u64, Schedule)| *next > now && by == schedule && next_after(schedule, now) == Some(*next);
            if self.next.get(&key).is_some_and(is_ahead) {
                continue;
            }
            match self.settle(program, schedule, now).await {
                Ok(()) => {
                    self.kept.get_or_insert_default().insert(key.clone());
                    self.troubled.remove(&key);
                    match next_after(schedule, now) {
                        Some(next) => self.next.insert(key, (next, schedule.clone())),
                        None => self.next.remove(&key),
                    };
                }
                Err(error) => {
                    self.next.remove(&key);
                    if self.troubled.insert(key) {
                        tracing::error!(script = program.name, %error, "a schedule cannot be looked after yet");
                    }
                }
            }
        }
        self.next.retain(|key, _| known.contains(key));
        self.troubled.retain(|key| known.contains(key));
        self.looked_ms = now;
    }

    /// Forgets the schedules that have been taken away: one that is put back has missed nothing. A script that the engine did not
    /// find at its start may have one all the same, which shows when it is back.
    async fn forget(&mut self, programs: &ProgramSet, known: &BTreeSet<Key>) -> Result<(), StoreError> {
        let kept = match &mut self.kept {
            Some(kept) => kept,
            None => {
                let found: BTreeSet<Key> = programs.iter().map(|program| key_of(program)).collect();
                let stored = self.jobs.store().read(|connection, _| stored(connection)).await?;
                self.kept.insert(stored.intersection(&found).cloned().collect())
            }
        };
        let gone: Vec<Key> = kept.difference(known).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let write = move |connection: &Connection, _| {
            let mut delete = connection.prepare_cached("DELETE FROM schedules WHERE account = ? AND script = ?")?;
            gone.iter().try_for_each(|(account, script)| delete.execute([account, script]).map(drop))?;
            Ok(())
        };
        self.jobs.store().write(write).await?;
        kept.retain(|key| known.contains(key));
        Ok(())
    }

    /// Makes one job of whatever came due since the script was last looked after, in the same write that says it was. A schedule
    /// that has changed since then is as old as the last look.
    async fn settle(&self, program: &Program, schedule: &Schedule, now: u64) -> Result<(), StoreError> {
        let (account, script, schedule) = (program.account.clone(), program.name.clone(), schedule.clone());
        let (started_ms, looked_ms) = (self.started_ms, self.looked_ms);
        let write = move |connection: &Connection, _| {
            let seen: Option<(u64, Option<String>)> = connection
                .prepare_cached("SELECT seen_ms, schedule FROM schedules WHERE account = ? AND script = ?")?
                .query_row(params![account, script], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let shown = described(&schedule);
            let text = shown.to_string();
            let since = seen.map(|(seen, known)| if known.is_none_or(|known| known == text) { seen } else { looked_ms });
            let due = since.and_then(|since| latest(&schedule, since, now));
            if let Some(due) = due.filter(|due| *due >= started_ms || schedule.catch_up) {
                let data = json!({ "scheduled_at": due, "schedule": shown }).to_string();
                let new = NewJob { kind: JobKind::Schedule, ..NewJob::new(account.clone(), script.clone(), data) };
                jobs::add(connection, now, &new)?;
            }
            let sql = "INSERT INTO schedules (account, script, seen_ms, schedule) VALUES (?, ?, ?, ?)
                       ON CONFLICT DO UPDATE SET seen_ms = excluded.seen_ms, schedule = excluded.schedule";
            connection.prepare_cached(sql)?.execute(params![account, script, now, text])?;
            Ok(())
        };
        self.jobs.store().write(write).await
    }
}

fn key_of(program: &Program) -> Key {
    (program.account.clone(), program.name.clone())
}

fn stored(connection: &Connection) -> Result<BTreeSet<Key>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT account, script FROM schedules")?;
    let keys = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(keys.collect::<rusqlite::Result<_>>()?)
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
    use crate::store::{Clock, Store, usage};

    /// Noon of a day, in UTC.
    const NOON: u64 = 1_767_225_600_000 + 43_200_000;
    const MINUTE: u64 = 60_000;

    struct Office {
        store: Store,
        hand: Arc<AtomicU64>,
        programs: ProgramSet,
    }

    /// A script with or without a schedule.
    fn programs(schedule: Option<&str>) -> ProgramSet {
        let schedule = schedule.map(|schedule| toml::from_str(schedule).unwrap());
        let settings = ScriptEntry { schedule, ..ScriptEntry::new("tick.js") };
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
        ProgramSet::new([Arc::new(program)], Vec::new())
    }

    impl Office {
        fn new(schedule: &str) -> Self {
            let hand = Arc::new(AtomicU64::new(NOON));
            let store = Store::in_memory(Clock::manual(Arc::clone(&hand))).unwrap();
            Self { store, hand, programs: programs(Some(schedule)) }
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
    async fn a_full_account_has_its_schedules_run() {
        let office = Office::new("minutes = [10]");
        let mut keeper = Keeper::new(Jobs::new(&office.store));
        keeper.look(&office.programs).await;
        let fill = |connection: &Connection, _| usage::note(connection, "default", "jobs", 1_000_000, 1 << 30);
        office.store.write(fill).await.unwrap();
        office.pass(10 * MINUTE);
        keeper.look(&office.programs).await;
        assert_eq!(office.made().await, [10]);
    }

    #[tokio::test]
    async fn one_that_the_store_refuses_waits_for_the_next_look() {
        let office = Office::new("minutes = [10]");
        let mut keeper = Keeper::new(Jobs::new(&office.store));
        keeper.look(&office.programs).await;
        let run = async |sql: &'static str| {
            office.store.write(move |connection, _| Ok(connection.execute_batch(sql)?)).await.unwrap();
        };
        run("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'full'); END").await;
        office.pass(10 * MINUTE);
        keeper.look(&office.programs).await;
        assert_eq!((keeper.next(), office.made().await), (None, vec![]));
        run("DROP TRIGGER full").await;
        office.pass(1_000);
        keeper.look(&office.programs).await;
        assert_eq!((keeper.next(), office.made().await), (Some(NOON + 70 * MINUTE), vec![10]));
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
    async fn a_changed_schedule_has_missed_nothing() {
        for catch_up in [true, false] {
            let mut office = Office::new("minutes = [50]");
            let mut keeper = Keeper::new(Jobs::new(&office.store));
            keeper.look(&office.programs).await;
            office.pass(30 * MINUTE);
            keeper.look(&office.programs).await;
            office.programs = programs(Some(&format!("minutes = [20]\ncatch_up = {catch_up}")));
            keeper.look(&office.programs).await;
            assert_eq!((office.made().await, keeper.next()), (vec![], Some(NOON + 80 * MINUTE)));
            // Also where it was changed while no engine ran.
            office.pass(60 * MINUTE);
            office.programs = programs(Some("minutes = [25]"));
            let mut keeper = Keeper::new(Jobs::new(&office.store));
            keeper.look(&office.programs).await;
            assert_eq!((office.made().await, keeper.next()), (vec![], Some(NOON + 145 * MINUTE)));
            office.pass(55 * MINUTE);
            keeper.look(&office.programs).await;
            assert_eq!(office.made().await, [145]);
        }
    }

    #[tokio::test]
    async fn a_change_just_before_the_time_does_not_lose_it() {
        for next in ["minutes = [10, 20]", "minutes = [10]\nhours = []\ncatch_up = false"] {
            let mut office = Office::new("minutes = [10]");
            let mut keeper = Keeper::new(Jobs::new(&office.store));
            office.pass(10 * MINUTE - 500);
            keeper.look(&office.programs).await;
            office.programs = programs(Some(next));
            office.pass(500);
            keeper.look(&office.programs).await;
            assert_eq!(office.made().await, [10], "{next}");
        }
        // One that was seen long before is what counts from then on.
        let mut office = Office::new("minutes = [10]");
        let mut keeper = Keeper::new(Jobs::new(&office.store));
        keeper.look(&office.programs).await;
        office.programs = programs(Some("minutes = [10, 20]"));
        keeper.look(&office.programs).await;
        office.pass(10 * MINUTE);
        keeper.look(&office.programs).await;
        assert_eq!(office.made().await, [10]);
    }

    #[tokio::test]
    async fn a_schedule_that_was_taken_away_and_put_back_has_missed_nothing() {
        for away in [programs(None), ProgramSet::default()] {
            let office = Office::new("minutes = [10]");
            let mut keeper = Keeper::new(Jobs::new(&office.store));
            keeper.look(&office.programs).await;
            keeper.look(&away).await;
            office.pass(30 * MINUTE);
            keeper.look(&office.programs).await;
            assert_eq!((office.made().await, keeper.next()), (vec![], Some(NOON + 70 * MINUTE)));
        }
    }

    #[tokio::test]
    async fn a_script_that_is_not_found_at_the_start_is_caught_up_when_it_is() {
        let office = Office::new("minutes = [10]");
        Keeper::new(Jobs::new(&office.store)).look(&office.programs).await;
        office.pass(30 * MINUTE);
        let mut keeper = Keeper::new(Jobs::new(&office.store));
        keeper.look(&ProgramSet::default()).await;
        keeper.look(&office.programs).await;
        assert_eq!(office.made().await, [10]);
        // One that is there without its schedule is not.
        office.pass(60 * MINUTE);
        let mut keeper = Keeper::new(Jobs::new(&office.store));
        keeper.look(&programs(None)).await;
        keeper.look(&office.programs).await;
        assert_eq!(office.made().await, [10]);
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
