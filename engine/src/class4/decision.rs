//! What is to be dialled: the routing object, read back.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::RouteTable;
use crate::call::runs_sip;

/// Gateways tried for one call.
pub(super) const MAX_ATTEMPTS: usize = 32;
/// Header fields of one place, of the whole object or of one row: so many are removed and so many added.
pub(super) const MAX_HEADERS: usize = 64;
/// Octets of their names and values together: half of what a datagram takes.
pub(super) const MAX_HEADER_BYTES: usize = 32 << 10;
/// Octets of a number or caller id.
const MAX_NUMBER: usize = 128;
/// Lines of a log.
pub(super) const MAX_LINES: usize = 50;
/// Octets of a line.
pub(super) const MAX_LINE: usize = 1_000;

/// How a call is to go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// In the order they are tried.
    pub attempts: Vec<Attempt>,
    /// Caller id for whoever is called.
    pub cli: String,
    /// What every leg of the call gets and does not get; attempts have it already.
    pub everywhere: Arc<Fields>,
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
    /// Of every leg, then its own. All are removed before any is added.
    pub fields: Vec<Arc<Fields>>,
    /// Price of a minute.
    pub cost: Option<f64>,
}

/// Header fields that a leg does not get, and those that it gets besides: `remove_headers` and `headers` of one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fields {
    /// Names.
    pub remove: Vec<String>,
    pub add: Vec<(String, String)>,
}

/// Reads a normalised routing object. `original_cli` is what the rows were laid out with. What is past a bound is counted and not
/// kept. An attempt has the price of the number that it dials, whichever was dialled.
pub(super) fn read(table: &RouteTable, data: &Value, original_cli: &str, dialled: &str, customer: Option<i64>) -> Decision {
    let mut log = Log::default();
    list(data.pointer("/routing/log")).iter().filter_map(text).for_each(|line| log.say(line));
    let cli = number_of("routing.cli", data.pointer("/routing/cli"), &mut log).unwrap_or_else(|| original_cli.to_owned());
    let number = dialled_of(data.pointer("/routing/dest_number"), &mut log).unwrap_or_else(|| dialled.to_owned());
    let costs = table.costs_of(&number, customer);
    let everywhere = Arc::new(Fields::from(Sifted::read(data, &mut log)));
    let all = Some(&everywhere).filter(|fields| !fields.is_empty());
    let known = |id: &str| id.parse::<i64>().ok().filter(|id| table.has_gateway(*id));
    let mut attempts = Vec::new();
    for Row { fields, ways, .. } in rows(list(data.get("egress_routing")), known, &mut log) {
        let own = Fields::from(fields);
        let own = (!own.is_empty()).then(|| Arc::new(own));
        for Way { id, cli: own_cli, .. } in ways {
            attempts.push(Attempt {
                gateway: id,
                number: number.clone(),
                cli: own_cli.filter(|own| own != original_cli).unwrap_or_else(|| cli.clone()),
                fields: all.into_iter().chain(&own).map(Arc::clone).collect(),
                cost: costs.iter().find(|(known, _)| *known == id).and_then(|(_, cost)| *cost),
            });
        }
    }
    Decision { attempts, cli, everywhere, log: log.into_lines(), ring: None, sandbox_ms: 0.0 }
}

/// A row of `egress_routing` that leads somewhere.
pub(super) struct Row<'a, G> {
    pub(super) said: &'a Value,
    pub(super) fields: Sifted<'a>,
    /// In the order they are tried.
    pub(super) ways: Vec<Way<'a, G>>,
}

/// A gateway of a row.
pub(super) struct Way<'a, G> {
    pub(super) id: G,
    pub(super) said: &'a Value,
    /// Caller id of this gateway.
    pub(super) cli: Option<String>,
}

