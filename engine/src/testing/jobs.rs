//! Jobs of a test: they run when they come due in virtual time, as many at once as the configuration has it.

use std::time::{Duration, Instant};

use lockstep_ctx_api::op::Vars;

use super::session::{Asker, Run, Session};
use crate::host::RunContext;
use crate::jobs::{Job, Jobs, run_id, run_kind};
use crate::runs::{Order, RunError};
use crate::script::Moment;

impl Session {
    /// Has those run that may; whether there were any.
    pub(super) fn run_jobs(&mut self) -> bool {
        let Some(jobs) = self.stage.jobs().cloned() else { return false };
        let now = self.stage.clock().moment();
        let is_due = self.jobs_due.is_some_and(|due| due <= now.unix_ms);
        if !jobs.have_changed() && !is_due {
            return false;
        }
        let most = usize::from(self.stage.project().config.jobs.concurrency);
        let under_way = self.runs.values().filter(|run| matches!(run.asker, Asker::Job(_))).count();
        let (taken, due) = jobs.take(most.saturating_sub(under_way)).unwrap_or_else(|error| {
            tracing::error!(%error, "no jobs of the test can be taken");
            Default::default()
        });
        self.jobs_due = due;
        let any = !taken.is_empty();
        for job in taken {
            self.run_job(now, &jobs, job);
        }
        any
    }

    /// When the next one comes due.
    pub(super) fn next_job(&self) -> Option<Instant> {
        let now = self.stage.clock().moment();
        self.jobs_due.map(|due| now.instant + Duration::from_millis(due.saturating_sub(now.unix_ms)))
    }

    fn run_job(&mut self, now: Moment, jobs: &Jobs, job: Job) {
        let programs = &self.stage.project().programs;
        let program = programs.named(&job.script).filter(|program| program.account == job.account).cloned();
        let Some(program) = program else {
            return written(jobs, &job, Err(RunError::NoSuchScript(job.script.clone())));
        };
        let kind = run_kind(&job);
        let wanted = job.timeout_ms.map(Duration::from_millis);
        let limit = wanted.or_else(|| program.settings.timeout_s.map(Duration::from_secs_f64));
        let id = run_id(&job);
        let env = Vars::from([("CORRELATION_ID".to_owned(), id.clone()), ("JOB_ID".to_owned(), job.id.to_string())]);
        // No two draw the same random numbers, nor two tries of one.
        let mut seed = [11; 32];
        for (octet, of_try) in seed.iter_mut().zip(job.id.to_le_bytes().into_iter().chain(job.attempt.to_le_bytes())) {
            *octet ^= of_try;
        }
        let context = RunContext { run_id: Some(id), ..RunContext::of(&program) };
        let timeout = limit.unwrap_or(kind.timeout());
        let order = Order { program, kind, function: job.function.clone(), data: job.data.clone(), env, timeout, seed };
        match self.desk.submit(now, order) {
            Ok(ticket) => {
                self.runs.insert(ticket, Run { asker: Asker::Job(Box::new(job)), context });
            }
            Err(error) => written(jobs, &job, Err(error)),
        }
    }

    /// The run of a job is over.
    pub(super) fn job_over(&self, job: &Job, end: Result<Option<String>, RunError>) {
        if let Some(jobs) = self.stage.jobs() {
            written(jobs, job, end);
        }
    }
}

fn written(jobs: &Jobs, job: &Job, end: Result<Option<String>, RunError>) {
    if let Err(error) = jobs.over(job, end) {
        tracing::error!(job = job.id, %error, "the end of a job cannot be written");
    }
}
