use rquickjs::Value;

use crate::js::convert::{CallArgs, Converted, check_header};
use crate::op::{Op, SetHeaderArgs};

/// `header(name, value)`; reading (`header(name)`) never comes here.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let name = args.arg(0, "name").string()?;
    let value = match args.at(1).filter(Value::is_bool) {
        Some(value) => args.text(&value)?,
        None => args.arg(1, "value").opt_string()?.unwrap_or_default(),
    };
    check_header(args.operation, &name, &value)?;
    Ok(Op::SetHeader(SetHeaderArgs { name, value }))
}