/// Reads rows. `known` finds a gateway by its id. What is past a bound is counted and not kept.
pub(super) fn rows<'a, G>(given: &'a [Value], known: impl Fn(&str) -> Option<G>, log: &mut Log) -> Vec<Row<'a, G>> {
    let (mut rows, mut kept, mut too_many) = (Vec::new(), 0_usize, 0_usize);
    for said in given {
        let gateways = gateways(said);
        if gateways.is_empty() {
            log.say(format_args!("egress_routing: {said} names no gateway: left out"));
        }
        if gateways.is_empty() || kept == MAX_ATTEMPTS {
            too_many += gateways.len();
            continue;
        }
        let fields = Sifted::read(said, log);
        let mut ways = Vec::new();
        for (name, gateway) in gateways {
            let Some(id) = known(&name) else {
                log.say(format_args!("no gateway {name}: left out"));
                continue;
            };
            if kept == MAX_ATTEMPTS {
                too_many += 1;
                continue;
            }
            kept += 1;
            let cli = gateway.get("cli").filter(|cli| !cli.is_null());
            ways.push(Way { id, said: gateway, cli: number_of(format_args!("gw[{name}].cli"), cli, log) });
        }
        rows.push(Row { said, fields, ways });
    }
    if too_many > 0 {
        log.say(format_args!("{too_many} gateways past the first {MAX_ATTEMPTS}: left out"));
    }
    rows
}

/// Lines for the call's timeline.
#[derive(Default)]
pub(super) struct Log {
    lines: Vec<String>,
    /// Lines past the bound.
    more: usize,
}

impl Log {
    pub(super) fn say(&mut self, line: impl Display) {
        if self.lines.len() == MAX_LINES {
            self.more += 1;
            return;
        }
        let mut short = Line(String::new());
        // One that is too long ends where it is full.
        let _ = write!(short, "{line}");
        self.lines.push(short.0);
    }

    pub(super) fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more lines", self.more));
        }
        self.lines
    }
}

/// A line in the making.
struct Line(String);

impl fmt::Write for Line {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = part.floor_char_boundary(MAX_LINE.saturating_sub(self.0.len()));
        self.0.push_str(part.get(..end).unwrap_or_default());
        if end == part.len() {
            return Ok(());
        }
        self.0.push('…');
        Err(fmt::Error)
    }
}

/// Header fields of one place that can be used.
pub(super) struct Sifted<'a> {
    pub(super) remove: Vec<Cow<'a, str>>,
    /// Values as they were given.
    pub(super) add: Vec<(Cow<'a, str>, &'a Value)>,
}

impl<'a> Sifted<'a> {
    pub(super) fn read(place: &'a Value, log: &mut Log) -> Self {
        let mut fields = Self { remove: Vec::new(), add: Vec::new() };
        let (mut room, mut too_many) = (MAX_HEADER_BYTES, 0_usize);
        let mut fits = |count: usize, octets: usize| {
            let left = room.checked_sub(octets).filter(|_| count < MAX_HEADERS);
            too_many += usize::from(left.is_none());
            room = left.unwrap_or(room);
            left.is_some()
        };
        for item in named_list(place, "remove_headers", log) {
            match text(item).or_else(|| item.get("key").and_then(text)).filter(|name| is_name(name)) {
                Some(name) if runs_sip(&name) => log.say(format_args!("remove_headers: {name} runs SIP: left out")),
                Some(name) if fits(fields.remove.len(), name.len()) => fields.remove.push(name),
                Some(_) => {}
                None => log.say(format_args!("remove_headers: {item} is not the name of a header: left out")),
            }
        }
        for item in named_list(place, "headers", log) {
            let (name, value) = (item.get("key").and_then(text), item.get("value"));
            let octets = value.and_then(text).filter(|value| is_plain_value(value)).map(|value| value.len());
            match name.filter(|name| is_name(name)).zip(value).zip(octets) {
                Some(((name, _), _)) if runs_sip(&name) => log.say(format_args!("headers: {name} runs SIP: left out")),
                Some(((name, value), octets)) if fits(fields.add.len(), name.len() + octets) => fields.add.push((name, value)),
                Some(_) => {}
                None => log.say(format_args!("headers: {item} is no key with a value: left out")),
            }
        }
        if too_many > 0 {
            log.say(format_args!("{too_many} headers past {MAX_HEADERS} or past {MAX_HEADER_BYTES} octets: left out"));
        }
        fields
    }
}

