//! Events of the softphone as lines.

use serde_json::{Value, json};

use crate::cli::out;
use crate::log::on_one_line;
use crate::phone::PhoneEvent;

/// Prints events, as text or JSON, with the time since the phone started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    started: tokio::time::Instant,
    json: bool,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { started: tokio::time::Instant::now(), json }
    }

    /// An event of call number `call`.
    pub(super) fn event(&self, call: u32, event: &PhoneEvent) {
        let value = serde_json::to_value(event).unwrap_or(Value::Null);
        self.line(call, value, sentence(event));
    }

    /// Something that is no event of a call itself: the call that was placed, the file that was written.
    pub(super) fn note(&self, call: u32, name: &str, details: Value, sentence: String) {
        let mut value = json!({ "event": name });
        if let (Value::Object(value), Value::Object(details)) = (&mut value, details) {
            value.extend(details);
        }
        self.line(call, value, sentence);
    }

    fn line(&self, call: u32, mut value: Value, sentence: String) {
        let at = self.started.elapsed();
        if self.json {
            value["at_ms"] = json!(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
            if call > 0 {
                value["call"] = json!(call);
            }
            out::line(value);
        } else {
            let number = if call > 1 { format!("call {call}: ") } else { String::new() };
            out::line(on_one_line(format!("{:>8.3}  {number}{sentence}", at.as_secs_f64())));
        }
    }
}

fn sentence(event: &PhoneEvent) -> String {
    match event {
        PhoneEvent::Progress { code, reason, early_media } => {
            format!("{code} {reason}{}", if *early_media { ", with early media" } else { "" })
        }
        PhoneEvent::Answered { codec } => format!("answered, {}", codec.unwrap_or("without audio")),
        PhoneEvent::MediaStarted { from } => format!("audio from {from}"),
        PhoneEvent::Digit { digit, duration_ms } => format!("key {digit} ({duration_ms} ms)"),
        PhoneEvent::Played { completed } => (if *completed { "played to the end" } else { "playing was stopped" }).to_owned(),
        PhoneEvent::Pressed { digits } => format!("{digits} keys pressed"),
        PhoneEvent::Held => "on hold".to_owned(),
        PhoneEvent::Resumed => "off hold".to_owned(),
        PhoneEvent::Ended(ended) => format!("ended: {ended}"),
    }
}
