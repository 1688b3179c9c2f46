//! A call as a page for people: self-contained HTML without a script, drawn from its timeline.
//!
//! ```text
//!   facts │ everything on one axis of time │ the SIP ladder │ every entry as a line
//! ```
//!
//! Whatever comes from the network (header fields, numbers, names) goes through [`crate::markup`]; the page allows no script, no
//! request and no frame by its own policy, so that what slipped through would do nothing.

mod axis;
mod ladder;
mod listing;
#[cfg(test)]
mod tests;
mod view;
mod waveform;

use crate::markup::escape;
use std::fmt::Write as _;

pub(crate) use view::View;
pub(crate) use waveform::{Waveform, read as read_waveform};

/// What the page may do: show itself.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("style.css");

/// The page of a call, with the waveforms of its recordings.
pub(crate) fn page(view: &View, waveforms: &[Waveform]) -> String {
    let call = &view.call;
    let title = format!("{} to {}", shown(&call.from), shown(&call.to));
    let mut html = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        escape(POLICY),
        escape(&title)
    );
    let _ = write!(html, "<header>\n<h1>{}</h1>\n", escape(&title));
    facts(&mut html, view);
    html.push_str("</header>\n<main>\n");
    section(&mut html, "On one axis", &axis::draw(view, waveforms));
    section(&mut html, "SIP ladder", &ladder::draw(view));
    section(&mut html, "Everything", &listing::table(view));
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn section(html: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(html, "<section>\n<h2>{}</h2>\n{body}\n</section>\n", escape(title));
    }
}

fn facts(html: &mut String, view: &View) {
    let began = i64::try_from(view.call.started_at).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let began = began.map(|began| began.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default();
    let ended = view
        .ended
        .as_ref()
        .map_or_else(|| "no end was recorded".to_owned(), |ended| format!("{} {} by {}", ended.code, ended.reason, ended.by));
    let lasted = view.duration_ms.map(|ms| format!("{:.1} s", ms as f64 / 1_000.0)).unwrap_or_default();
    let pairs = [
        ("Call", view.call.id.clone()),
        ("Script", view.script.clone().unwrap_or_default()),
        ("Began", began),
        ("Lasted", lasted),
        ("Ended", ended),
        ("Codec", view.call.codec.clone().unwrap_or_default()),
    ];
    html.push_str("<dl>\n");
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
    }
    html.push_str("</dl>\n");
    for media in view.media() {
        let _ = writeln!(html, "<p class=\"media\">{}</p>", escape(&media.sentence()));
    }
    if view.dropped > 0 {
        let _ = writeln!(html, "<p class=\"media\">{} more entries were not kept.</p>", view.dropped);
    }
}

/// A number or name, or what stands in for none.
fn shown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// The first `most` characters of a text.
fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Seconds with as many digits as a reader needs.
fn seconds(ms: u64) -> String {
    format!("{:.3}", ms as f64 / 1_000.0)
}
