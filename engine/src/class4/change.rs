//! The routing object as text, and what a script did to it (contract, section 4).
//!
//! It goes from hand to hand: from a caller to a script, from there to the next one, and back. Only its outermost members and those of
//! `routing` are told apart; the rest is copied as it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::Arc;

use lockstep_ctx_api::js::{JsonPart, JsonParts};
use lockstep_ctx_api::well_formed;
use serde_json::Value;

use super::Rejection;

/// Octets of what a script returns: as of the body that `POST /v1/route` takes.
const MAX_RESULT: usize = 1 << 20;
/// Members of the whole object, and of `routing`.
const MAX_MEMBERS: usize = 4_096;
/// Lists that stand both at the top and under `routing`.
const TWICE: [&str; 3] = ["egress_routing", "headers", "remove_headers"];
/// Names that `routing` has: an object with one of them that the whole has not is `data.routing` returned bare.
const ROUTING_ONLY: [&str; 14] = [
    "callid",
    "callidb",
    "server",
    "switch",
    "direction",
    "account_id",
    "cli",
    "dest_number",
    "ou",
    "card_rev",
    "params",
    "stir_shaken",
    "profile",
    "log",
];

/// JSON: a piece of a text that others have pieces of, too.
#[derive(Clone)]
struct Json {
    text: Arc<str>,
    at: Range<usize>,
}

impl Json {
    fn as_str(&self) -> &str {
        self.text.get(self.at.clone()).unwrap_or_default()
    }

