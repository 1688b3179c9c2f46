//! Pages of made-up calls.

use serde_json::{Value, json};

use super::*;

fn timeline() -> Value {
    json!({
        "call": { "id": "c1", "direction": "inbound", "from": "\"<script>alert(1)</script>", "to": "1000", "did": null,
            "customer_id": null, "state": "ended", "started_at": 1_700_000_000_000_u64, "answered_at": null, "codec": "pcmu", "remote_addr": "" },
        "script": "menu", "ended": { "code": 200, "reason": "OK' onload='x", "by": "caller" }, "duration_ms": 4_000, "dropped": 2,
        "entries": [
            { "at_ms": 0, "kind": "sip", "direction": "in", "leg": "a", "summary": "INVITE sip:<b>&\u{202e}\u{7}@h" },
            { "at_ms": 2, "kind": "operation", "id": "0.0", "name": "answer", "detail": "", "line": "menu.js:2:9", "started_ms": 2, "ended_ms": 10, "result": "ok", "ok": true },
            { "at_ms": 11, "kind": "operation", "id": "1.0", "name": "play", "detail": "user/</svg>.wav", "started_ms": 11, "ended_ms": 2_000, "result": "NotFound: <i>", "ok": false },
            { "at_ms": 900, "kind": "dtmf", "digit": "7", "method": "rfc4733", "duration_ms": 80 },
            { "at_ms": 1_000, "kind": "sip", "direction": "out", "leg": "c1-1", "summary": "INVITE sip:1001@h" },
            { "at_ms": 1_100, "kind": "event", "name": "bridge", "detail": "<x>" },
            { "at_ms": 1_200, "kind": "log", "level": "warn", "text": "</table><img src=x>", "line": "menu.js:3:1" },
            { "at_ms": 3_999, "kind": "media", "leg": "a", "sent": 100, "received": 99, "lost": 1, "jitter_ms": 0.5, "mos": 3.81, "remote_lost": 0, "remote_jitter_ms": 0.0 },
            { "at_ms": 3_999, "kind": "of-a-later-version", "more": true },
        ],
    })
}

fn drawn(timeline: Value, waveforms: &[Waveform]) -> String {
    page(&serde_json::from_value(timeline).expect("it is a timeline"), waveforms)
}

#[test]
fn a_page_shows_everything_and_needs_nothing() {
    let waveform = Waveform { number: 1, name: "all.wav".into(), duration_ms: 1_000, peaks: vec![0.0, 0.5, 1.0] };
    let html = drawn(timeline(), &[waveform]);
    for part in [
        "<h2>On one axis</h2>",
        "<h2>SIP ladder</h2>",
        "MOS 3.81",
        ">menu.js:2:9<",
        ">play(user/&lt;/svg&gt;.wav)<",
        "class=\"wave\" d=\"M",
        "leg 1",
        "2 more entries were not kept",
        "2023-11-14 22:13:20 UTC",
        "prefers-color-scheme: dark",
    ] {
        assert!(html.contains(part), "no {part} in:\n{html}");
    }
    for part in ["http://", "https://", "url(", "@import", "src="] {
        assert!(!html.replace("src=x", "").contains(part), "{part} in:\n{html}");
    }
}

#[test]
fn what_comes_from_the_network_is_text_wherever_it_stands() {
    let html = drawn(timeline(), &[]);
    for part in ["<script", "<b>", "<i>", "<x>", "<img", "onload='", "\u{202e}", "\u{7}", "alert(1)<"] {
        assert!(!html.contains(part), "{part} in:\n{html}");
    }
    assert_eq!(html.matches("</svg>").count(), 2);
    assert_eq!(html.matches("</table>").count(), 1);
}

#[test]
fn the_tags_of_a_page_are_balanced() {
    let html = drawn(timeline(), &[]);
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('!') || tag.ends_with('/') || name == "meta" {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{html}");
        } else {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_call_of_which_nothing_is_known_is_a_page_all_the_same() {
    for empty in [
        json!({}),
        json!({ "entries": [] }),
        json!({ "duration_ms": 0, "entries": [{ "at_ms": 0, "kind": "log", "level": "info", "text": "", "line": null }] }),
    ] {
        assert!(drawn(empty, &[]).ends_with("</html>\n"));
    }
}

#[test]
fn times_and_rows_stay_within_the_picture() {
    let operation = |n: u64| json!({ "at_ms": n, "kind": "operation", "name": "sleep", "detail": "", "started_ms": n, "ended_ms": u64::MAX, "ok": true });
    let html = drawn(json!({ "duration_ms": u64::MAX, "entries": (0..50).map(operation).collect::<Vec<_>>() }), &[]);
    assert!(html.len() < 200_000, "{}", html.len());
}
