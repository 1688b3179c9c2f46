//! From a thrown JavaScript value to a [`ScriptError`].

use std::sync::Arc;

use rquickjs::{Array, Ctx, Object, Value};

use super::value::{length, text};
use crate::wire::{Location, ScriptError, ScriptErrorKind};

/// Longest message kept, in bytes.
const MAX_MESSAGE: usize = 8 << 10;
/// Most stack frames kept.
const MAX_FRAMES: usize = 32;
/// Most causes shown of an error, each the cause of the one before.
const MAX_CAUSES: usize = 3;
/// Most errors that are looked at in an `AggregateError`: as many operations may be pending at once.
const MAX_ERRORS: f64 = 10_000.0;
/// What stands for the file of the runtime's own code, which has no debug information.
const INTERNAL: &str = "<null>";
/// What stands for the file of a text given to `JSON.parse`.
const TEXT: &str = "<input>";

/// Takes the pending exception of `ctx`.
pub(super) fn caught(ctx: &Ctx<'_>, kind: ScriptErrorKind) -> ScriptError {
    let value = ctx.catch();
    describe(ctx, &value, kind)
}

/// Describes a thrown or rejected value. `kind` is what it is unless the value itself says more.
pub(super) fn describe<'js>(ctx: &Ctx<'js>, value: &Value<'js>, kind: ScriptErrorKind) -> ScriptError {
    if let Some(array) = value.as_array() {
        return from_pair(ctx, array, kind);
    }
    if let Some(object) = value.as_object() {
        return from_object(ctx, object, kind);
    }
    let plain = text(ctx, value).unwrap_or_else(|_| {
        ctx.catch();
        "a value that cannot be shown".to_owned()
    });
    let sip = match value.as_int() {
        Some(code) => u16::try_from(code).ok().filter(|code| is_sip(*code)).map(|code| (code, String::new())),
        None => sip_reply(&plain),
    };
    let message = if value.is_undefined() || value.is_null() {
        format!("`{plain}` was thrown, or a promise rejected with it: there is no error to tell of")
    } else {
        shortened(plain)
    };
    ScriptError { sip, kind, message, at: None, stack: Vec::new() }
}

/// `[604, 'Number on DNC List']`
fn from_pair<'js>(ctx: &Ctx<'js>, array: &Array<'js>, kind: ScriptErrorKind) -> ScriptError {
    let part = |index| {
        let part = array
            .get::<Value<'js>>(index)
            .and_then(|value| if value.is_undefined() || value.is_null() { Ok(String::new()) } else { text(ctx, &value) });
        part.unwrap_or_else(|_| {
            ctx.catch();
            String::new()
        })
    };
    let (code, reason) = (part(0), part(1));
    let sip = code.parse().ok().filter(|code| is_sip(*code)).map(|code| (code, shortened(reason.clone())));
    ScriptError { sip, kind, message: shortened(format!("{code} {reason}")), at: None, stack: Vec::new() }
}

fn from_object<'js>(ctx: &Ctx<'js>, object: &Object<'js>, kind: ScriptErrorKind) -> ScriptError {
    let name = field(ctx, object, "name");
    let message = field(ctx, object, "message");
    let stack = field(ctx, object, "stack").map(|stack| frames(&stack)).unwrap_or_default();
    let kind = match (name.as_deref(), message.as_deref()) {
        (Some("CallEnded"), _) => ScriptErrorKind::CallEnded,
        (Some("AggregateError"), _) if are_ends(ctx, object) => ScriptErrorKind::CallEnded,
        (Some("RangeError"), Some("Maximum call stack size exceeded")) => ScriptErrorKind::StackLimit,
        _ => match field(ctx, object, "code").as_deref() {
            Some("MODULE_NOT_FOUND") => ScriptErrorKind::Load,
            Some("NO_FUNCTION") => ScriptErrorKind::NoFunction,
            _ => kind,
        },
    };
    let sip = message.as_deref().and_then(sip_reply);
    let shown = match message {
        // Its cause is that of the call's end.
        Some(message) if kind == ScriptErrorKind::CallEnded => head(name, message),
        Some(message) => with_cause(ctx, head(name, message), object, MAX_CAUSES),
        None => json(ctx, object),
    };
    ScriptError {
        sip,
        kind,
        message: shortened(shown),
        at: stack.iter().find_map(|(_, at)| at.clone()),
        stack: stack.into_iter().map(|(frame, _)| frame).collect(),
    }
}

