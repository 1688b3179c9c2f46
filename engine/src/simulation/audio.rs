//! Audio of a simulation: files and tones as the engine loads them, speech made up from its text, recordings from memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_ctx_api::op::TtsArgs;
use lockstep_ctx_api::{ErrorCode, OpError};
use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::prompt::{Folder, Folders, PromptConfig, PromptLibrary, Source};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};

use super::media::Recorded;
use crate::block_on::block_on;
use crate::core::world::prompt_error;

/// The longest text that is spoken, in characters.
const MAX_TEXT: usize = 10_000;
/// Before the names of another account's audio.
const ACCOUNTS: &str = "accounts/";
/// How long a character of speech takes.
const PER_CHARACTER: Duration = Duration::from_millis(60);

/// Where a clip comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClipKind {
    /// A file, tone or URL, by the name the script gave; `accounts/NAME/` stands before another account's `user/`.
    Source,
    /// Speech: its text.
    Speech,
}

/// Audio that the engine has played, or may.
#[derive(Clone, Debug)]
pub(crate) struct Clip {
    pub kind: ClipKind,
    pub name: String,
    pub prompt: Arc<EncodedPrompt>,
}

/// Octets of a URL, and the extension that hints at their format.
pub(super) type RemoteAudio = (Vec<u8>, String);

/// A recording that scripts can play.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub channels: u8,
    pub mono: Vec<i16>,
}

/// See the module.
pub(crate) struct Audio {
    library: PromptLibrary,
    folders: Folders,
    /// Files that exist only in the simulation: recordings by their path.
    recorded: BTreeMap<PathBuf, Kept>,
    /// What has been loaded once, and is at hand from then on.
    at_hand: BTreeSet<(Source, u8)>,
    /// What the engine has loaded, in that order.
    clips: Vec<Clip>,
    /// Why speech fails, where it is to.
    speech_fails: Option<String>,
    /// Texts that were spoken, in order.
    spoken: Vec<String>,
}

impl Audio {
    pub(super) fn new(library: PromptLibrary, folders: Folders) -> Self {
        Self {
            library,
            folders,
            recorded: BTreeMap::new(),
            at_hand: BTreeSet::new(),
            clips: Vec::new(),
            speech_fails: None,
            spoken: Vec::new(),
        }
    }

    /// A library for the scripts of a folder; simulations share it.
    pub(crate) fn library(scripts_dir: &Path) -> std::io::Result<PromptLibrary> {
        let mut config = PromptConfig { folders: Folders::beneath(scripts_dir), threads: 1, ..PromptConfig::default() };
        // However slow the machine: the clock that matters stands still meanwhile.
        config.limits.budget = Duration::from_secs(60);
        PromptLibrary::new(config, None)
    }

    /// Everything that the engine has loaded.
    pub(crate) fn clips(&self) -> &[Clip] {
        &self.clips
    }

    /// Texts that were spoken so far.
    pub(crate) fn spoken(&self) -> &[String] {
        &self.spoken
    }

    /// From now on speech fails with this message; `None`: it works again.
    pub(crate) fn fail_speech(&mut self, why: Option<String>) {
        self.speech_fails = why;
    }

    /// Keeps a recording where a script finds it by `user/…`.
    pub(super) fn keep(&mut self, recorded: &Recorded) {
        let channels = usize::from(recorded.channels.max(1));
        let mono = recorded.samples.chunks(channels).map(|frame| {
            let sum: i32 = frame.iter().map(|sample| i32::from(*sample)).sum();
            (sum / channels as i32) as i16
        });
        let kept = Kept { channels: recorded.channels, mono: mono.collect() };
        self.recorded.insert(recorded.path.clone(), kept);
    }

    /// Recordings that have ended, by the names that scripts are told; `accounts/NAME/` stands before another account's.
    pub(crate) fn recordings(&self) -> impl Iterator<Item = (String, &Kept)> {
        self.recorded.iter().map(|(path, kept)| {
            let name = match (path.strip_prefix(&self.folders.user), path.strip_prefix(&self.folders.accounts)) {
                (Ok(below), _) => format!("user/{}", below.display()),
                (Err(_), Ok(below)) => format!("{ACCOUNTS}{}", below.display()),
                (Err(_), Err(_)) => path.display().to_string(),
            };
            (name, kept)
        })
    }

    /// All of it, if it can be played without waiting.
    pub(super) fn ready(&mut self, now: Instant, sources: &[Source], codec: Codec) -> Option<Vec<Arc<EncodedPrompt>>> {
        let is_at_hand = |source: &Source| self.at_hand.contains(&(source.clone(), key_of(codec)));
        if !sources.iter().all(is_at_hand) {
            return None;
        }
        sources.iter().map(|source| self.find_source(now, source, codec).ok()).collect()
    }

    /// Loads what the engine asks for. `fetched` answers for URLs.
    pub(super) fn load(
        &mut self,
        now: Instant,
        sources: &[Source],
        codec: Codec,
        fetched: &mut dyn FnMut(&str) -> Result<RemoteAudio, OpError>,
    ) -> Result<Vec<Arc<EncodedPrompt>>, OpError> {
        let mut prompts = Vec::with_capacity(sources.len());
        for source in sources {
            let prompt = match source {
                Source::Url(url) => {
                    let (bytes, extension) = fetched(url)?;
                    self.decode(url, bytes, extension, codec)?
                }
                Source::File { .. } | Source::Tone(_) | Source::Silence(_) => self.find_source(now, source, codec)?,
            };
            self.at_hand.insert((source.clone(), key_of(codec)));
            let name = match source {
                Source::File { folder: Folder::Account(account), .. } => format!("{ACCOUNTS}{account}/{}", source.name()),
                // As the script and the test wrote it; the name for the log lacks the query.
                Source::Url(url) => url.clone(),
                _ => source.name(),
            };
            self.note(ClipKind::Source, &name, &prompt);
            prompts.push(prompt);
        }
        Ok(prompts)
    }

