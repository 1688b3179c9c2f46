//! Between JavaScript values and the vocabulary.

use rquickjs::object::Property;
use rquickjs::{Array, ArrayBuffer, Ctx, IntoJs, Object, Value, qjs};

use super::globals::{self, Intrinsic};
use crate::error::CallEndedCause;
use crate::event::{CallFacts, Event};
use crate::host::HostReply;
use crate::op::DtmfMethod;
use crate::outcome::{BridgeStatus, CollectStatus, GatherVia, Outcome, PlayReason, Played};
use crate::wire::CallStart;

/// The value as JavaScript's `String(value)` shows it; lone surrogates become replacement characters.
///
/// # Errors
/// Whatever a `toString` of the script's throws; a symbol.
pub(super) fn text<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> rquickjs::Result<String> {
    let raw = ctx.as_raw().as_ptr();
    let mut length = 0;
    // SAFETY: the returned buffer holds `length` bytes until it is freed, once, below.
    unsafe {
        let bytes = qjs::JS_ToCStringLen2(raw, &raw mut length, value.as_raw(), false);
        if bytes.is_null() {
            return Err(rquickjs::Error::Exception);
        }
        let shown = well_formed(std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize));
        qjs::JS_FreeCString(raw, bytes);
        Ok(shown)
    }
}

/// How many elements a list has. `Array::len`, which `Array::iter` asks too, takes for granted that they are fewer than 2^31.
pub(super) fn length(list: &Array<'_>) -> rquickjs::Result<f64> {
    let length: Value<'_> = list.as_object().get("length")?;
    Ok(length.as_number().unwrap_or(f64::INFINITY))
}

/// QuickJS writes half of a surrogate pair as if it were a character (WTF-8).
fn well_formed(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let (mut text, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some((first, others)) = rest.split_first() {
        rest = match rest {
            [0xed, 0xa0..=0xbf, _, after @ ..] => {
                text.extend_from_slice("\u{fffd}".as_bytes());
                after
            }
            _ => {
                text.push(*first);
                others
            }
        };
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What an operation's promise resolves with.
pub(super) fn outcome<'js>(ctx: &Ctx<'js>, outcome: Outcome) -> rquickjs::Result<Value<'js>> {
    let object = Object::new(ctx.clone())?;
    match outcome {
        Outcome::Unit => return Ok(Value::new_undefined(ctx.clone())),
        Outcome::Played(Played { played_ms, reason, digit }) => {
            object.set("played_ms", number(played_ms))?;
            object.set(
                "reason",
                match reason {
                    PlayReason::Completed => "completed",
                    PlayReason::Dtmf => "dtmf",
                },
            )?;
            object.set("digit", digit.map(String::from))?;
        }
        Outcome::Ivr(result) => {
            object.set("status", collect_status(result.status))?;
            object.set("value", result.value)?;
        }
        Outcome::Gathered(result) => {
            object.set("status", collect_status(result.status))?;
            object.set(
                "via",
                match result.via {
                    GatherVia::Dtmf => "dtmf",
                    GatherVia::Speech => "speech",
                },
            )?;
            object.set("value", result.value)?;
            object.set("digits", result.digits)?;
            object.set("terminator", result.terminator.map(String::from))?;
            if let Some(speech) = result.speech {
                let heard = Object::new(ctx.clone())?;
                heard.set("text", speech.text)?;
                heard.set("confidence", speech.confidence)?;
                object.set("speech", heard)?;
            }
        }
        Outcome::Recording { file } => object.set("file", file)?,
        Outcome::Recorded { file, duration_ms } => {
            object.set("file", file)?;
            object.set("duration_ms", number(duration_ms))?;
        }
        Outcome::Bridged(result) => {
            object.set(
                "status",
                match result.status {
                    BridgeStatus::Completed => "completed",
                    BridgeStatus::Busy => "busy",
                    BridgeStatus::NoAnswer => "no-answer",
                    BridgeStatus::Failed => "failed",
                    BridgeStatus::Cancelled => "cancelled",
                },
            )?;
            object.set("code", result.code)?;
            object.set("reason", result.reason)?;
            object.set("duration_ms", number(result.duration_ms))?;
            object.set("bleg", result.bleg)?;
        }
        Outcome::Fetched(response) => {
            object.set("status", response.status)?;
            object.set("statusText", response.status_text)?;
            object.set("url", response.url)?;
            object.set("redirected", response.redirected)?;
            let headers: Vec<Vec<String>> = response.headers.into_iter().map(|(name, value)| vec![name, value]).collect();
            object.set("headers", headers)?;
            globals::ensure(ctx, Intrinsic::Binary)?;
            object.set("body", ArrayBuffer::new_copy(ctx.clone(), response.body)?)?;
        }
        Outcome::Host(HostReply { value, body }) => {
            let value = if value.is_empty() { Value::new_undefined(ctx.clone()) } else { ctx.json_parse(value)? };
            let Some(body) = body else { return Ok(value) };
            object.set("value", value)?;
            globals::ensure(ctx, Intrinsic::Binary)?;
            object.set("body", ArrayBuffer::new_copy(ctx.clone(), body)?)?;
        }
    }
    Ok(object.into_value())
}

/// An event as its listeners get it; `None` for a change of facts, which has none.
pub(super) fn event<'js>(ctx: &Ctx<'js>, event: &Event) -> rquickjs::Result<Option<Object<'js>>> {
    let object = Object::new(ctx.clone())?;
    let Some(name) = event.name() else { return Ok(None) };
    object.set("type", name)?;
    match event {
        Event::Dtmf { digit, duration_ms, method } => {
            object.set("digit", String::from(*digit))?;
            object.set("duration_ms", *duration_ms)?;
            object.set(
                "method",
                match method {
                    DtmfMethod::Rfc4733 => "rfc4733",
                    DtmfMethod::Info => "info",
                    DtmfMethod::Inband => "inband",
                },
            )?;
        }
        Event::Bridge { bleg } | Event::Unbridge { bleg } => object.set("bleg", bleg.as_str())?,
        Event::MediaTimeout { silent_ms, bleg } => {
            object.set("silent_ms", number(*silent_ms))?;
            if let Some(bleg) = bleg {
                object.set("bleg", bleg.as_str())?;
            }
        }
        Event::Hold | Event::Unhold | Event::Facts(_) => {}
    }
    Ok(Some(object))
}

