//! What a simulated call costs: the figure of `make bench`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::js;
use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::wire::{Bundle, ScriptType};
use lockstep_media::digit::Digit;
use lockstep_media::stream::DtmfMethod;

use super::{Options, PhoneSettings, Project, Simulation};
use crate::config::{Config, DEFAULT_ACCOUNT, ScriptEntry};
use crate::script::programs::{digest_of, version_of};
use crate::script::{Program, ProgramLimits, ProgramSet};

/// An IVR of thirty seconds: a prompt, a menu that a key ends, a longer prompt.
const SCRIPT: &str = "export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('tone:440,4000/0');
  const { value } = await ctx.ivr('tone:350+440,3000/0', 5, 1, 1, '', { tries: 2 });
  await ctx.play(['tone:600,10000/0', `tone:${value}00,11000/0`]);
}";

/// Simulates this many calls, one after another, media included; the virtual time of all together, or what went wrong.
///
/// # Errors
/// A call that did not go as it should.
pub fn simulate_calls(calls: u64) -> Result<Duration, String> {
    let project = project()?;
    let mut total = Duration::ZERO;
    for seed in 0..calls {
        let mut simulation = Simulation::new(&project, &Options { seed, ..Options::default() });
        let failed = |error: super::PhoneError| error.to_string();
        let phone = simulation.add_phone(PhoneSettings::new("caller"), None).map_err(failed)?;
        let call = simulation.phones.dial(simulation.now(), phone, "1000", &[]).map_err(failed)?;
        simulation.run_for(Duration::from_secs(9));
        let (time, digits) = (Duration::from_millis(100), Digit::from_char('5').into_iter().collect());
        let now = simulation.now();
        simulation.phones.press(now, call, digits, time, time, DtmfMethod::TelephoneEvent).map_err(failed)?;
        simulation.run_for(Duration::from_secs(31));
        let call = simulation.phones.call(call).ok_or("the call is gone")?;
        let lasted = call.over.zip(call.answered).map(|(over, answered)| over.saturating_duration_since(answered));
        let lasted = lasted.ok_or("the call has not ended")?;
        if lasted < Duration::from_secs(28) {
            return Err(format!("the call lasted {lasted:?}"));
        }
        total += lasted;
    }
    Ok(total)
}

fn project() -> Result<Project, String> {
    let config = Config::default();
    let file = "ivr.js".to_owned();
    let mut settings = ScriptEntry::new(file.clone());
    settings.class5_destination = Some("1000".parse().map_err(|_| "1000 is a destination")?);
    let sources = BTreeMap::from([(file.clone(), digest_of(SCRIPT))]);
    let bundle = Bundle { entry: file.clone(), files: [(file.clone(), SCRIPT.into())].into(), ..Bundle::default() };
    if let Some(error) = js::check(&bundle).into_iter().next() {
        return Err(error.message);
    }
    let program = Program {
        name: "ivr".to_owned(),
        file: file.clone(),
        uuid: "00000000-0000-8000-8000-000000000001".to_owned(),
        id: 1,
        script_type: ScriptType::App,
        account: DEFAULT_ACCOUNT.to_owned(),
        settings,
        limits: ProgramLimits { memory_bytes: 100 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
        time_zone: "UTC".to_owned(),
        env: Vars::new(),
        environment: Default::default(),
        bundle_id: 1,
        version: version_of(&file, &sources),
        sources,
        bundle: Arc::new(bundle),
    };
    let programs = Arc::new(ProgramSet::new([Arc::new(program)], Vec::new()));
    Project::new(config, programs, PathBuf::from("nowhere")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_simulated_ivr_takes_thirty_seconds() {
        let total = super::simulate_calls(1).unwrap();
        assert!((28..32).contains(&total.as_secs()), "{total:?}");
    }
}
