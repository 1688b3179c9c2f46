use crate::js::convert::{CallArgs, Converted};
use crate::op::{HangupArgs, Op};

/// `hangup({code, reason, headers})`; `hangup(code, reason)` too.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let hangup = if args.at(0).is_some() && !args.is_options(0) {
        HangupArgs {
            code: args.arg(0, "code").opt_integer(200..=699)?.map(|code| code as u16),
            reason: args.arg(1, "reason").opt_line()?,
            headers: Vec::new(),
        }
    } else {
        let options = args.options(0)?;
        let hangup = HangupArgs {
            code: options.get("code")?.opt_integer(200..=699)?.map(|code| code as u16),
            reason: options.get("reason")?.opt_line()?,
            headers: options.get("headers")?.headers()?,
        };
        options.finish()?;
        hangup
    };
    Ok(Op::Hangup(hangup))
}
