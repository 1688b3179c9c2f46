//! What a proxy is answered: the routing object with what would go out by SIP, and nothing else, in its lists and numbers. What needs no
//! change stays the text that it was.

use std::borrow::Cow;
use std::sync::Arc;

use lockstep_ctx_api::js::{JsonBranch, JsonTree};
use serde_json::{Map, Value, json};

use super::change::{RoutingObject, plain};
use super::decision::{
    Log, MAX_ATTEMPTS, MAX_HEADER_BYTES, MAX_HEADERS, MAX_LINE, MAX_LINES, Row, Sifted, Way, dialled_of, is_name, is_plain,
    is_plain_value, list, number_of, rows, text,
};
use super::table::RouteTable;
use crate::call::runs_sip;

/// What From says of a caller who does not want to be known (RFC 3323).
const ANONYMOUS: &str = "anonymous";
/// The most octets that a whole number takes which is left one.
const WHOLE: usize = 11;

/// What an object said before any script, as JSON.
pub(super) struct Asked {
    cli: Option<String>,
    number: Option<String>,
}

impl Asked {
    pub(super) fn with(object: &RoutingObject) -> Self {
        let member = |name| object.routing(name).map(str::to_owned);
        Self { cli: member("cli"), number: member("dest_number") }
    }
}

/// Which gateways the rows may name.
pub(super) enum Gateways {
    /// The proxy has laid the rows out: it knows its gateways.
    Theirs,
    /// Those of the configuration.
    Ours(Arc<RouteTable>),
    /// Of those the ones that a route leads this customer's call through.
    Routed(Arc<RouteTable>, Option<i64>),
}

impl Gateways {
    /// As its id is written.
    fn find(&self, id: &str) -> Option<String> {
        match self {
            Self::Theirs => Some(id).filter(|id| !id.is_empty() && is_plain(id)).map(str::to_owned),
            Self::Ours(table) | Self::Routed(table, _) => {
                id.parse::<i64>().ok().filter(|id| table.has_gateway(*id)).map(|id| id.to_string())
            }
        }
    }

    fn lead(&self, id: &str, number: &str) -> bool {
        match self {
            Self::Theirs | Self::Ours(_) => true,
            Self::Routed(table, customer) => id.parse().is_ok_and(|id| table.leads_through(id, number, *customer)),
        }
    }
}

/// Leaves in an object what would go out by SIP, and says in its log what would not.
///
/// # Errors
/// What scripts have put there cannot be read.
pub(super) fn settle(mut data: RoutingObject, asked: &Asked, gateways: &Gateways) -> Result<RoutingObject, serde_json::Error> {
    if is_settled(&data, asked, gateways) {
        return Ok(data);
    }
    let value = |name: &str| data.routing(name).map(serde_json::from_str::<Value>).transpose();
    let mut log = Log::default();
    list(value("log")?.as_ref()).iter().filter_map(text).for_each(|line| log.say(line));
    let cli = usable(data.routing("cli"), asked.cli.as_deref(), |cli| number_of("routing.cli", Some(cli), &mut log).map(shown))?;
    let number = usable(data.routing("dest_number"), asked.number.as_deref(), |number| dialled_of(Some(number), &mut log))?;
    let place = json!({ "headers": value("headers")?, "remove_headers": value("remove_headers")? });
    let everywhere = lists_of(&Sifted::read(&place, &mut log));
    let dialled = number.as_deref().and_then(plain).unwrap_or_default();
    let (given, mut ways) = (value("egress_routing")?, Vec::new());
    for row in rows(list(given.as_ref()), |id| gateways.find(id), &mut log) {
        for way in &row.ways {
            match gateways.lead(&way.id, &dialled) {
                true => ways.push(row_of(&row, way)),
                false => log.say(format_args!("no route leads to {dialled} through gateway {}: left out", way.id)),
            }
        }
    }
    data.put_routing("cli", cli);
    data.put_routing("dest_number", number);
    data.set_routing("log", &Value::from(log.into_lines()).to_string());
    data.set_rows(&Value::from(ways).to_string());
    for (name, fields) in everywhere {
        data.set_both(name, &fields.to_string());
    }
    Ok(data)
}