impl From<Sifted<'_>> for Fields {
    fn from(Sifted { remove, add }: Sifted<'_>) -> Self {
        let pair = |(name, value): (Cow<'_, str>, &Value)| Some((name.into_owned(), text(value)?.into_owned()));
        Self { remove: remove.into_iter().map(Cow::into_owned).collect(), add: add.into_iter().filter_map(pair).collect() }
    }
}

impl Fields {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Whether a leg does not get the fields of this name that others gave it.
    pub(crate) fn removes(&self, name: &str) -> bool {
        self.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }
}

/// A list of headers; `log` says of anything else that it is none.
fn named_list<'a>(place: &'a Value, name: &str, log: &mut Log) -> &'a [Value] {
    let value = place.get(name);
    if let Some(other) = value.filter(|value| !value.is_array() && !value.is_null()) {
        log.say(format_args!("{name}: {other} is no list: taken as empty"));
    }
    list(value)
}

pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Text; numbers and truth values as they print.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number or caller id; one that cannot be used is left out, and `log` says so of `place`.
pub(super) fn number_of(place: impl Display, value: Option<&Value>, log: &mut Log) -> Option<String> {
    usable(place, value, is_plain, log)
}

/// What is to be dialled, likewise.
pub(super) fn dialled_of(value: Option<&Value>, log: &mut Log) -> Option<String> {
    usable("routing.dest_number", value, |number| !number.is_empty() && is_plain(number), log)
}

fn usable(place: impl Display, value: Option<&Value>, is_usable: impl Fn(&str) -> bool, log: &mut Log) -> Option<String> {
    let value = value?;
    let number = text(value).filter(|number| is_usable(number));
    if number.is_none() {
        log.say(format_args!("{place}: {value} is no number or name that can be dialled or shown: left out"));
    }
    number.map(Cow::into_owned)
}

