//! Jobs in the store. Every function works within a read or write of it.

use lockstep_ctx_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::job::{ACTIVE, COMPLETED, DELAYED, FAILED, Job, JobKind, JobState, NewJob, PAUSED, READY};
use crate::config::DEFAULT_ACCOUNT;
use crate::store::text::{check_json, check_key, check_value};
use crate::store::{StoreError, usage};

/// Jobs an account may have, those that are kept after their end included.
const MAX_JOBS: u64 = 1_000_000;
/// Queues of an account that are paused at once, with jobs or without.
const MAX_PAUSED: u64 = 1_000;
/// What the data, progress and results of an account's jobs may take.
const MAX_BYTES: u64 = 1 << 30;
/// What those of one page of a list take at most, the last job's aside.
const PAGE_BYTES: usize = 4 << 20;
/// The longest wait between two tries.
const MAX_BACKOFF_MS: u64 = 3_600_000;
/// Between two looks for a script that is not there: as long as it has been away already, within these bounds.
const LOOKS_FOR_SCRIPT_MS: (u64, u64) = (1_000, 60_000);
/// How long a job waits for its script: somebody may be mending it.
const MAX_ABSENCE_MS: u64 = 24 * 3_600_000;
/// How often a job may be lost with its process before it counts as what brings processes down.
const MAX_REDELIVERIES: u32 = 20;
/// Kind under which usage is counted.
const KIND: &str = "jobs";

const COLUMNS: &str = "id, account, queue, script, function, kind, data, state, priority, attempts, attempt, redelivered, \
                       backoff_ms, timeout_ms, due_ms, progress, result, error, created_ms, started_ms, finished_ms, absent_ms";

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TryEnd {
    /// JSON.
    Completed(Option<String>),
    /// Another try follows while there are attempts left.
    Failed(String),
    /// No other try follows.
    GivenUp(String),
    /// Somebody wanted it ended: no other try follows.
    Cancelled,
    /// The engine is stopping: as if it had not been tried.
    Interrupted,
    /// Its script is not there: as if it had not been tried, and another try follows for as long as a script may be away.
    Absent(String),
}

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let (state, priority) = (row.get(7)?, row.get(8)?);
    Ok(Job {
        id: row.get(0)?,
        account: row.get(1)?,
        queue: row.get(2)?,
        script: row.get(3)?,
        function: row.get(4)?,
        kind: if row.get::<_, u8>(5)? == 0 { JobKind::Job } else { JobKind::Schedule },
        data: row.get(6)?,
        state: JobState::from_row(state, priority).ok_or(rusqlite::Error::IntegralValueOutOfRange(7, state.into()))?,
        priority,
        attempts: row.get(9)?,
        attempt: row.get(10)?,
        redelivered: row.get(11)?,
        backoff_ms: row.get(12)?,
        timeout_ms: row.get(13)?,
        due_ms: row.get(14)?,
        progress: row.get(15)?,
        result: row.get(16)?,
        error: row.get(17)?,
        created_ms: row.get(18)?,
        started_ms: row.get(19)?,
        finished_ms: row.get(20)?,
        absent_ms: row.get(21)?,
    })
}

