use crate::js::convert::{CallArgs, Converted};
use crate::op::{BlockDtmfArgs, Op};

/// `blockDtmf(digits = '0123456789')`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let digits = args.arg(0, "digits").opt_digit_set()?.unwrap_or_else(|| "0123456789".to_owned());
    Ok(Op::BlockDtmf(BlockDtmfArgs { digits }))
}
