use rquickjs::Value;

use super::{ivr, play, tts};
use crate::js::convert::{Arg, CallArgs, Converted, plain_object};
use crate::op::{GatherArgs, Op, Prompt, SpeechArgs};

/// What a caller may key at most.
const MAX_DIGITS: u32 = 128;

/// `gather({prompt, min, max, terminators, timeout_ms, inter_digit_timeout_ms, regexp, tries, invalid_prompt, barge_in, flush, speech})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let options = args.options(0)?;
    let min = options.get("min")?.opt_integer(0..=MAX_DIGITS)?.unwrap_or(1);
    let max = options.get("max")?.opt_integer(0..=MAX_DIGITS)?.unwrap_or(MAX_DIGITS).max(min).max(1);
    let gather = GatherArgs {
        prompt: prompt(args, &options.get("prompt")?)?,
        invalid_prompt: prompt(args, &options.get("invalid_prompt")?)?,
        min,
        max,
        terminators: ivr::terminator_set(&options.get("terminators")?)?,
        timeout_ms: options.get("timeout_ms")?.opt_ms()?.unwrap_or(5_000),
        inter_digit_timeout_ms: options.get("inter_digit_timeout_ms")?.opt_ms()?.unwrap_or(3_000),
        regexp: options.get("regexp")?.opt_pattern()?,
        tries: options.get("tries")?.opt_integer(1..=100)?.unwrap_or(1),
        barge_in: options.get("barge_in")?.opt_bool()?.unwrap_or(true),
        flush: options.get("flush")?.opt_bool()?.unwrap_or(false),
        speech: speech(args, &options.get("speech")?)?,
    };
    options.finish()?;
    Ok(Op::Gather(gather))
}

/// A source, a list of sources, or `{tts: 'text', voice, …}`; an empty string is none.
fn prompt<'js>(args: &CallArgs<'_, 'js>, arg: &Arg<'_, 'js>) -> Converted<Option<Prompt>> {
    let Some(value) = arg.value() else { return Ok(None) };
    let Some(object) = plain_object(value) else {
        if value.is_string() && arg.opt_text()?.is_none() {
            return Ok(None);
        }
        return Ok(Some(Prompt::Play(play::sources(args, arg)?)));
    };
    let spoken: Value<'_> = object.get("tts")?;
    if spoken.is_undefined() || spoken.is_null() {
        return Err(args.type_error("prompt", "a source, a list of sources or {tts: 'text'}", value).into());
    }
    let spoken_text = args.text(&spoken)?;
    let nested = args.nested(&array_of(args, value)?)?;
    let options = nested.options(0)?;
    let speech = tts::read(&nested, spoken_text, &options)?;
    Ok(Some(Prompt::Tts(speech)))
}

/// `true`, or `{language, hints, grammar, end_silence_ms}`.
fn speech<'js>(args: &CallArgs<'_, 'js>, arg: &Arg<'_, 'js>) -> Converted<Option<SpeechArgs>> {
    let Some(value) = arg.value() else { return Ok(None) };
    match value.as_bool() {
        Some(true) => return Ok(Some(SpeechArgs::default())),
        Some(false) => return Ok(None),
        None => {}
    }
    if plain_object(value).is_none() {
        return Err(args.type_error("speech", "true or an object", value).into());
    }
    let nested = args.nested(&array_of(args, value)?)?;
    let options = nested.options(0)?;
    Ok(Some(SpeechArgs {
        language: options.get("language")?.opt_text()?,
        hints: options.get("hints")?.opt_strings()?,
        grammar: options.get("grammar")?.opt_text()?,
        end_silence_ms: options.get("end_silence_ms")?.opt_ms()?,
    }))
}

fn array_of<'js>(args: &CallArgs<'_, 'js>, value: &Value<'js>) -> rquickjs::Result<rquickjs::Array<'js>> {
    let array = rquickjs::Array::new(args.ctx.clone())?;
    array.set(0, value.clone())?;
    Ok(array)
}
