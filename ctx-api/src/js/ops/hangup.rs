use crate::js::convert::{CallArgs, Converted};
use crate::op::{HangupArgs, Op};

/// `hangup({code, reason, headers})`; `hangup(code, reason)` too.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let hangup = if args.at(0).is_some() && !args.is_options(0) {
        HangupArgs {
            code: code(args, args.arg(0, "code").opt_integer(200..=699)?)?,
            reason: args.arg(1, "reason").opt_line()?,
            headers: Vec::new(),
        }
    } else {
        let options = args.options(0)?;
        let hangup = HangupArgs {
            code: code(args, options.get("code")?.opt_integer(200..=699)?)?,
            reason: options.get("reason")?.opt_line()?,
            headers: options.get("headers")?.headers()?,
        };
        options.finish()?;
        hangup
    };
    Ok(Op::Hangup(hangup))
}

/// A final response; 200, which a normal clearing has, says no more than nothing.
fn code(args: &CallArgs<'_, '_>, code: Option<u32>) -> Converted<Option<u16>> {
    match code {
        None | Some(200) => Ok(None),
        Some(code @ 300..) => Ok(Some(code as u16)),
        Some(other) => Err(args.range_error("code", "200 or 300 to 699", other).into()),
    }
}
