use crate::js::convert::{CallArgs, Converted};
use crate::op::{Headers, Op, RejectArgs};

/// `reject(code, reason?)`, `reject('486 Busy Here')` or `reject({code, reason, headers})`; 603 Decline unless said otherwise. Of a 3xx the reason
/// is the Contact.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let (code, reason, headers) = if args.is_options(0) {
        let options = args.options(0)?;
        let parts = (options.get("code")?.opt_string()?, options.get("reason")?.opt_line()?, options.get("headers")?.headers()?);
        options.finish()?;
        parts
    } else {
        (args.arg(0, "code").opt_string()?, args.arg(1, "reason").opt_line()?, Headers::new())
    };
    let code = code.unwrap_or_else(|| "603".to_owned());
    let (code, reason) = match (code.split_once(' '), reason) {
        (Some((digits, phrase)), None) => {
            crate::js::convert::refuse_breaks(args.operation, "code", phrase)?;
            (digits.to_owned(), Some(phrase.to_owned()))
        }
        (_, reason) => (code, reason),
    };
    match code.parse() {
        Ok(code @ 300..=699) => Ok(Op::Reject(RejectArgs { code, reason, headers })),
        Ok(_) | Err(_) => Err(args.range_error("code", "300 to 699", code.escape_default()).into()),
    }
}
