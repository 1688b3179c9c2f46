//! Messages to people: `cxSend` and `api.send`.
#![expect(clippy::disallowed_methods, reason = "an IO edge: messages are counted as they leave")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::{ErrorCode, OpError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::allowance::Allowance;
use super::email::{Email, Mailer};
use super::late::{Late, Served};
use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};
use crate::config::Config;
use crate::core::{EngineError, TextMessage};
use crate::http_template::{Answer, HttpTemplate, Place, TemplateError, TemplateSettings};

/// Octets of a provider's answer.
const MAX_ANSWER: usize = 64 << 10;
/// The type of what is text.
const PLAIN_TEXT: &str = "text/plain;charset=UTF-8";
/// Octets of a text message or a notice.
const MAX_TEXT: usize = 16 << 10;

/// The providers of the configuration.
pub(super) struct Send {
    email: Option<Arc<Mailer>>,
    sms: Option<Arc<Sms>>,
    notify: Option<Arc<HttpTemplate>>,
    late: Late,
    allowance: Allowance,
}

/// A message over SIP as scripts describe it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SipMessage {
    to: String,
    from: Option<String>,
    text: Option<String>,
    body: Option<String>,
    content_type: Option<String>,
}

struct Sms {
    request: HttpTemplate,
    from: Option<String>,
}

/// A notice as scripts describe it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Notice {
    to: String,
    title: String,
    text: String,
}

impl Send {
    /// Providers with their templates under `scripts`.
    ///
    /// # Errors
    /// A provider's settings cannot be used.
    pub(super) fn new(config: &Config, scripts: &Path, late: &Late) -> Result<Self, String> {
        let email = config.email.as_ref().map(|email| Mailer::new(email, scripts).map(Arc::new)).transpose()?;
        let mut sms = None;
        if let Some(settings) = &config.sms {
            let request = HttpTemplate::new(&TemplateSettings {
                url: &settings.url,
                method: &settings.method,
                headers: &settings.headers,
                body: settings.body.as_deref(),
                timeout: Duration::from_millis(settings.timeout_ms.into()),
            })
            .map_err(|why| format!("[sms] {why}"))?;
            sms = Some(Arc::new(Sms { request, from: settings.from.clone() }));
        }
        let mut notify = None;
        if let Some(settings) = &config.notify {
            let request = HttpTemplate::new(&TemplateSettings {
                url: &settings.url,
                method: &settings.method,
                headers: &settings.headers,
                body: settings.body.as_deref(),
                timeout: Duration::from_millis(settings.timeout_ms.into()),
            })
            .map_err(|why| format!("[notify] {why}"))?;
            notify = Some(Arc::new(request));
        }
        let allowance = Allowance::new(config.security.messages_per_minute);
        Ok(Self { email, sms, notify, late: late.clone(), allowance })
    }

    fn email(&self, mut args: Arguments) -> HostFuture {
        let Some(mailer) = self.email.clone() else {
            return not_configured("cxSend.email", "[email] host and from");
        };
        match args.shape::<Email>("message") {
            Ok(email) => Box::pin(async move { mailer.send(email).await.map(|value| HostReply::json(&value)) }),
            Err(error) => answered(Err(error)),
        }
    }

    fn sms(&self, account: &str, mut args: Arguments) -> HostFuture {
        let provider = self.sms.clone();
        let read = (|| {
            let (to, text) = (args.text("number")?, args.text("text")?);
            let from = args.opt_text("from")?.or_else(|| provider.as_ref().and_then(|sms| sms.from.clone()));
            if to.is_empty() || !to.chars().enumerate().all(|(at, c)| c.is_ascii_digit() || (at == 0 && c == '+')) {
                return Err(args.error(ErrorCode::TypeError, format_args!("{to:?} is no telephone number")));
            }
            bounded(&args, &text)?;
            Ok((to, text, from))
        })();
        match read {
            Ok((to, text, from)) => match provider {
                Some(sms) => Box::pin(async move {
                    let from = from.unwrap_or_default();
                    let places = [Place::text("to", &to), Place::text("text", &text), Place::text("from", &from)];
                    reply("cxSend.sms", sms.request.send(&places, MAX_ANSWER).await)
                }),
                // Without a provider it goes where a call to the number would go.
                None => {
                    let content_type = PLAIN_TEXT.to_owned();
                    let message = TextMessage { to, from, content_type, body: text, account: Some(account.to_owned()) };
                    self.over_sip("cxSend.sms", account, message)
                }
            },
            Err(error) => answered(Err(error)),
        }
    }

