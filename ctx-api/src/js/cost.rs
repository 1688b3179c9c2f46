//! What a run's runtime costs before the first line of its script.

use std::sync::Arc;
use std::time::Duration;

use super::PRELUDE_VERSION;
use super::deadline::thread_cpu;
use super::prelude::Prelude;
use super::program::Program;
use super::run::Run;
use super::shared::Sinks;
use crate::wire::{Bundle, CallStart, Limits, RunHeader, RunId, RunState, ScriptError, ScriptType, Start};

/// CPU time and memory of an empty run that owns a call.
#[derive(Clone, Copy, Debug)]
pub struct FixedCost {
    /// Creating the runtime, the prelude and `ctx`, and evaluating a script without a line: median CPU time.
    pub create: Duration,
    /// Freeing it: median CPU time.
    pub free: Duration,
    /// What the runtime holds before the script's first line, in bytes.
    pub memory_bytes: usize,
}

/// Measures it over `samples` runs, for the bench.
///
/// # Errors
/// When a runtime cannot be created.
pub fn fixed_cost(samples: usize) -> Result<FixedCost, ScriptError> {
    let prelude = Prelude::new()?;
    let limits = Limits { memory_bytes: 100 << 20, turn_ms: 2_000, after_end_ms: 10_000 };
    let header = Arc::new(RunHeader {
        bundle: 0,
        script_type: ScriptType::App,
        function: None,
        env: Default::default(),
        limits,
        seed: [0; 32],
        time_zone: "UTC".to_owned(),
        prelude: PRELUDE_VERSION,
        is_awaited: true,
    });
    let start = Arc::new(Start { at: 0, data: "{}".to_owned(), call: Some(CallStart::default()) });
    // The shortest script there is: what is left is the runtime's own.
    let files = [("main.js".to_owned(), "".into())].into();
    let program = Program::new(Arc::new(Bundle { entry: "main.js".to_owned(), files, ..Bundle::default() }));
    let (mut create, mut free) = (Vec::new(), Vec::new());
    let mut memory_bytes = 0;
    for _ in 0..samples.max(1) {
        let began = thread_cpu();
        let (run, end) = Run::start(RunId(0), 0, header.clone(), start.clone(), program.clone(), &prelude, Sinks::default());
        let created = thread_cpu();
        if let RunState::Failed(error) = end.state {
            return Err(error);
        }
        memory_bytes = run.memory_bytes();
        drop(run);
        create.push(created - began);
        free.push(thread_cpu() - created);
    }
    Ok(FixedCost { create: median(create), free: median(free), memory_bytes })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
