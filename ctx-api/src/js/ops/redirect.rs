use crate::js::convert::{CallArgs, Converted, refuse_breaks};
use crate::op::{Op, RedirectArgs};

/// `redirect(uri | [uris], {code = 302})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let uri = args.arg(0, "uri");
    let contacts = uri.strings()?;
    if contacts.is_empty() {
        if uri.value().is_none() {
            uri.string()?;
        }
        return Err(args.range_error("uri", "at least one URI", "none").into());
    }
    for contact in &contacts {
        refuse_breaks(args.operation, "uri", contact)?;
    }
    let options = args.options(1)?;
    let code = options.get("code")?.opt_integer(300..=399)?.unwrap_or(302);
    options.finish()?;
    Ok(Op::Redirect(RedirectArgs { code: code as u16, contacts }))
}
