use super::play;
use crate::error::{ErrorCode, OpError};
use crate::js::convert::{CallArgs, Converted, Options};
use crate::op::{Op, TtsArgs};

/// Longest text spoken at once, in bytes: more than an hour of speech.
const MAX_TEXT: usize = 64 << 10;

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
    if text.len() > MAX_TEXT {
        let message = format!("ctx.{}: `text` has {} bytes, at most {MAX_TEXT} are spoken at once", args.operation, text.len());
        return Err(OpError::new(ErrorCode::RangeError, message).into());
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
