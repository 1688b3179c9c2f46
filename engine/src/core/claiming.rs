//! Calls that somebody outside takes from whoever has them, to have applications carried out on them.

use super::executions::Asker;
use super::handle::{EngineError, EngineHandle, Request};
use super::switch::Switch;
use super::world::LedOn;

/// A call that is to be taken.
#[derive(Clone, Debug)]
pub struct Claim {
    pub call: String,
    /// Where it will be led: it is left where it is when one of them cannot be reached.
    pub targets: Vec<String>,
    pub asker: Asker,
}

/// A call that was taken.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The take-over by which it was; [`EngineHandle::application_over`] ends it.
    pub takeover: u64,
    /// Says when somebody else has it.
    pub led_on: LedOn,
}

impl EngineHandle {
    /// Takes a live call from whoever has it; what is under way is stopped. It waits for what is executed on it.
    pub async fn claim(&self, claim: Claim) -> Result<Claimed, EngineError> {
        self.ask(|reply| Request::Claim(claim, reply)).await?
    }
}

impl Switch {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Claimed, EngineError> {
        let key = self.live_call(&claim.call)?;
        for target in &claim.targets {
            self.route_of(key, target, claim.asker)?;
        }
        self.leave(key);
        self.take_away(key);
        // What runs has stopped before anything else begins.
        self.settle_call(key);
        // What it had asked for may have been its end.
        self.live_call(&claim.call)?;
        let Some(call) = self.calls.get_mut(&key) else { return Err(EngineError::CallOver(claim.call.clone())) };
        call.plan.destinations.clear();
        call.plan.on_answer = None;
        call.plan.failure = None;
        let led_on = LedOn::default();
        call.application = Some(led_on.clone());
        let takeover = call.taken_over();
        self.touch(key);
        Ok(Claimed { takeover, led_on })
    }
}
