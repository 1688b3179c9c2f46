//! Journals of former versions of the prelude: what reads otherwise in them, and tells nothing of what the script did.

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::wire::RunState;
use serde_json::Value;

/// Errors have their causes, and redacted texts of JSON the order of their fields, from this version of the prelude on.
const FAITHFUL: u32 = 6;

/// What `exit` was given in a call is no part of how it ended from this version of the prelude on.
const WITHOUT_RESULT: u32 = 8;

/// Whether the texts of a journal are those of former versions.
pub(super) fn is_former(journal: &Journal) -> bool {
    journal.header.run.prelude < FAITHFUL
}

/// Takes an uncaught error for the recorded one where it is of the same kind and asks for the same reply; and any result of a call's
/// script for the recorded one.
pub(super) fn overlook(journal: &Journal, recorded: &RunState, attempted: &mut RunState) {
    if let (RunState::Failed(was), RunState::Failed(is)) = (recorded, &mut *attempted)
        && is_former(journal)
        && (was.kind, &was.sip) == (is.kind, &is.sip)
    {
        *is = was.clone();
    }
    if let (RunState::Finished { result: was }, RunState::Finished { result: is }) = (recorded, &mut *attempted)
        && journal.header.run.prelude < WITHOUT_RESULT
        && journal.start.call.is_some()
    {
        is.clone_from(was);
    }
}

/// JSON with every text of JSON in it as redaction wrote it: fields by their names, without white space. `None`: it is no JSON.
pub(super) fn in_order(text: &str) -> Option<String> {
    let mut value = serde_json::from_str(text).ok()?;
    order(&mut value);
    Some(value.to_string())
}

fn order(value: &mut Value) {
    match value {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            if let Some(ordered) = in_order(text) {
                *text = ordered;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(order),
        Value::Object(fields) => fields.values_mut().for_each(order),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
