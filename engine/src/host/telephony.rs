//! Calls seen and made from outside a call: `cxOriginate`, `cxCallControl`.

use std::time::Duration;

use bytes::Bytes;
use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::{CallState, ErrorCode, OpError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::late::{Late, Served};
use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};
use crate::core::{Asker, CallFilter, EngineError, EngineEvent, EngineHandle, Missed, Originate, Watcher};

/// The longest a call may ring, in milliseconds.
const MAX_RING_MS: u64 = 300_000;
/// Calls in one list.
const MAX_LISTED: usize = 1_000;

/// Calls of the engine.
pub(super) struct Telephony(Late);

/// A call to be placed, as scripts describe it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    to: String,
    from: Option<String>,
    destination: String,
    timeout_ms: Option<u64>,
}

impl Telephony {
    pub(super) fn new(late: &Late) -> Self {
        Self(late.clone())
    }
}

impl HostService for Telephony {
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, _body: Option<Bytes>) -> HostFuture {
        let Some(Served { engine, .. }) = self.0.get() else {
            return answered(Err(args.error(ErrorCode::Unsupported, "no engine runs here")));
        };
        let account = context.account.clone();
        match function {
            "originate" => originate(engine, account, args),
            "calls" => Box::pin(async move {
                let filter = CallFilter { past: false, limit: MAX_LISTED, account: Some(account), ..CallFilter::default() };
                let calls = engine.calls(filter).await.map_err(|error| refused(&args, &error))?;
                Ok(HostReply::json(&json!(calls)))
            }),
            "registrations" => Box::pin(async move {
                let user = args.opt_text("user")?;
                let all = engine.registrations().await.map_err(|error| refused(&args, &error))?;
                let theirs = all.into_iter().filter(|known| known.account == account);
                let wanted: Vec<_> = theirs.filter(|known| user.as_ref().is_none_or(|user| *user == known.user)).collect();
                Ok(HostReply::json(&json!(wanted)))
            }),
            "hangup" => Box::pin(async move {
                let id = args.text("id")?;
                own(&engine, &account, &id).await.map_err(|error| refused(&args, &error))?;
                engine.hangup(&id, None, None).await.map_err(|error| refused(&args, &error))?;
                Ok(HostReply::undefined())
            }),
            "transfer" => Box::pin(async move {
                let (id, target) = (args.text("id")?, args.text("destination")?);
                plain(&args, "destination", &target)?;
                own(&engine, &account, &id).await.map_err(|error| refused(&args, &error))?;
                engine.transfer(&id, &target, Asker::Tenant).await.map_err(|error| refused(&args, &error))?;
                Ok(HostReply::undefined())
            }),
            "next" => Box::pin(async move {
                let (id, seen) = (args.text("id")?, args.number("seen")?);
                let events = engine.events().watch_since(seen.max(0.0) as u64);
                Ok(HostReply::json(&next(&engine, events, &account, &id).await))
            }),
            _ => no_such_function(&args),
        }
    }
}

/// Another account's call is as if it were not there.
async fn own(engine: &EngineHandle, account: &str, id: &str) -> Result<(), EngineError> {
    let call = engine.call(id).await?;
    if *call.account == *account { Ok(()) } else { Err(EngineError::NoSuchCall(id.to_owned())) }
}

/// Places a call and, once it is answered, leads it to `destination`: what a caller could have dialled. The reply is the call's id,
/// and the number of the event before its first.
fn originate(engine: EngineHandle, account: String, mut args: Arguments) -> HostFuture {
    Box::pin(async move {
        let wanted: Wanted = args.shape("call")?;
        for (name, text) in [("to", &wanted.to), ("destination", &wanted.destination)] {
            plain(&args, name, text)?;
        }
        if let Some(from) = &wanted.from {
            plain(&args, "from", from)?;
        }
        if wanted.timeout_ms.is_some_and(|ms| !(1_000..=MAX_RING_MS).contains(&ms)) {
            return Err(args.error(ErrorCode::RangeError, format_args!("`timeout_ms` must be from 1000 to {MAX_RING_MS}")));
        }
        let events = engine.events().watch();
        let seen = engine.events().last();
        let call = Originate {
            to: wanted.to,
            from: wanted.from,
            destination: wanted.destination.clone(),
            park: true,
            account: Some(account),
            timeout: wanted.timeout_ms.map(Duration::from_millis),
            ..Originate::default()
        };
        let id = engine.originate(call).await.map_err(|error| refused(&args, &error))?;
        // The call goes on when the run that asked for it is over.
        tokio::spawn(lead(engine, events, id.clone(), wanted.destination));
        Ok(HostReply::json(&json!({ "id": id, "seen": seen })))
    })
}