/// A number or caller id as JSON: what scripts made of it, read by `read`; else what was asked with.
fn usable(
    said: Option<&str>,
    asked: Option<&str>,
    read: impl FnOnce(&Value) -> Option<String>,
) -> Result<Option<String>, serde_json::Error> {
    let changed = said.filter(|said| Some(*said) != asked).map(serde_json::from_str::<Value>).transpose()?;
    let usable = changed.and_then(|value| read(&value)).map(|number| Value::from(number).to_string());
    Ok(usable.or_else(|| asked.map(str::to_owned)))
}

/// A caller id as From has it.
fn shown(cli: String) -> String {
    if cli.is_empty() { ANONYMOUS.to_owned() } else { cli }
}

/// A row of its own for one gateway.
fn row_of(row: &Row<'_, String>, way: &Way<'_, String>) -> Value {
    let said_of = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut gateway = said_of(way.said);
    gateway.remove("cli");
    gateway.extend(way.cli.clone().map(|cli| ("cli".to_owned(), shown(cli).into())));
    // What else is said of several goes for none of them alone.
    let mut own = if row.ways.len() == 1 { said_of(row.said) } else { Map::new() };
    own.insert("gw".to_owned(), Value::Object(Map::from_iter([(way.id.clone(), Value::Object(gateway))])));
    own.extend(lists_of(&row.fields).map(|(name, fields)| (name.to_owned(), fields)));
    Value::Object(own)
}

fn lists_of(fields: &Sifted<'_>) -> [(&'static str, Value); 2] {
    let field = |(name, value): &(Cow<'_, str>, &Value)| {
        let is_whole = value.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
        let value = if is_whole { Value::clone(value) } else { Value::from(text(value).unwrap_or_default()) };
        json!({ "key": name, "value": value })
    };
    [("headers", fields.add.iter().map(field).collect()), ("remove_headers", json!(fields.remove))]
}

/// Whether an object is as [`settle`] leaves it.
fn is_settled(data: &RoutingObject, asked: &Asked, gateways: &Gateways) -> bool {
    let is_usable = |name: &str, asked: &Option<String>| {
        let said = data.routing(name);
        said == asked.as_deref() || said.is_some_and(|said| holds(said, is_number))
    };
    !matches!(gateways, Gateways::Routed(..))
        && is_usable("cli", &asked.cli)
        && is_usable("dest_number", &asked.number)
        && data.routing("log").is_none_or(|log| holds(log, are_lines))
        && data.routing("headers").zip(data.routing("remove_headers")).is_some_and(|(add, remove)| {
            let (add, remove) = (JsonTree::read(add), JsonTree::read(remove));
            let roots = add.as_ref().and_then(JsonTree::root).zip(remove.as_ref().and_then(JsonTree::root));
            roots.is_some_and(|(add, remove)| are_fields(add, remove))
        })
        && data.routing("egress_routing").is_some_and(|rows| holds(rows, |rows| are_rows(rows, gateways)))
}

/// Whether the value of a text is such a one.
fn holds(json: &str, is: impl FnOnce(JsonBranch<'_>) -> bool) -> bool {
    JsonTree::read(json).is_some_and(|tree| tree.root().is_some_and(is))
}

/// Whether every element of a list, of so many at most, is such a one.
fn are_all(list: JsonBranch<'_>, most: usize, mut is: impl FnMut(JsonBranch<'_>) -> bool) -> bool {
    list.elements().is_some_and(|mut elements| elements.by_ref().take(most).all(&mut is) && elements.next().is_none())
}

fn are_lines(log: JsonBranch<'_>) -> bool {
    are_all(log, MAX_LINES, |line| line.string().is_some_and(|line| line.len() <= MAX_LINE))
}

fn is_number(value: JsonBranch<'_>) -> bool {
    value.string().is_some_and(|text| !text.is_empty() && is_plain(&text))
}

