use super::play;
use crate::js::convert::{CallArgs, Converted, Options};
use crate::op::{MAX_SPOKEN, Op, TtsArgs};

/// `tts(text, {provider, voice, language, ssml, …play options})`; `say` is the same.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let text = args.arg(0, "text").string()?;
    let options = args.options(1)?;
    let speech = read(args, text, &options)?;
    options.finish()?;
    Ok(Op::Tts(speech))
}

/// Speech with the options beside it.
pub(super) fn read(args: &CallArgs<'_, '_>, text: String, options: &Options<'_, '_>) -> Converted<TtsArgs> {
    let length = text.chars().count();
    if length > MAX_SPOKEN {
        let expected = format!("at most {MAX_SPOKEN} characters long");
        return Err(args.range_error("text", &expected, length).into());
    }
    let play = play::read_options(args, options)?;
    let ssml = options.get("ssml")?.opt_bool()?.unwrap_or_else(|| text.trim_start().starts_with("<speak"));
    Ok(TtsArgs {
        provider: options.get("provider")?.opt_text()?,
        voice: options.get("voice")?.opt_text()?,
        language: options.get("language")?.opt_text()?,
        ssml,
        play,
        text,
    })
}