/// Adds a job; its number. Those of schedules are few and small, and made also where an account has no room for others.
pub(crate) fn add(connection: &Connection, now: u64, new: &NewJob) -> Result<i64, StoreError> {
    check_key("a queue", &new.queue)?;
    check_json(&new.data)?;
    let (max_jobs, max_bytes) = match new.kind {
        JobKind::Job => (MAX_JOBS, MAX_BYTES),
        JobKind::Schedule => (u64::MAX, u64::MAX),
    };
    let usage = usage::of(connection, &new.account, KIND)?;
    if usage.entries >= max_jobs {
        return Err(StoreError::refused(ErrorCode::LimitError, format!("the account has {MAX_JOBS} jobs, which is the most")));
    }
    let bytes = length(&new.data);
    usage::check(usage, KIND, bytes, max_bytes)?;
    usage::note(connection, &new.account, KIND, 1, bytes)?;
    let state = if new.delay_ms > 0 { DELAYED } else { ready_state(connection, &new.account, &new.queue)? };
    let sql = "INSERT INTO jobs (account, queue, script, function, kind, data, state, priority, attempts, backoff_ms, timeout_ms,
                 due_ms, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.prepare_cached(sql)?.execute(params![
        new.account,
        new.queue,
        new.script,
        new.function,
        u8::from(new.kind == JobKind::Schedule),
        new.data,
        state,
        new.priority,
        new.attempts.max(1),
        new.backoff_ms,
        new.timeout_ms,
        now.saturating_add(new.delay_ms),
        now,
    ])?;
    Ok(connection.last_insert_rowid())
}

/// What a job that may run at once is: in a paused queue it waits for that.
fn ready_state(connection: &Connection, account: &str, queue: &str) -> Result<u8, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM paused_queues WHERE account = ? AND queue = ?)";
    let paused: bool = connection.prepare_cached(sql)?.query_row(params![account, queue], |row| row.get(0))?;
    Ok(if paused { PAUSED } else { READY })
}

/// Takes up to `limit` jobs that may run: they are active from here on.
pub(super) fn claim(connection: &Connection, now: u64, limit: usize) -> Result<Vec<Job>, StoreError> {
    let promote = format!(
        "UPDATE jobs SET state = CASE WHEN EXISTS (SELECT 1 FROM paused_queues p WHERE p.account = jobs.account AND p.queue = jobs.queue)
           THEN {PAUSED} ELSE {READY} END WHERE state = {DELAYED} AND due_ms <= ?"
    );
    connection.prepare_cached(&promote)?.execute([now])?;
    let ready = format!("SELECT {COLUMNS} FROM jobs WHERE state = {READY} ORDER BY priority, id LIMIT ?");
    let mut jobs: Vec<Job> = connection.prepare_cached(&ready)?.query_map([limit], job)?.collect::<rusqlite::Result<_>>()?;
    // What is written is known: `RETURNING` would cost as much again.
    let take = format!("UPDATE jobs SET state = {ACTIVE}, attempt = ?, started_ms = ? WHERE id = ?");
    let mut take = connection.prepare_cached(&take)?;
    for job in &mut jobs {
        job.state = JobState::Active;
        job.attempt = job.attempt.saturating_add(1);
        job.started_ms = Some(now);
        take.execute(params![job.attempt, now, job.id])?;
    }
    Ok(jobs)
}

/// Notes how a try ended, if it is the one under way; the job as it is then.
pub(super) fn finish(connection: &Connection, now: u64, key: (i64, u32), end: &TryEnd) -> Result<Option<Job>, StoreError> {
    let Some(job) = under_way(connection, key)? else { return Ok(None) };
    let after = match end {
        TryEnd::Completed(result) => {
            let result = result.as_deref();
            if let Some(error) = result.and_then(|result| check_value(result).err()) {
                ended(connection, now, job, Err(&format!("the result cannot be kept: {error}")))?
            } else {
                if let Some(result) = result {
                    usage::note(connection, &job.account, KIND, 0, length(result))?;
                }
                ended(connection, now, job, Ok(result))?
            }
        }
        TryEnd::GivenUp(why) => ended(connection, now, job, Err(why))?,
        TryEnd::Cancelled => ended(connection, now, job, Err("cancelled"))?,
        TryEnd::Failed(why) if job.attempt < job.attempts => {
            let doubled = job.backoff_ms.saturating_mul(1 << (job.attempt - 1).min(32)).min(MAX_BACKOFF_MS);
            let sql =
                format!("UPDATE jobs SET state = {DELAYED}, due_ms = ?, result = NULL, error = ?, absent_ms = NULL WHERE id = ?");
            connection.prepare_cached(&sql)?.execute(params![now.saturating_add(doubled), why, job.id])?;
            return find(connection, job.id);
        }
        TryEnd::Failed(why) => ended(connection, now, job, Err(why))?,
        TryEnd::Interrupted => interrupted(connection, &job)?,
        TryEnd::Absent(why) => return absent(connection, now, job, why),
    };
    Ok(Some(after))
}

