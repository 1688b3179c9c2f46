//! What is to be dialled: the routing object, read back.

use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::RouteTable;

/// Gateways tried for one call.
const MAX_ATTEMPTS: usize = 32;
/// Header fields of one place: of the whole object, or of one row.
const MAX_HEADERS: usize = 64;
/// Octets of a number or caller id.
const MAX_NUMBER: usize = 128;

/// How a call is to go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// In the order they are tried.
    pub attempts: Vec<Attempt>,
    /// Caller id for whoever is called.
    pub cli: String,
    /// Names of fields that no leg of the call gets, before `headers` are added; attempts have them already.
    pub remove_headers: Vec<String>,
    /// Fields of every leg; attempts have them already.
    pub headers: Vec<(String, String)>,
    /// What scripts wrote into `routing.log`, and what of their changes could not be used.
    pub log: Vec<String>,
    /// How long each gateway but the last may ring; `None`: as long as the call may.
    pub ring: Option<Duration>,
    /// Time in scripts, ms.
    pub sandbox_ms: f64,
}

/// One outgoing INVITE.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub gateway: i64,
    pub number: String,
    pub cli: String,
    /// Names of fields that are left out, before `headers` are added.
    pub remove_headers: Vec<String>,
    pub headers: Vec<(String, String)>,
    /// Price of a minute.
    pub cost: Option<f64>,
}

/// Reads a normalised routing object. `original_cli` is what the rows were laid out with.
pub(super) fn read(
    table: &RouteTable,
    data: &Value,
    original_cli: &str,
    dialled: &str,
    costs: &[(i64, Option<f64>)],
) -> Decision {
    let mut log: Vec<String> = list(data.pointer("/routing/log")).iter().filter_map(text).collect();
    let cli = number_of("routing.cli", data.pointer("/routing/cli"), &mut log).unwrap_or_else(|| original_cli.to_owned());
    let number = number_of("routing.dest_number", data.pointer("/routing/dest_number"), &mut log);
    let number = number.filter(|number| !number.is_empty()).unwrap_or_else(|| dialled.to_owned());
    let everywhere = Fields::read(data, &mut log);
    let mut attempts = Vec::new();
    for row in list(data.get("egress_routing")) {
        let own = Fields::read(row, &mut log);
        for (id, gateway) in gateways(row) {
            let Some(id) = id.parse::<i64>().ok().filter(|id| table.has_gateway(*id)) else {
                log.push(format!("no gateway {id}: left out"));
                continue;
            };
            let own_cli = number_of(format_args!("gw[{id}].cli"), gateway.get("cli"), &mut log).filter(|own| own != original_cli);
            attempts.push(Attempt {
                gateway: id,
                number: number.clone(),
                cli: own_cli.unwrap_or_else(|| cli.clone()),
                remove_headers: everywhere.remove.iter().chain(&own.remove).cloned().collect(),
                headers: everywhere.add.iter().chain(&own.add).cloned().collect(),
                cost: costs.iter().find(|(known, _)| *known == id).and_then(|(_, cost)| *cost),
            });
        }
    }
    if attempts.len() > MAX_ATTEMPTS {
        log.push(format!("{} attempts, the first {MAX_ATTEMPTS} are made", attempts.len()));
        attempts.truncate(MAX_ATTEMPTS);
    }
    let Fields { remove: remove_headers, add: headers } = everywhere;
    Decision { attempts, cli, remove_headers, headers, log, ring: None, sandbox_ms: 0.0 }
}

/// `headers` and `remove_headers` of one place.
#[derive(Default)]
struct Fields {
    remove: Vec<String>,
    add: Vec<(String, String)>,
}