    /// Audio by name, for whoever plays or expects it; `accounts/NAME/` may stand before `user/`, URLs are refused.
    pub(crate) fn find(&self, now: Instant, name: &str, codec: Codec) -> Result<Arc<EncodedPrompt>, OpError> {
        let parse = |name| Source::parse(name).map_err(|error| prompt_error(&error));
        let source = match name.strip_prefix(ACCOUNTS).and_then(|rest| rest.split_once('/')) {
            Some((account, name)) if !account.starts_with('.') => parse(name)?.of_account(&account.into()),
            _ => parse(name)?,
        };
        self.find_source(now, &source, codec)
    }

    fn find_source(&self, now: Instant, source: &Source, codec: Codec) -> Result<Arc<EncodedPrompt>, OpError> {
        if let Source::File { folder, path } = source
            && let Some(kept) = self.recorded.get(&self.folders.find(folder).join(path))
        {
            return Ok(Arc::new(EncodedPrompt::from_samples(codec, &kept.mono)));
        }
        self.library.load_blocking(now, source, codec).map_err(|error| prompt_error(&error))
    }

    fn decode(&self, name: &str, bytes: Vec<u8>, extension: String, codec: Codec) -> Result<Arc<EncodedPrompt>, OpError> {
        let load = self.library.load_bytes(name.to_owned(), Bytes::from(bytes), extension, codec);
        block_on(load).map_err(|error| prompt_error(&error))
    }

    /// Speaks as the engine asks for it.
    pub(super) fn speak(&mut self, args: &TtsArgs, codec: Codec) -> Result<Vec<Arc<EncodedPrompt>>, OpError> {
        let text = args.text.as_str();
        let refused = |why: String| OpError::new(ErrorCode::MediaError, format!("tts: {why}"));
        if text.trim().is_empty() {
            return Err(refused("there is nothing to say".to_owned()));
        }
        if text.chars().count() > MAX_TEXT {
            return Err(refused(format!("more than {MAX_TEXT} characters")));
        }
        if let Some(why) = &self.speech_fails {
            return Err(refused(why.clone()));
        }
        self.spoken.push(text.to_owned());
        let prompt = Arc::new(speech(text, codec));
        self.note(ClipKind::Speech, text, &prompt);
        Ok(vec![prompt])
    }

    fn note(&mut self, kind: ClipKind, name: &str, prompt: &Arc<EncodedPrompt>) {
        let known = |clip: &Clip| clip.kind == kind && clip.name == name && clip.prompt.codec() == prompt.codec();
        self.clips.retain(|clip| !known(clip) || clip.prompt.octets() == prompt.octets());
        if !self.clips.iter().any(known) {
            self.clips.push(Clip { kind, name: name.to_owned(), prompt: Arc::clone(prompt) });
        }
    }
}

fn key_of(codec: Codec) -> u8 {
    match codec {
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
    }
}

/// What a text sounds like here: syllables of noise that no other text has, as long as saying it takes.
pub(crate) fn speech(text: &str, codec: Codec) -> EncodedPrompt {
    let mut rng = ChaCha8Rng::from_seed(Sha256::digest(text).into());
    let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let length = codec.payload_len((PER_CHARACTER * characters).max(Duration::from_millis(300)));
    let mut samples = Vec::with_capacity(length);
    // One syllable in 200 ms: loud in the middle, with a pause at its end.
    let syllable = codec.payload_len(Duration::from_millis(200)).max(1);
    for index in 0..length {
        let place = index % syllable;
        let rising = (place.min(syllable - place) * 2 * 6_000 / syllable) as i32;
        let noise = (rng.next_u32() >> 16) as i32 - 0x8000;
        samples.push((noise * rising / 0x8000) as i16);
    }
    EncodedPrompt::from_samples(codec, &samples)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "nothing is loaded that a clock has to do with")]
    fn what_an_account_has_recorded_is_found_among_its_audio_alone() {
        let scripts = Path::new("/nowhere");
        let mut audio = Audio::new(Audio::library(scripts).unwrap(), Folders::beneath(scripts));
        let path = scripts.join("accounts/north/user/m.wav");
        audio.keep(&Recorded { path, channels: 1, samples: vec![0; 160] });
        assert_eq!(audio.recordings().map(|(name, _)| name).collect::<Vec<_>>(), ["accounts/north/user/m.wav"]);
        let (now, codec) = (Instant::now(), Codec::Pcmu);
        assert!(audio.find(now, "accounts/north/user/m.wav", codec).is_ok());
        for name in ["user/m.wav", "accounts/south/user/m.wav", "accounts/../north/user/m.wav"] {
            assert_eq!(audio.find(now, name, codec).unwrap_err().code, ErrorCode::NotFound, "{name}");
        }
        let own = Source::parse("user/m.wav").unwrap().of_account(&"north".into());
        assert!(audio.load(now, std::slice::from_ref(&own), codec, &mut |_| unreachable!()).is_ok());
        assert_eq!(audio.clips()[0].name, "accounts/north/user/m.wav");
        assert!(audio.ready(now, &[own], codec).is_some());
    }
}
