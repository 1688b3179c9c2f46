use rquickjs::ArrayBuffer;

use crate::error::{ErrorCode, OpError};
use crate::host::{HostCall, MAX_CALL_BYTES};
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
    let bytes = call.args.len() + call.body.as_ref().map_or(0, Vec::len);
    if bytes > MAX_CALL_BYTES {
        let message = format!("{}: the arguments take {bytes} bytes, at most {MAX_CALL_BYTES} fit", call.label());
        return Err(OpError::new(ErrorCode::LimitError, message).into());
    }
    Ok(Op::Host(call))
}
