use crate::error::{ErrorCode, OpError};
use crate::js::convert::{CallArgs, Converted};
use crate::js::shared::op_id;
use crate::op::{Op, RecordAction, RecordArgs, RecordControlArgs, RecordDirection, RecordFormat};

/// `record(name, {format: 'wav' | 'ogg', stereo, direction: 'both' | 'in' | 'out'})`
pub(super) fn convert(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let name = args.arg(0, "name").string()?;
    let options = args.options(1)?;
    let format = match options.get("format")?.opt_text()?.as_deref() {
        None => RecordFormat::of(&name),
        Some("wav") => RecordFormat::Wav,
        Some("ogg") => RecordFormat::Ogg,
        Some(other) => return Err(args.range_error("format", "'wav' or 'ogg'", format_args!("'{other}'")).into()),
    };
    let direction = match options.get("direction")?.opt_text()?.as_deref() {
        None | Some("both") => RecordDirection::Both,
        Some("in") => RecordDirection::In,
        Some("out") => RecordDirection::Out,
        Some(other) => return Err(args.range_error("direction", "'both', 'in' or 'out'", format_args!("'{other}'")).into()),
    };
    let stereo = options.get("stereo")?.opt_bool()?.unwrap_or(false);
    options.finish()?;
    Ok(Op::Record(RecordArgs { name, format, stereo, direction }))
}

/// `.pause()`, `.resume()`, `.stop()` of a recording's handle, which passes the id of its `record`.
pub(super) fn convert_control(args: &CallArgs<'_, '_>) -> Converted<Op> {
    let action = match args.operation {
        "record.pause" => RecordAction::Pause,
        "record.resume" => RecordAction::Resume,
        _ => RecordAction::Stop,
    };
    let recording = args.arg(0, "recording").opt_number()?.and_then(op_id);
    let recording = recording.ok_or_else(|| OpError::new(ErrorCode::TypeError, "this is not the handle of a recording"))?;
    Ok(Op::RecordControl(RecordControlArgs { recording, action }))
}
