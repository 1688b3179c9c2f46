use crate::js::convert::{CallArgs, Converted};
use crate::op::{EchoArgs, Op};

/// The delay line is memory: no more than ten seconds of it.
const MAX_DELAY_MS: u32 = 10_000;

/// `echo(delay_ms = 0, {signal})` or `echo({delay_ms, signal})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let delay_ms = if args.is_options(0) {
        let options = args.options(0)?;
        let delay_ms = options.get("delay_ms")?.opt_integer(0..=MAX_DELAY_MS)?;
        options.finish()?;
        delay_ms
    } else {
        args.options(1)?.finish()?;
        args.arg(0, "delay_ms").opt_integer(0..=MAX_DELAY_MS)?
    };
    Ok(Op::Echo(EchoArgs { delay_ms: delay_ms.unwrap_or(0) }))
}
