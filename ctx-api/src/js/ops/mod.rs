//! One operation a file: from the arguments of a `ctx` method to an [`Op`].
//!
//! Every file has `convert`. Classic positional forms and option objects are both read; what does not fit is refused with a
//! message that names the operation, the argument, what was expected and what came.

mod answer;
mod block_dtmf;
mod bridge;
mod early_media;
mod echo;
mod fetch;
mod gather;
mod hangup;
mod header;
mod host;
mod ivr;
mod play;
mod record;
mod redirect;
mod reject;
mod ring;
mod send_dtmf;
mod set;
mod sleep;
mod tts;
mod unblock_dtmf;

use super::convert::{CallArgs, Converted};
use crate::catalog;
use crate::error::{ErrorCode, OpError};
use crate::op::Op;

/// Converts a call of the method `args.operation`.
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    match args.operation {
        "answer" => answer::convert(args),
        "blockDtmf" => block_dtmf::convert(args),
        "bridge" => bridge::convert(args),
        "earlyMedia" => early_media::convert(args),
        "echo" => echo::convert(args),
        "fetch" => fetch::convert(args),
        "gather" => gather::convert(args),
        "hangup" => hangup::convert(args),
        "header" => header::convert(args),
        "host" => host::convert(args),
        "ivr" => ivr::convert(args),
        "play" => play::convert(args),
        "record" => record::convert(args),
        "record.pause" | "record.resume" | "record.stop" => record::convert_control(args),
        "redirect" => redirect::convert(args),
        "reject" => reject::convert(args),
        "ring" => ring::convert(args),
        "sendDtmf" => send_dtmf::convert(args),
        "set" => set::convert(args),
        "sleep" => sleep::convert(args),
        "tts" | "say" => tts::convert(args),
        "unblockDtmf" => unblock_dtmf::convert(args),
        other => Err(unsupported(other).into()),
    }
}

/// For operations the catalogue knows and this engine does not carry out.
fn unsupported(operation: &str) -> OpError {
    let message = match catalog::find(operation) {
        Some(_) => format!("ctx.{operation} is not available in this version"),
        None => format!("ctx.{operation} does not exist"),
    };
    OpError::new(ErrorCode::Unsupported, message)
}
