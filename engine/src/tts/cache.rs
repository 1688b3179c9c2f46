//! What was spoken before: in memory, and in a folder when one is configured.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use lockstep_media::prompt::lru::ByteLru;

use super::{Key, SpokenAudio};

/// Octets kept in memory.
const MEMORY: usize = 64 << 20;
/// Octets kept in the folder; the oldest files leave first.
const FOLDER: u64 = 1 << 30;
/// Files written between two looks at the folder's size.
const WRITES_A_LOOK: u64 = 64;
/// A file larger than this was not written by us.
const MAX_FILE: u64 = 64 << 20;

/// Audio by the hash of what was to be said.
pub struct SpeechCache {
    memory: Mutex<ByteLru<Key, SpokenAudio>>,
    folder: Option<Arc<Folder>>,
}

struct Folder {
    path: PathBuf,
    written: Mutex<u64>,
}

impl SpeechCache {
    /// A cache in memory, and in `folder`, which is created when it is first written to.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        let folder = folder.map(|path| Arc::new(Folder { path, written: Mutex::new(0) }));
        Self { memory: Mutex::new(ByteLru::new(MEMORY)), folder }
    }

    /// Audio spoken before. Files are read on a thread that may block.
    pub(super) async fn find(&self, key: &Key) -> Option<SpokenAudio> {
        if let Some(audio) = self.memory.lock().unwrap_or_else(PoisonError::into_inner).find(key) {
            return Some(audio.clone());
        }
        let (folder, key) = (Arc::clone(self.folder.as_ref()?), *key);
        let audio = tokio::task::spawn_blocking(move || folder.read(&key)).await.ok()??;
        self.remember(key, &audio);
        Some(audio)
    }

    /// Keeps audio. A folder that cannot be written to costs only the next start its cache.
    pub(super) async fn keep(&self, key: Key, audio: &SpokenAudio) {
        self.remember(key, audio);
        if let Some(folder) = &self.folder {
            let (folder, audio) = (Arc::clone(folder), audio.clone());
            let written = tokio::task::spawn_blocking(move || folder.write(&key, &audio)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "speech cannot be kept in [tts] cache_dir");
            }
        }
    }

    /// Gives up audio that cannot be played.
    pub(super) async fn forget(&self, key: Key, audio: &SpokenAudio) {
        {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            // Better audio may have taken its place.
            if memory.find(&key).is_some_and(|kept| kept != audio) {
                return;
            }
            memory.remove(&key);
        }
        if let Some(folder) = &self.folder {
            let path = folder.path_of(&key);
            // It may never have been written.
            let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
        }
    }

    fn remember(&self, key: Key, audio: &SpokenAudio) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.insert(key, audio.clone(), audio.bytes.len());
    }
}

impl Folder {
    /// One file a key: a line with the extension, then the audio.
    fn read(&self, key: &Key) -> Option<SpokenAudio> {
        let path = self.path_of(key);
        if std::fs::metadata(&path).ok()?.len() > MAX_FILE {
            return None;
        }
        let file = Bytes::from(std::fs::read(path).ok()?);
        let end = file.iter().take(16).position(|&octet| octet == b'\n')?;
        let extension = String::from_utf8(file.get(..end)?.to_vec()).ok()?;
        Some(SpokenAudio { bytes: file.slice(end + 1..), extension })
    }

    fn write(&self, key: &Key, audio: &SpokenAudio) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        // Under another name until it is whole: another engine may share the folder.
        let (path, partial) = (self.path_of(key), self.path.join(format!("{}.{}", name_of(key), std::process::id())));
        let mut file = Vec::with_capacity(audio.bytes.len() + 8);
        file.extend(audio.extension.bytes().filter(u8::is_ascii_alphanumeric).take(8));
        file.push(b'\n');
        file.extend(&audio.bytes);
        std::fs::write(&partial, file)?;
        std::fs::rename(&partial, path)?;
        let look = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            *written += 1;
            *written % WRITES_A_LOOK == 1
        };
        if look { prune(&self.path, FOLDER) } else { Ok(()) }
    }

    fn path_of(&self, key: &Key) -> PathBuf {
        self.path.join(name_of(key))
    }
}

/// Removes the oldest of our files until the rest is within `limit` octets.
fn prune(folder: &Path, limit: u64) -> io::Result<()> {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && entry.file_name().to_str().is_some_and(is_ours) {
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in files {
        if total <= limit {
            break;
        }
        std::fs::remove_file(path)?;
        total -= length;
    }
    Ok(())
}

fn name_of(key: &Key) -> String {
    key.iter().map(|octet| format!("{octet:02x}")).collect::<String>() + ".speech"
}

/// Whether a file was written by this cache, whole or in part.
fn is_ours(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, rest)| hash.len() == 64 && rest.starts_with("speech"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lockstep-speech-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn audio(octet: u8) -> SpokenAudio {
        SpokenAudio { bytes: vec![octet; 100].into(), extension: "wav".into() }
    }

    #[tokio::test]
    async fn audio_survives_a_restart_in_the_folder_only() {
        let folder = Temporary::new("restart");
        SpeechCache::new(Some(folder.0.clone())).keep([1; 32], &audio(7)).await;
        assert_eq!(SpeechCache::new(Some(folder.0.clone())).find(&[1; 32]).await, Some(audio(7)));
        assert_eq!(SpeechCache::new(Some(folder.0.clone())).find(&[2; 32]).await, None);
        let memory = SpeechCache::new(None);
        memory.keep([1; 32], &audio(7)).await;
        assert_eq!(memory.find(&[1; 32]).await, Some(audio(7)));
        assert_eq!(SpeechCache::new(None).find(&[1; 32]).await, None);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_gone_from_the_folder_too_and_what_took_its_place_is_not() {
        let folder = Temporary::new("forget");
        let cache = SpeechCache::new(Some(folder.0.clone()));
        cache.keep([1; 32], &audio(7)).await;
        cache.forget([1; 32], &audio(8)).await;
        assert_eq!(cache.find(&[1; 32]).await, Some(audio(7)));
        cache.forget([1; 32], &audio(7)).await;
        assert_eq!(cache.find(&[1; 32]).await, None);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_costs_nothing_but_the_file() {
        let cache = SpeechCache::new(Some("/dev/null/speech".into()));
        cache.keep([1; 32], &audio(7)).await;
        assert_eq!(cache.find(&[1; 32]).await, Some(audio(7)));
    }

    #[test]
    fn the_oldest_files_leave_first_and_files_of_others_stay() {
        let folder = Temporary::new("prune");
        let cache = Folder { path: folder.0.clone(), written: Mutex::new(1) };
        for (age, octet) in [(30, 1u8), (20, 2), (10, 3)] {
            cache.write(&[octet; 32], &audio(octet)).unwrap();
            let file = std::fs::File::options().write(true).open(cache.path_of(&[octet; 32])).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 - age)).unwrap();
        }
        std::fs::write(folder.0.join("notes.txt"), vec![0; 1000]).unwrap();
        prune(&folder.0, 250).unwrap();
        assert_eq!(cache.read(&[1; 32]), None);
        assert_eq!((cache.read(&[2; 32]), cache.read(&[3; 32])), (Some(audio(2)), Some(audio(3))));
        assert!(folder.0.join("notes.txt").exists());
    }
}
