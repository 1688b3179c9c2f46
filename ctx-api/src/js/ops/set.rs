use crate::js::convert::{CallArgs, Converted, check_header, refuse_breaks};
use crate::op::{Op, SetArgs};

/// Longest value of a call variable, in bytes.
const MAX_VALUE: usize = 64 << 10;

/// `set(key, value, skipWrite?)`; `null` and `undefined` remove the variable.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let key = args.arg(0, "key").string()?;
    refuse_breaks(args.operation, "key", &key)?;
    let value = match args.at(1) {
        None => None,
        Some(value) if value.is_string() || value.is_number() || value.is_bool() => Some(args.text(&value)?),
        Some(value) => return Err(args.type_error("value", "a string, a number or a boolean", &value).into()),
    };
    if let Some(value) = &value {
        if value.len() > MAX_VALUE {
            return Err(args.range_error("value", "at most 65536 bytes long", value.len()).into());
        }
        // Such variables become header lines of the next leg.
        if let Some(header) = key.strip_prefix("sip_h_") {
            check_header(args.operation, header, value)?;
        }
    }
    let skip_write = args.arg(2, "skipWrite").opt_bool()?.unwrap_or(false);
    Ok(Op::Set(SetArgs { key, value, skip_write }))
}
