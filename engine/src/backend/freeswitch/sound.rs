//! What scripts play, as FreeSWITCH names it.

use std::time::Duration;

use lockstep_ctx_api::op::{Prompt, TtsArgs};
use lockstep_ctx_api::{ErrorCode, OpError};
use lockstep_media::prompt::{Folder, Source};
use lockstep_media::tone::Tone;

use super::Settings;
use super::argument;

/// Audio and how long it lasts, where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sound {
    pub name: String,
    pub length: Option<Duration>,
}

/// What plays nothing, where an application insists on a name.
pub(super) const SILENCE: &str = "silence_stream://10";

impl Settings {
    /// The name of a play source.
    pub(super) fn sound(&self, operation: &str, source: &str) -> Result<Sound, OpError> {
        let media = |why: String| OpError::new(ErrorCode::MediaError, format!("{operation}: {why}"));
        let not_found = |why: String| OpError::new(ErrorCode::NotFound, format!("{operation}: {why}"));
        match Source::parse(source) {
            Ok(Source::Silence(length)) => {
                Ok(Sound { name: format!("silence_stream://{}", length.as_millis()), length: Some(length) })
            }
            Ok(Source::Tone(text)) => {
                let tone: Tone = text.parse().map_err(|error| media(format!("{error}")))?;
                Ok(Sound { name: tone_stream(&tone), length: Some(tone.duration()) })
            }
            Ok(Source::Url(url)) => Ok(Sound { name: url_of(operation, &url)?.to_owned(), length: None }),
            Ok(Source::File { folder, path }) => {
                let folder = match folder {
                    Folder::User | Folder::Account(_) => self.user_folder(),
                    Folder::Ivr => format!("{}/ivr", self.files.trim_end_matches('/')),
                };
                let path = file_name(operation, &path)?;
                Ok(Sound { name: format!("{folder}/{path}"), length: None })
            }
            Err(error @ lockstep_media::prompt::PromptError::NotFound { .. }) => Err(not_found(error.to_string())),
            Err(error @ lockstep_media::prompt::PromptError::Media { .. }) => Err(media(error.to_string())),
        }
    }

    /// The folder behind `user/` on the media server.
    fn user_folder(&self) -> String {
        let files = self.files.trim_end_matches('/');
        match &self.account {
            Some(account) => format!("{files}/accounts/{account}/user"),
            None => format!("{files}/user"),
        }
    }

    /// What `gather` plays while it listens: one name, whatever it is made of.
    pub(super) fn prompt(&self, operation: &str, prompt: &Prompt, voice: &Voice) -> Result<String, OpError> {
        match prompt {
            Prompt::Tts(args) => {
                let speech = voice.of(args)?;
                Ok(format!("say:{}:{}:{}", speech.engine, speech.voice, speech.text.replace(':', " ")))
            }
            Prompt::Play(sources) => self.playlist(operation, sources),
        }
    }

    /// Several sources as one name.
    pub(super) fn playlist(&self, operation: &str, sources: &[String]) -> Result<String, OpError> {
        let names: Vec<String> =
            sources.iter().map(|source| self.sound(operation, source).map(|sound| sound.name)).collect::<Result<_, _>>()?;
        Ok(match names.as_slice() {
            [] => SILENCE.to_owned(),
            [name] => name.clone(),
            names => format!("file_string://{}", names.join("!")),
        })
    }

    /// Where a recording goes on the media server, and what scripts call the file.
    pub(super) fn recording(&self, operation: &str, name: &str, extension: &str) -> Result<(String, String), OpError> {
        let name = name.strip_prefix("user/").unwrap_or(name);
        let refused = || OpError::new(ErrorCode::NotFound, format!("{operation}: {name:?} lies outside the account's folder"));
        if name.starts_with('/') || name.split('/').any(|part| part == "..") {
            return Err(refused());
        }
        let name = argument::word(operation, "name of a recording", name, "_-./+@")?;
        let has_extension = name.rsplit('/').next().is_some_and(|file| file.ends_with(&format!(".{extension}")));
        let file = if has_extension { name.to_owned() } else { format!("{name}.{extension}") };
        Ok((format!("{}/{file}", self.user_folder()), format!("user/{file}")))
    }
}

/// Engine and voice where an operation names none.
#[derive(Clone, Debug, Default)]
pub(super) struct Voice {
    pub engine: Option<String>,
    pub voice: Option<String>,
}

/// What `speak` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Speech {
    pub engine: String,
    pub voice: String,
    pub text: String,
}

