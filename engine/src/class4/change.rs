//! What a routing script did to its object (contract, section 4).

use serde_json::{Map, Value};

/// Lists that stand both at the top and under `routing`.
const TWICE: [&str; 3] = ["egress_routing", "headers", "remove_headers"];
/// Names that only `routing` itself has: an object with one of them is `data.routing` returned bare.
const ROUTING_ONLY: [&str; 6] = ["callid", "callidb", "dest_number", "account_id", "params", "ou"];

/// What a script returned, made whole: both spellings of a list agree, and `routing` is there. Of two spellings the one that was
/// changed counts; of two changed ones the one at the top.
///
/// # Errors
/// It is no object.
pub(super) fn normalise(before: &Value, after: Value) -> Result<Value, String> {
    let mut after = match after {
        Value::Null => return Ok(before.clone()),
        Value::Object(after) => after,
        other => return Err(format!("the routing script returned {}, expected the routing object", kind(&other))),
    };
    if !after.get("routing").is_some_and(Value::is_object) {
        let is_bare = ROUTING_ONLY.iter().any(|name| after.contains_key(*name));
        let (whole, routing) = if is_bare {
            let mut whole = before.as_object().cloned().unwrap_or_default();
            whole.remove("routing");
            (whole, Value::Object(after))
        } else {
            after.remove("routing");
            (after, before.get("routing").cloned().unwrap_or_else(|| Value::Object(Map::new())))
        };
        after = whole;
        after.insert("routing".to_owned(), routing);
    }
    for name in TWICE {
        let was = |value: Option<&Value>| value.cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        let (top_before, inner_before) = (before.get(name), before.pointer(&format!("/routing/{name}")));
        let top = after.get(name);
        let inner = after.get("routing").and_then(|routing| routing.get(name));
        let counts = match (top, inner) {
            (Some(top), _) if *top != was(top_before.or(inner_before)) => Some(top),
            (_, Some(inner)) if *inner != was(inner_before.or(top_before)) => Some(inner),
            (top, inner) => top.or(inner),
        };
        let counts = counts.filter(|list| list.is_array()).cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        if let Some(Value::Object(routing)) = after.get_mut("routing") {
            routing.insert(name.to_owned(), counts.clone());
        }
        after.insert(name.to_owned(), counts);
    }
    Ok(Value::Object(after))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn before() -> Value {
        json!({ "egress_routing": [1, 2], "headers": [], "remove_headers": [], "x": 1,
                "routing": { "callid": "a", "egress_routing": [1, 2], "headers": [], "remove_headers": [] } })
    }

    fn rows(after: Value) -> Value {
        let data = normalise(&before(), after).unwrap();
        assert_eq!(data["egress_routing"], data["routing"]["egress_routing"]);
        data["egress_routing"].clone()
    }

    #[test]
    fn the_spelling_that_was_changed_counts() {
        let with = |top: Value, inner: Value| json!({ "egress_routing": top, "routing": { "egress_routing": inner } });
        assert_eq!(rows(with(json!([2]), json!([1, 2]))), json!([2]));
        assert_eq!(rows(with(json!([1, 2]), json!([2]))), json!([2]));
        assert_eq!(rows(with(json!([3]), json!([2]))), json!([3]), "of two changes the one at the top");
        assert_eq!(rows(with(json!([1, 2]), json!([1, 2]))), json!([1, 2]));
        assert_eq!(rows(with(json!([]), json!([1, 2]))), json!([]), "all rows removed");
    }

    #[test]
    fn a_bare_routing_object_and_a_part_of_the_whole_are_understood() {
        assert_eq!(rows(json!({ "callid": "a", "egress_routing": [2] })), json!([2]));
        assert_eq!(rows(json!({ "egress_routing": [2] })), json!([2]));
        let bare = normalise(&before(), json!({ "callid": "b" })).unwrap();
        assert_eq!((&bare["x"], &bare["routing"]["callid"]), (&json!(1), &json!("b")));
        assert_eq!(normalise(&before(), Value::Null).unwrap(), before());
    }

    #[test]
    fn missing_lists_are_empty_and_other_things_no_lists() {
        let empty = normalise(&json!({ "routing": {} }), json!({ "routing": {} })).unwrap();
        assert_eq!(empty["routing"], json!({ "egress_routing": [], "headers": [], "remove_headers": [] }));
        assert_eq!(rows(json!({ "routing": { "egress_routing": "x" } , "egress_routing": 7 })), json!([]));
        for other in [json!(1), json!("x"), json!([]), json!(true)] {
            assert!(normalise(&before(), other).is_err());
        }
    }
}