/// The gateways of a row, in the order that JavaScript gives them: `{"7": {"cli": …}}`, or just an id.
fn gateways(row: &Value) -> Vec<(Cow<'_, str>, &Value)> {
    match row.get("gw") {
        Some(Value::Object(gateways)) => {
            let mut gateways: Vec<_> = gateways.iter().map(|(id, gateway)| (Cow::from(id.as_str()), gateway)).collect();
            // Numbers first, the lowest before the others.
            gateways.sort_by_key(|(id, _)| id.parse::<u32>().map_or(u64::MAX, u64::from));
            gateways
        }
        Some(id @ (Value::String(_) | Value::Number(_))) => text(id).map(|text| (text, id)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether this can be dialled or shown.
pub(super) fn is_plain(number: &str) -> bool {
    number.len() <= MAX_NUMBER
        && !number.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '@'))
}

pub(super) fn is_plain_value(value: &str) -> bool {
    !value.contains(char::is_control)
}

/// A token (RFC 3261, section 25.1).
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> RouteTable {
        let gateways = [7, 8].map(|id| format!("[[gateway]]\nid = {id}\naddress = \"sip:g{id}.example.net\"\n")).concat();
        let route = |prefix: &str, cost: &str| format!("[[route]]\nprefix = \"{prefix}\"\ngateways = [7]\n{cost}\n");
        let routes = [route("44", "cost = 0.5"), route("46", ""), route("47", "customers = [12]\ncost = 0.7")].concat();
        RouteTable::new(&toml::from_str(&format!("{gateways}{routes}")).unwrap())
    }

    fn read_back(data: &Value) -> Decision {
        let given = super::super::change::Given::read(&data.to_string()).unwrap();
        let data = serde_json::from_str(&given.object.print()).unwrap();
        read(&table(), &data, "441", "442", Some(12))
    }

    #[test]
    fn an_attempt_costs_what_its_number_costs_through_its_gateway() {
        for (number, expected) in [("442", Some(0.5)), ("+443", Some(0.5)), ("461", None), ("471", Some(0.7)), ("999", None)] {
            let rows = json!([{ "gw": { "7": {} } }, { "gw": { "8": {} } }]);
            let decision = read_back(&json!({ "routing": { "dest_number": number }, "egress_routing": rows }));
            let costs: Vec<_> = decision.attempts.iter().map(|attempt| attempt.cost).collect();
            assert_eq!(costs, [expected, None], "{number}");
        }
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
        let fields = |index: usize| decision.attempts[index].fields.iter().map(|fields| Fields::clone(fields));
        assert_eq!(fields(0).flat_map(|fields| fields.add).collect::<Vec<_>>(), [pair("X-A", "1"), pair("X-B", "2")]);
        assert_eq!(fields(0).flat_map(|fields| fields.remove).collect::<Vec<_>>(), ["X-Old", "X-Older", "X-C"]);
        assert_eq!(fields(1).flat_map(|fields| fields.add).collect::<Vec<_>>(), [pair("X-A", "1")]);
    }

    #[test]
    fn what_cannot_be_used_is_left_out_and_said() {
        let data = json!({ "routing": { "cli": "a\r\nb", "dest_number": "<x>", "log": ["hi", 7] },
            "headers": [{ "key": "X\r\nY", "value": "1" }, { "key": "X-A", "value": "a\r\nVia: x" }, { "key": "X-B" }, 7],
            "egress_routing": [{ "gw": { "99": {} } }, { "gw": { "7": "x" } }, {}, 5, { "gw": 8 }] });
        let decision = read_back(&data);
        assert_eq!(decision.attempts.iter().map(|attempt| attempt.gateway).collect::<Vec<_>>(), [7, 8]);
        assert_eq!((decision.cli.as_str(), decision.attempts[0].number.as_str()), ("441", "442"));
        assert!(decision.attempts[0].fields.is_empty());
        assert_eq!(decision.log.len(), 2 + 2 + 4 + 1 + 2, "{:?}", decision.log);
        assert_eq!(decision.log.last().map(String::as_str), Some("egress_routing: 5 names no gateway: left out"));
        assert!(decision.log[2].starts_with(r#"routing.cli: "a\r\nb" is no number"#), "{:?}", decision.log);
    }

    #[test]
    fn headers_of_a_row_that_are_no_list_or_not_printable_are_left_out_and_said() {
        let rows = json!([
            { "gw": { "7": {} }, "headers": { "key": "X-A", "value": 1 }, "remove_headers": "X-B" },
            { "gw": { "8": {} }, "headers": [{ "key": "X-A", "value": "a\u{1}" }, { "key": "X-A", "value": "b\u{7f}" }], "remove_headers": null },
        ]);
        let decision = read_back(&json!({ "routing": {}, "egress_routing": rows }));
        assert!(decision.attempts.iter().all(|attempt| attempt.fields.is_empty()));
        assert_eq!(decision.log.len(), 4, "{:?}", decision.log);
        assert_eq!(decision.log[1], r#"headers: {"key":"X-A","value":1} is no list: taken as empty"#);
    }

    #[test]
    fn a_caller_id_of_one_gateway_that_cannot_be_used_is_said_too_and_none_is_none() {
        let gateways = json!({ "7": { "cli": "44 111" }, "8": { "cli": null } });
        let decision = read_back(&json!({ "routing": {}, "egress_routing": [{ "gw": gateways }] }));
        assert_eq!(decision.attempts.iter().map(|attempt| attempt.cli.as_str()).collect::<Vec<_>>(), ["441", "441"]);
        assert_eq!(decision.log.len(), 1, "{:?}", decision.log);
        assert!(decision.log[0].starts_with("gw[7].cli: \"44 111\""), "{:?}", decision.log);
    }

    #[test]
    fn no_caller_id_and_no_number_are_said_and_those_before_count() {
        let routing = json!({ "cli": null, "dest_number": "" });
        let decision = read_back(&json!({ "routing": routing, "egress_routing": [{ "gw": { "7": {} } }] }));
        assert_eq!((decision.attempts[0].cli.as_str(), decision.attempts[0].number.as_str()), ("441", "442"));
        let said = |place: &str| format!("{place} is no number or name that can be dialled or shown: left out");
        assert_eq!(decision.log, [said("routing.cli: null"), said("routing.dest_number: \"\"")]);
    }

    #[test]
    fn fields_that_run_sip_are_neither_removed_nor_added_and_that_is_said() {
        let header = |name: &str| json!({ "key": name, "value": 1 });
        let data = json!({ "routing": {}, "headers": [header("m"), header("CONTENT-LENGTH"), header("X-A")],
            "remove_headers": ["via", { "key": "Record-Route" }, "X-B"], "egress_routing": [{ "gw": { "7": {} } }] });
        let decision = read_back(&data);
        assert_eq!(*decision.everywhere, Fields { remove: vec!["X-B".into()], add: vec![("X-A".into(), "1".into())] });
        let names = ["remove_headers: via", "remove_headers: Record-Route", "headers: m", "headers: CONTENT-LENGTH"];
        assert_eq!(decision.log, names.map(|name| format!("{name} runs SIP: left out")));
    }

    #[test]
    fn gateways_of_one_row_are_tried_by_their_numbers() {
        let row = json!({ "gw": { "10": {}, "7": {}, "x": {}, "100": {}, "8": {} } });
        let order: Vec<_> = gateways(&row).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["7", "8", "10", "100", "x"]);
    }

    #[test]
    fn attempts_headers_and_lines_are_bounded_and_what_is_past_the_bounds_is_counted() {
        let fields: Vec<_> = (0..100).map(|n| json!({ "key": format!("X-{n}"), "value": n })).collect();
        let rows: Vec<_> = (0..100).map(|_| json!({ "gw": { "7": {} } })).collect();
        let lines: Vec<_> = (0..100).map(|n| if n == 0 { json!("ä".repeat(5_000)) } else { json!(n) }).collect();
        let decision = read_back(&json!({ "routing": { "log": lines }, "headers": fields, "egress_routing": rows }));
        assert_eq!(decision.attempts.len(), MAX_ATTEMPTS);
        assert_eq!(decision.everywhere.add.len(), MAX_HEADERS);
        assert_eq!((decision.log.len(), decision.log[0].len()), (MAX_LINES + 1, MAX_LINE + "…".len()));
        assert_eq!(decision.log.last().map(String::as_str), Some("and 52 more lines"));

        let few = read_back(&json!({ "routing": {}, "headers": fields, "egress_routing": rows }));
        assert_eq!(few.log, ["36 headers past 64 or past 32768 octets: left out", "68 gateways past the first 32: left out"]);
    }

    #[test]
    fn a_large_header_is_left_out_and_one_of_all_is_there_once() {
        let field = |name: &str, octets: usize| json!({ "key": name, "value": "a".repeat(octets) });
        let rows: Vec<_> = (0..30).map(|_| json!({ "gw": { "7": {} } })).collect();
        let headers = [field("X-Big", 1_000_000), field("X-Fits", 30_000), field("X-No-More", 3_000), field("X-Small", 7)];
        let decision = read_back(&json!({ "routing": {}, "headers": headers, "egress_routing": rows }));
        let names: Vec<_> = decision.everywhere.add.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["X-Fits", "X-Small"]);
        assert_eq!(decision.log, ["2 headers past 64 or past 32768 octets: left out"]);
        let shared = |attempt: &Attempt| attempt.fields.iter().all(|fields| Arc::ptr_eq(fields, &decision.everywhere));
        assert!(decision.attempts.len() == 30 && decision.attempts.iter().all(shared));
    }
}
