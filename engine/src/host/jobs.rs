//! `cxJob`: jobs of the account.

use bytes::Bytes;
use lockstep_ctx_api::{ErrorCode, OpError};
use serde::Deserialize;
use serde_json::json;

use super::kv::reply;
use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};
use crate::jobs::{self, Job, JobEnd, JobState, Jobs, MAX_ATTEMPTS, MAX_MS, MAX_PRIORITY, NewJob};

/// The service.
pub(super) struct JobService {
    jobs: Jobs,
}

/// Options of a new job. The module says which others scripts may pass.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    attempts: Option<f64>,
    #[serde(alias = "delay")]
    delay_ms: Option<f64>,
    #[serde(alias = "backoff")]
    backoff_ms: Option<f64>,
    timeout_ms: Option<f64>,
    priority: Option<f64>,
    queue: Option<String>,
}

impl JobService {
    pub(super) fn new(jobs: &Jobs) -> Self {
        Self { jobs: jobs.clone() }
    }

    fn begin(&self, context: &RunContext, function: &str, args: &mut Arguments) -> Result<HostFuture, OpError> {
        Ok(match function {
            "add" => self.add(context, args)?,
            "get" => {
                let id = number(args)?;
                let (jobs, account) = (self.jobs.clone(), context.account.clone());
                reply(args, async move { jobs.job(&account, id).await }, |job| shown(&job))
            }
            "result" if !self.jobs.can_run() => {
                return Err(args.error(ErrorCode::Unsupported, "nothing runs jobs here; call the function itself"));
            }
            "result" => {
                let id = number(args)?;
                let (jobs, account) = (self.jobs.clone(), context.account.clone());
                reply(args, async move { jobs.result(&account, id).await }, |end| match end {
                    JobEnd::Completed(result) => {
                        let result = result.as_deref().unwrap_or("null");
                        format!(r#"{{"state":"{}","result":{result}}}"#, JobState::Completed.name())
                    }
                    JobEnd::Failed(job) => shown(&Some(*job)),
                })
            }
            "setProgress" | "setData" => {
                let json = args.json("value")?;
                let own = context.run_id.as_deref().and_then(jobs::job_of);
                let (id, attempt) = own.ok_or_else(|| args.error(ErrorCode::InvalidState, "this run is no job"))?;
                let progress = function == "setProgress";
                let said = self.jobs.store().write(move |connection, _| {
                    if progress {
                        jobs::set_progress(connection, id, attempt, &json)
                    } else {
                        jobs::set_data(connection, id, attempt, &json)
                    }
                });
                reply(args, said, |()| String::new())
            }
            _ => no_such_function(args),
        })
    }

    fn add(&self, context: &RunContext, args: &mut Arguments) -> Result<HostFuture, OpError> {
        let (script, function, data) = (args.text("script")?, args.opt_text("fn")?, args.json("data")?);
        let options: Options = args.shape("options")?;
        let within = |name: &str, value: Option<f64>, (least, most): (u64, u64), default: f64| match value {
            None => Ok(default),
            Some(value) if (least as f64..=most as f64).contains(&value) => Ok(value),
            Some(value) => {
                Err(args.error(ErrorCode::RangeError, format_args!("`{name}` must be {least} to {most}, got {value}")))
            }
        };
        let bounded = |name: &str, value: Option<f64>, most: u64, default: f64| within(name, value, (0, most), default);
        let script = self.jobs.script(&context.account, &script).map_err(|error| error.into_op_error(args.label()))?;
        let default = NewJob::new(context.account.clone(), script, data);
        let new = NewJob {
            function: function.filter(|function| function != "main"),
            // 0 stands in BullMQ for no further tries.
            attempts: (bounded("attempts", options.attempts, MAX_ATTEMPTS.into(), 1.0)? as u32).max(1),
            // A moment that has passed by now is due.
            delay_ms: bounded("delay_ms", options.delay_ms.map(|ms| ms.max(0.0)), MAX_MS, 0.0)? as u64,
            backoff_ms: bounded("backoff_ms", options.backoff_ms, MAX_MS, default.backoff_ms as f64)? as u64,
            priority: bounded("priority", options.priority, MAX_PRIORITY.into(), 0.0)? as u32,
            timeout_ms: options
                .timeout_ms
                .map(|ms| within("timeout_ms", Some(ms), (1, MAX_MS), 1.0))
                .transpose()?
                .map(|ms| ms as u64),
            queue: options.queue.unwrap_or_else(|| default.queue.clone()),
            ..default
        };
        Ok(reply(args, self.jobs.add(new), |id| json!(id).to_string()))
    }
}

impl HostService for JobService {
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, _: Option<Bytes>) -> HostFuture {
        self.begin(context, function, &mut args).unwrap_or_else(|error| answered(Err(error)))
    }
}

fn number(args: &mut Arguments) -> Result<i64, OpError> {
    Ok(args.number("id")? as i64)
}

fn shown(job: &Option<Job>) -> String {
    // What is in the store was checked when it was put there.
    serde_json::to_string(job).unwrap_or_else(|_| json!(null).to_string())
}
