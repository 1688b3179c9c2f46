//! The prompt library as the engine uses it: files that change, servers that answer slowly, names that are not there.
#![expect(clippy::disallowed_methods, reason = "the clock only gives a starting point; time moves by addition")]

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lockstep_media::{
    codec::Codec,
    prompt::{
        Cause, Fetch, FetchError, FetchRequest, Fetched, Folders, PromptConfig, PromptError, PromptLibrary, Source,
        http::FetchFuture, stock,
    },
};
use tokio::sync::{Semaphore, mpsc};

/// A folder of its own for each test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lockstep-prompts-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("user")).unwrap();
        fs::create_dir_all(path.join("ivr")).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.0.join(name), content).unwrap();
    }

    fn config(&self) -> PromptConfig {
        PromptConfig { folders: Folders::beneath(&self.0), ..PromptConfig::default() }
    }

    fn library(&self) -> PromptLibrary {
        PromptLibrary::new(self.config(), None).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn source(name: &str) -> Source {
    Source::parse(name).unwrap()
}

async fn octets(library: &PromptLibrary, now: Instant, name: &str) -> Result<Vec<u8>, PromptError> {
    Ok(library.load(now, source(name), Codec::Pcmu).await?.octets().to_vec())
}

#[tokio::test]
async fn a_loaded_prompt_is_found_without_waiting_until_it_must_be_checked_again() {
    let folder = Folder::new("cached");
    folder.write("user/x.ulaw", &[1, 2, 3]);
    let (library, now) = (folder.library(), Instant::now());
    let x = source("user/x.ulaw");
    assert!(library.cached(now, &x, Codec::Pcmu).is_none());
    let loaded = library.load(now, x.clone(), Codec::Pcmu).await.unwrap();
    assert!(Arc::ptr_eq(&loaded, &library.cached(now + Duration::from_secs(1), &x, Codec::Pcmu).unwrap()));
    assert!(library.cached(now + Duration::from_millis(1001), &x, Codec::Pcmu).is_none());
    let again = library.load(now + Duration::from_secs(9), x.clone(), Codec::Pcmu).await.unwrap();
    assert!(Arc::ptr_eq(&loaded, &again), "an unchanged file is not decoded again");
    assert!(library.cached(now + Duration::from_secs(10), &x, Codec::Pcmu).is_some());
}

#[tokio::test]
async fn a_changed_file_is_played_as_it_is_now() {
    let folder = Folder::new("changed");
    let (library, now) = (folder.library(), Instant::now());
    folder.write("user/x.ulaw", &[1, 2, 3]);
    assert_eq!(octets(&library, now, "user/x.ulaw").await, Ok(vec![1, 2, 3]));
    folder.write("user/x.ulaw", &[4, 5, 6, 7]);
    assert_eq!(octets(&library, now + Duration::from_secs(2), "user/x.ulaw").await, Ok(vec![4, 5, 6, 7]));
    fs::remove_file(folder.0.join("user/x.ulaw")).unwrap();
    let gone = octets(&library, now + Duration::from_secs(4), "user/x.ulaw").await;
    assert_eq!(gone, Err(PromptError::not_found("user/x.ulaw")));
}

#[tokio::test]
async fn a_file_that_the_engine_has_written_is_played_as_it_is_now_at_once() {
    let folder = Folder::new("written");
    fs::create_dir_all(folder.0.join("accounts/acme/user/deep")).unwrap();
    let (library, now) = (folder.library(), Instant::now());
    let acme = source("user/deep/x.ulaw").of_account(&"acme".into());
    for (source, path) in [(source("user/x.ulaw"), "user/x.ulaw"), (acme, "accounts/acme/user/deep/x.ulaw")] {
        for octet in 1..=3 {
            folder.write(path, &[octet; 80]);
            library.written(&folder.0.join(path));
            assert_eq!(library.cached(now, &source, Codec::Pcmu), None);
            assert_eq!(library.load(now, source.clone(), Codec::Pcmu).await.unwrap().octets(), [octet; 80]);
        }
    }
    library.written(&folder.0.join("elsewhere/x.ulaw"));
}

#[tokio::test]
async fn what_one_list_plays_is_bounded() {
    let folder = Folder::new("list");
    let names = ["user/a.ulaw", "user/b.ulaw", "user/c.ulaw"];
    for (name, octet) in names.iter().zip(1..) {
        folder.write(name, &[octet; 2000]);
    }
    let library = PromptLibrary::new(PromptConfig { playlist_bytes: 5000, ..folder.config() }, None).unwrap();
    let now = Instant::now();
    let load = |names: &[&str]| library.load_all(now, names.iter().map(|name| source(name)).collect(), Codec::Pcmu);
    let prompts = load(&[names[0], names[1], names[0], names[1], names[0], names[1], names[0]]).await.unwrap();
    assert!(Arc::ptr_eq(&prompts[0], &prompts[6]) && prompts.len() == 7, "the same twice is kept once");
    let refused = load(&names).await.unwrap_err();
    assert_eq!(refused.to_string(), "cannot play user/c.ulaw: more than 5000 octets of audio to play at once");
    assert_eq!(library.all_cached(now, &names.map(source), Codec::Pcmu), None);
    assert_eq!(library.all_cached(now, &[source(names[0]), source(names[1])], Codec::Pcmu).map(|list| list.len()), Some(2));
    let missing = load(&["silence:500", "user/missing.wav", names[0]]).await.unwrap_err();
    assert_eq!(missing, PromptError::not_found("user/missing.wav"));
}

#[tokio::test]
async fn names_of_the_same_content_share_one_copy() {
    let folder = Folder::new("shared");
    folder.write("user/x.ulaw", &[7; 800]);
    folder.write("user/y.ulaw", &[7; 800]);
    let (library, now) = (folder.library(), Instant::now());
    let x = library.load(now, source("user/x.ulaw"), Codec::Pcmu).await.unwrap();
    let y = library.load(now, source("user/y.ulaw"), Codec::Pcmu).await.unwrap();
    assert!(Arc::ptr_eq(&x, &y));
    let other = library.load(now, source("user/x.ulaw"), Codec::Pcma).await.unwrap();
    assert_eq!((other.codec(), other.octets().len()), (Codec::Pcma, 800));
}

#[tokio::test]
async fn each_account_has_its_own_folder_and_links_do_not_lead_to_anothers() {
    let folder = Folder::new("accounts");
    for account in ["north", "south"] {
        fs::create_dir_all(folder.0.join("accounts").join(account).join("user")).unwrap();
    }
    folder.write("user/x.ulaw", &[1; 160]);
    folder.write("user/only.ulaw", &[1; 160]);
    folder.write("accounts/north/user/x.ulaw", &[2; 160]);
    std::os::unix::fs::symlink("../../north/user/x.ulaw", folder.0.join("accounts/south/user/x.ulaw")).unwrap();
    let (library, now) = (folder.library(), Instant::now());
    let load = async |account: &str, name: &str| {
        let source = source(name).of_account(&account.into());
        library.load(now, source, Codec::Pcmu).await.map(|prompt| prompt.octets().to_vec())
    };
    assert_eq!(octets(&library, now, "user/x.ulaw").await, Ok(vec![1; 160]));
    assert_eq!(load("north", "user/x.ulaw").await, Ok(vec![2; 160]));
    for (account, name) in [("south", "user/x.ulaw"), ("north", "user/only.ulaw"), ("west", "user/x.ulaw")] {
        assert_eq!(load(account, name).await, Err(PromptError::not_found(name)), "{account}");
    }
    assert!(load("north", "ivr/welcome.wav").await.is_ok(), "stock prompts are everybody's");
}

/// Whether a file holds these samples just as they are played.
fn holds(file: &[u8], samples: &[u8]) -> bool {
    !samples.is_empty() && file.windows(samples.len()).any(|part| part == samples)
}

#[tokio::test]
async fn stock_prompts_are_built_in_and_a_file_of_that_name_hides_them() {
    let folder = Folder::new("stock");
    let (library, now) = (folder.library(), Instant::now());
    let built_in = octets(&library, now, "ivr/welcome.wav").await.unwrap();
    assert!(holds(stock::find("welcome.wav").unwrap(), &built_in));
    folder.write("ivr/welcome.wav", stock::find("goodbye.wav").unwrap());
    let replaced = octets(&library, now + Duration::from_secs(2), "ivr/welcome.wav").await.unwrap();
    assert!(holds(stock::find("goodbye.wav").unwrap(), &replaced));
    assert_eq!(octets(&library, now, "user/welcome.wav").await, Err(PromptError::not_found("user/welcome.wav")));
}

#[tokio::test]
async fn a_link_that_leaves_the_folder_is_not_found() {
    let folder = Folder::new("link");
    folder.write("secret.ulaw", &[1; 160]);
    std::os::unix::fs::symlink("../secret.ulaw", folder.0.join("user/x.ulaw")).unwrap();
    let outcome = octets(&folder.library(), Instant::now(), "user/x.ulaw").await;
    assert_eq!(outcome, Err(PromptError::not_found("user/x.ulaw")));
}

#[tokio::test]
async fn what_cannot_be_played_is_named_with_its_cause() {
    let folder = Folder::new("bad");
    folder.write("user/x.mp3", b"this is text");
    folder.write("user/empty.wav", b"");
    let mut config = folder.config();
    config.limits.max_bytes = 100;
    folder.write("user/huge.ulaw", &[0; 101]);
    let (library, now) = (PromptLibrary::new(config, None).unwrap(), Instant::now());
    for _ in 0..2 {
        let text = octets(&library, now, "user/x.mp3").await.unwrap_err();
        assert!(text.to_string().starts_with("cannot play user/x.mp3: not audio"), "{text}");
    }
    let huge = octets(&library, now, "user/huge.ulaw").await;
    assert_eq!(huge, Err(PromptError::media("user/huge.ulaw", Cause::TooLarge { bytes: 101, max: 100 })));
    assert!(matches!(octets(&library, now, "user/empty.wav").await, Err(PromptError::Media { .. })));
    let disabled = octets(&library, now, "http://127.0.0.1/x.wav").await;
    assert_eq!(disabled, Err(PromptError::media("http://127.0.0.1/x.wav", Cause::Fetch(FetchError::Disabled))));
}

#[tokio::test]
async fn generated_audio_and_audio_held_by_the_caller_are_loaded_the_same_way() {
    let folder = Folder::new("bytes");
    let (library, now) = (folder.library(), Instant::now());
    assert_eq!(octets(&library, now, "silence:20").await, Ok(vec![0xff; 160]));
    assert!(library.cached(now, &source("silence:20"), Codec::Pcmu).is_some());
    assert_eq!(octets(&library, now, "tone:350+440,100/50").await.unwrap().len(), 1200);
    assert!(matches!(octets(&library, now, "tone:9999,1/1").await, Err(PromptError::Media { cause: Cause::Tone(_), .. })));
    let load = || library.load_bytes("speech".into(), vec![9; 160].into(), "ulaw".into(), Codec::Pcmu);
    let (first, second) = (load().await.unwrap(), load().await.unwrap());
    assert_eq!(first.octets(), [9; 160]);
    assert!(Arc::ptr_eq(&first, &second));
    let bad = library.load_bytes("speech".into(), b"no audio".as_slice().into(), String::new(), Codec::Pcmu).await;
    assert!(matches!(bad, Err(PromptError::Media { name, cause: Cause::NotAudio(_) }) if name == "speech"));
}

/// A web server of one page: answers are queued by the test, requests are reported to it.
struct Server {
    answers: Mutex<mpsc::UnboundedReceiver<Result<Fetched, FetchError>>>,
    requests: mpsc::UnboundedSender<FetchRequest>,
    gate: Arc<Semaphore>,
}

struct Script {
    answers: mpsc::UnboundedSender<Result<Fetched, FetchError>>,
    requests: mpsc::UnboundedReceiver<FetchRequest>,
    gate: Arc<Semaphore>,
}

impl Fetch for Server {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        self.requests.send(request).unwrap();
        let answer = self.answers.lock().unwrap().try_recv().expect("a request the test did not expect");
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            answer
        })
    }
}