/// Waits for the answer, then leads the call on.
async fn lead(engine: EngineHandle, mut events: Watcher, id: String, destination: String) {
    loop {
        let state = match events.recv().await {
            Ok(published) => match &published.event {
                EngineEvent::CallState { call, state } if *call == id => *state,
                EngineEvent::CallEnded { call, .. } if *call == id => return,
                _ => continue,
            },
            // The answer may have been among what was missed.
            Err(Missed::Lagged(_)) => match engine.call(&id).await {
                Ok(call) => call.facts.state,
                Err(_) => return,
            },
            Err(Missed::Closed) => return,
        };
        match state {
            CallState::Answered => break,
            CallState::Ended => return,
            CallState::New | CallState::Ringing | CallState::Early => {}
        }
    }
    if let Err(error) = engine.transfer(&id, &destination, Asker::Tenant).await {
        tracing::warn!(call = %id, %destination, %error, "an originated call could not be led on");
        drop(engine.hangup(&id, None, None).await);
    }
}

/// The next thing that happens to a call: `{seq, event, …}`.
async fn next(engine: &EngineHandle, mut events: Watcher, account: &str, id: &str) -> Value {
    loop {
        let published = match events.recv().await {
            Ok(published) => published,
            // The end may have been among what was missed.
            Err(Missed::Lagged(_)) => match engine.call(id).await.ok().filter(|call| *call.account == *account) {
                Some(call) if call.ended.is_none() => continue,
                call => {
                    let duration_ms = call.as_ref().map(|call| call.duration_ms);
                    let (seq, cause) = (engine.events().last(), call.and_then(|call| call.ended));
                    return json!({ "seq": seq, "event": "hangup", "cause": cause, "duration_ms": duration_ms });
                }
            },
            Err(Missed::Closed) => return json!({ "seq": 0, "event": "hangup", "cause": null }),
        };
        if published.account.as_deref() != Some(account) {
            continue;
        }
        let seq = published.seq;
        match &published.event {
            EngineEvent::CallState { call, state } if call == id => {
                return json!({ "seq": seq, "event": state });
            }
            EngineEvent::CallEnded { call, cause, duration_ms } if call == id => {
                return json!({ "seq": seq, "event": "hangup", "cause": cause, "duration_ms": duration_ms });
            }
            _ => {}
        }
    }
}

fn plain(args: &Arguments, name: &str, text: &str) -> Result<(), OpError> {
    if text.trim().is_empty() || text.contains(char::is_control) {
        return Err(args.error(ErrorCode::TypeError, format_args!("`{name}` must be text without control characters")));
    }
    Ok(())
}

fn refused(args: &Arguments, error: &EngineError) -> OpError {
    let code = match error {
        EngineError::NoSuchCall(_) | EngineError::NoSuchDestination(_) | EngineError::NobodyThere { .. } => ErrorCode::NotFound,
        EngineError::AtCapacity(_) | EngineError::TooManyOperations(_) => ErrorCode::LimitError,
        _ => ErrorCode::InvalidState,
    };
    args.error(code, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::handle::Request;

    #[tokio::test]
    async fn an_end_that_was_missed_is_told() {
        let platform = crate::platform::Platform::in_memory(&crate::config::Config::default()).unwrap();
        let (engine, mut requests, log) = EngineHandle::new(Vec::new(), crate::runs::RunsHandle::stopped(), platform);
        let events = log.watch();
        let other = || EngineEvent::ScriptsLoaded { scripts: 1 };
        while log.watch_since(0).try_recv().is_none_or(|first| first.is_ok()) {
            log.publish(0, None, other());
        }
        let answering = async {
            let Some(Request::Call(id, reply)) = requests.recv().await else { panic!("the call is asked for") };
            reply.send(Err(EngineError::NoSuchCall(id))).unwrap();
        };
        let (told, ()) = tokio::join!(next(&engine, events, "default", "one"), answering);
        assert_eq!(told["event"], "hangup", "{told}");
    }
}