impl Voice {
    /// Engine, voice and text of a `tts`.
    pub(super) fn of(&self, args: &TtsArgs) -> Result<Speech, OpError> {
        let missing = |what: &str, option: &str| {
            let message = format!(
                "tts: FreeSWITCH needs a speech {what}: set {option} in the call, `tts_{what}` in [event_socket.media], or the channel variable tts_{what}"
            );
            OpError::new(ErrorCode::NotConfigured, message)
        };
        let engine = args.provider.as_ref().or(self.engine.as_ref()).ok_or_else(|| missing("engine", "`provider`"))?;
        let voice = args.voice.as_ref().or(self.voice.as_ref()).ok_or_else(|| missing("voice", "`voice`"))?;
        Ok(Speech {
            engine: argument::word("tts", "provider", engine, "_-.")?.to_owned(),
            voice: argument::word("tts", "voice", voice, "_-.+")?.to_owned(),
            text: argument::spoken(&args.text),
        })
    }
}

/// FreeSWITCH takes `@@` for an offset, `!` for the end of one of several names, and braces for parameters.
fn file_name<'a>(operation: &str, path: &'a str) -> Result<&'a str, OpError> {
    let path = argument::literal(operation, "file", path)?;
    let odd =
        |c: char| matches!(c, '{' | '}' | '[' | ']' | '$' | '!' | '|' | '\\' | '\'' | '"' | '`' | ';' | '<' | '>' | '*' | '?');
    if path.contains(odd) || path.contains("@@") || path.contains(":/") {
        let message = format!("{operation}: {path:?} cannot be named to FreeSWITCH");
        return Err(OpError::new(ErrorCode::NotFound, message));
    }
    Ok(path)
}

fn url_of<'a>(operation: &str, url: &'a str) -> Result<&'a str, OpError> {
    argument::word(operation, "URL", url, "-._~:/?#@&()*+,=%")
}

/// A tone in FreeSWITCH's notation: `%(on,off,frequency,…)` a step.
fn tone_stream(tone: &Tone) -> String {
    let frequencies: String = tone.frequencies().iter().map(|frequency| format!(",{frequency}")).collect();
    let steps: String =
        tone.cadence().iter().map(|(on, off)| format!("%({},{}{frequencies})", on.as_millis(), off.as_millis())).collect();
    format!("tone_stream://{}", steps.replace(")%", ");%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { files: "/srv/scripts/".into(), ..Settings::default() }
    }

    #[test]
    fn sources_are_named_as_freeswitch_names_them() {
        for (source, name) in [
            ("user/a b.wav", "/srv/scripts/user/a b.wav"),
            ("ivr/1.wav", "/srv/scripts/ivr/1.wav"),
            ("silence:500", "silence_stream://500"),
            ("tone:350+440,1000/0", "tone_stream://%(1000,0,350,440)"),
            ("tone:400,400/200/400/2000", "tone_stream://%(400,200,400);%(400,2000,400)"),
            ("https://h.example/a.wav?b=1", "https://h.example/a.wav?b=1"),
        ] {
            assert_eq!(settings().sound("play", source).unwrap().name, name);
        }
    }

    #[test]
    fn nothing_but_the_file_can_be_named() {
        for bad in [
            "user/../etc/passwd",
            "/etc/passwd",
            "user/{loops=9}a.wav",
            "user/a.wav@@800",
            "user/a!b.wav",
            "user/${x}.wav",
            "user/a\nb",
            "https://h/${x}",
            "https://h/a b",
            "https://h/a;b",
            "shell_stream:///bin/sh",
            "user/tone_stream://x",
        ] {
            assert!(settings().sound("play", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn recordings_stay_in_the_accounts_folder() {
        let settings = settings();
        assert_eq!(settings.recording("record", "a", "wav").unwrap(), ("/srv/scripts/user/a.wav".into(), "user/a.wav".into()));
        assert_eq!(settings.recording("record", "user/r/a.wav", "wav").unwrap().1, "user/r/a.wav");
        for bad in ["../a", "/a", "a b", "{x=y}a", "a\nb", "a/../../b", ""] {
            assert!(settings.recording("record", bad, "wav").is_err(), "{bad}");
        }
    }

    #[test]
    fn each_account_has_its_own_folder() {
        let settings = Settings { account: Some("north".into()), ..settings() };
        for (source, name) in [
            ("user/a.wav", "/srv/scripts/accounts/north/user/a.wav"),
            ("ivr/1.wav", "/srv/scripts/ivr/1.wav"),
            ("silence:500", "silence_stream://500"),
        ] {
            assert_eq!(settings.sound("play", source).unwrap().name, name);
        }
        let recording = ("/srv/scripts/accounts/north/user/r.wav".to_owned(), "user/r.wav".to_owned());
        assert_eq!(settings.recording("record", "r", "wav").unwrap(), recording);
        assert!(settings.recording("record", "../../south/user/r", "wav").is_err());
    }

    #[test]
    fn speech_needs_an_engine_and_a_voice() {
        let args = TtsArgs { text: "a|b".into(), ..TtsArgs::default() };
        assert_eq!(Voice::default().of(&args).unwrap_err().code, ErrorCode::NotConfigured);
        let voice = Voice { engine: Some("flite".into()), voice: Some("slt".into()) };
        assert_eq!(voice.of(&args).unwrap().text, "a b");
    }
}