fn are_rows(rows: JsonBranch<'_>, gateways: &Gateways) -> bool {
    are_all(rows, MAX_ATTEMPTS, |row| {
        members(row, ["gw", "headers", "remove_headers"]).is_some_and(|[gateway, add, remove]| {
            gateway.is_some_and(|gateway| is_gateway(gateway, gateways))
                && add.zip(remove).is_some_and(|(add, remove)| are_fields(add, remove))
        })
    })
}

/// Whether it is one gateway, with a caller id that can be shown, if any.
fn is_gateway(gateway: JsonBranch<'_>, gateways: &Gateways) -> bool {
    let Some(mut ways) = gateway.members() else { return false };
    ways.next().is_some_and(|(id, said)| {
        let is_known = id.string().is_some_and(|id| gateways.find(&id).is_some_and(|found| found == id));
        is_known && members(said, ["cli"]).is_some_and(|[cli]| cli.is_none_or(is_number))
    }) && ways.next().is_none()
}

/// Whether they are header fields of one place, to be added and to be removed.
fn are_fields(add: JsonBranch<'_>, remove: JsonBranch<'_>) -> bool {
    let mut left = MAX_HEADER_BYTES;
    let mut fits = |octets: Option<usize>| octets.and_then(|octets| left.checked_sub(octets)).map(|rest| left = rest).is_some();
    let name = |name: JsonBranch<'_>| name.string().filter(|name| is_name(name) && !runs_sip(name)).map(|name| name.len());
    are_all(add, MAX_HEADERS, |field| {
        let said = members(field, ["key", "value"]);
        fits(said.and_then(|[key, value]| Some(name(key?)? + shown_octets(value?)?)))
    }) && are_all(remove, MAX_HEADERS, |field| fits(name(field)))
}

/// Octets of a field's value: a text without control characters, or a whole number of 32 bits.
fn shown_octets(value: JsonBranch<'_>) -> Option<usize> {
    match value.string() {
        Some(text) => is_plain_value(&text).then_some(text.len()),
        None => value.json().parse::<i32>().ok().filter(|_| value.json() != "-0").map(|_| WHOLE),
    }
}

