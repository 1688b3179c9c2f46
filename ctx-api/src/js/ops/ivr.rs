use crate::js::convert::{Arg, CallArgs, Converted, Options};
use crate::op::{IvrArgs, Op};

/// What a caller may key at most.
const MAX_DIGITS: u32 = 128;
const DEFAULT_TIMEOUT_MS: u64 = 5_000;

/// `ivr(file, timeout, min, max, terminators = '#', {tries, invalid_file, regexp, transfer_on_failure, flush})`, with the
/// timeout in seconds; or all of it in one object, with `timeout_ms`.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let ivr = if args.is_options(0) {
        let options = args.options(0)?;
        let ivr = read(
            &options,
            &options.get("file")?,
            options.get("timeout_ms")?.opt_ms()?,
            &options.get("min")?,
            &options.get("max")?,
            &options.get("terminators")?,
        )?;
        options.finish()?;
        ivr
    } else {
        let options = args.options(5)?;
        let ivr = read(
            &options,
            &args.arg(0, "file"),
            args.arg(1, "timeout").opt_seconds()?,
            &args.arg(2, "min"),
            &args.arg(3, "max"),
            &args.arg(4, "terminators"),
        )?;
        options.finish()?;
        ivr
    };
    Ok(Op::Ivr(ivr))
}

fn read(
    options: &Options<'_, '_>,
    file: &Arg<'_, '_>,
    timeout_ms: Option<u64>,
    min: &Arg<'_, '_>,
    max: &Arg<'_, '_>,
    terminators: &Arg<'_, '_>,
) -> Converted<IvrArgs> {
    let min = min.opt_integer(0..=MAX_DIGITS)?;
    // Scripts exist whose `max` is below their `min`; they mean exactly `min` digits.
    let max = max.opt_integer(0..=MAX_DIGITS)?.unwrap_or(1).max(min.unwrap_or(1)).max(1);
    Ok(IvrArgs {
        file: file.opt_text()?,
        timeout_ms: timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
        min: min.unwrap_or(1),
        max,
        terminators: terminator_set(terminators)?,
        tries: options.get("tries")?.opt_integer(1..=100)?.unwrap_or(1),
        invalid_file: options.get("invalid_file")?.opt_text()?,
        regexp: options.get("regexp")?.opt_pattern()?,
        transfer_on_failure: options.get("transfer_on_failure")?.opt_line()?.filter(|target| !target.is_empty()),
        flush: options.get("flush")?.opt_bool()?.unwrap_or(false),
    })
}

/// Digits that end the input; `'#'` unless said otherwise, `'none'` and the empty string for none.
pub(super) fn terminator_set(arg: &Arg<'_, '_>) -> Converted<String> {
    if arg.opt_string().ok().flatten().is_some_and(|given| given == "none") {
        return Ok(String::new());
    }
    Ok(arg.opt_digit_set()?.unwrap_or_else(|| "#".to_owned()))
}