fn web(folder: &Folder) -> (PromptLibrary, Script) {
    let (answers, queued) = mpsc::unbounded_channel();
    let (reported, requests) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let server = Server { answers: Mutex::new(queued), requests: reported, gate: Arc::clone(&gate) };
    let library = PromptLibrary::new(folder.config(), Some(Arc::new(server))).unwrap();
    (library, Script { answers, requests, gate })
}

fn page(octets: &[u8], cache_control: &str) -> Result<Fetched, FetchError> {
    Ok(Fetched::Body {
        bytes: octets.to_vec().into(),
        content_type: Some("audio/basic".into()),
        etag: Some("\"v1\"".into()),
        last_modified: None,
        cache_control: Some(cache_control.into()),
        age: Duration::ZERO,
    })
}

const URL: &str = "https://audio.example/greeting";

#[tokio::test]
async fn all_who_ask_while_a_load_is_under_way_share_it() {
    let folder = Folder::new("flight");
    let (library, mut script) = web(&folder);
    let now = Instant::now();
    script.answers.send(page(&[5; 80], "max-age=60")).unwrap();
    let waiting: Vec<_> = (0..10).map(|_| library.load(now, source(URL), Codec::Pcmu)).collect();
    assert_eq!(script.requests.recv().await.unwrap().url, URL);
    script.gate.add_permits(1);
    for load in waiting {
        assert_eq!(load.await.unwrap().octets(), [5; 80]);
    }
    assert!(library.cached(now + Duration::from_secs(59), &source(URL), Codec::Pcmu).is_some());
    assert!(library.cached(now + Duration::from_secs(60), &source(URL), Codec::Pcmu).is_none());
    assert!(script.requests.try_recv().is_err(), "one request for all");
}

