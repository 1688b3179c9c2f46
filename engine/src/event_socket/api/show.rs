//! `show channels|calls|registrations [as json|as xml|as delim C] [count] [like TEXT]`

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::core::{Channel, EngineError};
use crate::event_socket::channel_headers::{self as headers, ChannelState};
use crate::event_socket::hub::Hub;

/// A table: names of columns, and rows.
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Text(char),
    Json,
    Xml,
    Count,
}

const LEG: &[&str] = &[
    "uuid",
    "direction",
    "created",
    "created_epoch",
    "name",
    "state",
    "cid_name",
    "cid_num",
    "ip_addr",
    "dest",
    "application",
    "application_data",
    "dialplan",
    "context",
    "read_codec",
    "read_rate",
    "read_bit_rate",
    "write_codec",
    "write_rate",
    "write_bit_rate",
    "secure",
    "hostname",
    "presence_id",
    "presence_data",
    "accountcode",
    "callstate",
    "callee_name",
    "callee_num",
    "callee_direction",
    "call_uuid",
    "sent_callee_name",
    "sent_callee_num",
    "initial_cid_name",
    "initial_cid_num",
    "initial_ip_addr",
    "initial_dest",
    "initial_dialplan",
    "initial_context",
];
/// Columns of one side of a call; the other's have a `b_` before them.
const SIDE: &[&str] = &[
    "uuid",
    "direction",
    "created",
    "created_epoch",
    "name",
    "state",
    "cid_name",
    "cid_num",
    "ip_addr",
    "dest",
    "presence_id",
    "presence_data",
    "accountcode",
    "callstate",
    "callee_name",
    "callee_num",
    "callee_direction",
    "call_uuid",
    "hostname",
    "sent_callee_name",
    "sent_callee_num",
];

pub(super) async fn show(hub: &Hub, args: &str) -> Result<String, EngineError> {
    let mut words = args.split_whitespace();
    let what = words.next().unwrap_or_default().to_ascii_lowercase();
    let mut shape = Shape::Text(',');
    let mut like = None;
    while let Some(word) = words.next() {
        match word.to_ascii_lowercase().as_str() {
            "count" => shape = Shape::Count,
            "like" => like = words.next().map(|text| text.trim_matches('%').to_owned()),
            "as" => match words.next().map(str::to_ascii_lowercase).as_deref() {
                Some("json") => shape = Shape::Json,
                Some("xml") => shape = Shape::Xml,
                Some("delim") => shape = Shape::Text(words.next().and_then(|text| text.chars().next()).unwrap_or(',')),
                Some(_) | None => return super::usage("show <what> [as json|as xml|as delim <c>] [count] [like <text>]"),
            },
            _ => {}
        }
    }
    let mut table = match what.as_str() {
        "channels" => channels(hub).await?,
        "calls" | "bridged_calls" | "detailed_calls" => calls(hub, what == "bridged_calls").await?,
        "registrations" => registrations(hub).await?,
        "codec" | "codecs" | "modules" | "module" | "api" | "application" | "interfaces" | "aliases" | "endpoint" | "tasks"
        | "nat_map" | "limits" => Table { columns: vec!["type".to_owned(), "name".to_owned()], rows: Vec::new() },
        _ => return super::usage("show channels|calls|bridged_calls|registrations [as json|as xml] [count] [like <text>]"),
    };
    if let Some(like) = like {
        table.rows.retain(|row| row.iter().any(|cell| cell.contains(&like)));
    }
    Ok(write(&table, shape))
}

async fn channels(hub: &Hub) -> Result<Table, EngineError> {
    let channels = hub.engine.channels().await?;
    let rows = channels.iter().map(|channel| LEG.iter().map(|name| cell(hub, channel, name)).collect()).collect();
    Ok(Table { columns: LEG.iter().map(ToString::to_string).collect(), rows })
}

async fn calls(hub: &Hub, bridged_only: bool) -> Result<Table, EngineError> {
    let channels = hub.engine.channels().await?;
    let far = |name: &&&str| !matches!(**name, "call_uuid" | "hostname");
    let mut columns: Vec<String> = SIDE.iter().map(ToString::to_string).collect();
    columns.extend(SIDE.iter().filter(far).map(|name| format!("b_{name}")));
    columns.push("call_created_epoch".to_owned());
    let near = channels.iter().filter(|channel| channel.uuid == channel.call && (!bridged_only || channel.other.is_some()));
    // Two calls that are joined are one line.
    let mut shown = HashSet::new();
    let near = near.filter(|channel| {
        let is_second = channel.other.as_ref().is_some_and(|other| shown.contains(&other.uuid));
        shown.insert(channel.uuid.clone());
        !is_second
    });
    let rows = near
        .map(|channel| {
            let mut row: Vec<String> = SIDE.iter().map(|name| cell(hub, channel, name)).collect();
            let other = channel.other.as_deref();
            row.extend(SIDE.iter().filter(far).map(|name| other.map(|other| cell(hub, other, name)).unwrap_or_default()));
            row.push(
                other.map(|_| channel.times.bridged.unwrap_or_default() / 1_000).map_or_else(String::new, |at| at.to_string()),
            );
            row
        })
        .collect();
    Ok(Table { columns, rows })
}

