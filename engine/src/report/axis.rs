//! Everything that happened to a call on one axis of time: recording, operations, keys, SIP.

use std::fmt::Write as _;

use super::view::{View, What};
use super::waveform::Waveform;
use super::{clipped, seconds};
use crate::markup::escape;

const WIDTH: f64 = 1_120.0;
/// Room for the names of lanes.
const LEFT: f64 = 96.0;
const RIGHT: f64 = 24.0;
const ROW: f64 = 22.0;
const WAVE: f64 = 56.0;
/// Rows of operations; what would need more shares the last.
const MAX_ROWS: usize = 12;
/// Marks on the axis, about.
const TICKS: u64 = 10;
/// Pixels a letter of a label takes, about.
const LETTER: f64 = 6.6;

struct Axis {
    last_ms: f64,
}

impl Axis {
    fn x(&self, ms: u64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (ms as f64 / self.last_ms).min(1.0)
    }
}

/// The picture; empty for a call without entries.
pub(super) fn draw(view: &View, waveforms: &[Waveform]) -> String {
    if view.entries.is_empty() {
        return String::new();
    }
    let axis = Axis { last_ms: view.last_ms() as f64 };
    let mut body = String::new();
    let mut y = 28.0;
    for waveform in waveforms {
        wave(&mut body, &axis, y, waveform, recording_began(view, waveform.number));
        y += WAVE + 8.0;
    }
    y = operations(&mut body, &axis, view, y);
    y = keys(&mut body, &axis, view, y);
    y = messages(&mut body, &axis, view, y);
    let height = y + 8.0;
    let mut svg = format!(
        "<svg class=\"axis\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"What happened when\">\n"
    );
    ticks(&mut svg, &axis, view.last_ms(), height);
    svg.push_str(&body);
    svg.push_str("</svg>");
    format!("<div class=\"wide\">{svg}</div>")
}

/// When the call's `number`th recording began, ms: what a script starts in the background runs once it has started.
fn recording_began(view: &View, number: usize) -> u64 {
    let begun = view.entries.iter().filter_map(|entry| match &entry.what {
        What::Operation(operation) if operation.name == "record" && operation.ok == Some(true) => operation.ended_ms,
        What::Operation(operation) if operation.name == "recordMessage" => operation.started_ms,
        _ => None,
    });
    begun.into_iter().nth(number.saturating_sub(1)).unwrap_or(0)
}

fn lane(svg: &mut String, y: f64, name: &str) {
    let _ = writeln!(svg, "<text class=\"lane\" x=\"8\" y=\"{:.1}\">{}</text>", y + 15.0, escape(name));
}

/// Seconds along the top: a step of 1, 2 or 5 times a power of ten.
fn ticks(svg: &mut String, axis: &Axis, last_ms: u64, height: f64) {
    let mut step = 1;
    'found: for power in 0..20_u32 {
        for factor in [1, 2, 5] {
            step = 10_u64.saturating_pow(power).saturating_mul(factor);
            if last_ms / step <= TICKS {
                break 'found;
            }
        }
    }
    for at in (0..=last_ms).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let x = axis.x(at);
        let label = if step >= 1_000 { (at / 1_000).to_string() } else { format!("{:.2}", at as f64 / 1_000.0) };
        let _ = writeln!(svg, "<line class=\"tick\" x1=\"{x:.1}\" y1=\"20\" x2=\"{x:.1}\" y2=\"{height:.1}\"/>");
        let _ = writeln!(svg, "<text class=\"time\" x=\"{x:.1}\" y=\"14\">{label} s</text>");
    }
}

fn wave(svg: &mut String, axis: &Axis, y: f64, waveform: &Waveform, began: u64) {
    lane(svg, y + 18.0, &format!("recording {}", waveform.number));
    let middle = y + WAVE / 2.0;
    let peaks = waveform.peaks.len().max(1) as f64;
    let (left, right) = (axis.x(began), axis.x(began + waveform.duration_ms));
    let mut path = String::new();
    for (index, peak) in waveform.peaks.iter().enumerate() {
        let x = left + (right - left) * index as f64 / peaks;
        let half = (peak * WAVE / 2.0).max(0.5);
        let _ = write!(path, "M{x:.1} {:.1}V{:.1}", middle - half, middle + half);
    }
    let title = format!("{}, {} s", waveform.name, seconds(waveform.duration_ms));
    let _ = writeln!(svg, "<g><title>{}</title><path class=\"wave\" d=\"{path}\"/></g>", escape(&title));
}

