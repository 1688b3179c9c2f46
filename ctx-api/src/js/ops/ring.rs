use crate::js::convert::{CallArgs, Converted};
use crate::op::{Op, RingArgs};

/// `ring({headers})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let options = args.options(0)?;
    let ring = RingArgs { headers: options.get("headers")?.headers()? };
    options.finish()?;
    Ok(Op::Ring(ring))
}
