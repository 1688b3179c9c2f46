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
use lockstep_media::prompt::{PromptConfig, PromptError, PromptLibrary, Source};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};

use super::block_on::block_on;
use super::media::Recorded;

/// The longest text that is spoken, in characters.
const MAX_TEXT: usize = 10_000;
/// How long a character of speech takes.
const PER_CHARACTER: Duration = Duration::from_millis(60);

/// Where a clip comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClipKind {
    /// A file, tone or URL, by the name the script gave.
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
    user_dir: PathBuf,
    /// Files that exist only in the simulation: recordings by their path.
    recorded: BTreeMap<PathBuf, Kept>,
    /// What has been loaded once, and is at hand from then on.
    at_hand: BTreeSet<(String, u8)>,
    /// What the engine has loaded, in that order.
    clips: Vec<Clip>,
    /// Why speech fails, where it is to.
    speech_fails: Option<String>,
    /// Texts that were spoken, in order.
    spoken: Vec<String>,
}

impl Audio {
    pub(super) fn new(library: PromptLibrary, user_dir: PathBuf) -> Self {
        Self {
            library,
            user_dir,
            recorded: BTreeMap::new(),
            at_hand: BTreeSet::new(),
            clips: Vec::new(),
            speech_fails: None,
            spoken: Vec::new(),
        }
    }

    /// A library for the scripts of a folder; simulations share it.
    pub(crate) fn library(scripts_dir: &Path) -> std::io::Result<PromptLibrary> {
        let mut config = PromptConfig {
            user_dir: scripts_dir.join("user"),
            ivr_dir: scripts_dir.join("ivr"),
            threads: 1,
            ..PromptConfig::default()
        };
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

    /// Recordings that have ended, by the names that scripts are told.
    pub(crate) fn recordings(&self) -> impl Iterator<Item = (String, &Kept)> {
        self.recorded.iter().map(|(path, kept)| {
            let below = path.strip_prefix(&self.user_dir).unwrap_or(path);
            (format!("user/{}", below.display()), kept)
        })
    }

    /// Whether all of it can be played without waiting; an error when one can be told at once.
    pub(super) fn ready(
        &mut self,
        now: Instant,
        sources: &[String],
        codec: Codec,
    ) -> Option<Result<Vec<Arc<EncodedPrompt>>, OpError>> {
        for name in sources {
            if let Err(error) = Source::parse(name) {
                return Some(Err(prompt_error(&error)));
            }
            if !self.at_hand.contains(&(name.clone(), key_of(codec))) {
                return None;
            }
        }
        let found: Result<Vec<_>, OpError> = sources.iter().map(|name| self.find(now, name, codec)).collect();
        found.ok().map(Ok)
    }

    /// Loads what the engine asks for. `fetched` answers for URLs.
    pub(super) fn load(
        &mut self,
        now: Instant,
        sources: &[String],
        codec: Codec,
        fetched: &mut dyn FnMut(&str) -> Result<RemoteAudio, OpError>,
    ) -> Result<Vec<Arc<EncodedPrompt>>, OpError> {
        let mut prompts = Vec::with_capacity(sources.len());
        for name in sources {
            let prompt = match Source::parse(name).map_err(|error| prompt_error(&error))? {
                Source::Url(url) => {
                    let (bytes, extension) = fetched(&url)?;
                    self.decode(name, bytes, extension, codec)?
                }
                Source::File { .. } | Source::Tone(_) | Source::Silence(_) => self.find(now, name, codec)?,
            };
            self.at_hand.insert((name.clone(), key_of(codec)));
            self.note(ClipKind::Source, name, &prompt);
            prompts.push(prompt);
        }
        Ok(prompts)
    }

    /// Audio by name, for whoever plays or expects it; URLs are refused.
    pub(crate) fn find(&self, now: Instant, name: &str, codec: Codec) -> Result<Arc<EncodedPrompt>, OpError> {
        let source = Source::parse(name).map_err(|error| prompt_error(&error))?;
        if let Some(kept) = name.strip_prefix("user/").and_then(|path| self.recorded.get(&self.user_dir.join(path))) {
            return Ok(Arc::new(EncodedPrompt::from_samples(codec, &kept.mono)));
        }
        self.library.load_blocking(now, &source, codec).map_err(|error| prompt_error(&error))
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

fn prompt_error(error: &PromptError) -> OpError {
    let code = match error {
        PromptError::NotFound { .. } => ErrorCode::NotFound,
        PromptError::Media { .. } => ErrorCode::MediaError,
    };
    OpError::new(code, error.to_string())
}