impl Fields {
    fn read(place: &Value, log: &mut Vec<String>) -> Self {
        let mut fields = Self::default();
        for item in list(place.get("remove_headers")) {
            match text(item).or_else(|| item.get("key").and_then(text)) {
                Some(name) if is_name(&name) => fields.remove.push(name),
                _ => log.push(format!("remove_headers: {item} is not the name of a header: left out")),
            }
        }
        for item in list(place.get("headers")) {
            let pair = item.get("key").and_then(text).zip(item.get("value").and_then(text));
            match pair {
                Some((name, value)) if is_name(&name) && is_plain_value(&value) => fields.add.push((name, value)),
                _ => log.push(format!("headers: {item} is no key with a value: left out")),
            }
        }
        fields.remove.truncate(MAX_HEADERS);
        fields.add.truncate(MAX_HEADERS);
        fields
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Text; numbers and truth values as they print.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number or caller id; one that cannot be used is left out, and `log` says so of `place`.
fn number_of(place: impl Display, value: Option<&Value>, log: &mut Vec<String>) -> Option<String> {
    let value = value.filter(|value| !value.is_null())?;
    let number = text(value).filter(|number| is_plain(number));
    if number.is_none() {
        log.push(format!("{place}: {value} is no number or name that can be dialled or shown: left out"));
    }
    number
}

/// The gateways of a row, in the order that JavaScript gives them: `{"7": {"cli": …}}`, or just an id.
fn gateways(row: &Value) -> Vec<(String, Value)> {
    match row.get("gw") {
        Some(Value::Object(gateways)) => {
            let mut gateways: Vec<_> = gateways.iter().map(|(id, gateway)| (id.clone(), gateway.clone())).collect();
            // Numbers first, the lowest before the others.
            gateways.sort_by_key(|(id, _)| id.parse::<u32>().map_or(u64::MAX, u64::from));
            gateways
        }
        Some(id @ (Value::String(_) | Value::Number(_))) => text(id).map(|id| (id, Value::Null)).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn is_plain(number: &str) -> bool {
    number.len() <= MAX_NUMBER
        && !number.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '@'))
}

fn is_plain_value(value: &str) -> bool {
    !value.contains(['\r', '\n', '\0'])
}

/// A token (RFC 3261, section 25.1).
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> RouteTable {
        let gateways = [7, 8].map(|id| format!("[[gateway]]\nid = {id}\naddress = \"sip:g{id}.example.net\"\n")).concat();
        RouteTable::new(&toml::from_str(&gateways).unwrap())
    }

    fn read_back(data: &Value) -> Decision {
        let given = super::super::change::Given::read(&data.to_string()).unwrap();
        let data = serde_json::from_str(&given.object.print()).unwrap();
        read(&table(), &data, "441", "442", &[(7, Some(0.5)), (8, None)])
    }

    #[test]
    fn caller_ids_are_of_all_or_of_one_gateway() {
        let row = |id: &str, cli: &str| json!({ "gw": { id: { "cli": cli } } });
        let decision = read_back(&json!({ "routing": { "cli": "449" }, "egress_routing": [row("7", "441"), row("8", "447")] }));
        let clis: Vec<_> = decision.attempts.iter().map(|attempt| (attempt.gateway, attempt.cli.as_str())).collect();
        assert_eq!(clis, [(7, "449"), (8, "447")]);
        assert_eq!(decision.attempts[0].cost, Some(0.5));
        assert_eq!(decision.attempts[0].number, "442");
    }

    #[test]
    fn headers_of_all_come_before_those_of_the_row_and_numbers_are_text() {
        let data = json!({ "routing": {}, "headers": [{ "key": "X-A", "value": 1 }], "remove_headers": ["X-Old", { "key": "X-Older" }],
            "egress_routing": [{ "gw": { "7": {} }, "headers": [{ "key": "X-B", "value": "2" }], "remove_headers": ["X-C"] }, { "gw": { "8": {} } }] });
        let decision = read_back(&data);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(decision.attempts[0].headers, [pair("X-A", "1"), pair("X-B", "2")]);
        assert_eq!(decision.attempts[0].remove_headers, ["X-Old", "X-Older", "X-C"]);
        assert_eq!(decision.attempts[1].headers, [pair("X-A", "1")]);
    }

    #[test]
    fn what_cannot_be_used_is_left_out_and_said() {
        let data = json!({ "routing": { "cli": "a\r\nb", "dest_number": "<x>", "log": ["hi", 7] },
            "headers": [{ "key": "X\r\nY", "value": "1" }, { "key": "X-A", "value": "a\r\nVia: x" }, { "key": "X-B" }, 7],
            "egress_routing": [{ "gw": { "99": {} } }, { "gw": { "7": "x" } }, {}, 5, { "gw": 8 }] });
        let decision = read_back(&data);
        assert_eq!(decision.attempts.iter().map(|attempt| attempt.gateway).collect::<Vec<_>>(), [7, 8]);
        assert_eq!((decision.cli.as_str(), decision.attempts[0].number.as_str()), ("441", "442"));
        assert!(decision.attempts[0].headers.is_empty());
        assert_eq!(decision.log.len(), 2 + 2 + 4 + 1, "{:?}", decision.log);
        assert!(decision.log[2].starts_with(r#"routing.cli: "a\r\nb" is no number"#), "{:?}", decision.log);
    }

    #[test]
    fn a_caller_id_of_one_gateway_that_cannot_be_used_is_said_too_and_none_is_none() {
        let gateways = json!({ "7": { "cli": "44 111" }, "8": { "cli": null } });
        let decision = read_back(&json!({ "routing": { "cli": null }, "egress_routing": [{ "gw": gateways }] }));
        assert_eq!(decision.attempts.iter().map(|attempt| attempt.cli.as_str()).collect::<Vec<_>>(), ["441", "441"]);
        assert_eq!(decision.log.len(), 1, "{:?}", decision.log);
        assert!(decision.log[0].starts_with("gw[7].cli: \"44 111\""), "{:?}", decision.log);
    }

    #[test]
    fn gateways_of_one_row_are_tried_by_their_numbers() {
        let row = json!({ "gw": { "10": {}, "7": {}, "x": {}, "100": {}, "8": {} } });
        let order: Vec<String> = gateways(&row).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["7", "8", "10", "100", "x"]);
    }

    #[test]
    fn attempts_are_bounded() {
        let rows: Vec<_> = (0..100).map(|_| json!({ "gw": { "7": {} } })).collect();
        assert_eq!(read_back(&json!({ "routing": {}, "egress_routing": rows })).attempts.len(), MAX_ATTEMPTS);
    }
}
