use crate::js::convert::{CallArgs, Converted};
use crate::op::Op;

/// `unblockDtmf()`
pub(super) fn convert(_args: &CallArgs<'_, '_>) -> Converted<Op> {
    Ok(Op::UnblockDtmf)
}
