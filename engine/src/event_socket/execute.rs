//! Applications on a channel: what `sendmsg execute`, `uuid_broadcast` and `originate … &app()` have in common.

use std::sync::Arc;

use lockstep_ctx_api::op::{Op, RecordAction, RecordControlArgs, SleepArgs};
use lockstep_ctx_api::{CallState, OpResult};
use tokio::sync::oneshot;

use super::applications::{Call, Plan};
use super::files::playable;
use super::hub::Hub;
use super::{api, channel_headers};
use crate::core::{Aftermath, Asker, Channel, Consequences, EngineError, Execution};

/// What is to be carried out.
pub(super) struct Order<'a> {
    pub(super) application: &'a str,
    pub(super) data: &'a str,
    pub(super) uuid: String,
    /// How often; negative: until stopped.
    pub(super) loops: i64,
    pub(super) asker: Asker,
}

/// When the order counts as carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    UntilQueued,
    UntilOver,
}

/// Tells what came of an application.
pub(super) type Done = oneshot::Receiver<OpResult>;

/// Carries out one application on a channel.
pub(super) async fn execute(hub: &Arc<Hub>, channel: &Arc<Channel>, order: Order<'_>, wait: Wait) -> Result<(), EngineError> {
    let done = begin(hub, channel, order).await?;
    if let Some(done) = done.filter(|_| wait == Wait::UntilOver) {
        // Settled, or the engine has stopped: over in either case.
        let _ = done.await;
    }
    Ok(())
}

/// Begins to carry out one application on a channel; what tells of its end, unless the call is somebody else's by then.
pub(super) async fn begin(hub: &Arc<Hub>, channel: &Arc<Channel>, order: Order<'_>) -> Result<Option<Done>, EngineError> {
    let engine = &hub.engine;
    let call = channel.call.as_str();
    let gateway = |name: &str| hub.gateway(name);
    let plan = Call::new(order.application, order.data, order.loops, channel, &gateway).plan();
    let nothing: Aftermath = Box::new(|_| Consequences::default());
    let idle = || Some(Op::Sleep(SleepArgs { duration_ms: 0 }));
    let (op, aftermath) = match plan {
        Plan::Operation(op, aftermath) => (Some(*op), aftermath),
        Plan::Park => (None, nothing),
        Plan::Variables(vars) => (idle(), {
            let aftermath: Aftermath = Box::new(move |_| Consequences { vars, response: None });
            aftermath
        }),
        Plan::Schedule(data) => {
            let answer = api::schedule(hub, order.application, &channel.uuid, &data, order.asker).await;
            let refusal = answer.starts_with('-').then(|| answer.trim_end().to_owned());
            let aftermath: Aftermath = Box::new(move |_| Consequences { vars: Vec::new(), response: refusal });
            (idle(), aftermath)
        }
        Plan::Hold(holds) => {
            let refusal = hold(hub, channel, holds).await.err().map(|error| format!("-ERR {error}"));
            let aftermath: Aftermath = Box::new(move |_| Consequences { vars: Vec::new(), response: refusal });
            (idle(), aftermath)
        }
        Plan::StopRecording(name) => {
            let running = channel.recordings.iter().filter(|recording| {
                name.as_ref().is_none_or(|name| recording.file == *name || recording.file.ends_with(&format!("/{name}")))
            });
            let mut stops: Vec<Op> = running
                .map(|recording| {
                    Op::RecordControl(RecordControlArgs { recording: recording.started_by, action: RecordAction::Stop })
                })
                .collect();
            let last = stops.pop().or_else(idle);
            for op in stops {
                let uuid = super::client::new_uuid();
                engine.execute(call, Execution::new(op, order.application, order.data, uuid)).await?;
            }
            (last, nothing)
        }
        Plan::Transfer(target) => return engine.transfer(call, &target, order.asker).await.map(|()| None),
        Plan::End(cause) => {
            tracing::warn!(call, application = order.application, cause = cause.name, "an application ends the call");
            let (code, reason) = cause.to_sip(channel.state == CallState::Answered);
            return engine.hangup(call, code, reason).await.map(|()| None);
        }
    };
    let execution =
        Execution { op, application: order.application.to_owned(), data: order.data.to_owned(), uuid: order.uuid, aftermath };
    engine.execute(call, execution).await.map(Some)
}

/// Carries out one application on the party of a channel, or with `far` on the one it is bridged to: what plays is heard at once.
pub(super) async fn broadcast(
    hub: &Arc<Hub>,
    channel: &Arc<Channel>,
    order: Order<'_>,
    far: bool,
) -> Result<Option<Done>, EngineError> {
    let gateway = |name: &str| hub.gateway(name);
    let plan = Call::new(order.application, order.data, order.loops, channel, &gateway).plan();
    match plan {
        Plan::Operation(op, aftermath) if matches!(*op, Op::Play(_) | Op::Tts(_)) => {
            let (application, data) = (order.application.to_owned(), order.data.to_owned());
            let execution = Execution { op: Some(*op), application, data, uuid: order.uuid, aftermath };
            hub.engine.broadcast(&channel.call, execution, far).await.map(Some)
        }
        _ if far => Err(EngineError::NotBridged(channel.uuid.clone())),
        _ => begin(hub, channel, order).await,
    }
}

/// Puts the party of a channel on hold, or takes it off. It hears what `hold_music` names, or silence.
pub(super) async fn hold(hub: &Hub, channel: &Channel, holds: bool) -> Result<(), EngineError> {
    // FreeSWITCH's own stream is not here; whoever has set a file means it.
    let music = channel_headers::variable(channel, "hold_music").filter(|music| !music.contains("local_stream://"));
    let music = music.and_then(|music| playable(&music).sources.into_iter().next());
    hub.engine.hold(&channel.call, holds, music).await
}
