use crate::js::convert::{CallArgs, Converted, is_digit};
use crate::op::{DtmfMethod, MAX_DTMF_KEYS, Op, SendDtmfArgs};

/// `sendDtmf(digits, {duration_ms = 100, gap_ms = 100, method})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let given = args.arg(0, "digits").string()?;
    let digits: String = given
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .map(|digit| if digit == 'w' { digit } else { digit.to_ascii_uppercase() })
        .collect();
    if digits.is_empty()
        || digits.len() > MAX_DTMF_KEYS
        || !digits.chars().all(|digit| is_digit(digit) || matches!(digit, 'w' | 'W'))
    {
        let expected = format!("1 to {MAX_DTMF_KEYS} of 0-9 * # A-D, w and W");
        return Err(args.range_error("digits", &expected, format_args!("'{}'", given.escape_default())).into());
    }
    let options = args.options(1)?;
    let method = options.get("method")?;
    let method = match method.opt_text()?.as_deref() {
        None => None,
        Some("rfc4733" | "rfc2833") => Some(DtmfMethod::Rfc4733),
        Some("info") => Some(DtmfMethod::Info),
        Some("inband") => Some(DtmfMethod::Inband),
        Some(other) => return Err(args.range_error("method", "'rfc4733', 'info' or 'inband'", format_args!("'{other}'")).into()),
    };
    let dtmf = SendDtmfArgs {
        digits,
        duration_ms: options.get("duration_ms")?.opt_integer(10..=60_000)?.unwrap_or(100),
        gap_ms: options.get("gap_ms")?.opt_integer(0..=60_000)?.unwrap_or(100),
        method,
    };
    options.finish()?;
    Ok(Op::SendDtmf(dtmf))
}
