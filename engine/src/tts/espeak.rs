//! espeak-ng, run as a program: the provider that needs no account.
//!
//! The text goes through its standard input, never through a shell or an argument.

use std::collections::BTreeSet;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, Semaphore};

use super::{Provider, Speaking, Spoken, SpokenAudio, TtsError, Utterance};

/// The provider's name in scripts and in the configuration.
pub(super) const NAME: &str = "espeak";
/// How long one text may take; the longest allowed one takes about two seconds.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Programs at work at once: speech must not take the machine from the calls that are up.
const MAX_CONCURRENT: usize = 4;
/// Octets of audio: twelve minutes at the 22,050 Hz it speaks with.
const MAX_AUDIO: usize = 32 << 20;
const MAX_MESSAGES: usize = 4096;
/// Words a minute; its own default of 175 is hard to follow over a telephone.
const SPEED: &str = "150";
/// Like prompt loaders: behind everything that carries calls.
const NICE: i32 = 10;

/// Runs espeak-ng.
#[derive(Clone, Debug)]
pub struct Espeak {
    program: Arc<str>,
    permits: Arc<Semaphore>,
    /// The languages it has, as it writes them: `en-gb`.
    languages: Arc<OnceCell<BTreeSet<String>>>,
}

impl Espeak {
    /// Runs `program`, looked for in the search path.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self { program: program.into(), permits: Arc::new(Semaphore::new(MAX_CONCURRENT)), languages: Arc::default() }
    }

    async fn run(self, utterance: Utterance) -> Spoken {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.map_err(|error| failed(error.to_string()))?;
        let known = self.languages.get_or_try_init(|| self.list_languages()).await?;
        let voice = voice_for(&utterance, known)?;
        let mut arguments = vec!["--stdin", "--stdout", "-s", SPEED, "-v", &voice];
        if utterance.ssml {
            arguments.push("-m");
        }
        // Two brackets would switch it to phoneme names.
        let text = utterance.text.replace("[[", "[ [").replace("]]", "] ]");
        let audio = self.output(&arguments, text.into_bytes()).await?;
        Ok(SpokenAudio { bytes: audio, extension: "wav".to_owned() })
    }

    async fn list_languages(&self) -> Result<BTreeSet<String>, TtsError> {
        let table = self.output(&["--voices"], Vec::new()).await?;
        let table = String::from_utf8_lossy(&table);
        // A heading, then: priority, language, …
        Ok(table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).map(str::to_ascii_lowercase).collect())
    }

    /// Runs the program to its end and returns what it wrote.
    async fn output(&self, arguments: &[&str], input: Vec<u8>) -> Result<Bytes, TtsError> {
        let mut command = Command::new(&*self.program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Starting a process stops the calling thread for about a millisecond: not one that calls depend on.
        let started = tokio::task::spawn_blocking(move || command.spawn()).await;
        let mut child = started.map_err(|error| failed(error.to_string()))?.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TtsError::NotInstalled { program: self.program.to_string() },
            _ => failed(error.to_string()),
        })?;
        lower_priority(&child);
        match tokio::time::timeout(TIMEOUT, finish(&mut child, input)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TtsError::TimedOut { provider: NAME.to_owned(), limit: TIMEOUT }),
        }
    }
}

impl Provider for Espeak {
    fn speak(&self, utterance: Utterance) -> Speaking {
        Box::pin(self.clone().run(utterance))
    }

    fn settings(&self) -> Vec<&str> {
        vec![SPEED]
    }
}

async fn finish(child: &mut Child, input: Vec<u8>) -> Result<Bytes, TtsError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that gives up early says why on its standard error.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ((), audio, messages) = tokio::join!(write, read(stdout, MAX_AUDIO), read(stderr, MAX_MESSAGES));
    let audio = audio.map_err(|error| failed(error.to_string()))?;
    if audio.len() >= MAX_AUDIO {
        return Err(TtsError::TooLarge { provider: NAME.to_owned(), max: MAX_AUDIO });
    }
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let messages = messages.unwrap_or_default();
        let first = String::from_utf8_lossy(&messages).lines().next().unwrap_or_default().to_owned();
        return Err(failed(if first.is_empty() { status.to_string() } else { first }));
    }
    Ok(audio.into())
}

/// Reads to the end or to the limit, whichever comes first. What is not read makes the program's writing fail.
async fn read(from: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(limit as u64).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn lower_priority(child: &Child) {
    if let Some(process) = child.id() {
        // SAFETY: a plain system call; the child has not been waited for, so the number is still its own.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, process, NICE) };
    }
}

/// The name espeak-ng knows a voice by: a language it has, and a variant.
fn voice_for(utterance: &Utterance, known: &BTreeSet<String>) -> Result<String, TtsError> {
    let is_name = |name: &str, marks: &[char]| {
        name.len() <= 40
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(&c))
    };
    if !is_name(&utterance.language, &['-', '_']) {
        return Err(TtsError::BadLanguage(utterance.language.clone()));
    }
    let language = language_for(&utterance.language, known);
    let Some(voice) = utterance.voice.as_deref().filter(|voice| !voice.is_empty()) else { return Ok(language) };
    if !is_name(voice, &['-', '_', '+']) {
        return Err(TtsError::BadVoice(voice.to_owned()));
    }
    // The names scripts bring along from other platforms stand for a man's or a woman's voice.
    let variant = match voice.to_ascii_lowercase().as_str() {
        "man" | "male" => "m3".to_owned(),
        "woman" | "female" | "alice" => "f3".to_owned(),
        other => other.to_owned(),
    };
    let stem = variant.split('+').next().unwrap_or(&variant);
    if known.contains(stem) { Ok(variant) } else { Ok(format!("{language}+{variant}")) }
}

