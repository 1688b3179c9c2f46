use crate::js::convert::{CallArgs, Converted};
use crate::op::{Op, SleepArgs};

/// `sleep(ms, {signal})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let ms = args.arg(0, "ms");
    let duration_ms = match ms.opt_ms()? {
        Some(duration_ms) => duration_ms,
        None => {
            return Err(args
                .type_error("ms", "a number of milliseconds", &rquickjs::Value::new_undefined(args.ctx.clone()))
                .into());
        }
    };
    args.options(1)?.finish()?;
    Ok(Op::Sleep(SleepArgs { duration_ms }))
}