/// The script of a job is not there.
fn absent(connection: &Connection, now: u64, job: Job, why: &str) -> Result<Option<Job>, StoreError> {
    let since = job.absent_ms.unwrap_or(now);
    let away = now.saturating_sub(since);
    if away >= MAX_ABSENCE_MS {
        return ended(connection, now, job, Err(why)).map(Some);
    }
    let (least, most) = LOOKS_FOR_SCRIPT_MS;
    let due = now.saturating_add(away.clamp(least, most)).min(since.saturating_add(MAX_ABSENCE_MS));
    let sql = format!("UPDATE jobs SET state = {DELAYED}, attempt = ?, due_ms = ?, error = ?, absent_ms = ? WHERE id = ?");
    connection.prepare_cached(&sql)?.execute(params![job.attempt - 1, due, why, since, job.id])?;
    find(connection, job.id)
}

/// No other try follows; `outcome` is the result as JSON, or why there is none.
fn ended(connection: &Connection, now: u64, job: Job, outcome: Result<Option<&str>, &str>) -> Result<Job, StoreError> {
    let (state, row, result, error) = match outcome {
        Ok(result) => (JobState::Completed, COMPLETED, result, None),
        Err(why) => (JobState::Failed, FAILED, None, Some(why)),
    };
    let sql = "UPDATE jobs SET state = ?, finished_ms = ?, result = ?, error = ?, absent_ms = NULL WHERE id = ?";
    connection.prepare_cached(sql)?.execute(params![row, now, result, error, job.id])?;
    let [result, error] = [result, error].map(|text| text.map(str::to_owned));
    Ok(Job { state, finished_ms: Some(now), result, error, absent_ms: None, ..job })
}

fn under_way(connection: &Connection, (id, attempt): (i64, u32)) -> Result<Option<Job>, StoreError> {
    Ok(find(connection, id)?.filter(|job| job.state == JobState::Active && job.attempt == attempt))
}

fn interrupted(connection: &Connection, job: &Job) -> Result<Job, StoreError> {
    let state = ready_state(connection, &job.account, &job.queue)?;
    let attempt = job.attempt.saturating_sub(1);
    let sql = "UPDATE jobs SET state = ?, attempt = ? WHERE id = ?";
    connection.prepare_cached(sql)?.execute(params![state, attempt, job.id])?;
    Ok(Job { attempt, ..job.clone() })
}

/// Gives back the jobs of a process that is gone: they run again, and the lost try does not count as one. How many.
pub(super) fn redeliver(connection: &Connection, now: u64) -> Result<usize, StoreError> {
    let lost = format!("SELECT {COLUMNS} FROM jobs WHERE state = {ACTIVE}");
    let lost: Vec<Job> = connection.prepare_cached(&lost)?.query_map([], job)?.collect::<rusqlite::Result<_>>()?;
    for job in &lost {
        if job.redelivered >= MAX_REDELIVERIES {
            let why = format!("the engine went down {} times while it ran", job.redelivered + 1);
            finish(connection, now, (job.id, job.attempt), &TryEnd::GivenUp(why))?;
            continue;
        }
        interrupted(connection, job)?;
        connection.prepare_cached("UPDATE jobs SET redelivered = redelivered + 1 WHERE id = ?")?.execute([job.id])?;
    }
    Ok(lost.len())
}

