//! Turns beside recorded ones from which secrets were taken: what a script makes itself may be hidden in those, and is not when it is made
//! again.

use lockstep_ctx_api::journal::{REDACTED, TurnRecord};
use serde_json::Value;

/// `attempted` with the texts of `recorded`, where they are the same but for what is hidden in those.
pub(super) fn hidden_alike(recorded: &TurnRecord, attempted: TurnRecord) -> TurnRecord {
    let (Ok(was), Ok(mut is)) = (serde_json::to_value(recorded), serde_json::to_value(&attempted)) else { return attempted };
    hide(&was, &mut is);
    serde_json::from_value(is).unwrap_or(attempted)
}

fn hide(recorded: &Value, attempted: &mut Value) {
    match (recorded, attempted) {
        (Value::String(was), Value::String(is)) if is_alike(was, is) => is.clone_from(was),
        (Value::Array(was), Value::Array(is)) => was.iter().zip(is).for_each(|(was, is)| hide(was, is)),
        (Value::Object(was), Value::Object(is)) => {
            is.iter_mut().for_each(|(name, is)| was.get(name).into_iter().for_each(|was| hide(was, is)));
        }
        _ => {}
    }
}

/// Whether `text` is `recorded` with anything in the places of what is hidden there.
fn is_alike(recorded: &str, text: &str) -> bool {
    let Some((before, last)) = recorded.rsplit_once(REDACTED) else { return recorded == text };
    let mut parts = before.split(REDACTED);
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_may_stand_where_something_is_hidden_and_nothing_else_may_differ() {
        let alike = |recorded| is_alike(recorded, "a=1&b=2&c=3");
        assert_eq!(
            ["[redacted]", "a=[redacted]&c=3", "a=[redacted]&b=[redacted]", "[redacted]&b=2&[redacted]"].map(alike),
            [true; 4]
        );
        assert_eq!(["a=1", "b=[redacted]", "a=[redacted]&c=4", "a=[redacted]&x=[redacted]"].map(alike), [false; 4]);
    }
}
