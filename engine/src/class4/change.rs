//! The routing object as text, and what a script did to it (contract, section 4).
//!
//! It goes from hand to hand: from a caller to a script, from there to the next one, and back. Only its outermost members and those of
//! `routing` are told apart; the rest is copied as it stands.

use std::collections::BTreeMap;

use lockstep_ctx_api::js::json_members;
use serde_json::Value;

use super::Rejection;

/// Lists that stand both at the top and under `routing`.
const TWICE: [&str; 3] = ["egress_routing", "headers", "remove_headers"];
/// Names that only `routing` itself has: an object with one of them is `data.routing` returned bare.
const ROUTING_ONLY: [&str; 6] = ["callid", "callidb", "dest_number", "account_id", "params", "ou"];

/// JSON of members by their names.
type Members = BTreeMap<String, String>;

/// A routing object that is whole: both spellings of a list agree, and `routing` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoutingObject {
    /// All but `routing`.
    top: Members,
    routing: Members,
}

impl RoutingObject {
    /// What somebody made of `before`. Of two spellings of a list the one that was changed counts; of two changed ones the one at
    /// the top.
    ///
    /// # Errors
    /// It is no object.
    pub(super) fn changed(before: &Self, after: &str) -> Result<Self, String> {
        if after.trim() == "null" {
            return Ok(before.clone());
        }
        Self::parts(before, after).map(|changed| changed.agreeing(before))
    }

    /// The members of what somebody made of `before`.
    fn parts(before: &Self, after: &str) -> Result<Self, String> {
        let mut top =
            read(after).ok_or_else(|| format!("the routing script returned {}, expected the routing object", kind(after)))?;
        let inner = top.remove("routing").and_then(|routing| read(&routing));
        Ok(match inner {
            Some(routing) => Self { top, routing },
            None if ROUTING_ONLY.iter().any(|name| top.contains_key(*name)) => Self { top: before.top.clone(), routing: top },
            None => Self { top, routing: before.routing.clone() },
        })
    }

    /// Both spellings of each list as the one that counts.
    fn agreeing(mut self, before: &Self) -> Self {
        for name in TWICE {
            let list = self.list_that_counts(before, name).filter(|list| list.starts_with('[')).unwrap_or("[]").to_owned();
            self.set_list(name, list);
        }
        self
    }

    fn list_that_counts(&self, before: &Self, name: &str) -> Option<&str> {
        let (top_before, inner_before) = (before.top.get(name), before.routing.get(name));
        let (top, inner) = (self.top.get(name), self.routing.get(name));
        let counts = match (top, inner) {
            (Some(list), _) if !is_same(list, top_before.or(inner_before)) => top,
            (_, Some(list)) if !is_same(list, inner_before.or(top_before)) => inner,
            (top, inner) => top.or(inner),
        };
        counts.map(String::as_str)
    }

    /// Sets a list in both of its places.
    pub(super) fn set_list(&mut self, name: &str, list: String) {
        self.routing.insert(name.to_owned(), list.clone());
        self.top.insert(name.to_owned(), list);
    }

    /// JSON of a member of `routing`.
    pub(crate) fn routing(&self, name: &str) -> Option<&str> {
        self.routing.get(name).map(String::as_str)
    }

    /// The customer whose call it is.
    pub(crate) fn account(&self) -> Option<i64> {
        self.routing("account_id")?.parse().ok()
    }

    /// Sets a member of `routing`, as JSON.
    pub(super) fn set_routing(&mut self, name: &str, json: String) {
        self.routing.insert(name.to_owned(), json);
    }

    /// Whether there is a member of that name at the top.
    pub(super) fn has(&self, name: &str) -> bool {
        name == "routing" || self.top.contains_key(name)
    }

    /// Sets a member at the top, as JSON.
    pub(super) fn set(&mut self, name: &str, json: String) {
        self.top.insert(name.to_owned(), json);
    }

    /// The whole of it as JSON.
    pub(crate) fn print(&self) -> String {
        let mut routing = String::new();
        print(&self.routing, &mut routing);
        let mut whole = String::with_capacity(routing.len() * 2);
        let mut all: Vec<(&str, &str)> = self.top.iter().map(|(name, json)| (name.as_str(), json.as_str())).collect();
        all.push(("routing", &routing));
        all.sort_unstable();
        print_all(all.into_iter(), &mut whole);
        whole
    }
}

/// A routing object as somebody else laid it out.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) object: RoutingObject,
    /// It says something of `egress_routing`; otherwise it gets the rows of our own routes.
    pub(super) has_rows: bool,
}