#[tokio::test]
async fn a_stale_copy_is_checked_and_used_again_when_the_server_says_so() {
    let folder = Folder::new("revalidate");
    let (library, mut script) = web(&folder);
    let now = Instant::now();
    script.gate.add_permits(10);
    script.answers.send(page(&[5; 80], "no-cache")).unwrap();
    octets(&library, now, URL).await.unwrap();
    assert_eq!(script.requests.recv().await.unwrap().etag, None);
    let not_modified = |cache_control: Option<&str>, age| {
        Ok(Fetched::NotModified { cache_control: cache_control.map(str::to_owned), age: Duration::from_secs(age) })
    };
    script.answers.send(not_modified(Some("max-age=5"), 0)).unwrap();
    assert_eq!(octets(&library, now, URL).await, Ok(vec![5; 80]));
    assert_eq!(script.requests.recv().await.unwrap().etag.as_deref(), Some("\"v1\""));
    assert_eq!(octets(&library, now + Duration::from_secs(4), URL).await, Ok(vec![5; 80]));
    // A 304 that says nothing of it leaves the time as it was; what a cache on the way has had is part of it.
    script.answers.send(not_modified(None, 3)).unwrap();
    assert_eq!(octets(&library, now + Duration::from_secs(6), URL).await, Ok(vec![5; 80]));
    assert_eq!(octets(&library, now + Duration::from_secs(7), URL).await, Ok(vec![5; 80]));
    script.answers.send(page(&[6; 80], "max-age=5")).unwrap();
    assert_eq!(octets(&library, now + Duration::from_secs(8), URL).await, Ok(vec![6; 80]));
}

