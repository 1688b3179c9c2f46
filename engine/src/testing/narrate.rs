//! What happened on the stage, for whoever reads why a test has failed.

use std::fmt::Write as _;

use lockstep_media::codec::Codec;

use super::listen::Listener;
use super::session::Session;
use crate::core::timeline::{Direction, Timeline, What};
use crate::simulation::{PhoneCallId, Simulation, is_quiet};

/// Stretches of what was heard that one line names.
const MAX_STRETCHES: usize = 12;
/// Lines of a call's timeline.
const MAX_LINES: usize = 60;
/// Sound shorter than this between silences is not worth a word, in octets.
const SHORT: usize = 800;

/// The id of the engine's call at the other end of a phone's.
pub(super) fn engine_call(stage: &mut Simulation, id: PhoneCallId) -> Option<String> {
    let call = stage.phones.call(id)?;
    let (address, began) = (stage.phones.address(call.phone)?.to_string(), call.began);
    let began_ms = stage.clock().moment_of(began).unix_ms;
    let engine_calls = stage.calls();
    let same = engine_calls.iter().filter(|known| known.facts.remote_addr == address && known.facts.started_at >= began_ms);
    same.min_by_key(|known| known.facts.started_at).map(|known| known.facts.id.clone())
}

/// What a call heard from octet `from` on, in words.
pub(super) fn heard(stage: &Simulation, id: PhoneCallId, from: usize) -> String {
    let Some(call) = stage.phones.call(id) else { return "nothing".to_owned() };
    let Some(codec) = call.heard.codec() else { return "nothing".to_owned() };
    let octets = call.heard.octets();
    let mut named: Vec<(usize, usize, String)> = Vec::new();
    for clip in stage.audio().clips().iter().filter(|clip| clip.prompt.codec() == codec) {
        let mut at = from;
        for _ in 0..MAX_STRETCHES {
            let mut listener = Listener::new(codec, clip.prompt.octets(), at, None);
            match listener.look(&call.heard) {
                Some(found) => {
                    named.push((found.start, found.end, clip.name.clone()));
                    at = found.end;
                }
                None => {
                    if let Some((length, start)) = listener.heard_at_best().filter(|(length, _)| *length >= 0.2) {
                        let (start, length) = ((start * 8_000.0) as usize, (length * 8_000.0) as usize);
                        named.push((start, start + length, format!("the beginning of {}", clip.name)));
                    }
                    break;
                }
            }
        }
    }
    named.sort();
    named.dedup_by(|later, earlier| later.0 < earlier.1);
    let mut stretches = Vec::new();
    let mut at = from;
    for (start, end, name) in named {
        stretches.extend(unnamed(octets, codec, at, start));
        stretches.push((start, end, name));
        at = end;
    }
    stretches.extend(unnamed(octets, codec, at, octets.len()));
    let shown = stretches
        .iter()
        .take(MAX_STRETCHES)
        .map(|(start, end, name)| format!("{:.2}–{:.2} s {name}", *start as f64 / 8_000.0, *end as f64 / 8_000.0));
    let text: Vec<String> = shown.collect();
    if text.is_empty() { "nothing".to_owned() } else { text.join("; ") }
}

/// Stretches that belong to no clip: silence, or other sound.
fn unnamed(octets: &[u8], codec: Codec, from: usize, to: usize) -> Vec<(usize, usize, String)> {
    let mut found: Vec<(usize, usize, bool)> = Vec::new();
    let mut at = from;
    while at < to {
        let end = (at + SHORT).min(to);
        let window = octets.get(at..end).unwrap_or_default();
        let loud = window.iter().any(|octet| !is_quiet(codec.decode_sample(*octet)));
        match found.last_mut().filter(|(_, _, same)| *same == loud) {
            Some(last) => last.1 = end,
            None => found.push((at, end, loud)),
        }
        at = end;
    }
    let long = found.into_iter().filter(|(start, end, _)| end - start >= SHORT);
    long.map(|(start, end, loud)| (start, end, if loud { "other sound" } else { "silence" }.to_owned())).collect()
}

