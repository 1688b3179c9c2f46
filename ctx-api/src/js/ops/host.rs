use rquickjs::ArrayBuffer;

use crate::error::{ErrorCode, OpError};
use crate::host::{HostCall, MAX_ARGS_BYTES, MAX_ARGS_VALUES, MAX_CALL_BYTES};
use crate::js::convert::{CallArgs, Converted};
use crate::op::Op;
use crate::well_formed;

/// Called by the prelude with `service, function, args, body, listens`, where `args` is JSON.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let body = match args.at(3).and_then(ArrayBuffer::from_value) {
        Some(buffer) => args.octets(&buffer)?,
        None => None,
    };
    let call = HostCall {
        service: args.arg(0, "service").string()?,
        function: args.arg(1, "function").string()?,
        args: well_formed(args.arg(2, "args").string()?),
        body,
        listens: args.arg(4, "listens").opt_bool()?.unwrap_or(false),
    };
    if call.args.len() > MAX_ARGS_BYTES {
        let message =
            format!("{}: the arguments take {} bytes as JSON, at most {MAX_ARGS_BYTES} fit", call.label(), call.args.len());
        return Err(OpError::new(ErrorCode::LimitError, message).into());
    }
    if call.args.len() > MAX_ARGS_VALUES && values(&call.args) > MAX_ARGS_VALUES {
        let message = format!("{}: the arguments hold more than {MAX_ARGS_VALUES} values", call.label());
        return Err(OpError::new(ErrorCode::LimitError, message).into());
    }
    let bytes = call.args.len() + call.body.as_ref().map_or(0, Vec::len);
    if bytes > MAX_CALL_BYTES {
        let message = format!("{}: the arguments take {bytes} bytes, at most {MAX_CALL_BYTES} fit", call.label());
        return Err(OpError::new(ErrorCode::LimitError, message).into());
    }
    Ok(Op::Host(call))
}

/// How many values JSON holds, lists and objects among them, or some more.
fn values(json: &str) -> usize {
    let (mut count, mut within_text, mut escaped) = (1, false, false);
    for byte in json.bytes() {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'"' => within_text = !within_text,
            b'\\' => escaped = within_text,
            b',' | b'[' | b'{' if !within_text => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn what_is_within_texts_is_not_counted() {
        assert_eq!(values(r#"["a,[{\",,", 1, {"b": [2, 3]}]"#), 7);
        assert_eq!(values(r#"["\\", 1]"#), 3);
    }
}
