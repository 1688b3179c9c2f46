//! `playback` and its like, `speak`, `sleep`, `echo`, `record_session`.

use lockstep_ctx_api::op::{EchoArgs, Op, PlayArgs, RecordArgs, RecordFormat, SleepArgs, TtsArgs};
use lockstep_ctx_api::{OpResult, Outcome};

use super::{Call, Plan, number, words};
use crate::core::{Consequences, says_yes};
use crate::event_socket::files::{self, Playable};

/// Speech engines of other servers, and what they are here: the engine's own voice.
const FOREIGN_VOICES: [&str; 6] = ["flite", "tts_commandline", "cepstral", "unimrcp", "pocketsphinx", "default"];

impl Call<'_> {
    pub(super) fn media(&self) -> Plan {
        let data = self.data.trim();
        match self.application {
            "playback" => self.play(files::playable(data), self.loops),
            "endless_playback" => self.play(files::playable(data), -1),
            "loop_playback" => {
                let (count, file) = match data.strip_prefix('+').and_then(|rest| rest.split_once(' ')) {
                    Some((count, file)) => (count, file.trim()),
                    None => ("", data),
                };
                let endless = count.is_empty() || count == "inf";
                self.play(files::playable(file), if endless { -1 } else { count.parse().unwrap_or(1) })
            }
            "gentones" => {
                let (tone, loops) = data.split_once('|').unwrap_or((data, "1"));
                let times = Some(number(loops)).filter(|times| *times != 0).unwrap_or(1);
                self.play(files::playable(&format!("tone_stream://{tone}")), times)
            }
            "speak" => self.speak(data),
            "sleep" => Plan::operation(Op::Sleep(SleepArgs { duration_ms: data.parse().unwrap_or(0) })),
            "echo" => Plan::operation(Op::Echo(EchoArgs::default())),
            "delay_echo" => Plan::operation(Op::Echo(EchoArgs { delay_ms: data.parse().unwrap_or(1_000).clamp(1, 10_000) })),
            "record_session" => self.record(data),
            "stop_record_session" => Plan::StopRecording((!data.is_empty() && data != "all").then(|| files::recording(data))),
            _ => Plan::nothing(),
        }
    }

    fn play(&self, playable: Playable, times: i64) -> Plan {
        if times == 0 {
            return Plan::nothing();
        }
        let Playable { sources, repeat } = playable;
        let times = u32::try_from(times).unwrap_or(0);
        let repeat = if times == 0 || repeat == 0 { 0 } else { times.saturating_mul(repeat) };
        let args = PlayArgs { sources, repeat, stop_on: self.stop_keys(), ..PlayArgs::default() };
        Plan::with(Op::Play(args), played)
    }

    /// Keys that stop what is played: `*` unless the channel says otherwise.
    fn stop_keys(&self) -> String {
        match self.variable("playback_terminators") {
            Some("none") => String::new(),
            Some("any") => "0123456789*#".to_owned(),
            Some(keys) => keys.chars().filter(|key| key.is_ascii_digit() || matches!(key, '*' | '#' | 'A'..='D')).collect(),
            None => "*".to_owned(),
        }
    }

    fn speak(&self, data: &str) -> Plan {
        let parts: Vec<&str> = data.splitn(3, '|').collect();
        let (engine, voice, text) = match parts.as_slice() {
            [engine, voice, text] => (Some(*engine), Some(*voice), *text),
            _ => (self.variable("tts_engine"), self.variable("tts_voice"), data),
        };
        let foreign = engine.is_none_or(|engine| FOREIGN_VOICES.iter().any(|known| engine.starts_with(known)));
        let own = |part: Option<&str>| part.filter(|part| !foreign && !part.is_empty()).map(str::to_owned);
        let args = TtsArgs {
            ssml: text.trim_start().starts_with("<speak"),
            text: text.to_owned(),
            provider: own(engine),
            voice: own(voice),
            language: self.variable("default_language").map(str::to_owned),
            play: PlayArgs { stop_on: self.stop_keys(), ..PlayArgs::default() },
        };
        Plan::with(Op::Tts(args), played)
    }

    fn record(&self, data: &str) -> Plan {
        let Some(path) = words(data).into_iter().next() else { return Plan::nothing() };
        let format = RecordFormat::of(&path);
        let stereo = self.variable("RECORD_STEREO").is_some_and(says_yes);
        let args = RecordArgs { name: files::recording(&path), format, stereo, ..RecordArgs::default() };
        Plan::operation(Op::Record(args))
    }
}

fn played(result: &OpResult) -> Consequences {
    let mut vars = Vec::new();
    if let Ok(Outcome::Played(played)) = result {
        vars.push(("playback_ms".to_owned(), Some(played.played_ms.to_string())));
        vars.push(("playback_seconds".to_owned(), Some((played.played_ms / 1_000).to_string())));
        vars.push(("playback_samples".to_owned(), Some(played.played_ms.saturating_mul(8).to_string())));
        vars.push(("playback_terminator_used".to_owned(), played.digit.map(|digit| digit.to_string())));
    }
    Consequences { vars, response: None }
}