    fn sip(&self, account: &str, mut args: Arguments) -> HostFuture {
        let read = (|| {
            let SipMessage { to, from, text, body, content_type } = args.shape("message")?;
            for (name, value) in [("to", Some(&to)), ("from", from.as_ref()), ("content_type", content_type.as_ref())] {
                if value.is_some_and(|value| value.trim().is_empty() || value.contains(char::is_control)) {
                    return Err(
                        args.error(ErrorCode::TypeError, format_args!("`{name}` must be text without control characters"))
                    );
                }
            }
            if text.is_some() && body.is_some() {
                return Err(args.error(ErrorCode::TypeError, "`text` and `body` are the same; give one of them"));
            }
            let content_type = content_type.unwrap_or_else(|| PLAIN_TEXT.to_owned());
            let body = text.or(body).unwrap_or_default();
            Ok(TextMessage { to, from, content_type, body, account: Some(account.to_owned()) })
        })();
        match read {
            Ok(message) => self.over_sip("cxSend.sip", account, message),
            Err(error) => answered(Err(error)),
        }
    }

    /// Sends a MESSAGE; the code it was taken with.
    fn over_sip(&self, label: &'static str, account: &str, message: TextMessage) -> HostFuture {
        let Some(Served { engine, .. }) = self.late.get() else {
            let why = format!("{label}: no engine runs here that could send a SIP MESSAGE; set [sms] url in lockstep.toml");
            return answered(Err(OpError::new(ErrorCode::NotConfigured, why)));
        };
        if !self.allowance.takes(account, Instant::now()) {
            let most = self.allowance.per_minute;
            let why =
                format!("{label}: the account has sent {most} messages in a minute, which [security] messages_per_minute allows");
            return answered(Err(OpError::new(ErrorCode::LimitError, why)));
        }
        Box::pin(async move {
            match engine.message(message).await {
                Ok(code) => Ok(HostReply::json(&json!({ "sent": true, "code": code }))),
                Err(error) => {
                    let code = match &error {
                        EngineError::MessageRefused { code: 513, .. } => ErrorCode::LimitError,
                        EngineError::MessageRefused { .. } => ErrorCode::NetworkError,
                        _ => ErrorCode::InvalidState,
                    };
                    Err(OpError::new(code, format!("{label}: {error}")))
                }
            }
        })
    }

    fn notify(&self, mut args: Arguments) -> HostFuture {
        let Some(request) = self.notify.clone() else { return not_configured("cxSend.notify", "[notify] url") };
        let notice = args.shape::<Notice>("notice").and_then(|notice| bounded(&args, &notice.text).map(|()| notice));
        match notice {
            Ok(notice) => Box::pin(async move {
                let places =
                    [Place::text("to", &notice.to), Place::text("title", &notice.title), Place::text("text", &notice.text)];
                reply("cxSend.notify", request.send(&places, MAX_ANSWER).await)
            }),
            Err(error) => answered(Err(error)),
        }
    }
}

impl HostService for Send {
    fn call(&self, context: &RunContext, function: &str, args: Arguments, _body: Option<Bytes>) -> HostFuture {
        match function {
            "email" => self.email(args),
            "sms" => self.sms(&context.account, args),
            "notify" => self.notify(args),
            "sip" => self.sip(&context.account, args),
            _ => no_such_function(&args),
        }
    }
}

fn bounded(args: &Arguments, text: &str) -> Result<(), OpError> {
    if text.len() <= MAX_TEXT {
        return Ok(());
    }
    Err(args.error(ErrorCode::LimitError, format_args!("the text has {} bytes, at most {MAX_TEXT} expected", text.len())))
}

/// What to set where a provider is missing.
pub(super) fn not_configured(label: &str, keys: &str) -> HostFuture {
    answered(Err(OpError::new(ErrorCode::NotConfigured, format!("{label}: set {keys} in lockstep.toml"))))
}

/// A provider's answer: JSON as it is, anything else as text.
pub(super) fn value_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&answer.body).into_owned()))
}

/// Why a provider gave no answer, as the script sees it.
pub(super) fn provider_error(label: &str, error: &TemplateError) -> OpError {
    let code = match error {
        TemplateError::TimedOut(_) => ErrorCode::TimeoutError,
        TemplateError::TooLarge(_) => ErrorCode::LimitError,
        TemplateError::Status(_) | TemplateError::Failed(_) => ErrorCode::NetworkError,
    };
    OpError::new(code, format!("{label}: the provider failed: {error}"))
}

fn reply(label: &str, answer: Result<Answer, TemplateError>) -> Result<HostReply, OpError> {
    match answer {
        Ok(answer) => Ok(HostReply::json(&json!({ "sent": true, "answer": value_of(&answer) }))),
        Err(error) => Err(provider_error(label, &error)),
    }
}
