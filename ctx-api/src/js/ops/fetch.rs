use rquickjs::{ArrayBuffer, Value};

use crate::error::{ErrorCode, OpError};
use crate::js::convert::{CallArgs, Converted};
use crate::op::{FetchArgs, FetchRedirect, Op};

/// Called by the prelude's `fetch` with one normalised object: `{method, url, headers: [[name, value]], body, redirect}`.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let options = args.options(0)?;
    let body = options.get("body")?;
    let body = match body.value().cloned().and_then(ArrayBuffer::from_value) {
        Some(buffer) => args.octets(&buffer)?,
        None => None,
    };
    let redirect = match options.get("redirect")?.opt_string()?.as_deref() {
        None | Some("follow") => FetchRedirect::Follow,
        Some("manual") => FetchRedirect::Manual,
        Some("error") => FetchRedirect::Error,
        Some(other) => {
            let message = format!("fetch: `redirect` must be 'follow', 'manual' or 'error', got '{other}'");
            return Err(OpError::new(ErrorCode::TypeError, message).into());
        }
    };
    Ok(Op::Fetch(FetchArgs {
        method: options.get("method")?.string()?,
        url: options.get("url")?.string()?,
        headers: options.get("headers")?.header_fields()?,
        body,
        redirect,
        timeout_ms: options.get("timeout_ms")?.value().and_then(Value::as_number).map(|ms| ms.max(0.0) as u64),
    }))
}
