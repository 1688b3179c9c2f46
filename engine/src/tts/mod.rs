//! Speech: text to audio, through providers that share one interface and one cache.
//!
//! A provider answers with a whole audio file of any format; [`PromptLibrary`] decodes it like every other prompt. What
//! was spoken once is kept by (provider and its settings, voice, language, text) until it turns out to be no audio, and who asks
//! for a text that is being spoken waits for that one run.

mod cache;
mod error;
mod espeak;
mod http;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use lockstep_ctx_api::OpError;
use lockstep_ctx_api::op::{MAX_SPOKEN, TtsArgs};
use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::prompt::{PromptError, PromptLibrary};
use sha2::{Digest as _, Sha256};

pub use cache::SpeechCache;
pub use error::TtsError;
pub use espeak::Espeak;
pub use http::HttpProvider;

use crate::config::TtsConfig;

/// Something to say, with everything a provider needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    /// Plain text, or an SSML document.
    pub text: String,
    /// Whether `text` is SSML.
    pub ssml: bool,
    /// The provider's name for a voice; `None` for the one it takes by itself.
    pub voice: Option<String>,
    /// BCP 47.
    pub language: String,
}

/// An audio file as the provider made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpokenAudio {
    /// The whole file.
    pub bytes: Bytes,
    /// A hint at its format, as a file extension without the dot; may be empty.
    pub extension: String,
}

/// What a provider's work ends with.
pub type Spoken = Result<SpokenAudio, TtsError>;
/// A provider at work.
pub type Speaking = Pin<Box<dyn Future<Output = Spoken> + Send>>;

/// Turns text into audio.
pub trait Provider: Send + Sync {
    /// Starts on one text. Dropping the future ends the work.
    fn speak(&self, utterance: Utterance) -> Speaking;

    /// The settings its audio depends on: what was spoken with others is not played in its place.
    fn settings(&self) -> Vec<&str>;
}

/// The providers of an engine behind one cache. Clones share everything.
#[derive(Clone)]
pub struct Tts {
    inner: Arc<Inner>,
}

struct Inner {
    providers: BTreeMap<String, Arc<dyn Provider>>,
    default_provider: String,
    default_language: String,
    cache: SpeechCache,
    speaking: Mutex<BTreeMap<Key, WeakShared<Speaking>>>,
}

type Key = [u8; 32];

/// An utterance and who is to speak it.
struct Order<'a> {
    key: Key,
    provider: &'a Arc<dyn Provider>,
    utterance: Utterance,
}

impl Tts {
    /// The providers of the configuration, and espeak-ng.
    ///
    /// # Errors
    /// A provider's HTTP client cannot be set up.
    pub fn new(config: &TtsConfig) -> Result<Self, TtsError> {
        let mut providers: BTreeMap<String, Arc<dyn Provider>> = BTreeMap::new();
        providers.insert(espeak::NAME.to_owned(), Arc::new(Espeak::new("espeak-ng")));
        for (name, settings) in &config.provider {
            providers.insert(name.clone(), Arc::new(HttpProvider::new(name, settings)?));
        }
        Ok(Self::with_providers(providers, config))
    }