/// How many jobs have not ended.
pub(super) fn counts(connection: &Connection) -> Result<[(JobState, u64); 4], StoreError> {
    let count = |state: u8| -> Result<u64, StoreError> {
        // As a number, so that the index of the state serves.
        let sql = format!("SELECT count(*) FROM jobs WHERE state = {state}");
        Ok(connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
    };
    Ok([
        (JobState::Waiting, count(READY)?),
        (JobState::Delayed, count(DELAYED)?),
        (JobState::Active, count(ACTIVE)?),
        (JobState::Paused, count(PAUSED)?),
    ])
}

/// When the next delayed job comes due.
pub(super) fn next_due(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let sql = format!("SELECT min(due_ms) FROM jobs WHERE state = {DELAYED}");
    Ok(connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
}

/// A job by its number.
pub(crate) fn find(connection: &Connection, id: i64) -> Result<Option<Job>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?");
    Ok(connection.prepare_cached(&sql)?.query_row([id], job).optional()?)
}

/// Which jobs a list shows.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub state: Option<JobState>,
    pub queue: Option<String>,
    /// Only those before this number.
    pub before: Option<i64>,
}

/// Jobs of an account, the newest first; fewer than `limit` where they are large.
pub(super) fn list(connection: &Connection, account: &str, filter: &JobFilter, limit: usize) -> Result<Vec<Job>, StoreError> {
    let (state, least, most) = match filter.state {
        None => (None, 0, u32::MAX),
        Some(JobState::Waiting) => (Some(READY), 0, 0),
        Some(JobState::Prioritized) => (Some(READY), 1, u32::MAX),
        Some(JobState::Delayed) => (Some(DELAYED), 0, u32::MAX),
        Some(JobState::Active) => (Some(ACTIVE), 0, u32::MAX),
        Some(JobState::Completed) => (Some(COMPLETED), 0, u32::MAX),
        Some(JobState::Failed) => (Some(FAILED), 0, u32::MAX),
        Some(JobState::Paused) => (Some(PAUSED), 0, u32::MAX),
    };
    let (by, which) = match filter.state {
        Some(JobState::Failed) => ("INDEXED BY jobs_failed", format!("state = {FAILED}")),
        Some(JobState::Active) => ("INDEXED BY jobs_active", format!("state = {ACTIVE}")),
        _ if account != DEFAULT_ACCOUNT => ("INDEXED BY jobs_account", "account <> 'default'".to_owned()),
        _ => ("", "1".to_owned()),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM jobs {by} WHERE {which} AND account = ?1 AND id < ?2 AND (?3 IS NULL OR state = ?3)
           AND priority BETWEEN ?4 AND ?5 AND (?6 IS NULL OR queue = ?6) ORDER BY id DESC LIMIT ?7"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let bounds = params![account, filter.before.unwrap_or(i64::MAX), state, least, most, filter.queue, limit];
    let mut rows = statement.query(bounds)?;
    let (mut jobs, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()?.filter(|_| bytes < PAGE_BYTES) {
        let found = job(row)?;
        let texts = [Some(&found.data), found.progress.as_ref(), found.result.as_ref()];
        bytes += texts.into_iter().flatten().map(String::len).sum::<usize>();
        jobs.push(found);
    }
    Ok(jobs)
}

/// A failed job runs again, with all its attempts; whether it had failed.
pub(super) fn retry(connection: &Connection, now: u64, id: i64) -> Result<bool, StoreError> {
    let Some(current) = find(connection, id)?.filter(|job| job.state == JobState::Failed) else { return Ok(false) };
    let state = ready_state(connection, &current.account, &current.queue)?;
    let sql =
        "UPDATE jobs SET state = ?, attempt = 0, redelivered = 0, due_ms = ?, finished_ms = NULL, error = NULL, absent_ms = NULL
           WHERE id = ?";
    connection.prepare_cached(sql)?.execute(params![state, now, id])?;
    Ok(true)
}

/// A job that has not begun fails now; whether it had not. One that runs is ended through its run.
pub(super) fn cancel(connection: &Connection, now: u64, id: i64) -> Result<bool, StoreError> {
    let sql = format!(
        "UPDATE jobs SET state = {FAILED}, finished_ms = ?, error = 'cancelled' WHERE id = ? AND state IN ({READY}, {DELAYED}, {PAUSED})"
    );
    Ok(connection.prepare_cached(&sql)?.execute(params![now, id])? > 0)
}

/// Holds a queue back, or lets it go on.
///
/// # Errors
/// [`ErrorCode::LimitError`] where the account holds too many back already.
pub(super) fn set_paused(connection: &Connection, account: &str, queue: &str, paused: bool) -> Result<(), StoreError> {
    check_key("a queue", queue)?;
    if paused {
        let others = "SELECT COUNT(*) FROM paused_queues WHERE account = ? AND queue <> ?";
        let others: u64 = connection.prepare_cached(others)?.query_row(params![account, queue], |row| row.get(0))?;
        if others >= MAX_PAUSED {
            let why = format!("the account has {MAX_PAUSED} queues that are paused, which is the most");
            return Err(StoreError::refused(ErrorCode::LimitError, why));
        }
    }
    let (mark, from, to) = if paused {
        ("INSERT INTO paused_queues (account, queue) VALUES (?, ?) ON CONFLICT DO NOTHING", READY, PAUSED)
    } else {
        ("DELETE FROM paused_queues WHERE account = ? AND queue = ?", PAUSED, READY)
    };
    connection.prepare_cached(mark)?.execute(params![account, queue])?;
    let sql = "UPDATE jobs SET state = ?1 WHERE state = ?2 AND account = ?3 AND queue = ?4";
    connection.prepare_cached(sql)?.execute(params![to, from, account, queue])?;
    Ok(())
}

/// What a job says of itself while it runs. `column` is one of ours.
fn say(connection: &Connection, column: &str, id: i64, attempt: u32, json: &str) -> Result<(), StoreError> {
    check_json(json)?;
    let sql = format!(
        "SELECT account, COALESCE(octet_length({column}), 0) FROM jobs WHERE id = ? AND attempt = ? AND state = {ACTIVE}"
    );
    let known = connection.prepare_cached(&sql)?.query_row(params![id, attempt], |row| Ok((row.get(0)?, row.get(1)?)));
    let (account, before): (String, i64) =
        known.optional()?.ok_or_else(|| StoreError::refused(ErrorCode::InvalidState, "the job is not under way any more"))?;
    usage::change(connection, &account, KIND, 0, length(json) - before, MAX_BYTES)?;
    let sql = format!("UPDATE jobs SET {column} = ? WHERE id = ?");
    connection.prepare_cached(&sql)?.execute(params![json, id])?;
    Ok(())
}

/// Octets of a text, as usage is counted.
fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

/// How far the job has come.
pub(crate) fn set_progress(connection: &Connection, id: i64, attempt: u32, json: &str) -> Result<(), StoreError> {
    say(connection, "progress", id, attempt, json)
}

/// What another try gets as its data.
pub(crate) fn set_data(connection: &Connection, id: i64, attempt: u32, json: &str) -> Result<(), StoreError> {
    say(connection, "data", id, attempt, json)
}

/// Forgets up to `limit` jobs that ended before `before`; how many.
pub(super) fn forget(connection: &Connection, before: u64, limit: usize) -> Result<usize, StoreError> {
    let sql = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_ms < ? LIMIT ?) RETURNING account,
                 octet_length(data) + COALESCE(octet_length(progress), 0) + COALESCE(octet_length(result), 0)";
    let mut delete = connection.prepare_cached(sql)?;
    let gone = delete.query_map(params![before, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let gone: Vec<(String, i64)> = gone.collect::<rusqlite::Result<_>>()?;
    for (account, bytes) in &gone {
        usage::note(connection, account, KIND, -1, -bytes)?;
    }
    Ok(gone.len())
}
