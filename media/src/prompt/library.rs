//! The prompts of an engine: found, decoded and encoded once, then handed out by reference.
//!
//! Encoded audio is kept by (hash of the source octets, codec), so two names of the same file share it, and a changed
//! file is another entry. A local file is checked for changes at most once per [`PromptConfig::recheck`]; between
//! checks a prompt is found without a system call. Who asks for a prompt that is being loaded waits for that one load.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    io::{self, Read},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::{
    decode::{self, Limits},
    encode::encode,
    error::{Cause, PromptError},
    http::{CachePolicy, Fetch, FetchError, FetchRequest, Fetched, extension_of},
    lru::ByteLru,
    pool::{LoaderPool, Turn, stopwatch},
    source::{Folder, Folders, Source, extension, redacted},
    stock,
};
use crate::{
    beneath::{self, Stamp},
    codec::Codec,
    playout::EncodedPrompt,
    tone::Tone,
};

/// Where prompts come from and what they may cost.
#[derive(Debug, Clone)]
pub struct PromptConfig {
    /// Where local files are.
    pub folders: Folders,
    /// Octets of encoded audio kept.
    pub cache_bytes: usize,
    /// Octets of fetched files kept.
    pub remote_bytes: usize,
    /// Octets of encoded audio that one playlist may hold.
    pub playlist_bytes: usize,
    /// How long a local file is taken as unchanged without looking.
    pub recheck: Duration,
    /// Bounds of one prompt.
    pub limits: Limits,
    /// Loader threads.
    pub threads: usize,
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self {
            folders: Folders::beneath(Path::new("scripts")),
            cache_bytes: 256 << 20,
            remote_bytes: 128 << 20,
            playlist_bytes: 64 << 20,
            recheck: Duration::from_secs(1),
            limits: Limits::default(),
            threads: 2,
        }
    }
}

/// What a load ends with.
pub type Loaded = Result<Arc<EncodedPrompt>, PromptError>;

/// Prompts of one playlist that are loaded at a time.
const LOADS_AT_ONCE: usize = 4;

/// Files whose stamp is remembered, and files known to be undecodable.
const MAX_KNOWN: usize = 16_384;

/// What an entry of a cache takes at least, beside what it keeps: else an empty answer would weigh nothing.
const ENTRY: usize = 256;

type BoxedLoad = Pin<Box<dyn Future<Output = Loaded> + Send>>;
type Hash = [u8; 32];
type FlightKey = (Source, Codec);

/// The prompts of an engine. Clones share everything.
#[derive(Clone)]
pub struct PromptLibrary {
    shared: Arc<Shared>,
}

struct Shared {
    config: PromptConfig,
    pool: LoaderPool,
    fetch: Option<Arc<dyn Fetch>>,
    state: Mutex<State>,
}

struct State {
    encoded: ByteLru<(Hash, Codec), Arc<EncodedPrompt>>,
    /// Content that cannot be played, so that a script that insists costs one decoding, not one each time.
    refused: ByteLru<(Hash, Codec), Cause>,
    files: ByteLru<Source, KnownFile>,
    remote: ByteLru<String, Remote>,
    flights: BTreeMap<FlightKey, Vec<oneshot::Sender<Loaded>>>,
}

#[derive(Clone, Copy)]
struct KnownFile {
    /// `None` for a built-in prompt, which cannot change, but can be hidden by a file.
    stamp: Option<Stamp>,
    hash: Hash,
    checked: Instant,
}

#[derive(Clone)]
struct Remote {
    bytes: Bytes,
    hash: Hash,
    extension: String,
    etag: Option<String>,
    last_modified: Option<String>,
    policy: CachePolicy,
    fresh_until: Instant,
}

impl Remote {
    /// Octets in memory: the cache keeps the URL twice, and its end may be taken for an extension.
    fn weight(&self, url: &str) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.bytes.len() + 2 * url.len() + self.extension.len() + text(&self.etag) + text(&self.last_modified) + ENTRY
    }
}

