//! Applications one after another: `'app:args,app:args' inline`.

use std::sync::Arc;

use lockstep_ctx_api::CallState;

use super::api::originate;
use super::applications::{Call, Plan};
use super::client::new_uuid;
use super::execute::{Order, begin};
use super::hub::Hub;
use crate::core::{Asker, Channel, Claim, Claimed, EngineError};

/// One application with its argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) application: String,
    pub(super) data: String,
}

/// Reads a list; `m:^:` at its beginning names another separator than the comma.
pub(super) fn steps(list: &str) -> Vec<Step> {
    let marked = list.strip_prefix("m:").and_then(|rest| {
        let mut chars = rest.chars();
        let separator = chars.next()?;
        chars.as_str().strip_prefix(':').map(|list| (separator, list))
    });
    let (separator, list) = marked.unwrap_or((',', list));
    let written = list.split(separator).map(str::trim).filter(|step| !step.is_empty());
    written
        .map(|step| {
            let (application, data) = step.split_once(':').unwrap_or((step, ""));
            Step { application: application.to_owned(), data: data.to_owned() }
        })
        .collect()
}

/// Takes a call from whoever has it and has the steps carried out on it, one when the other is over; then the call ends, unless the
/// last one has handed it on. With a call that was placed and still rings, that begins when it is answered, unless all
/// they do is to end it.
pub(super) async fn carry_out(hub: &Arc<Hub>, channel: &Channel, steps: Vec<Step>, asker: Asker) -> Result<(), EngineError> {
    let targets = steps.iter().filter_map(|step| target(hub, channel, step)).collect();
    let call = channel.call.clone();
    let claimed = hub.engine.claim(Claim { call: call.clone(), targets, asker }).await?;
    tokio::spawn(run(Arc::clone(hub), call, claimed, steps, asker));
    Ok(())
}

/// Where a step leads the call; `None` where a variable says it, which may be another one by then.
pub(super) fn target(hub: &Hub, channel: &Channel, step: &Step) -> Option<String> {
    let leads = matches!(step.application.as_str(), "transfer" | "execute_extension" | "socket") && !step.data.contains("${");
    let gateway = |name: &str| hub.gateway(name);
    match leads.then(|| Call::new(&step.application, &step.data, 1, channel, &gateway).plan())? {
        Plan::Transfer(target) => Some(target),
        _ => None,
    }
}

/// Waits for the answer of a call that was placed; whether the call is still there.
async fn is_answered(hub: &Arc<Hub>, call: &str) -> bool {
    // Watched before it is looked at: the answer is not missed.
    let mut watcher = hub.engine.subscribe();
    match hub.engine.channel(call).await {
        Ok(channel) if channel.outbound && channel.state < CallState::Answered => {
            matches!(originate::answer(hub, &mut watcher, call).await, Ok(Ok(_)))
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Whether nothing but variables comes before the end of the call: that waits for no answer.
fn only_ends(steps: &[Step]) -> bool {
    let is_variable = |name: &str| matches!(name, "set" | "export" | "multiset" | "unset" | "multiunset");
    let first = steps.iter().find(|step| !is_variable(&step.application));
    first.is_some_and(|step| step.application == "hangup")
}

async fn run(hub: Arc<Hub>, call: String, claimed: Claimed, steps: Vec<Step>, asker: Asker) {
    let all = async {
        if !only_ends(&steps) && !is_answered(&hub, &call).await {
            return false;
        }
        for Step { application, data } in &steps {
            let Ok(channel) = hub.engine.channel(&call).await else { return false };
            let order = Order { application, data, uuid: new_uuid(), loops: 1, asker };
            match begin(&hub, &channel, order).await {
                // It lasts until the call ends or goes elsewhere.
                Ok(Some(_)) if application == "park" => return false,
                Ok(Some(done)) => drop(done.await),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%call, %application, %error, "an application of a list was not carried out");
                    return true;
                }
            }
            // What has stopped because somebody else has the call now: that is looked at first.
            tokio::task::yield_now().await;
        }
        true
    };
    let is_over = tokio::select! {
        biased;
        () = claimed.led_on.told() => false,
        is_over = all => is_over,
    };
    if is_over && let Err(error) = hub.engine.application_over(&call, claimed.takeover, Ok(())).await {
        tracing::debug!(%error, %call, "the end of a list was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_parted_by_commas_or_by_what_it_names() {
        let step = |application: &str, data: &str| Step { application: application.to_owned(), data: data.to_owned() };
        assert_eq!(steps("answer, playback:user/a.wav,"), [step("answer", ""), step("playback", "user/a.wav")]);
        assert_eq!(steps("m:^:set:a=1,2^park"), [step("set", "a=1,2"), step("park", "")]);
        assert!(only_ends(&steps("set:a=b,hangup:USER_BUSY")) && !only_ends(&steps("playback:a.wav,hangup")));
        assert!(!only_ends(&steps("set:a=b")));
        assert_eq!(steps("socket:127.0.0.1:8085 async full"), [step("socket", "127.0.0.1:8085 async full")]);
    }
}