/// Everything about a test's calls, as lines of text.
pub(crate) fn story(session: &mut Session) -> String {
    let mut text = String::new();
    let ids: Vec<PhoneCallId> = session.stage.phones.calls().map(|(id, _)| id).collect();
    let origin = session.stage.clock().moment().unix_ms;
    let _ = origin;
    for id in ids {
        let Some(call) = session.stage.phones.call(id) else { continue };
        let user = session.stage.phones.user(call.phone).to_owned();
        let (from, to) = (call.from.clone(), call.to.clone());
        let direction = if call.outgoing { "dials" } else { "is called as" };
        let began = session.stage.clock().elapsed_at(call.began).as_secs_f64();
        let _ = writeln!(text, "phone {user} {direction} {to} (from {from}), {began:.3} s after the test began");
        let mut lines: Vec<(f64, String)> = Vec::new();
        let since = |instant| session.stage.clock().elapsed_at(instant).as_secs_f64() - began;
        lines.extend(call.sights.iter().map(|sight| (since(sight.at), format!("phone  {}", sight.what))));
        for step in session.steps.iter().filter(|step| step.call == Some(id)) {
            let result = match &step.result {
                None => "… waits".to_owned(),
                Some(result) if result == "ok" => String::new(),
                Some(result) => format!("✗ {}", result.lines().next().unwrap_or_default()),
            };
            lines.push((since(step.at), format!("test   {} {result}", step.what)));
        }
        let outgoing = call.outgoing;
        if outgoing
            && let Some(engine) = engine_call(&mut session.stage, id)
            && let Some(timeline) = session.stage.timeline(&engine)
        {
            lines.extend(engine_lines(&timeline));
        }
        lines.sort_by(|a, b| a.0.total_cmp(&b.0));
        let dropped = lines.len().saturating_sub(MAX_LINES);
        for (at, line) in lines.iter().skip(dropped) {
            let _ = writeln!(text, "  {at:8.3}  {line}");
        }
        if dropped > 0 {
            let _ = writeln!(text, "  ({dropped} earlier lines left out)");
        }
        let _ = writeln!(text, "  heard: {}", heard(&session.stage, id, 0));
    }
    text
}

fn engine_lines(timeline: &Timeline) -> Vec<(f64, String)> {
    let mut lines = Vec::new();
    for entry in &timeline.entries {
        let line = match &entry.what {
            What::Operation(operation) => {
                let at = operation.line.as_deref().map(|line| format!(" [{line}]")).unwrap_or_default();
                let result = operation.result.as_deref().map_or_else(
                    || " … the script stands here".to_owned(),
                    |result| {
                        let took =
                            operation.ended_ms.map(|ended| format!(" at {:.3}", ended as f64 / 1_000.0)).unwrap_or_default();
                        format!(" → {result}{took}")
                    },
                );
                format!("script {}({}){at}{result}", operation.name, operation.detail)
            }
            What::Sip { direction, leg, summary } => {
                let arrow = match direction {
                    Direction::In => "→ engine",
                    Direction::Out => "engine →",
                };
                format!("sip    {leg} {arrow} {summary}")
            }
            What::Dtmf { digit, method, .. } => format!("key    {digit} ({method})"),
            What::Event { name, detail } => format!("event  {name} {detail}"),
            What::Media(media) => {
                format!("media  {} received, {} lost, jitter {} ms", media.received, media.lost, media.jitter_ms)
            }
            What::Log { level, text, line } => {
                let at = line.as_deref().map(|line| format!(" [{line}]")).unwrap_or_default();
                format!("log    {level:?} {text}{at}")
            }
        };
        lines.push((entry.at_ms as f64 / 1_000.0, line));
    }
    lines
}