impl PromptLibrary {
    /// A library that fetches URLs with `fetch`, or refuses them without one.
    ///
    /// # Errors
    /// The loader threads cannot be started.
    pub fn new(config: PromptConfig, fetch: Option<Arc<dyn Fetch>>) -> io::Result<Self> {
        let pool = LoaderPool::new(config.threads)?;
        let state = State {
            encoded: ByteLru::new(config.cache_bytes),
            refused: ByteLru::new(MAX_KNOWN),
            files: ByteLru::new(MAX_KNOWN),
            remote: ByteLru::new(config.remote_bytes),
            flights: BTreeMap::new(),
        };
        Ok(Self { shared: Arc::new(Shared { config, pool, fetch, state: Mutex::new(state) }) })
    }

    /// The prompt, if it can be played without waiting for anything.
    #[must_use]
    pub fn cached(&self, now: Instant, source: &Source, codec: Codec) -> Option<Arc<EncodedPrompt>> {
        let mut state = self.shared.lock();
        let hash = match source {
            Source::File { .. } => {
                let known = state.files.find(source)?;
                (now.saturating_duration_since(known.checked) <= self.shared.config.recheck).then_some(known.hash)?
            }
            Source::Url(url) => {
                let remote = state.remote.find(url)?;
                (now < remote.fresh_until).then_some(remote.hash)?
            }
            Source::Tone(_) | Source::Silence(_) => hash_of(source.name().as_bytes()),
        };
        state.encoded.find(&(hash, codec)).cloned()
    }

    /// Loads a prompt, or waits for the load that is already under way.
    ///
    /// The load starts at once and goes on when the future is dropped. A URL needs a tokio runtime around the call.
    pub fn load(&self, now: Instant, source: Source, codec: Codec) -> impl Future<Output = Loaded> + Send + 'static {
        self.load_in_turn(now, source, codec, self.shared.pool.turn())
    }

    fn load_in_turn(
        &self,
        now: Instant,
        source: Source,
        codec: Codec,
        turn: Turn,
    ) -> impl Future<Output = Loaded> + Send + 'static {
        let name = source.name();
        let ready = self.cached(now, &source, codec);
        let waiting = if ready.is_some() { None } else { Some(self.join_or_start(now, source, codec, turn)) };
        async move {
            match (ready, waiting) {
                (Some(prompt), _) => Ok(prompt),
                (None, Some(waiting)) => waiting.await.unwrap_or_else(|_| Err(lost(name))),
                (None, None) => Err(lost(name)),
            }
        }
    }

    /// The prompts of one playlist, if all can be played without waiting and are no more than [`PromptConfig::playlist_bytes`].
    #[must_use]
    pub fn all_cached(&self, now: Instant, sources: &[Source], codec: Codec) -> Option<Vec<Arc<EncodedPrompt>>> {
        let mut list = self.list();
        for source in sources {
            list.add(source, self.cached(now, source, codec)?).ok()?;
        }
        Some(list.prompts)
    }

    /// Loads the prompts of one playlist, a few at a time.
    ///
    /// # Errors
    /// As [`Self::load`], for the first that fails, or with which they are more than [`PromptConfig::playlist_bytes`].
    pub fn load_all(
        &self,
        now: Instant,
        sources: Vec<Source>,
        codec: Codec,
    ) -> impl Future<Output = Result<Vec<Arc<EncodedPrompt>>, PromptError>> + Send + 'static {
        let library = self.clone();
        let mut sources = sources.into_iter();
        let mut list = self.list();
        let turn = self.shared.pool.turn();
        let load = move |source: Source| -> (Source, BoxedLoad) {
            (source.clone(), Box::pin(library.load_in_turn(now, source, codec, turn)))
        };
        let mut loads: VecDeque<_> = sources.by_ref().take(LOADS_AT_ONCE).map(&load).collect();
        async move {
            while let Some((source, loading)) = loads.pop_front() {
                list.add(&source, loading.await?)?;
                loads.extend(sources.next().map(&load));
            }
            Ok(list.prompts)
        }
    }

    /// Loads audio that the caller holds, such as speech from a provider. `name` is for error messages; `extension`
    /// hints at the format.
    pub fn load_bytes(
        &self,
        name: String,
        bytes: Bytes,
        extension: String,
        codec: Codec,
    ) -> impl Future<Output = Loaded> + Send + 'static {
        let (sender, waiting) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let job_name = name.clone();
        let queued = self.shared.pool.run(self.shared.pool.turn(), move || {
            let hash = hash_of(&bytes);
            let outcome = shared.encoded(hash, codec, &bytes, &extension);
            let _ = sender.send(outcome.map_err(|cause| PromptError::media(job_name, cause)));
        });
        async move {
            match queued {
                Ok(()) => waiting.await.unwrap_or_else(|_| Err(lost(name))),
                Err(_) => Err(PromptError::media(name, Cause::Busy)),
            }
        }
    }

    /// Loads a local prompt on the calling thread, which may block: for tools and simulations.
    ///
    /// # Errors
    /// As [`Self::load`]; a URL is refused.
    pub fn load_blocking(&self, now: Instant, source: &Source, codec: Codec) -> Loaded {
        if let Some(prompt) = self.cached(now, source, codec) {
            return Ok(prompt);
        }
        self.shared.load_local(now, source, codec)
    }

    /// Has the file at `path`, which has just been written, looked at again before it is played.
    pub fn written(&self, path: &Path) {
        if let Some(source) = self.shared.config.folders.source_of(path) {
            self.shared.lock().files.remove(&source);
        }
    }

    /// Octets of encoded audio in the cache.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.shared.lock().encoded.bytes()
    }

    fn list(&self) -> List {
        List { prompts: Vec::new(), bytes: 0, max: self.shared.config.playlist_bytes }
    }

    fn join_or_start(&self, now: Instant, source: Source, codec: Codec, turn: Turn) -> oneshot::Receiver<Loaded> {
        let (sender, waiting) = oneshot::channel();
        let key = (source, codec);
        {
            let mut state = self.shared.lock();
            if let Some(waiters) = state.flights.get_mut(&key) {
                waiters.push(sender);
                return waiting;
            }
            state.flights.insert(key.clone(), vec![sender]);
        }
        let flight = Flight::new(Arc::clone(&self.shared), key, turn);
        match &flight.key.0 {
            Source::Url(url) => {
                let url = url.clone();
                tokio::spawn(flight.fetch(now, url));
            }
            Source::File { .. } | Source::Tone(_) | Source::Silence(_) => {
                flight.run(move |shared, (source, codec)| shared.load_local(now, source, *codec));
            }
        }
        waiting
    }
}