    fn is_list(&self) -> bool {
        self.as_str().starts_with('[')
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self { at: 0..text.len(), text: text.into() }
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// JSON of members by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Members(BTreeMap<Box<str>, Json>);

impl Members {
    /// Of two members of one name the last counts.
    fn new(text: &Arc<str>, parts: Vec<JsonPart<'_>>) -> Self {
        let member = |part: JsonPart<'_>| (Box::from(&*part.name), Json { text: Arc::clone(text), at: part.value });
        Self(parts.into_iter().map(member).collect())
    }

    fn of(value: Option<&Value>) -> Self {
        let members = value.and_then(Value::as_object).into_iter().flatten();
        Self(members.map(|(name, value)| (name.as_str().into(), value.to_string().as_str().into())).collect())
    }

    fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// Whether these are `routing`'s rather than those of the whole object `before`, which may have variables of such names.
    fn is_routing(&self, before: &RoutingObject) -> bool {
        let is_inner = |name: &str| ROUTING_ONLY.contains(&name) || before.routing.has(name);
        self.0.keys().any(|name| is_inner(name) && !before.top.has(name))
    }

    /// Whether some of these are the whole object's, which is `before`; while nothing is known of it, they may be any.
    fn is_whole(&self, before: &RoutingObject) -> bool {
        before.top.0.is_empty() || self.0.keys().any(|name| before.top.has(name))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn set(&mut self, name: &str, json: Json) {
        match self.0.get_mut(name) {
            Some(slot) => *slot = json,
            None => drop(self.0.insert(name.into(), json)),
        }
    }

    /// Octets of the members as JSON, about.
    fn size(&self) -> usize {
        self.0.iter().map(|(name, json)| name.len() + json.at.len() + 4).sum()
    }
}

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
    /// It is no such object, or too large.
    pub(super) fn changed(before: &Self, after: &str) -> Result<Self, String> {
        if after.len() > MAX_RESULT {
            return Err(format!("the routing script returned {} octets, expected at most {MAX_RESULT}", after.len()));
        }
        Self::parts(before, after).map(|changed| changed.agreeing(before))
    }

    /// The members of what somebody made of `before`.
    fn parts(before: &Self, after: &str) -> Result<Self, String> {
        let refused = || format!("the routing script returned {}, expected the routing object", kind(after));
        let text = Arc::from(after);
        let parts = JsonParts::read(after).ok_or_else(refused)?;
        let mut outer = parts.members().ok_or_else(refused)?;
        let routing = outer.iter().rev().find(|part| part.name == "routing").and_then(|part| parts.within(part));
        outer.retain(|part| part.name != "routing");
        if outer.len().max(routing.as_ref().map_or(0, Vec::len)) > MAX_MEMBERS {
            return Err(format!("the routing object has more than {MAX_MEMBERS} members"));
        }
        let top = Members::new(&text, outer);
        Ok(match routing {
            Some(routing) => Self { top, routing: Members::new(&text, routing) },
            None if top.is_routing(before) => Self { top: before.top.clone(), routing: top },
            None if top.is_whole(before) => Self { top, routing: before.routing.clone() },
            None => {
                return Err("the routing script returned an object with nothing of the routing object, which was expected".into());
            }
        })
    }

    /// Both spellings of each list as the one that counts.
    fn agreeing(mut self, before: &Self) -> Self {
        for name in TWICE {
            let list = match self.list_that_counts(before, name) {
                Some(list) if list.is_list() => list.clone(),
                Some(other) if other.as_str() != "null" => {
                    let shown: String = other.as_str().chars().take(100).collect();
                    self.log(&format!("{name}: {shown} is no list: taken as empty"));
                    "[]".into()
                }
                Some(_) | None => "[]".into(),
            };
            self.set_list(name, list);
        }
        self
    }

    /// Adds a line to `routing.log`.
    pub(super) fn log(&mut self, line: &str) {
        let lines = self.routing("log").and_then(|log| log.strip_prefix('[')?.strip_suffix(']')).unwrap_or_default().trim();
        let comma = if lines.is_empty() { "" } else { "," };
        let log = format!("[{lines}{comma}{}]", Value::from(line));
        self.set_routing("log", &log);
    }

    fn list_that_counts(&self, before: &Self, name: &str) -> Option<&Json> {
        let (top_before, inner_before) = (before.top.get(name), before.routing.get(name));
        match (self.top.get(name), self.routing.get(name)) {
            // What follows from the texts alone needs no look at what they say.
            (Some(top), Some(inner)) if top == inner || Some(inner) == inner_before => Some(top),
            (Some(top), Some(inner)) if Some(top) == top_before => Some(inner),
            (Some(top), Some(inner)) => {
                let is_inner = is_same(top, top_before.or(inner_before)) && !is_same(inner, inner_before.or(top_before));
                Some(if is_inner { inner } else { top })
            }
            (top, inner) => top.or(inner),
        }
    }

    /// Sets a list in both of its places.
    fn set_list(&mut self, name: &str, list: Json) {
        self.routing.set(name, list.clone());
        self.top.set(name, list);
    }

    /// Sets the rows, as JSON.
    pub(super) fn set_rows(&mut self, rows: &str) {
        self.set_both("egress_routing", rows);
    }

    /// Sets a list in both of its places, as JSON.
    pub(super) fn set_both(&mut self, name: &str, json: &str) {
        self.set_list(name, json.into());
    }

    /// JSON of a member of `routing`.
    pub(crate) fn routing(&self, name: &str) -> Option<&str> {
        self.routing.get(name).map(Json::as_str)
    }

    /// The customer whose call it is.
    pub(crate) fn account(&self) -> Option<i64> {
        let id = plain(self.routing("account_id")?)?;
        let id = id.trim();
        id.parse().ok().or_else(|| whole(id.parse().ok()?))
    }

    /// Sets a member of `routing`, as JSON.
    pub(super) fn set_routing(&mut self, name: &str, json: &str) {
        self.routing.set(name, json.into());
    }

    /// Sets a member of `routing`, as JSON, or has none of that name.
    pub(super) fn put_routing(&mut self, name: &str, json: Option<String>) {
        match json {
            Some(json) => self.set_routing(name, &json),
            None => drop(self.routing.0.remove(name)),
        }
    }

    /// Whether there is a member of that name at the top.
    pub(super) fn has(&self, name: &str) -> bool {
        name == "routing" || self.top.has(name)
    }

    /// Sets a member at the top, as JSON.
    pub(super) fn set(&mut self, name: &str, json: &str) {
        self.top.set(name, json.into());
    }

    /// Octets of it as JSON, about.
    pub(super) fn size(&self) -> usize {
        self.top.size() + self.routing.size()
    }

    /// The whole of it as JSON, members in the order of their names.
    pub(crate) fn print(&self) -> String {
        let mut out = String::with_capacity(self.size() + 32);
        out.push('{');
        for (name, json) in self.top.0.range::<str, _>((Bound::Unbounded, Bound::Excluded("routing"))) {
            print_member(name, json.as_str(), &mut out);
            out.push(',');
        }
        out.push_str("\"routing\":{");
        for (index, (name, json)) in self.routing.0.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            print_member(name, json.as_str(), &mut out);
        }
        out.push('}');
        for (name, json) in self.top.0.range::<str, _>((Bound::Excluded("routing"), Bound::Unbounded)) {
            out.push(',');
            print_member(name, json.as_str(), &mut out);
        }
        out.push('}');
        out
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
        let given = RoutingObject::parts(&before, &well_formed(text.to_owned()))
            .map_err(|_| Rejection::new(400, "Bad Request").because("expected the routing object"))?;
        let has_rows = [&given.top, &given.routing].iter().any(|members| members.has("egress_routing"));
        Ok(Self { object: given.agreeing(&before), has_rows })
    }
}

impl From<&Value> for RoutingObject {
    /// An object that is whole.
    fn from(value: &Value) -> Self {
        let (mut top, routing) = (Members::of(Some(value)), Members::of(value.get("routing")));
        top.0.remove("routing");
        Self { top, routing }
    }
}

/// Text as it is, a number as it stands; nothing else names anything.
pub(super) fn plain(json: &str) -> Option<String> {
    match json.bytes().next() {
        Some(b'"') => serde_json::from_str(json).ok(),
        Some(b'-' | b'0'..=b'9') => Some(json.to_owned()),
        _ => None,
    }
}

/// A whole number, as those write it who have fractions only.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

fn print_member(name: &str, json: &str, out: &mut String) {
    let is_plain = name.bytes().all(|octet| octet >= 0x20 && !matches!(octet, b'"' | b'\\'));
    if is_plain {
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
    } else {
        out.push_str(&Value::from(name).to_string());
        out.push(':');
    }
    out.push_str(json);
}

/// Whether a list says what it said; one that was not there was empty.
fn is_same(list: &Json, was: Option<&Json>) -> bool {
    let value = |json: &Json| serde_json::from_str::<Value>(json.as_str()).ok();
    match was {
        Some(was) => list == was || value(list) == value(was),
        None => value(list).is_some_and(|value| value.as_array().is_some_and(Vec::is_empty)),
    }
}

fn kind(json: &str) -> &'static str {
    match json.trim_start().bytes().next() {
        Some(b'n') => "null",
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
    fn which_spelling_counts_is_told_by_what_they_say() {
        let spelled = ["[]", "[ ]", "[1]", "[ 1]", "[2]", "7"];
        let say = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let lists = || spelled.into_iter().map(Some).chain([None]);
        for was in ["[]", "[1]", "[1 ]"] {
            let before = Given::read(&format!(r#"{{"egress_routing":{was},"routing":{{}}}}"#)).unwrap().object;
            for (top, inner) in lists().flat_map(|top| lists().map(move |inner| (top, inner))) {
                let is_changed = |list: Option<&str>| list.is_some_and(|list| say(list) != say(was));
                let counts = if is_changed(top) || !is_changed(inner) { top.or(inner) } else { inner };
                let expected = counts.map(say).filter(Value::is_array).unwrap_or_else(|| json!([]));
                let member = |list: Option<&str>| list.map(|list| format!(r#""egress_routing":{list},"#)).unwrap_or_default();
                let after = format!(r#"{{{}"routing":{{{}"x":1}},"y":2}}"#, member(top), member(inner));
                let changed = RoutingObject::changed(&before, &after).unwrap();
                assert_eq!(changed.routing("egress_routing").map(say), Some(expected), "{was}: {after}");
            }
        }
    }

    #[test]
    fn a_bare_routing_object_and_a_part_of_the_whole_are_understood() {
        assert_eq!(rows(json!({ "callid": "a", "egress_routing": [2] })), json!([2]));
        assert_eq!(rows(json!({ "egress_routing": [2] })), json!([2]));
        let bare = changed(&before(), &json!({ "callid": "b" }));
        assert_eq!((&bare["x"], &bare["routing"]["callid"]), (&json!(1), &json!("b")));
    }

    #[test]
    fn what_is_no_object_throws_no_changes_away_unheard() {
        for (after, found) in [(" null", "null"), ("false", "a boolean"), ("[]", "a list"), ("7", "a number")] {
            let expected = format!("the routing script returned {found}, expected the routing object");
            assert_eq!(RoutingObject::changed(&before(), after), Err(expected));
        }
    }

    #[test]
    fn what_is_another_object_throws_no_changes_away_unheard() {
        for after in [json!({}), json!({ "ok": true }), json!({ "routing": null }), json!({ "routing": "cli" })] {
            let refused = RoutingObject::changed(&before(), &after.to_string()).unwrap_err();
            assert!(refused.contains("with nothing of the routing object"), "{after}: {refused}");
        }
        for after in [json!({ "routing": {} }), json!({ "x": 2 }), json!({ "headers": [] }), json!({ "log": [] })] {
            assert!(RoutingObject::changed(&before(), &after.to_string()).is_ok(), "{after}");
        }
        assert!(["{}", r#"{"x":1}"#].iter().all(|given| Given::read(given).is_ok()));
    }

    #[test]
    fn any_member_of_routing_tells_that_it_is_bare_unless_a_variable_has_its_name() {
        let given = |text: &str| Given::read(text).unwrap().object;
        let before = given(r#"{"routing":{"cli":"1","mine":2,"egress_routing":[]},"log":"a variable"}"#);
        for (after, member) in [
            (json!({ "cli": "777", "egress_routing": [1] }), "cli"),
            (json!({ "mine": 3 }), "mine"),
            (json!({ "direction": "orig" }), "direction"),
        ] {
            let data = changed(&before, &after);
            assert_eq!((&data["routing"][member], &data["log"]), (&after[member], &json!("a variable")), "{after}");
        }
        let whole = changed(&before, &json!({ "log": "another", "headers": [] }));
        assert_eq!((&whole["log"], &whole["routing"]["cli"]), (&json!("another"), &json!("1")));
        let bare = given(r#"{"cli":"1","egress_routing":[]}"#);
        assert_eq!(bare.routing("cli"), Some(r#""1""#));
    }

    #[test]
    fn a_customer_may_be_a_text() {
        let customer = |id: &str| Given::read(&format!(r#"{{"routing":{{"account_id":{id}}}}}"#)).unwrap().object.account();
        assert_eq!([r#""12""#, "12", "12.0", r#""12.0""#].map(customer), [Some(12); 4]);
        assert_eq!(["null", r#""x""#, "[12]", "12.5", "1e300", r#""inf""#, "true"].map(customer), [None; 7]);
    }

    #[test]
    fn half_a_character_is_replaced_and_keeps_no_change_from_being_seen() {
        let before = Given::read(r#"{"headers":["\ud83d"],"routing":{}}"#).unwrap().object;
        assert_eq!(before.routing("headers"), Some(r#"["\ufffd"]"#));
    }

    #[test]
    fn missing_lists_are_empty_and_other_things_no_lists() {
        let before = Given::read(r#"{"routing":{}}"#).unwrap().object;
        let empty = changed(&before, &json!({ "routing": {} }));
        assert_eq!(empty["routing"], json!({ "egress_routing": [], "headers": [], "remove_headers": [] }));
        assert_eq!(rows(json!({ "routing": { "egress_routing": "x" } , "egress_routing": 7 })), json!([]));
    }

    #[test]
    fn what_is_no_list_is_said_in_the_log() {
        let after = json!({ "egress_routing": 7, "headers": null, "remove_headers": "X-A", "routing": { "log": ["hi"] } });
        let lines = ["hi", "egress_routing: 7 is no list: taken as empty", "remove_headers: \"X-A\" is no list: taken as empty"];
        assert_eq!(changed(&before(), &after)["routing"]["log"], json!(lines));
        let alone = changed(&before(), &json!({ "egress_routing": 7, "routing": {} }));
        assert_eq!(alone["routing"]["log"], json!(["egress_routing: 7 is no list: taken as empty"]));
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
    fn what_is_too_large_is_refused_and_said() {
        let large = json!({ "routing": {}, "x": "x".repeat(MAX_RESULT) }).to_string();
        assert!(RoutingObject::changed(&before(), &large).unwrap_err().contains("octets, expected at most 1048576"));
        let members: serde_json::Map<_, _> = (0..=MAX_MEMBERS).map(|n| (format!("v{n}"), json!(n))).collect();
        for many in [json!({ "routing": members }), Value::Object(members.clone())] {
            assert!(RoutingObject::changed(&before(), &many.to_string()).unwrap_err().contains("more than 4096 members"));
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