/// The values of an object that have these names, of each the last; `None` where it is none, or a name is no text.
fn members<'a, const N: usize>(object: JsonBranch<'a>, names: [&str; N]) -> Option<[Option<JsonBranch<'a>>; N]> {
    let mut found = [None; N];
    for (name, value) in object.members()? {
        let name = name.string()?;
        if let Some((_, slot)) = names.iter().zip(&mut found).find(|(wanted, _)| **wanted == name) {
            *slot = Some(value);
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::change::Given;
    use super::super::decision::{self, Decision};
    use super::*;

    const ASKED: &str = r#"{"routing":{"cli":"441","dest_number":"442"}}"#;

    fn table() -> Arc<RouteTable> {
        let gateways = [7, 8].map(|id| format!("[[gateway]]\nid = {id}\naddress = \"sip:g{id}.example.net\"\n")).concat();
        let route = "[[route]]\nprefix = \"44\"\ngateways = [7]\n";
        Arc::new(RouteTable::new(&toml::from_str(&(gateways + route)).unwrap()))
    }

    fn ours() -> Gateways {
        Gateways::Ours(table())
    }

    /// What a script has made of what was asked, before and after.
    fn settled_from(asked: &str, after: &str, gateways: &Gateways) -> (RoutingObject, RoutingObject) {
        let before = Given::read(asked).unwrap().object;
        let changed = RoutingObject::changed(&before, after).unwrap();
        (changed.clone(), settle(changed, &Asked::with(&before), gateways).unwrap())
    }

    fn value(object: &RoutingObject) -> Value {
        serde_json::from_str(&object.print()).unwrap()
    }

    fn settled(after: &Value, gateways: &Gateways) -> Value {
        value(&settled_from(ASKED, &after.to_string(), gateways).1)
    }

    fn by_sip(object: &RoutingObject) -> Decision {
        decision::read(&table(), &value(object), "441", "442", None)
    }

    #[test]
    fn what_can_go_out_stays_the_text_that_it_was() {
        let first = r#"{"gw": {"7" :{"cli":"4\u00347", "x":[1]}}, "trunk":"a","headers":[ ],"remove_headers":[]}"#;
        let second = r#"{"gw":{"8":{}}, "headers":[{"key":"X-A", "value":-7}], "remove_headers":[ "X-B"] }"#;
        let rows = format!("[ {first},{second}]");
        let lists = r#""headers":[{"value":"\u00e4", "key":"X-A"}],"remove_headers":[ ]"#;
        let after = format!(
            r#"{{"egress_routing":{rows},{lists},"x":{{"y" : 1.0}},"routing":{{"cli":"anonymous","dest_number":"+44","log":[ "hi"]}}}}"#
        );
        let (changed, answer) = settled_from(ASKED, &after, &ours());
        assert_eq!(answer, changed);
        assert!(is_settled(&changed, &Asked { cli: None, number: None }, &ours()));
    }

    #[test]
    fn a_call_goes_the_same_way_by_the_answer_as_by_what_the_scripts_left() {
        let listed = |mut row: Value| {
            for list in ["headers", "remove_headers"] {
                if row.is_object() && row.get(list).is_none() {
                    row[list] = json!([]);
                }
            }
            row
        };
        let row = |row: Value| json!({ "routing": {}, "egress_routing": [listed(row), listed(json!({ "gw": { "8": {} } }))] });
        let header = |key: Value, value: Value| {
            let headers = json!([{ "key": key, "value": value }, { "key": "X-Z", "value": 1 }]);
            json!({ "routing": {}, "headers": headers, "egress_routing": [listed(json!({ "gw": { "7": {} } }))] })
        };
        let routing = |routing: Value| {
            let row = |id: &str, cli: &str| listed(json!({ "gw": { id: { "cli": cli } } }));
            json!({ "routing": routing, "egress_routing": [row("7", "447"), row("8", "441")] })
        };
        let mut cases = vec![
            row(json!({ "gw": { "8": { "cli": 447 }, "7": { "cli": "441" } }, "headers": [{ "key": "X-A", "value": 1.5 }] })),
            row(json!({ "gw": { "007": {}, "+8": "x" } })),
            row(json!({ "gw": 7, "remove_headers": "X-A" })),
            row(json!({ "gw": "8", "headers": [["X-A", "b"]] })),
            row(json!([{ "7": {} }, [], []])),
            row(json!({ "gw": {} })),
            row(json!({ "gw": { "9": {} } })),
            row(json!({ "gw": { "7": { "cli": "4 47" } }, "headers": null, "remove_headers": [{ "key": "X-A" }, 5, "X B"] })),
            row(json!({ "gw": { "7": { "cli": null } }, "headers": vec![json!({ "key": "X-A", "value": "b" }); 65] })),
            row(
                json!({ "gw": { "7": {} }, "headers": [{ "key": "X-A", "value": "b".repeat(32 << 10) }], "remove_headers": ["X-C"] }),
            ),
            row(json!({ "gw": { "7": {} }, "remove_headers": vec!["X-A"; 65] })),
            row(json!({ "gw": { "7": {} }, "headers": [{ "key": "from", "value": "b" }], "remove_headers": ["VIA"] })),
            json!({ "routing": { "log": [1, "two", { "three": 3 }] }, "egress_routing": vec![json!({ "gw": { "7": {}, "8": {} } }); 20] }),
        ];
        for value in [json!(true), json!("a\r\nb"), json!(null), json!({ "a": 1 }), json!(1e21), json!(1_u64 << 40)] {
            cases.push(header(json!("X-A"), value));
        }
        for key in ["Contact", "m", "Content-Length", "x", "X A", "", "X-A\r\nVia"] {
            cases.push(header(json!(key), json!("b")));
        }
        for number in [json!(null), json!({ "a": 1 }), json!("45\r\nX: y"), json!("45 6"), json!("45@a"), json!(45), json!("")] {
            cases.push(routing(json!({ "dest_number": number })));
            cases.extend(Some(number).filter(|number| number != "").map(|number| routing(json!({ "cli": number }))));
        }
        for case in cases {
            let (changed, answer) = settled_from(ASKED, &case.to_string(), &ours());
            let (before, after) = (by_sip(&changed), by_sip(&answer));
            assert_eq!(before, after, "{case}");
            let asked = Asked { cli: None, number: None };
            assert!(is_settled(&answer, &asked, &ours()), "{case}: {answer:?}");
            assert!(!is_settled(&changed, &asked, &ours()), "{case}");
        }
    }

    #[test]
    fn each_gateway_has_a_row_of_its_own_in_the_order_in_which_they_are_tried() {
        let one = json!({ "gw": { "7": { "x": 1 } }, "trunk": "a", "headers": {} });
        let two = json!({ "gw": { "8": { "cli": 447 }, "7": {} }, "headers": [{ "key": "X-A", "value": 1 }], "trunk": "a" });
        let answer = settled(&json!({ "routing": {}, "egress_routing": [one, two] }), &ours());
        let row =
            |id: &str, gateway: Value, headers: Value| json!({ "gw": { id: gateway }, "headers": headers, "remove_headers": [] });
        let mut first = row("7", json!({ "x": 1 }), json!([]));
        first["trunk"] = json!("a");
        let headers = json!([{ "key": "X-A", "value": 1 }]);
        let rows = json!([first, row("7", json!({}), headers.clone()), row("8", json!({ "cli": "447" }), headers)]);
        assert_eq!(answer["egress_routing"], rows);
        assert_eq!(answer["routing"]["egress_routing"], rows);
        assert_eq!(answer["routing"]["log"], json!([r#"headers: {} is no list: taken as empty"#]));
    }

    #[test]
    fn numbers_that_cannot_be_used_are_those_that_were_asked_with() {
        for (after, cli, number) in [
            (json!({ "cli": "4 4", "dest_number": "<x>" }), json!("441"), json!("442")),
            (json!({ "cli": null, "dest_number": "" }), json!("441"), json!("442")),
            (json!({ "log": [] }), json!("441"), json!("442")),
            (json!({ "cli": 447, "dest_number": 448 }), json!("447"), json!("448")),
            (json!({ "cli": "", "dest_number": "+448" }), json!("anonymous"), json!("+448")),
        ] {
            let answer = settled(&json!({ "routing": after }), &ours());
            assert_eq!((&answer["routing"]["cli"], &answer["routing"]["dest_number"]), (&cli, &number), "{after}");
        }
        // A proxy that asks with something else knows what it is.
        let asked = r#"{"routing":{"cli":"4 4","egress_routing":[]}}"#;
        let (_, answer) = settled_from(asked, r#"{"routing":{"dest_number":"","cli":"4 4"},"headers":[7]}"#, &ours());
        assert_eq!((answer.routing("cli"), answer.routing("dest_number")), (Some(r#""4 4""#), None));
    }

    #[test]
    fn gateways_are_the_configurations_or_the_proxys_or_those_that_a_route_leads_through() {
        let rows: Vec<_> = ["7", "8", "9", "carrier"].map(|id| json!({ "gw": { id: {} } })).into();
        for (gateways, number, expected) in [
            (Gateways::Theirs, "900", vec!["7", "8", "9", "carrier"]),
            (ours(), "900", vec!["7", "8"]),
            (Gateways::Routed(table(), None), "44123", vec!["7"]),
            (Gateways::Routed(table(), None), "900", vec![]),
        ] {
            let answer = settled(&json!({ "routing": { "dest_number": number }, "egress_routing": rows }), &gateways);
            let id = |row: &Value| row["gw"].as_object().unwrap().keys().cloned().collect::<String>();
            let left: Vec<_> = answer["egress_routing"].as_array().unwrap().iter().map(id).collect();
            assert_eq!(left, expected);
            assert_eq!(answer["routing"]["log"].as_array().map_or(0, Vec::len), rows.len() - left.len());
        }
    }
}
