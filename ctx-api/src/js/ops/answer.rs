use crate::js::convert::{CallArgs, Converted};
use crate::op::{AnswerArgs, Op};

/// `answer({headers, codecs})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let options = args.options(0)?;
    let answer = AnswerArgs { headers: options.get("headers")?.headers()?, codecs: options.get("codecs")?.opt_strings()? };
    options.finish()?;
    Ok(Op::Answer(answer))
}