/// The closest language there is: `de-AT` is spoken as `de`, and what is unknown is left for the program to refuse.
fn language_for(tag: &str, known: &BTreeSet<String>) -> String {
    let tag = tag.to_ascii_lowercase().replace('_', "-");
    let mut shorter = tag.as_str();
    loop {
        if known.contains(shorter) {
            return shorter.to_owned();
        }
        match shorter.rsplit_once('-') {
            Some((start, _)) => shorter = start,
            None => break,
        }
    }
    // `en` alone is not among its names, but `en-us` and its sisters are.
    let sister = known.iter().find(|language| language.split('-').next() == Some(shorter));
    match (shorter, sister) {
        ("en", Some(_)) if known.contains("en-us") => "en-us".to_owned(),
        (_, Some(sister)) => sister.clone(),
        (_, None) => tag,
    }
}

fn failed(why: String) -> TtsError {
    TtsError::Failed { provider: NAME.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use lockstep_media::prompt::Limits;
    use lockstep_media::prompt::decode::{Audio, decode};

    use super::*;

    fn utterance(text: &str) -> Utterance {
        Utterance { text: text.into(), ssml: false, voice: None, language: "en".into() }
    }

    fn length(spoken: &Spoken) -> usize {
        let audio = spoken.as_ref().unwrap();
        match decode(&audio.bytes, &audio.extension, 8000, &Limits::default(), &mut || false).unwrap() {
            Audio::Linear { samples, .. } => samples.len(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn speaks_and_takes_longer_for_more() {
        let espeak = Espeak::new("espeak-ng");
        let one = length(&espeak.speak(utterance("one")).await);
        let many = length(&espeak.speak(utterance("one two three four five")).await);
        assert!(one > 1600 && many > 2 * one, "{one} {many}");
    }

    #[tokio::test]
    async fn text_that_looks_like_an_option_is_spoken() {
        let espeak = Espeak::new("espeak-ng");
        for text in ["--version", "-w /tmp/x.wav", "$(id); `id`", "[[h@l'oU]]", "ünïcödé 😀"] {
            assert!(length(&espeak.speak(utterance(text)).await) > 1600, "{text}");
        }
    }

    #[tokio::test]
    async fn ssml_is_followed_and_not_read_out() {
        let espeak = Espeak::new("espeak-ng");
        let pause = r#"<speak>one<break time="2s"/>two</speak>"#;
        let as_ssml = length(&espeak.speak(Utterance { ssml: true, ..utterance(pause) }).await);
        let spoken = length(&espeak.speak(utterance("one two")).await);
        assert!(as_ssml > spoken + 12_000, "{as_ssml} {spoken}");
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named_with_what_to_do() {
        let spoken = Espeak::new("espeak-that-is-not-there").speak(utterance("x")).await;
        let message = spoken.unwrap_err().to_string();
        assert!(message.starts_with("`espeak-that-is-not-there` is not installed") && message.contains("[tts] default"));
    }

    #[tokio::test]
    async fn an_unknown_language_is_an_error_of_the_provider() {
        let spoken = Espeak::new("espeak-ng").speak(Utterance { language: "zz".into(), ..utterance("x") }).await;
        assert!(matches!(spoken, Err(TtsError::Failed { .. })), "{spoken:?}");
    }

    #[test]
    fn languages_and_voices_are_mapped_to_its_own_names() {
        let known: BTreeSet<String> = ["de", "en-gb", "en-us", "pt", "pt-br"].map(str::to_owned).into();
        let voice = |language: &str, voice: Option<&str>| {
            let utterance = Utterance { language: language.into(), voice: voice.map(str::to_owned), ..utterance("x") };
            voice_for(&utterance, &known)
        };
        for (language, name, expected) in [
            ("en-GB", None, "en-gb"),
            ("en", None, "en-us"),
            ("en-NZ", None, "en-us"),
            ("de_AT", None, "de"),
            ("pt-BR", Some(""), "pt-br"),
            ("de", Some("woman"), "de+f3"),
            ("de", Some("m1"), "de+m1"),
            ("de", Some("en-gb+f2"), "en-gb+f2"),
            ("xx", None, "xx"),
        ] {
            assert_eq!(voice(language, name).as_deref(), Ok(expected), "{language} {name:?}");
        }
        for bad in ["../x", "-w", "a b", "mb/x", "+f3"] {
            assert!(matches!(voice("en", Some(bad)), Err(TtsError::BadVoice(_))), "{bad}");
        }
        assert!(matches!(voice("-v", None), Err(TtsError::BadLanguage(_))));
    }
}