#[tokio::test]
async fn a_server_that_fails_lets_the_old_copy_play_and_one_that_denies_does_not() {
    let folder = Folder::new("stale");
    let (library, script) = web(&folder);
    let now = Instant::now();
    script.gate.add_permits(10);
    script.answers.send(page(&[5; 80], "max-age=1")).unwrap();
    octets(&library, now, URL).await.unwrap();
    let later = now + Duration::from_secs(60);
    script.answers.send(Err(FetchError::TimedOut)).unwrap();
    assert_eq!(octets(&library, later, URL).await, Ok(vec![5; 80]));
    script.answers.send(Err(FetchError::Status(404))).unwrap();
    let denied = octets(&library, later, URL).await;
    assert_eq!(denied, Err(PromptError::media(URL, Cause::Fetch(FetchError::Status(404)))));
}

#[tokio::test]
async fn what_must_not_be_stored_is_fetched_every_time() {
    let folder = Folder::new("no-store");
    let (library, mut script) = web(&folder);
    let now = Instant::now();
    script.gate.add_permits(10);
    for round in 1..=2 {
        script.answers.send(page(&[round; 80], "no-store, max-age=60")).unwrap();
        assert_eq!(octets(&library, now, URL).await, Ok(vec![round; 80]));
        assert_eq!(script.requests.recv().await.unwrap().etag, None);
    }
}

#[tokio::test]
async fn a_load_nobody_waits_for_any_more_still_fills_the_cache() {
    let folder = Folder::new("dropped");
    let (library, mut script) = web(&folder);
    let now = Instant::now();
    script.answers.send(page(&[5; 80], "max-age=60")).unwrap();
    drop(library.load(now, source(URL), Codec::Pcmu));
    script.requests.recv().await.unwrap();
    let joined = library.load(now, source(URL), Codec::Pcmu);
    script.gate.add_permits(1);
    assert_eq!(joined.await.unwrap().octets(), [5; 80]);
}