    /// As [`Self::new`], with providers of the caller's choice.
    pub fn with_providers(providers: BTreeMap<String, Arc<dyn Provider>>, config: &TtsConfig) -> Self {
        let inner = Inner {
            providers,
            default_provider: config.default.clone(),
            default_language: config.language.clone(),
            cache: SpeechCache::new(config.cache_dir.clone()),
            speaking: Mutex::new(BTreeMap::new()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Speaks what a script asked for, ready to be played in `codec`.
    ///
    /// # Errors
    /// As the script sees them.
    pub async fn prompt(&self, library: &PromptLibrary, args: &TtsArgs, codec: Codec) -> Result<Arc<EncodedPrompt>, OpError> {
        let order = self.order(args).map_err(TtsError::into_op_error)?;
        let key = order.key;
        let audio = self.carry_out(order).await.map_err(TtsError::into_op_error)?;
        let loading = library.load_bytes(name_of(&args.text), audio.bytes.clone(), audio.extension.clone(), codec);
        let loaded = loading.await;
        if let Err(PromptError::Media { cause, .. }) = &loaded
            && cause.is_no_audio()
        {
            // A service that has answered with a page about its failure speaks again once it is well.
            self.inner.cache.forget(key, &audio).await;
        }
        loaded.map_err(|error| TtsError::Audio(error).into_op_error())
    }

    /// Speaks what a script asked for.
    ///
    /// # Errors
    /// The provider is unknown or fails, or the text cannot be spoken.
    pub async fn speak(&self, args: &TtsArgs) -> Spoken {
        self.carry_out(self.order(args)?).await
    }

    fn order(&self, args: &TtsArgs) -> Result<Order<'_>, TtsError> {
        let inner = &self.inner;
        let name = args.provider.as_deref().unwrap_or(&inner.default_provider);
        let provider = inner.providers.get(name).ok_or_else(|| TtsError::UnknownProvider {
            name: name.to_owned(),
            known: inner.providers.keys().cloned().collect(),
        })?;
        let length = args.text.chars().count();
        if length > MAX_SPOKEN {
            return Err(TtsError::TooLong { length, max: MAX_SPOKEN });
        }
        if args.text.trim().is_empty() {
            return Err(TtsError::Empty);
        }
        let utterance = Utterance {
            text: args.text.clone(),
            ssml: args.ssml,
            voice: args.voice.clone(),
            language: args.language.clone().unwrap_or_else(|| inner.default_language.clone()),
        };
        Ok(Order { key: key_of(name, &provider.settings(), &utterance), provider, utterance })
    }

    async fn carry_out(&self, order: Order<'_>) -> Spoken {
        if let Some(audio) = self.inner.cache.find(&order.key).await {
            return Ok(audio);
        }
        self.inner.join_or_start(order).await
    }
}

impl Inner {
    fn join_or_start(self: &Arc<Self>, Order { key, provider, utterance }: Order<'_>) -> Shared<Speaking> {
        let mut speaking = self.speaking.lock().unwrap_or_else(PoisonError::into_inner);
        // The work is held by those who wait for it: when the last one is gone, it ends.
        speaking.retain(|_, work| work.upgrade().is_some());
        if let Some(work) = speaking.get(&key).and_then(WeakShared::upgrade) {
            return work;
        }
        let (inner, work) = (Arc::clone(self), provider.speak(utterance));
        let work: Speaking = Box::pin(async move {
            let spoken = work.await;
            if let Ok(audio) = &spoken {
                inner.cache.keep(key, audio).await;
            }
            spoken
        });
        let work = work.shared();
        if let Some(weak) = work.downgrade() {
            speaking.insert(key, weak);
        }
        work
    }
}

/// Every field with its length before it, so that no two different utterances run together.
fn key_of(provider: &str, settings: &[&str], utterance: &Utterance) -> Key {
    let mut hash = Sha256::new();
    let voice = utterance.voice.as_deref().unwrap_or_default();
    let said = [voice, &utterance.language, if utterance.ssml { "ssml" } else { "text" }, &utterance.text];
    for field in std::iter::once(&provider).chain(settings).chain(&said) {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

/// What the audio is called in an error message.
fn name_of(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() { format!("speech {start:?}…") } else { format!("speech {start:?}") }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::time::Duration;

    use lockstep_ctx_api::ErrorCode;
    use lockstep_media::prompt::{Limits, PromptConfig};
    use tokio::sync::Semaphore;

    use super::*;

    /// Speaks µ-law octets that tell which run made them, once the test lets it.
    struct Mumbler {
        runs: AtomicU32,
        gate: Arc<Semaphore>,
    }

    impl Provider for Mumbler {
        fn speak(&self, utterance: Utterance) -> Speaking {
            let run = self.runs.fetch_add(1, Relaxed) as u8 + 1;
            let gate = Arc::clone(&self.gate);
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                if utterance.text == "fail" {
                    return Err(TtsError::Failed { provider: "mumbler".into(), why: "no voice today".into() });
                }
                if utterance.text == "busy" && run == 1 {
                    return Ok(SpokenAudio { bytes: r#"{"error":"busy"}"#.into(), extension: String::new() });
                }
                if utterance.text == "wav" {
                    return Ok(SpokenAudio { bytes: wav(&[run; 160]).into(), extension: "wav".into() });
                }
                Ok(SpokenAudio { bytes: vec![run; 160].into(), extension: "ulaw".into() })
            })
        }

        fn settings(&self) -> Vec<&str> {
            Vec::new()
        }
    }

    /// A WAV file of 16 bits a sample, which takes decoding.
    fn wav(data: &[u8]) -> Vec<u8> {
        let length = data.len() as u32;
        let mut file = Vec::from(*b"RIFF");
        file.extend((length + 36).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16u32.to_le_bytes());
        file.extend([1u16, 1].map(u16::to_le_bytes).concat());
        file.extend([8000u32, 16_000].map(u32::to_le_bytes).concat());
        file.extend([2u16, 16].map(u16::to_le_bytes).concat());
        file.extend(b"data");
        file.extend(length.to_le_bytes());
        file.extend(data);
        file
    }

    fn tts(permits: usize) -> (Tts, Arc<Mumbler>) {
        let mumbler = Arc::new(Mumbler { runs: AtomicU32::new(0), gate: Arc::new(Semaphore::new(permits)) });
        let config = TtsConfig { default: "mumbler".into(), ..TtsConfig::default() };
        let providers = BTreeMap::from([("mumbler".to_owned(), Arc::clone(&mumbler) as Arc<dyn Provider>)]);
        (Tts::with_providers(providers, &config), mumbler)
    }

    fn say(text: &str) -> TtsArgs {
        TtsArgs { text: text.into(), ..TtsArgs::default() }
    }

    #[tokio::test]
    async fn a_text_is_spoken_once_and_then_found() {
        let (tts, mumbler) = tts(10);
        let first = tts.speak(&say("hello")).await.unwrap();
        assert_eq!(tts.speak(&say("hello")).await, Ok(first));
        assert_eq!(mumbler.runs.load(Relaxed), 1);
        for other in [
            TtsArgs { voice: Some("x".into()), ..say("hello") },
            TtsArgs { language: Some("de".into()), ..say("hello") },
            TtsArgs { ssml: true, ..say("hello") },
            say("hello "),
        ] {
            tts.speak(&other).await.unwrap();
        }
        assert_eq!(mumbler.runs.load(Relaxed), 5);
    }

    #[tokio::test]
    async fn those_who_ask_meanwhile_wait_for_the_same_run() {
        let (tts, mumbler) = tts(0);
        let args = say("hello");
        let (a, b, ()) = tokio::join!(tts.speak(&args), tts.speak(&args), async { mumbler.gate.add_permits(1) });
        assert_eq!(a.unwrap(), b.unwrap());
        assert_eq!(mumbler.runs.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_run_nobody_waits_for_is_dropped_and_begun_anew() {
        let (tts, mumbler) = tts(0);
        let args = say("hello");
        assert!(tts.speak(&args).now_or_never().is_none());
        mumbler.gate.add_permits(1);
        assert_eq!(tts.speak(&args).await.unwrap().bytes[0], 2);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let (tts, mumbler) = tts(10);
        for _ in 0..2 {
            assert!(tts.speak(&say("fail")).await.is_err());
        }
        assert_eq!(mumbler.runs.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn what_is_no_audio_is_asked_for_again() {
        let (tts, mumbler) = tts(10);
        let library = PromptLibrary::new(PromptConfig::default(), None).unwrap();
        let args = say("busy");
        let error = tts.prompt(&library, &args, Codec::Pcmu).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::MediaError);
        for _ in 0..2 {
            assert_eq!(tts.prompt(&library, &args, Codec::Pcmu).await.unwrap().octets(), [2; 160]);
        }
        assert_eq!(mumbler.runs.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn speech_that_could_not_be_decoded_in_time_or_is_too_long_is_kept() {
        let (tts, mumbler) = tts(10);
        let slow = Limits { budget: Duration::ZERO, ..Limits::default() };
        let short = Limits { max_duration: Duration::from_millis(10), ..Limits::default() };
        for (runs, text, limits, why) in [(1, "wav", slow, "decoding took longer"), (2, "hello", short, "plays longer")] {
            let library = PromptLibrary::new(PromptConfig { limits, ..PromptConfig::default() }, None).unwrap();
            for _ in 0..2 {
                let error = tts.prompt(&library, &say(text), Codec::Pcmu).await.unwrap_err();
                assert!(error.message.contains(why), "{text}: {}", error.message);
                assert_eq!(mumbler.runs.load(Relaxed), runs, "{text}");
            }
            let library = PromptLibrary::new(PromptConfig::default(), None).unwrap();
            tts.prompt(&library, &say(text), Codec::Pcmu).await.unwrap();
            assert_eq!(mumbler.runs.load(Relaxed), runs, "{text}");
        }
    }

    #[tokio::test]
    async fn speech_becomes_a_prompt_and_its_errors_are_the_scripts() {
        let (tts, _) = tts(10);
        let library = PromptLibrary::new(PromptConfig::default(), None).unwrap();
        let prompt = tts.prompt(&library, &say("hello"), Codec::Pcmu).await.unwrap();
        assert_eq!(prompt.octets(), [1; 160]);
        let code = async |args: TtsArgs| {
            let error = tts.prompt(&library, &args, Codec::Pcmu).await.unwrap_err();
            (error.code, error.message)
        };
        assert_eq!(code(say("fail")).await.0, ErrorCode::MediaError);
        assert_eq!(code(say(" \n")).await.0, ErrorCode::TypeError);
        assert_eq!(code(say(&"x".repeat(MAX_SPOKEN + 1))).await.0, ErrorCode::RangeError);
        let (kind, message) = code(TtsArgs { provider: Some("acme".into()), ..say("x") }).await;
        assert_eq!(kind, ErrorCode::NotConfigured);
        assert_eq!(message, "tts: no provider `acme`: set [tts.provider.acme] url, or use one of mumbler");
    }
}
