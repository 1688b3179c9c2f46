use crate::js::convert::{Arg, CallArgs, Converted, Options};
use crate::op::{Op, PlayArgs};

/// The volume an option takes, in dB either way: beyond it there is only silence or clipping.
const MAX_GAIN_DB: f64 = 60.0;

/// `play(source | [sources], {loop, start_ms, volume_db, stop_on})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let sources = sources(args, &args.arg(0, "source"))?;
    let options = args.options(1)?;
    let play = PlayArgs { sources, ..read_options(args, &options)? };
    options.finish()?;
    Ok(Op::Play(play))
}

/// At least one source.
pub(super) fn sources(args: &CallArgs<'_, '_>, arg: &Arg<'_, '_>) -> Converted<Vec<String>> {
    let sources = arg.strings()?;
    if sources.is_empty() {
        if arg.value().is_none() {
            arg.string()?;
        }
        return Err(args.range_error("source", "at least one source", "none").into());
    }
    Ok(sources)
}

/// The options every operation that makes sound shares.
pub(super) fn read_options(args: &CallArgs<'_, '_>, options: &Options<'_, '_>) -> Converted<PlayArgs> {
    let volume_db = options.get("volume_db")?.opt_number()?.unwrap_or(0.0);
    if !(-MAX_GAIN_DB..=MAX_GAIN_DB).contains(&volume_db) {
        return Err(args.range_error("volume_db", "-60 to 60", volume_db).into());
    }
    Ok(PlayArgs {
        sources: Vec::new(),
        repeat: repeat(&options.get("loop")?)?,
        start_ms: options.get("start_ms")?.opt_ms()?.unwrap_or(0),
        volume_db,
        stop_on: stop_on(&options.get("stop_on")?)?,
    })
}

/// `loop`: `true` or 0 for ever, a number for so many times.
fn repeat(arg: &Arg<'_, '_>) -> Converted<u32> {
    match arg.value() {
        None => Ok(1),
        Some(value) => match value.as_bool() {
            Some(endless) => Ok(u32::from(!endless)),
            None if value.as_number() == Some(f64::INFINITY) => Ok(0),
            None => Ok(arg.opt_integer(0..=1_000_000)?.unwrap_or(1)),
        },
    }
}

/// `stop_on`: digits, or `true` for any.
fn stop_on(arg: &Arg<'_, '_>) -> Converted<String> {
    match arg.value().and_then(rquickjs::Value::as_bool) {
        Some(true) => Ok("0123456789*#ABCD".to_owned()),
        Some(false) => Ok(String::new()),
        None => Ok(arg.opt_digit_set()?.unwrap_or_default()),
    }
}
