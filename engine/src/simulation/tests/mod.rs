mod determinism;
mod lines;
mod rules;

use std::path::PathBuf;
use std::time::Duration;

use lockstep_media::digit::Digit;
use lockstep_media::stream::DtmfMethod;

use super::{Call, Conditions, Options, PhoneCallId, PhoneSettings, Project, Simulation};
use crate::config::Config;
use crate::core::tests::lab::programs;

/// A project with these scripts: (Class 5 destination, source).
pub(super) fn project(scripts: &[(&str, &str)]) -> Project {
    let config: Config = toml::from_str("").expect("defaults");
    Project::new(config, programs(scripts), PathBuf::from("/nonexistent")).expect("threads can be started")
}

/// A caller of 1000.
pub(super) struct Caller {
    pub(super) simulation: Simulation,
    pub(super) call: PhoneCallId,
}

impl Caller {
    pub(super) fn dial(project: &Project, options: &Options) -> Self {
        Self::dial_in(Simulation::new(project, options))
    }

    pub(super) fn dial_in(mut simulation: Simulation) -> Self {
        simulation.keep_trace();
        let phone = simulation.add_phone(PhoneSettings::new("caller"), None).expect("there is room");
        let call = simulation.phones.dial(simulation.now(), phone, "1000", &[]).expect("the call is placed");
        simulation.settle();
        Self { simulation, call }
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.simulation.run_for(Duration::from_millis(ms));
    }

    pub(super) fn press(&mut self, keys: &str) {
        let digits = keys.chars().filter_map(Digit::from_char).collect();
        let (now, time) = (self.simulation.now(), Duration::from_millis(100));
        let pressed = self.simulation.phones.press(now, self.call, digits, time, time, DtmfMethod::TelephoneEvent);
        pressed.expect("the call is up");
        self.simulation.settle();
    }

    pub(super) fn hang_up(&mut self) {
        self.simulation.phones.hang_up(self.simulation.now(), self.call).expect("there is a call");
        self.simulation.settle();
    }

    /// The caller's side of the call.
    pub(super) fn call(&self) -> &Call {
        self.simulation.phones.call(self.call).expect("it was dialled")
    }

    /// What the caller saw, without times.
    pub(super) fn seen(&self) -> Vec<String> {
        self.call().sights.iter().map(|sight| sight.what.clone()).collect()
    }

    /// Lines that the scripts of all calls logged, the first call first.
    pub(super) fn logged(&mut self) -> Vec<String> {
        let ids: Vec<String> = self.simulation.calls().into_iter().rev().map(|call| call.facts.id).collect();
        let mut lines = Vec::new();
        for id in ids {
            let timeline = serde_json::to_value(self.simulation.timeline(&id).expect("it is kept")).expect("plain data");
            let entries = timeline["entries"].as_array().cloned().unwrap_or_default();
            let logs = entries.into_iter().filter(|entry| entry["kind"] == "log");
            lines.extend(logs.map(|entry| entry["text"].as_str().unwrap_or_default().to_owned()));
        }
        lines
    }
}

pub(super) const MENU: &str = "async function main(data, ctx) {
  await ctx.answer();
  const { status, value } = await ctx.ivr('tone:440,300/0', 5, 1, 1, '', { tries: 2 });
  console.log(status, value);
  await ctx.play('tone:600,500/0');
}";

pub(super) fn rough(loss: f64) -> Conditions {
    Conditions { loss, delay: Duration::from_millis(20), jitter: Duration::from_millis(30), reorder: 0.02, duplicate: 0.02 }
}