fn field<'js>(ctx: &Ctx<'js>, object: &Object<'js>, name: &str) -> Option<String> {
    let value = object.get::<_, Value<'js>>(name);
    let shown = value.and_then(|value| if value.is_undefined() { Ok(None) } else { text(ctx, &value).map(Some) });
    shown.unwrap_or_else(|_| {
        ctx.catch();
        None
    })
}

fn head(name: Option<String>, message: String) -> String {
    match name {
        Some(name) if message.is_empty() => name,
        Some(name) => format!("{name}: {message}"),
        None => message,
    }
}

/// `TypeError: fetch failed (cause: NetworkError: connection refused)`; clients of packages repeat the cause's message in their own.
fn with_cause<'js>(ctx: &Ctx<'js>, shown: String, error: &Object<'js>, most: usize) -> String {
    let Ok(cause) = error.get::<_, Value<'js>>("cause") else {
        ctx.catch();
        return shown;
    };
    let (message, object) = match cause.as_object() {
        Some(object) => (field(ctx, object, "message"), Some(object)),
        None => (cause.is_string().then(|| text(ctx, &cause).unwrap_or_default()), None),
    };
    let Some(message) = message.filter(|message| most > 0 && !shown.contains(message.as_str())) else { return shown };
    let cause = match object {
        Some(object) => with_cause(ctx, shortened(head(field(ctx, object, "name"), message)), object, most - 1),
        None => shortened(message),
    };
    format!("{shown} (cause: {cause})")
}

/// Whether an `AggregateError` is of nothing but ends of the call, as when one waits for any of several keys.
fn are_ends<'js>(ctx: &Ctx<'js>, error: &Object<'js>) -> bool {
    let name = |error: Object<'js>| error.get::<_, String>("name");
    let ends = error.get::<_, Array<'js>>("errors").and_then(|errors| {
        if !(1.0..=MAX_ERRORS).contains(&length(&errors)?) {
            return Ok(false);
        }
        let names = errors.iter::<Object<'js>>().map(|error| error.and_then(name)).collect::<rquickjs::Result<Vec<_>>>()?;
        Ok(names.iter().all(|name| name == "CallEnded"))
    });
    ends.unwrap_or_else(|_| {
        ctx.catch();
        false
    })
}

fn json<'js>(ctx: &Ctx<'js>, object: &Object<'js>) -> String {
    let shown = ctx.json_stringify(object.clone()).and_then(|shown| shown.map(|shown| shown.to_string()).transpose());
    match shown {
        Ok(Some(shown)) => shown,
        Ok(None) | Err(_) => {
            ctx.catch();
            "an object without a message".to_owned()
        }
    }
}

fn is_sip(code: u16) -> bool {
    (300..=699).contains(&code)
}

/// `404 Not Found` → a SIP reply: three digits 300–699 and a space.
fn sip_reply(message: &str) -> Option<(u16, String)> {
    let (code, reason) = message.split_once(' ')?;
    if code.len() != 3 {
        return None;
    }
    let code = code.parse().ok().filter(|code| is_sip(*code))?;
    Some((code, shortened(reason.to_owned())))
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push('…');
    }
    message
}

/// Where the script itself stood: the innermost frame that is its own.
pub(super) fn call_site(stack: &str) -> Option<Location> {
    stack.lines().find_map(|line| frame(line).and_then(|(_, at)| at))
}

/// A captured stack; a script that replaced `Error.prepareStackTrace` may have made something else of it.
pub(super) fn stack_text<'js>(ctx: &Ctx<'js>, stack: &Value<'js>) -> String {
    if stack.is_string() { text(ctx, stack).unwrap_or_default() } else { String::new() }
}

/// The script's own frames, innermost first.
fn frames(stack: &str) -> Vec<(String, Option<Location>)> {
    stack.lines().filter_map(frame).take(MAX_FRAMES).collect()
}

/// `    at name (file:line:column)`, or `    at file:line:column` for a syntax error.
fn frame(line: &str) -> Option<(String, Option<Location>)> {
    let shown = line.trim_start().strip_prefix("at ")?;
    let place = match shown.rsplit_once(" (") {
        Some((_, place)) => place.strip_suffix(')')?,
        None => shown,
    };
    if place == "native" || place == "missing" || place.starts_with(INTERNAL) {
        return None;
    }
    let mut parts = place.rsplitn(3, ':');
    let (column, row, file) = (parts.next()?.parse().ok(), parts.next().and_then(|row| row.parse().ok()), parts.next());
    let at = match (file, row, column) {
        (Some(file), Some(line), Some(column)) if file != TEXT => Some(Location { file: Arc::from(file), line, column }),
        _ => None,
    };
    Some((shown.to_owned(), at))
}
