//! Every entry of a timeline as a line of a table.

use std::fmt::Write as _;

use super::axis::leg_name;
use super::seconds;
use super::view::{View, What};
use crate::markup::escape;

/// The table; empty for a call without entries.
pub(super) fn table(view: &View) -> String {
    if view.entries.is_empty() {
        return String::new();
    }
    let mut html = "<div class=\"wide\"><table>\n<thead><tr><th>s</th><th>what</th><th></th><th>result</th><th>line</th></tr></thead>\n<tbody>\n".to_owned();
    for entry in &view.entries {
        let (kind, text, result, line) = match &entry.what {
            What::Operation(operation) => {
                let began = operation.started_ms.unwrap_or(entry.at_ms);
                let took = operation.ended_ms.map(|ended| format!(" (after {} s)", seconds(ended.saturating_sub(began))));
                let result = operation.result.clone().unwrap_or_else(|| "not settled".to_owned());
                let kind = if operation.ok == Some(false) { "failed" } else { "operation" };
                let line = operation.line.clone().unwrap_or_default();
                (kind, format!("{}({})", operation.name, operation.detail), result + &took.unwrap_or_default(), line)
            }
            What::Sip { direction, leg, summary } => {
                let arrow = if direction == "in" { "→" } else { "←" };
                ("sip", format!("{arrow} {summary}"), leg_name(leg), String::new())
            }
            What::Dtmf { digit, method, duration_ms } => {
                ("key", digit.to_string(), format!("{method}, {duration_ms} ms"), String::new())
            }
            What::Event { name, detail } => ("event", format!("{name} {detail}"), String::new(), String::new()),
            What::Log { level, text, line } => (level.as_str(), text.clone(), String::new(), line.clone().unwrap_or_default()),
            What::Media(media) => ("media", media.sentence(), String::new(), String::new()),
            What::Unknown => continue,
        };
        let class: String = kind.chars().filter(char::is_ascii_alphabetic).collect();
        let _ = writeln!(
            html,
            "<tr class=\"k-{class}\"><td class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"l\">{}</td></tr>",
            seconds(entry.at_ms),
            escape(kind),
            escape(&text),
            escape(&result),
            escape(&line)
        );
    }
    html.push_str("</tbody>\n</table></div>");
    html
}
