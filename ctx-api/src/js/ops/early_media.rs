use crate::js::convert::{CallArgs, Converted};
use crate::op::Op;

/// `earlyMedia()`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    args.options(0)?.finish()?;
    Ok(Op::EarlyMedia)
}
