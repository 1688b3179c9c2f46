//! What a run's runtime costs before the first line of its script.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::PRELUDE_VERSION;
use super::deadline::{Deadline, thread_cpu};
use super::memory::Meter;
use super::prelude::Prelude;
use super::program::Program;
use super::run::Live;
use super::shared::Shared;
use crate::wire::{Bundle, CallStart, Limits, RunHeader, RunId, ScriptError, ScriptType, Start};

/// CPU time and memory of an empty run that owns a call.
#[derive(Clone, Copy, Debug)]
pub struct FixedCost {
    /// Creating the runtime and evaluating the prelude: median CPU time.
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
    });
    let start = Arc::new(Start { at: 0, data: "{}".to_owned(), call: Some(CallStart::default()) });
    let program = Program::new(Arc::new(Bundle::default()));
    let (mut create, mut free) = (Vec::new(), Vec::new());
    let mut memory_bytes = 0;
    for _ in 0..samples.max(1) {
        let (meter, deadline) = (Meter::new(header.limits.memory_bytes), Deadline::new());
        let began = thread_cpu();
        let shared = Rc::new(Shared::new(RunId(0), 0, header.clone(), start.clone(), program.clone(), None));
        let live = Live::new(&shared, &prelude, &meter, &deadline)?;
        let created = thread_cpu();
        memory_bytes = meter.used();
        drop(live);
        create.push(created - began);
        free.push(thread_cpu() - created);
    }
    Ok(FixedCost { create: median(create), free: median(free), memory_bytes })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
