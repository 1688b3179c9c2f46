//! Facts about telephone numbers: `api.lookup.NAME(number)`.

#![expect(clippy::disallowed_methods, reason = "what is kept grows old by the machine's clock")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_ctx_api::ErrorCode;
use lockstep_ctx_api::host::HostReply;
use serde_json::Value;

use super::send::{not_configured, provider_error, value_of};
use super::{Arguments, HostFuture, HostService, RunContext, answered};
use crate::config::{Config, LookupProvider};
use crate::http_template::{HttpTemplate, Place, TemplateError, TemplateSettings};
use crate::store::{Store, userspace};

/// Octets of a provider's answer.
const MAX_ANSWER: usize = 256 << 10;
/// Answers kept of one provider.
const MAX_KEPT: usize = 10_000;
/// The look-up that needs no other machine.
const USERSPACE: &str = "userspaceLookup";
/// Octets of a number.
const MAX_NUMBER: usize = 64;

/// The providers of the configuration, by name.
pub(super) struct Lookup {
    providers: BTreeMap<String, Arc<Provider>>,
    /// Where `userspaceLookup` finds records.
    area: Option<String>,
    store: Store,
}

struct Provider {
    request: HttpTemplate,
    /// Part of the answer that is the result.
    pointer: String,
    kept: Mutex<Kept>,
}

/// Answers that are still good, oldest first.
struct Kept {
    ttl: Duration,
    order: VecDeque<(Instant, String)>,
    answers: BTreeMap<String, Value>,
}

impl Kept {
    fn get(&mut self, now: Instant, number: &str) -> Option<Value> {
        while let Some((since, oldest)) = self.order.front() {
            if now.saturating_duration_since(*since) < self.ttl && self.order.len() <= MAX_KEPT {
                break;
            }
            self.answers.remove(oldest);
            self.order.pop_front();
        }
        self.answers.get(number).cloned()
    }

    fn put(&mut self, now: Instant, number: String, answer: Value) {
        if self.ttl > Duration::ZERO && self.answers.insert(number.clone(), answer).is_none() {
            self.order.push_back((now, number));
        }
    }
}

impl Lookup {
    /// Providers by name.
    ///
    /// # Errors
    /// A provider's settings make no request.
    pub(super) fn new(config: &Config, store: &Store) -> Result<Self, String> {
        let mut providers = BTreeMap::new();
        for (name, settings) in &config.lookup {
            if let Some(url) = &settings.url {
                let provider = Provider::new(settings, url).map_err(|why| format!("[lookup.{name}] {why}"))?;
                providers.insert(name.clone(), Arc::new(provider));
            }
        }
        let area = config.lookup.get(USERSPACE).and_then(|provider| provider.area.clone());
        Ok(Self { providers, area, store: store.clone() })
    }
}

impl Lookup {
    /// The record of a number; null when there is none.
    fn record(&self, context: &RunContext, area: String, mut args: Arguments) -> HostFuture {
        let account = context.account.clone();
        match number(&mut args) {
            Ok(number) => {
                let found = self.store.read(move |connection, _| userspace::read(connection, &account, &area, &number));
                Box::pin(async move {
                    let record = found.await.map_err(|error| args.error(ErrorCode::Unsupported, error))?;
                    Ok(HostReply { value: record.unwrap_or_else(|| "null".to_owned()), body: None })
                })
            }
            Err(error) => answered(Err(error)),
        }
    }
}

impl Provider {
    fn new(settings: &LookupProvider, url: &str) -> Result<Self, String> {
        let request = HttpTemplate::new(&TemplateSettings {
            url,
            method: &settings.method,
            headers: &settings.headers,
            body: settings.body.as_deref(),
            timeout: Duration::from_millis(settings.timeout_ms.into()),
        })?;
        let ttl = Duration::from_secs(settings.cache_s.into());
        let kept = Mutex::new(Kept { ttl, order: VecDeque::new(), answers: BTreeMap::new() });
        Ok(Self { request, pointer: settings.result.clone().unwrap_or_default(), kept })
    }

    /// The result for a number, kept or asked for.
    async fn ask(&self, number: String) -> Result<Value, TemplateError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(Instant::now(), &number);
        if let Some(answer) = kept {
            return Ok(answer);
        }
        let answer = self.request.send(&[Place::text("number", &number)], MAX_ANSWER).await?;
        let result = value_of(&answer).pointer(&self.pointer).cloned().unwrap_or_default();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).put(Instant::now(), number, result.clone());
        Ok(result)
    }
}

impl HostService for Lookup {
    fn call(&self, context: &RunContext, name: &str, mut args: Arguments, _body: Option<Bytes>) -> HostFuture {
        if name == "ping" && !self.providers.contains_key(name) {
            return answered(Ok(HostReply::json(&Value::from("pong"))));
        }
        let label = format!("api.lookup.{name}");
        if name == USERSPACE
            && let Some(area) = self.area.clone()
        {
            return self.record(context, area, args);
        }
        let Some(provider) = self.providers.get(name).cloned() else {
            let key = if name == USERSPACE { "area" } else { "url" };
            return not_configured(&label, &format!("[lookup.{name}] {key}"));
        };
        match number(&mut args) {
            Ok(number) => Box::pin(async move {
                let result = provider.ask(number).await.map_err(|error| provider_error(&label, &error))?;
                Ok(HostReply::json(&result))
            }),
            Err(error) => answered(Err(error)),
        }
    }
}

/// A telephone number, which scripts have as text or as a number.
fn number(args: &mut Arguments) -> Result<String, lockstep_ctx_api::OpError> {
    let text = match args.value() {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => return Err(args.error(ErrorCode::TypeError, "the number must be a string")),
    };
    if text.is_empty() || text.len() > MAX_NUMBER {
        return Err(args.error(ErrorCode::TypeError, format_args!("the number must have 1 to {MAX_NUMBER} characters")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_and_not_longer() {
        let start = Instant::now();
        let mut kept = Kept { ttl: Duration::from_secs(10), order: VecDeque::new(), answers: BTreeMap::new() };
        kept.put(start, "1".into(), Value::from("a"));
        kept.put(start + Duration::from_secs(5), "2".into(), Value::from("b"));
        assert_eq!(kept.get(start + Duration::from_secs(9), "1"), Some(Value::from("a")));
        assert_eq!(kept.get(start + Duration::from_secs(10), "1"), None);
        assert_eq!(kept.get(start + Duration::from_secs(14), "2"), Some(Value::from("b")));
        assert_eq!(kept.get(start + Duration::from_secs(15), "2"), None);
        assert!(kept.order.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let now = Instant::now();
        let mut kept = Kept { ttl: Duration::from_secs(10), order: VecDeque::new(), answers: BTreeMap::new() };
        for number in 0..MAX_KEPT + 5 {
            kept.put(now, number.to_string(), Value::Null);
            kept.get(now, "x");
        }
        assert_eq!(kept.answers.len(), MAX_KEPT);
        assert_eq!(kept.get(now, "0"), None);
    }
}