impl Given {
    /// Reads its text.
    ///
    /// # Errors
    /// It is no object.
    pub(crate) fn read(text: &str) -> Result<Self, Rejection> {
        let before = RoutingObject::default();
        let given = RoutingObject::parts(&before, text)
            .map_err(|_| Rejection::new(400, "Bad Request").because("expected the routing object"))?;
        let has_rows = [&given.top, &given.routing].iter().any(|members| members.contains_key("egress_routing"));
        Ok(Self { object: given.agreeing(&before), has_rows })
    }
}

impl From<&Value> for RoutingObject {
    /// An object that is whole.
    fn from(value: &Value) -> Self {
        let members = |value: Option<&Value>| -> Members {
            let members = value.and_then(Value::as_object).into_iter().flatten();
            members.map(|(name, value)| (name.clone(), value.to_string())).collect()
        };
        let (mut top, routing) = (members(Some(value)), members(value.get("routing")));
        top.remove("routing");
        Self { top, routing }
    }
}

fn read(text: &str) -> Option<Members> {
    Some(json_members(text)?.into_iter().map(|(name, json)| (name.into_owned(), json.to_owned())).collect())
}

fn print(members: &Members, out: &mut String) {
    print_all(members.iter().map(|(name, json)| (name.as_str(), json.as_str())), out);
}

fn print_all<'a>(members: impl Iterator<Item = (&'a str, &'a str)>, out: &mut String) {
    out.push('{');
    for (index, (name, json)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(name).to_string());
        out.push(':');
        out.push_str(json);
    }
    out.push('}');
}

/// Whether a list is as it was; one that was not there was empty.
fn is_same(list: &str, was: Option<&String>) -> bool {
    let was = was.map_or("[]", String::as_str);
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    list == was || value(list) == value(was)
}

fn kind(json: &str) -> &'static str {
    match json.trim_start().bytes().next() {
        Some(b'n') => "nothing",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a string",
        Some(b'[') => "a list",
        Some(b'{') => "an object nested too deeply",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn before() -> RoutingObject {
        let before = json!({ "egress_routing": [1, 2], "headers": [], "remove_headers": [], "x": 1,
            "routing": { "callid": "a", "egress_routing": [1, 2], "headers": [], "remove_headers": [] } });
        RoutingObject::from(&before)
    }

    fn changed(before: &RoutingObject, after: &Value) -> Value {
        let changed = RoutingObject::changed(before, &after.to_string()).unwrap();
        serde_json::from_str(&changed.print()).unwrap()
    }

    fn rows(after: Value) -> Value {
        let data = changed(&before(), &after);
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
    fn a_list_that_is_spelled_otherwise_is_not_changed() {
        let after = r#"{"egress_routing": [ 1,2 ], "routing": {"egress_routing": [2]}}"#;
        let changed = RoutingObject::changed(&before(), after).unwrap();
        assert_eq!(changed.routing("egress_routing"), Some("[2]"));
    }

    #[test]
    fn a_bare_routing_object_and_a_part_of_the_whole_are_understood() {
        assert_eq!(rows(json!({ "callid": "a", "egress_routing": [2] })), json!([2]));
        assert_eq!(rows(json!({ "egress_routing": [2] })), json!([2]));
        let bare = changed(&before(), &json!({ "callid": "b" }));
        assert_eq!((&bare["x"], &bare["routing"]["callid"]), (&json!(1), &json!("b")));
        assert_eq!(RoutingObject::changed(&before(), " null").unwrap(), before());
    }

    #[test]
    fn missing_lists_are_empty_and_other_things_no_lists() {
        let before = Given::read(r#"{"routing":{}}"#).unwrap().object;
        let empty = changed(&before, &json!({ "routing": {} }));
        assert_eq!(empty["routing"], json!({ "egress_routing": [], "headers": [], "remove_headers": [] }));
        assert_eq!(rows(json!({ "routing": { "egress_routing": "x" } , "egress_routing": 7 })), json!([]));
    }

    #[test]
    fn what_is_no_object_is_refused_and_said() {
        for (other, named) in
            [(json!(1), "a number"), (json!("x"), "a string"), (json!([]), "a list"), (json!(true), "a boolean")]
        {
            let refused = RoutingObject::changed(&before(), &other.to_string()).unwrap_err();
            assert!(refused.contains(named), "{refused}");
        }
    }

    #[test]
    fn names_and_values_come_through_as_they_stand() {
        let text =
            r#"{"a\"b":1.0,"routing":{"callid":"ä\n","egress_routing":[],"headers":[],"remove_headers":[]},"z":{"y" : 1}}"#;
        let given = Given::read(text).unwrap();
        assert!(given.has_rows && !Given::read(r#"{"callid":"a"}"#).unwrap().has_rows);
        assert_eq!(
            given.object.print(),
            r#"{"a\"b":1.0,"egress_routing":[],"headers":[],"remove_headers":[],"routing":{"callid":"ä\n","egress_routing":[],"headers":[],"remove_headers":[]},"z":{"y" : 1}}"#
        );
    }
}
