//! SIP messages and keys between the engine and each leg, one below the other.

use std::fmt::Write as _;

use super::axis::leg_name;
use super::view::{View, What};
use super::{clipped, seconds, shown};
use crate::markup::escape;

const ROW: f64 = 30.0;
const HEAD: f64 = 44.0;
/// Between two lifelines.
const GAP: f64 = 300.0;
/// Room for times.
const LEFT: f64 = 84.0;
/// Legs that are drawn; those of further ones are in the list.
const MAX_LEGS: usize = 8;
/// Messages that are drawn.
const MAX_MESSAGES: usize = 500;
/// The longest label, in characters.
const LABEL: usize = 40;

/// The picture; empty for a call without SIP.
pub(super) fn draw(view: &View) -> String {
    let others: Vec<&str> = view.other_legs().into_iter().take(MAX_LEGS).collect();
    let line_of = |leg: &str| match leg {
        "a" => Some(0),
        // The engine stands between the caller and those it calls.
        other => others.iter().position(|known| *known == other).map(|at| at + 2),
    };
    let x = |line: usize| LEFT + 60.0 + line as f64 * GAP;
    let steps: Vec<(u64, usize, bool, String, bool)> = view
        .entries
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Sip { direction, leg, summary } => {
                Some((entry.at_ms, line_of(leg)?, direction == "in", clipped(summary, LABEL), false))
            }
            What::Dtmf { digit, method, .. } => Some((entry.at_ms, 0, true, format!("key {digit} ({method})"), true)),
            _ => None,
        })
        .take(MAX_MESSAGES)
        .collect();
    if steps.is_empty() {
        return String::new();
    }
    let lines = others.len() + 2;
    let (width, height) = (x(lines - 1) + 110.0, HEAD + steps.len() as f64 * ROW + 16.0);
    let mut svg = format!(
        "<svg class=\"ladder\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"SIP messages\">\n"
    );
    let caller = clipped(shown(&view.call.from), 24);
    let names = [caller, "Lockstep".to_owned()].into_iter().chain(others.iter().map(|leg| leg_name(leg)));
    for (line, name) in names.enumerate() {
        let at = x(line);
        let _ = writeln!(svg, "<text class=\"who\" x=\"{at:.1}\" y=\"20\">{}</text>", escape(&name));
        let _ = writeln!(svg, "<line class=\"life\" x1=\"{at:.1}\" y1=\"30\" x2=\"{at:.1}\" y2=\"{height:.1}\"/>");
    }
    for (row, (at_ms, line, is_in, label, is_key)) in steps.iter().enumerate() {
        let y = HEAD + row as f64 * ROW + 12.0;
        let (leg, engine) = (x(*line), x(1));
        let (from, to) = if *is_in { (leg, engine) } else { (engine, leg) };
        let toward = if to > from { 1.0 } else { -1.0 };
        let class = if *is_key { "arrow dashed" } else { "arrow" };
        let tip = to - toward * 2.0;
        let _ = writeln!(svg, "<text class=\"at\" x=\"8\" y=\"{:.1}\">{}</text>", y + 4.0, seconds(*at_ms));
        let _ = writeln!(svg, "<line class=\"{class}\" x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{tip:.1}\" y2=\"{y:.1}\"/>");
        let _ = writeln!(
            svg,
            "<path class=\"tip\" d=\"M{tip:.1} {y:.1}l{:.1} -4v8z\"/><text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            -toward * 8.0,
            (from + to) / 2.0,
            y - 5.0,
            escape(label)
        );
    }
    svg.push_str("</svg>");
    format!("<div class=\"wide\">{svg}</div>")
}
