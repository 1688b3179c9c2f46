//! `cxKV`: the account's keys, `kv` and `incr` for texts and counters, `ko` for objects.

use bytes::Bytes;
use lockstep_ctx_api::{ErrorCode, OpError};
use serde_json::json;

use super::{Arguments, HostFuture, HostReply, HostService, RunContext, answered, no_such_function};
use crate::core::{EventLog, KeyChange, KeyNotice};
use crate::store::kv::{self, MAX_KEYS, Space};
use crate::store::{Store, StoreError};

/// The service; one of these for each space of keys.
pub(super) struct Kv {
    store: Store,
    events: EventLog,
    space: Space,
    max_bytes: u64,
}

impl Kv {
    pub(super) fn new(store: &Store, events: &EventLog, space: Space, max_bytes: u64) -> Self {
        Self { store: store.clone(), events: events.clone(), space, max_bytes }
    }

    /// For those who watch keys.
    fn notice(&self, account: &str, key: &str, change: KeyChange) -> Option<KeyNotice> {
        self.events.key_notice(self.store.clock(), account, (self.space, key), change)
    }

    fn begin(&self, account: String, function: &str, args: &mut Arguments) -> Result<HostFuture, OpError> {
        let (space, max_bytes) = (self.space, self.max_bytes);
        Ok(match function {
            "get" => {
                let key = args.text("key")?;
                let found = self.store.read(move |connection, now| kv::get(connection, now, &account, space, &key));
                reply(args, found, move |entry| match (entry, space) {
                    (None, _) => json!(null).to_string(),
                    (Some(entry), Space::Texts) => json!(entry.value).to_string(),
                    (Some(entry), Space::Objects) => entry.value,
                })
            }
            "set" => {
                let key = args.text("key")?;
                let value = match space {
                    Space::Texts => args.text("value")?,
                    Space::Objects => args.json("value")?,
                };
                let ttl = ttl_ms(args)?;
                let notice = self.notice(&account, &key, KeyChange::Set).map(|notice| notice.showing(&value));
                let set = move |connection: &_, now| kv::set(connection, now, (&account, max_bytes), space, &key, &value, ttl);
                let told = move |_: &()| notice.into_iter().for_each(KeyNotice::tell);
                reply(args, self.store.write_then(set, told), |()| String::new())
            }
            "del" => {
                let key = args.text("key")?;
                let notice = self.notice(&account, &key, KeyChange::Deleted);
                let del = move |connection: &_, now| kv::del(connection, now, &account, space, &key);
                let told = move |gone: &bool| notice.filter(|_| *gone).into_iter().for_each(KeyNotice::tell);
                reply(args, self.store.write_then(del, told), |gone| json!(gone).to_string())
            }
            "incr" => {
                let (key, by, ttl) = (args.text("key")?, args.number("by")?, ttl_ms(args)?);
                let notice = self.notice(&account, &key, KeyChange::Set);
                let incr = move |connection: &_, now| kv::incr(connection, now, (&account, max_bytes), &key, by, ttl);
                let told = move |number: &f64| {
                    if let Some(notice) = notice {
                        notice.showing(&number.to_string()).tell();
                    }
                };
                reply(args, self.store.write_then(incr, told), |number| number.to_string())
            }
            "keys" => {
                let prefix = args.text("prefix")?;
                let found = self.store.read(move |connection, now| {
                    let keys = kv::keys(connection, now, &account, space, (&prefix, None), MAX_KEYS + 1)?;
                    if keys.len() > MAX_KEYS {
                        let message = format!("more than {MAX_KEYS} keys begin with '{prefix}'; ask for a longer prefix");
                        return Err(StoreError::refused(ErrorCode::LimitError, message));
                    }
                    Ok(keys)
                });
                reply(args, found, |keys| json!(keys).to_string())
            }
            "usage" => {
                let usage = self.store.read(move |connection, _| kv::usage(connection, &account));
                reply(args, usage, move |usage| {
                    json!({ "keys": usage.entries, "bytes": usage.bytes, "max_bytes": max_bytes }).to_string()
                })
            }
            _ => no_such_function(args),
        })
    }
}

impl HostService for Kv {
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, _: Option<Bytes>) -> HostFuture {
        self.begin(context.account.clone(), function, &mut args).unwrap_or_else(|error| answered(Err(error)))
    }
}

/// Answers with what `result` comes to, as JSON.
pub(super) fn reply<T: Send + 'static>(
    args: &Arguments,
    result: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    show: impl FnOnce(T) -> String + Send + 'static,
) -> HostFuture {
    let label = args.label().to_owned();
    Box::pin(async move {
        let value = result.await.map_err(|error| error.into_op_error(&label))?;
        Ok(HostReply { value: show(value), body: None })
    })
}

fn ttl_ms(args: &mut Arguments) -> Result<Option<u64>, OpError> {
    let ttl = args.opt_number("ttl_s")?.map(kv::ttl_ms).transpose();
    ttl.map_err(|why| args.error(ErrorCode::RangeError, why))
}
