//! `cxPubSub`: messages between runs of an account.

use bytes::Bytes;
use lockstep_ctx_api::{ErrorCode, OpError};
use serde_json::json;

use super::{Arguments, HostFuture, HostReply, HostService, RunContext, answered, no_such_function};
use crate::bus::{Batch, Bus, BusError, SubscriptionId};

/// The service.
pub(super) struct PubSub {
    bus: Bus,
}

impl PubSub {
    pub(super) fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    fn begin(&self, context: &RunContext, function: &str, args: &mut Arguments) -> Result<HostFuture, OpError> {
        let refused = |args: &Arguments, error: BusError| {
            let code = match error {
                BusError::Name { .. } => ErrorCode::RangeError,
                BusError::Payload { .. } | BusError::TooMany => ErrorCode::LimitError,
            };
            args.error(code, error)
        };
        let account = &context.account;
        Ok(match function {
            "publish" => {
                let (topic, id, payload) = (args.text("topic")?, args.opt_text("id")?, args.json("payload")?);
                let reached = self.bus.publish(account, &topic, id.as_deref(), &payload).map_err(|error| refused(args, error))?;
                value(json!(reached).to_string())
            }
            "subscribe" => {
                let (topic, id) = (args.text("topic")?, args.opt_text("id")?);
                let run = context.scratch.witness();
                let subscriber = self.bus.subscribe(account, &topic, id.as_deref(), run).map_err(|error| refused(args, error))?;
                value(json!(subscriber.0).to_string())
            }
            "unsubscribe" => {
                self.bus.unsubscribe(account, subscription(args)?);
                value(String::new())
            }
            "next" => {
                let subscriber = subscription(args)?;
                let (bus, account) = (self.bus.clone(), account.clone());
                Box::pin(async move {
                    let batch = bus.next(&account, subscriber).await;
                    Ok(HostReply { value: batch.map_or_else(|| json!(null).to_string(), |batch| batch_json(&batch)), body: None })
                })
            }
            _ => no_such_function(args),
        })
    }
}

impl HostService for PubSub {
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, _: Option<Bytes>) -> HostFuture {
        self.begin(context, function, &mut args).unwrap_or_else(|error| answered(Err(error)))
    }
}

fn value(value: String) -> HostFuture {
    answered(Ok(HostReply { value, body: None }))
}

fn subscription(args: &mut Arguments) -> Result<SubscriptionId, OpError> {
    Ok(SubscriptionId(args.number("subscription")?.max(0.0) as u64))
}

/// Payloads go as texts: each is parsed on its own, when its turn comes.
fn batch_json(batch: &Batch) -> String {
    let messages: Vec<_> = batch
        .messages
        .iter()
        .map(|message| json!([message.topic.as_ref(), message.id.as_deref(), message.payload.as_ref()]))
        .collect();
    json!({ "messages": messages, "dropped": batch.dropped }).to_string()
}