/// The prompts of a playlist, as far as they are there.
struct List {
    prompts: Vec<Arc<EncodedPrompt>>,
    bytes: usize,
    max: usize,
}

impl List {
    fn add(&mut self, source: &Source, prompt: Arc<EncodedPrompt>) -> Result<(), PromptError> {
        // What is played several times is kept once.
        if !self.prompts.iter().any(|known| Arc::ptr_eq(known, &prompt)) {
            self.bytes += prompt.size();
        }
        if self.bytes > self.max {
            return Err(PromptError::media(source.name(), Cause::TooMuch { max: self.max }));
        }
        self.prompts.push(prompt);
        Ok(())
    }
}

/// A load that others may wait for. However it ends, all who wait are answered.
struct Flight {
    shared: Arc<Shared>,
    key: FlightKey,
    turn: Turn,
    /// What those who wait are told if the load never finishes; `None` once they have been answered.
    unfinished: Option<Cause>,
}

impl Flight {
    fn new(shared: Arc<Shared>, key: FlightKey, turn: Turn) -> Self {
        Self { shared, key, turn, unfinished: Some(Cause::CutOff) }
    }

    /// Does blocking work on a loader thread and answers with its result.
    fn run(mut self, work: impl FnOnce(&Shared, &FlightKey) -> Loaded + Send + 'static) {
        let pool = self.shared.pool.clone();
        // A full queue drops the job, and the flight with it.
        self.unfinished = Some(Cause::Busy);
        let _ = pool.run(self.turn, move || {
            self.unfinished = Some(Cause::CutOff);
            let outcome = work(&self.shared, &self.key);
            self.answer(&outcome);
        });
    }

    async fn fetch(self, now: Instant, url: String) {
        let known = self.shared.lock().remote.find(&url).cloned();
        let request = FetchRequest {
            url: url.clone(),
            etag: known.as_ref().and_then(|known| known.etag.clone()),
            last_modified: known.as_ref().and_then(|known| known.last_modified.clone()),
            max_bytes: self.shared.config.limits.max_bytes,
        };
        let answer = match &self.shared.fetch {
            Some(fetch) => fetch.fetch(request).await,
            None => Err(FetchError::Disabled),
        };
        self.run(move |shared, (source, codec)| {
            let remote = shared.accept(now, &url, known, answer);
            let outcome = remote.and_then(|remote| shared.encoded(remote.hash, *codec, &remote.bytes, &remote.extension));
            outcome.map_err(|cause| PromptError::media(source.name(), cause))
        });
    }

