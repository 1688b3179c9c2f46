use rquickjs::Value;

use crate::js::convert::{Arg, CallArgs, Converted, Options, plain_object};
use crate::js::value::length;
use crate::op::{BridgeArgs, BridgeStrategy, BridgeTarget, ContinueOn, MAX_BRIDGE_TARGETS, Op, RING_TIME};

/// `bridge(dest | [dest…], continue_on | {…options})`. A third argument, which some scripts pass, is ignored.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let targets = targets(args)?;
    let bridge = if args.is_options(1) {
        let options = args.options(1)?;
        let bridge = read(args, targets, &options)?;
        options.finish()?;
        bridge
    } else {
        let options = args.options(usize::MAX)?;
        let classic = continue_on(args, &args.arg(1, "continue_on"))?;
        BridgeArgs { continue_on: classic, ..read(args, targets, &options)? }
    };
    Ok(Op::Bridge(bridge))
}

fn read(args: &CallArgs<'_, '_>, targets: Vec<BridgeTarget>, options: &Options<'_, '_>) -> Converted<BridgeArgs> {
    let strategy = match options.get("strategy")?.opt_text()?.as_deref() {
        None | Some("parallel") => BridgeStrategy::Parallel,
        Some("sequential") => BridgeStrategy::Sequential,
        Some(other) => {
            return Err(args.range_error("strategy", "'parallel' or 'sequential'", format_args!("'{other}'")).into());
        }
    };
    Ok(BridgeArgs {
        targets,
        strategy,
        timeout_ms: options.get("timeout_ms")?.opt_ms()?.unwrap_or(RING_TIME.as_millis() as u64),
        caller_id: options.get("caller_id")?.opt_line()?,
        from_name: options.get("from_name")?.opt_line()?,
        headers: options.get("headers")?.headers()?,
        ringback: options.get("ringback")?.opt_text()?,
        early_media: options.get("early_media")?.opt_bool()?.unwrap_or(true),
        whisper: options.get("whisper")?.opt_text()?,
        screen: options.get("screen")?.opt_text()?,
        hangup_on: options.get("hangup_on")?.opt_digit_set()?.filter(|digits| !digits.is_empty()),
        continue_on: continue_on(args, &options.get("continue_on")?)?,
        record: options.get("record")?.opt_text()?,
        codecs: options.get("codecs")?.opt_strings()?,
    })
}

fn continue_on(args: &CallArgs<'_, '_>, arg: &Arg<'_, '_>) -> Converted<ContinueOn> {
    let Some(value) = arg.value() else { return Ok(ContinueOn::Never) };
    if let Some(always) = value.as_bool() {
        return Ok(if always { ContinueOn::Always } else { ContinueOn::Never });
    }
    match arg.opt_string().ok().flatten().as_deref() {
        Some("fail") => Ok(ContinueOn::Fail),
        Some("completed") => Ok(ContinueOn::Completed),
        Some("true") => Ok(ContinueOn::Always),
        Some("false" | "") => Ok(ContinueOn::Never),
        Some(_) | None => Err(args.type_error("continue_on", "true, false, 'fail' or 'completed'", value).into()),
    }
}

fn targets(args: &CallArgs<'_, '_>) -> Converted<Vec<BridgeTarget>> {
    let Some(value) = args.at(0) else {
        args.arg(0, "destination").string()?;
        return Ok(Vec::new());
    };
    let Some(list) = value.as_array() else { return Ok(vec![target(args, &value)?]) };
    let count = length(list)?;
    if !(1.0..=MAX_BRIDGE_TARGETS as f64).contains(&count) {
        let expected = format!("1 to {MAX_BRIDGE_TARGETS} destinations");
        return Err(args.range_error("destination", &expected, count).into());
    }
    list.iter::<Value<'_>>().map(|value| target(args, &value?)).collect()
}

/// `'1001'`, `441234567890`, `'sip:…'`, or `{uri, headers, caller_id, from_name, timeout_ms}`.
fn target<'js>(args: &CallArgs<'_, 'js>, value: &Value<'js>) -> Converted<BridgeTarget> {
    let list = rquickjs::Array::new(args.ctx.clone())?;
    list.set(0, value.clone())?;
    let nested = args.nested(&list)?;
    if plain_object(value).is_none() {
        let uri = nested.arg(0, "destination");
        uri.string()?;
        return Ok(BridgeTarget { uri: uri.opt_line()?.unwrap_or_default(), ..BridgeTarget::default() });
    }
    let options = nested.options(0)?;
    let uri = options.get("uri")?;
    uri.string()?;
    Ok(BridgeTarget {
        uri: uri.opt_line()?.unwrap_or_default(),
        headers: options.get("headers")?.headers()?,
        caller_id: options.get("caller_id")?.opt_line()?,
        from_name: options.get("from_name")?.opt_line()?,
        timeout_ms: options.get("timeout_ms")?.opt_ms()?,
    })
}