/// `{code, reason, by}`
pub(super) fn cause<'js>(ctx: &Ctx<'js>, cause: &CallEndedCause) -> rquickjs::Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    object.set("code", cause.code)?;
    object.set("reason", cause.reason.as_str())?;
    object.set("by", cause.by.name())?;
    Ok(object)
}

/// What `ctx.call` shows.
pub(super) fn facts<'js>(ctx: &Ctx<'js>, facts: &CallFacts) -> rquickjs::Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    object.set("id", facts.id.as_str())?;
    object.set("direction", facts.direction.as_str())?;
    object.set("from", facts.from.as_str())?;
    object.set("to", facts.to.as_str())?;
    object.set("did", facts.did.as_deref())?;
    object.set("customer_id", facts.customer_id.map(|id| id as f64))?;
    object.set("state", facts.state.name())?;
    object.set("started_at", number(facts.started_at))?;
    object.set("answered_at", facts.answered_at.map(number))?;
    object.set("codec", facts.codec.as_deref())?;
    object.set("remote_addr", facts.remote_addr.as_str())?;
    Ok(object)
}

/// What the script of a call gets: facts, header fields, of which the first counts, and `vars`, which is JSON. In the order of names.
pub(super) fn data_of<'js>(ctx: &Ctx<'js>, call: &CallStart, vars: &str) -> rquickjs::Result<Object<'js>> {
    let mut fields: Vec<_> = call.headers.iter().collect();
    fields.sort_by(|(name, _), (other, _)| name.cmp(other));
    fields.dedup_by(|(name, _), (first, _)| name == first);
    let headers = Object::new(ctx.clone())?;
    for (name, value) in fields {
        // Not `set`: a device may call a field `__proto__`.
        headers.prop(name.as_str(), Property::from(value.as_str()).configurable().enumerable().writable())?;
    }
    let facts = &call.facts;
    let data = Object::new(ctx.clone())?;
    data.set("call_id", facts.id.as_str())?;
    let null = || Value::new_null(ctx.clone());
    data.set("customer_id", facts.customer_id.map_or_else(null, |id| Value::new_number(ctx.clone(), id as f64)))?;
    data.set("did", facts.did.as_deref().map_or_else(|| Ok(null()), |did| did.into_js(ctx))?)?;
    data.set("direction", facts.direction.as_str())?;
    data.set("from", facts.from.as_str())?;
    data.set("headers", headers)?;
    data.set("to", facts.to.as_str())?;
    data.set("vars", if vars == "{}" { Object::new(ctx.clone())?.into_value() } else { ctx.json_parse(vars)? })?;
    Ok(data)
}

/// A count as JavaScript counts; exact below 2^53.
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

pub(super) fn difference(ms: i64) -> f64 {
    ms as f64
}

fn collect_status(status: CollectStatus) -> &'static str {
    match status {
        CollectStatus::Success => "success",
        CollectStatus::Timeout => "timeout",
        CollectStatus::Invalid => "invalid",
    }
}