fn cell(hub: &Hub, channel: &Channel, column: &str) -> String {
    let codec = headers::codec(channel).unwrap_or_default();
    match column {
        "uuid" => channel.uuid.clone(),
        "direction" => headers::direction(channel).to_owned(),
        "created" => headers::local_time(channel.times.created),
        "created_epoch" => (channel.times.created / 1_000).to_string(),
        "name" => headers::name(channel),
        "state" => ChannelState::of(channel).name().0.to_owned(),
        "cid_name" | "initial_cid_name" if channel.caller_name.is_empty() => channel.caller_number.clone(),
        "cid_name" | "initial_cid_name" => channel.caller_name.clone(),
        "cid_num" | "initial_cid_num" => channel.caller_number.clone(),
        "ip_addr" | "initial_ip_addr" => channel.network_addr.clone(),
        "dest" | "initial_dest" => channel.destination.clone(),
        "application" => channel.running.as_ref().map_or_else(String::new, |running| headers::application(running).to_owned()),
        "application_data" => channel.running.as_ref().map_or_else(String::new, |running| running.data.clone()),
        "dialplan" | "initial_dialplan" => "XML".to_owned(),
        "context" | "initial_context" => "default".to_owned(),
        "read_codec" | "write_codec" => codec.0,
        "read_rate" | "write_rate" => codec.1.to_owned(),
        "read_bit_rate" | "write_bit_rate" => codec.2.to_owned(),
        "hostname" => hub.identity.hostname.clone(),
        "callstate" => headers::call_state(channel).to_owned(),
        "callee_num" if channel.outbound => channel.destination.clone(),
        "call_uuid" => channel.call.clone(),
        _ => String::new(),
    }
}

async fn registrations(hub: &Hub) -> Result<Table, EngineError> {
    let registrations = hub.engine.registrations().await?;
    let now = crate::event_socket::hub::unix_ms() / 1_000;
    let columns =
        ["reg_user", "realm", "token", "url", "expires", "network_ip", "network_port", "network_proto", "hostname", "metadata"];
    let rows = registrations
        .iter()
        .map(|registration| {
            vec![
                registration.user.clone(),
                hub.identity.realm.clone(),
                String::new(),
                registration.contact.clone(),
                (now + registration.expires_s).to_string(),
                registration.remote.ip().to_string(),
                registration.remote.port().to_string(),
                "udp".to_owned(),
                hub.identity.hostname.clone(),
                String::new(),
            ]
        })
        .collect();
    Ok(Table { columns: columns.iter().map(ToString::to_string).collect(), rows })
}

fn write(table: &Table, shape: Shape) -> String {
    let total = table.rows.len();
    match shape {
        Shape::Count => format!("\n{total} total.\n"),
        Shape::Text(_) if total == 0 => "\n0 total.\n".to_owned(),
        Shape::Text(separator) => {
            let line = |cells: &[String]| {
                // A separator within a cell would make two of it.
                let cells: Vec<String> = cells.iter().map(|cell| cell.replace([separator, '\n', '\r'], " ")).collect();
                cells.join(separator.encode_utf8(&mut [0; 4])) + "\n"
            };
            let rows: String = table.rows.iter().map(|row| line(row)).collect();
            format!("{}{rows}\n{total} total.\n", line(&table.columns))
        }
        Shape::Json if total == 0 => json!({ "row_count": 0 }).to_string(),
        Shape::Json => {
            let object = |row: &Vec<String>| -> Value {
                let fields = table.columns.iter().cloned().zip(row.iter().cloned().map(Value::String));
                Value::Object(fields.collect::<Map<_, _>>())
            };
            let rows: Vec<Value> = table.rows.iter().map(object).collect();
            json!({ "row_count": total, "rows": rows }).to_string()
        }
        Shape::Xml => {
            let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let rows = table.rows.iter().enumerate().map(|(at, row)| {
                let cells = table.columns.iter().zip(row).map(|(name, cell)| format!("    <{name}>{}</{name}>\n", escape(cell)));
                format!("  <row row_id=\"{}\">\n{}  </row>\n", at + 1, cells.collect::<String>())
            });
            format!("<result row_count=\"{total}\">\n{}</result>\n", rows.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 2]]) -> Table {
        let rows = rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect();
        Table { columns: vec!["uuid".to_owned(), "name".to_owned()], rows }
    }

    #[test]
    fn tables_are_written_as_asked() {
        let table = table(&[["1", "a,b"], ["2", "<c>"]]);
        assert_eq!(write(&table, Shape::Text(',')), "uuid,name\n1,a b\n2,<c>\n\n2 total.\n");
        assert_eq!(write(&table, Shape::Count), "\n2 total.\n");
        let json: Value = serde_json::from_str(&write(&table, Shape::Json)).unwrap();
        assert_eq!((json["row_count"].as_u64(), json["rows"][0]["name"].as_str()), (Some(2), Some("a,b")));
        assert!(write(&table, Shape::Xml).contains("<name>&lt;c&gt;</name>"));
    }

    #[test]
    fn an_empty_table_has_its_own_form() {
        assert_eq!(write(&table(&[]), Shape::Text(',')), "\n0 total.\n");
        assert_eq!(write(&table(&[]), Shape::Json), "{\"row_count\":0}");
    }
}