    fn answer(&mut self, outcome: &Loaded) {
        self.unfinished = None;
        let waiters = self.shared.lock().flights.remove(&self.key).unwrap_or_default();
        for waiter in waiters {
            let _ = waiter.send(outcome.clone());
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(cause) = self.unfinished.take() {
            self.answer(&Err(PromptError::media(self.key.0.name(), cause)));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load_local(&self, now: Instant, source: &Source, codec: Codec) -> Loaded {
        let media = |cause| PromptError::media(source.name(), cause);
        match source {
            Source::File { folder, path } => self.load_file(now, source, folder, path, codec),
            Source::Silence(length) => {
                let prompt = Arc::new(EncodedPrompt::silence(codec, *length));
                Ok(self.keep(hash_of(source.name().as_bytes()), codec, prompt))
            }
            Source::Tone(text) => {
                let tone: Tone = text.parse().map_err(|error| media(Cause::Tone(error)))?;
                let prompt = Arc::new(EncodedPrompt::from_samples(codec, &tone.render(codec.sample_rate())));
                Ok(self.keep(hash_of(source.name().as_bytes()), codec, prompt))
            }
            Source::Url(_) => Err(media(Cause::Fetch(FetchError::Disabled))),
        }
    }

    fn load_file(&self, now: Instant, source: &Source, folder: &Folder, path: &str, codec: Codec) -> Loaded {
        let media = |cause| PromptError::media(source.name(), cause);
        let (bytes, stamp) = match beneath::open(&self.config.folders.find(folder), path) {
            Ok((file, stamp)) => {
                let known = self.lock().files.find(source).copied();
                let unchanged = known.filter(|known| known.stamp == Some(stamp));
                if let Some(known) = unchanged {
                    let mut state = self.lock();
                    state.files.insert(source.clone(), KnownFile { checked: now, ..known }, 1);
                    if let Some(prompt) = state.encoded.find(&(known.hash, codec)) {
                        return Ok(Arc::clone(prompt));
                    }
                }
                (read(file, stamp, &self.config.limits).map_err(media)?, Some(stamp))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let built_in = if *folder == Folder::Ivr { stock::find(path) } else { None };
                (Bytes::from_static(built_in.ok_or_else(|| PromptError::not_found(source.name()))?), None)
            }
            Err(error) => return Err(media(Cause::Io(error.to_string()))),
        };
        let hash = hash_of(&bytes);
        let outcome = self.encoded(hash, codec, &bytes, extension(path)).map_err(media);
        self.lock().files.insert(source.clone(), KnownFile { stamp, hash, checked: now }, 1);
        outcome
    }

    /// What to play after the server's answer, or its failure.
    fn accept(
        &self,
        now: Instant,
        url: &str,
        known: Option<Remote>,
        answer: Result<Fetched, FetchError>,
    ) -> Result<Remote, Cause> {
        let (remote, age) = match (answer, known) {
            (Ok(Fetched::NotModified { cache_control, age }), Some(known)) => {
                // What is not said anew stays (RFC 9111 section 3.2).
                let policy = cache_control.map_or(known.policy, |text| CachePolicy::parse(Some(&text)));
                (Remote { policy, ..known }, age)
            }
            (Ok(Fetched::NotModified { .. }), None) => return Err(FetchError::Status(304).into()),
            (Ok(Fetched::Body { bytes, content_type, etag, last_modified, cache_control, age }), _) => {
                let from_type = content_type.as_deref().and_then(extension_of);
                let remote = Remote {
                    hash: hash_of(&bytes),
                    bytes,
                    extension: from_type.unwrap_or_else(|| extension(url)).to_owned(),
                    etag,
                    last_modified,
                    policy: CachePolicy::parse(cache_control.as_deref()),
                    fresh_until: now,
                };
                (remote, age)
            }
            (Err(error), Some(known)) if error.allows_stale() && !known.policy.must_revalidate => {
                tracing::warn!(url = redacted(url), %error, "playing an older copy");
                return Ok(known);
            }
            (Err(error), _) => return Err(error.into()),
        };
        let remote = Remote { fresh_until: now + remote.policy.fresh.saturating_sub(age), ..remote };
        let mut state = self.lock();
        if remote.policy.no_store {
            state.remote.remove(&url.to_owned());
        } else {
            let weight = remote.weight(url);
            state.remote.insert(url.to_owned(), remote.clone(), weight);
        }
        Ok(remote)
    }

    /// The encoded form of `bytes`, from the cache or by decoding now.
    fn encoded(&self, hash: Hash, codec: Codec, bytes: &Bytes, extension: &str) -> Result<Arc<EncodedPrompt>, Cause> {
        {
            let mut state = self.lock();
            if let Some(prompt) = state.encoded.find(&(hash, codec)) {
                return Ok(Arc::clone(prompt));
            }
            if let Some(cause) = state.refused.find(&(hash, codec)) {
                return Err(cause.clone());
            }
        }
        let limits = &self.config.limits;
        match decode::decode(bytes, extension, codec.sample_rate(), limits, &mut stopwatch(limits.budget)) {
            Ok(audio) => Ok(self.keep(hash, codec, Arc::new(encode(&audio, codec)))),
            // A machine that was too busy once may have time the next time.
            Err(cause @ Cause::TooSlow { .. }) => Err(cause),
            Err(cause) => {
                self.lock().refused.insert((hash, codec), cause.clone(), 1);
                Err(cause)
            }
        }
    }

    fn keep(&self, hash: Hash, codec: Codec, prompt: Arc<EncodedPrompt>) -> Arc<EncodedPrompt> {
        self.lock().encoded.insert((hash, codec), Arc::clone(&prompt), prompt.size() + ENTRY);
        prompt
    }
}

fn read(file: std::fs::File, stamp: Stamp, limits: &Limits) -> Result<Bytes, Cause> {
    let too_large = |bytes| Cause::TooLarge { bytes, max: limits.max_bytes };
    if stamp.size() > limits.max_bytes {
        return Err(too_large(stamp.size()));
    }
    let mut bytes = Vec::with_capacity(stamp.size() as usize);
    // The file may grow while it is read.
    let read = file.take(limits.max_bytes + 1).read_to_end(&mut bytes);
    read.map_err(|error| Cause::Io(error.to_string()))?;
    if bytes.len() as u64 > limits.max_bytes {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes.into())
}

fn hash_of(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn lost(name: String) -> PromptError {
    PromptError::media(name, Cause::CutOff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::wav;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do: nothing here waits")]
    fn answers_without_audio_take_room_as_well() {
        let config = PromptConfig { remote_bytes: 64 << 10, ..PromptConfig::default() };
        let library = PromptLibrary::new(config, None).unwrap();
        let url = |number| format!("https://example.com/say?call={number}");
        for number in 0..1000 {
            let empty = Fetched::Body {
                bytes: Bytes::new(),
                content_type: None,
                etag: None,
                last_modified: None,
                cache_control: None,
                age: Duration::ZERO,
            };
            library.shared.accept(Instant::now(), &url(number), None, Ok(empty)).unwrap();
        }
        let mut state = library.shared.lock();
        assert!(state.remote.find(&url(999)).is_some() && state.remote.find(&url(700)).is_none());
    }

    #[tokio::test]
    async fn what_took_too_long_once_is_tried_again_and_what_is_no_audio_is_not() {
        let limits = Limits { budget: Duration::ZERO, ..Limits::default() };
        let library = PromptLibrary::new(PromptConfig { limits, ..PromptConfig::default() }, None).unwrap();
        let load = |bytes: Vec<u8>| library.load_bytes("x".to_owned(), bytes.into(), "wav".to_owned(), Codec::Pcmu);
        let slow = load(wav::file(1, 1, 8000, 16, &[1; 1600])).await;
        assert!(matches!(slow, Err(PromptError::Media { cause: Cause::TooSlow { .. }, .. })), "{slow:?}");
        assert_eq!(library.shared.lock().refused.bytes(), 0);
        load(b"hello, this is text".to_vec()).await.unwrap_err();
        assert_eq!(library.shared.lock().refused.bytes(), 1);
    }
}