fn operations(svg: &mut String, axis: &Axis, view: &View, top: f64) -> f64 {
    // Where each row is free again.
    let mut rows: Vec<f64> = Vec::new();
    for entry in &view.entries {
        let What::Operation(operation) = &entry.what else { continue };
        let from = operation.started_ms.unwrap_or(entry.at_ms);
        let to = operation.ended_ms.unwrap_or_else(|| view.last_ms());
        let (x, end) = (axis.x(from), axis.x(to));
        let width = (end - x).max(2.0);
        let name = format!("{}({})", operation.name, operation.detail);
        let inside = clipped(&name, (width / LETTER) as usize);
        // What does not fit into its bar stands behind it.
        let outside = clipped(&operation.name, 24);
        let fits = width > 7.0 * LETTER;
        let taken = if fits { end } else { end + 4.0 + outside.chars().count() as f64 * LETTER };
        let row = rows.iter().position(|free| *free <= x).unwrap_or(rows.len()).min(MAX_ROWS - 1);
        match rows.get_mut(row) {
            Some(free) => *free = taken + 4.0,
            None => rows.push(taken + 4.0),
        }
        let y = top + row as f64 * ROW;
        let class = match operation.ok {
            Some(true) => "good",
            Some(false) => "bad",
            None => "open",
        };
        let line = operation.line.as_deref().unwrap_or_default();
        let result = operation.result.as_deref().unwrap_or("not settled");
        let title = format!("{name} = {result}, {} to {} s  {line}", seconds(from), seconds(to));
        let _ = writeln!(
            svg,
            "<g><title>{}</title><rect class=\"bar {class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"3\"/>",
            escape(&title),
            y + 2.0,
            ROW - 5.0
        );
        let (at, text, class) = if fits { (x + 4.0, inside, "in") } else { (end + 4.0, outside, "out") };
        let _ = writeln!(svg, "<text class=\"{class}\" x=\"{at:.1}\" y=\"{:.1}\">{}</text></g>", y + 14.0, escape(&text));
    }
    if rows.is_empty() {
        return top;
    }
    lane(svg, top, "operations");
    top + rows.len() as f64 * ROW + 6.0
}

fn keys(svg: &mut String, axis: &Axis, view: &View, top: f64) -> f64 {
    let mut any = false;
    for entry in &view.entries {
        let What::Dtmf { digit, method, duration_ms } = &entry.what else { continue };
        any = true;
        let title = format!("key {digit} ({method}, {duration_ms} ms) at {} s", seconds(entry.at_ms));
        let _ = writeln!(
            svg,
            "<g><title>{}</title><circle class=\"key\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"9\"/><text class=\"digit\" x=\"{x:.1}\" y=\"{:.1}\">{}</text></g>",
            escape(&title),
            top + 11.0,
            top + 15.0,
            escape(&digit.to_string()),
            x = axis.x(entry.at_ms)
        );
    }
    if !any {
        return top;
    }
    lane(svg, top, "keys");
    top + ROW + 6.0
}

fn messages(svg: &mut String, axis: &Axis, view: &View, top: f64) -> f64 {
    let others = view.other_legs();
    let mut last = top;
    for (row, leg) in std::iter::once("a").chain(others).take(MAX_ROWS).enumerate() {
        let y = top + row as f64 * ROW;
        let mut any = false;
        for entry in &view.entries {
            let What::Sip { direction, leg: of, summary } = &entry.what else { continue };
            if of != leg {
                continue;
            }
            any = true;
            let (x, is_in) = (axis.x(entry.at_ms), direction == "in");
            // Up is towards us.
            let (tip, foot) = if is_in { (y + 4.0, y + 16.0) } else { (y + 16.0, y + 4.0) };
            let title = format!("{} {summary} at {} s", if is_in { "in:" } else { "out:" }, seconds(entry.at_ms));
            let _ = writeln!(
                svg,
                "<path class=\"sip {}\" d=\"M{:.1} {foot:.1}L{x:.1} {tip:.1}L{:.1} {foot:.1}Z\"><title>{}</title></path>",
                if is_in { "came" } else { "went" },
                x - 4.5,
                x + 4.5,
                escape(&title)
            );
        }
        if any {
            lane(svg, y, &format!("SIP {}", leg_name(leg)));
            last = y + ROW;
        }
    }
    last
}

/// A leg as people call it: the caller's is `a`, others have the end of their ids.
pub(super) fn leg_name(leg: &str) -> String {
    match leg.rsplit_once('-') {
        Some((_, number)) if number.len() < 4 => format!("leg {number}"),
        _ => clipped(leg, 8),
    }
}
