//! A real `lockstep serve` on ports of its own, in a folder of its own.
//!
//! Everything a test waits for has one generous limit, [`PATIENCE`]: it ends a test that would hang, it measures nothing.

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Folders of engines started by this process, counted.
static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Waits for `what` to come true, within [`PATIENCE`].
///
/// # Panics
/// When it does not.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

/// Waits until `is_so` says yes, within [`PATIENCE`]. It is asked every few milliseconds: asking must not take the time of what is
/// waited for.
///
/// # Panics
/// When it never does.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    within(what, async {
        while !is_so().await {
            pause.tick().await;
        }
    })
    .await;
}

/// What an engine is started with.
#[derive(Debug, Default)]
pub struct Setup {
    config: String,
    files: Vec<(PathBuf, Vec<u8>)>,
    variables: Vec<(String, String)>,
    key: Option<String>,
    log_is_unread: bool,
}

impl Setup {
    /// Adds a script; its header comment says what reaches it.
    #[must_use]
    pub fn script(self, name: &str, source: &str) -> Self {
        self.file(Path::new("scripts").join(name), source)
    }

    /// Adds a script that `main(data, ctx)` of `body` makes, reached by dialling `number`.
    ///
    /// The body starts on line 3.
    #[must_use]
    pub fn main(self, number: &str, body: &str) -> Self {
        let source = format!(
            "// @lockstep class5_destination={number}\nexport async function main(data, ctx) {{\n{}\n}}\n",
            body.trim_matches('\n')
        );
        self.script(&format!("s{number}.js"), &source)
    }

    /// Adds a file below the configuration's folder.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Adds text to `lockstep.toml`. Where to listen and how many workers to run is set already.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Sets an environment variable of the engine: `LOCKSTEP_SIP__LISTEN`, `RUST_LOG`, ….
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The key that requests carry which name none; the configuration has to know it.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Whoever reads the engine's log is gone before it writes.
    #[must_use]
    pub fn log_unread(mut self) -> Self {
        self.log_is_unread = true;
        self
    }

    /// Starts the engine and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not start, with its log.
    pub fn start(self) -> Engine {
        let folder = std::env::temp_dir().join(format!(
            "lockstep-test-{}-{}",
            std::process::id(),
            FOLDERS.fetch_add(1, Ordering::Relaxed)
        ));
        let write = |path: &Path, content: &[u8]| {
            let path = folder.join(path);
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content))
        };
        fs::create_dir_all(folder.join("scripts")).expect("the temporary folder can be written");
        write(Path::new("lockstep.toml"), self.config.as_bytes()).expect("the temporary folder can be written");
        for (path, content) in &self.files {
            write(path, content).expect("the temporary folder can be written");
        }
        let stderr = if self.log_is_unread { unread() } else { Stdio::piped() };
        let (child, log, addresses) = spawn(&folder, &self.variables, stderr);
        let engine = Engine {
            child,
            folder,
            variables: self.variables,
            key: self.key,
            log,
            udp: None,
            tcp: None,
            api: None,
            freeswitch: None,
            event_socket: None,
        };
        engine.await_ready(addresses)
    }
}

/// A pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("the process may open a pipe");
    drop(reader);
    writer.into()
}

fn spawn(folder: &Path, variables: &[(String, String)], stderr: Stdio) -> (Child, Log, ChildStdout) {
    let mut child = Command::new(binary())
        .arg("serve")
        .arg(folder)
        .env("LOCKSTEP_SIP__LISTEN", "udp:127.0.0.1:0,tcp:127.0.0.1:0")
        .env("LOCKSTEP_API__LISTEN", "127.0.0.1:0")
        .env("LOCKSTEP_SCRIPTS__WORKERS", "2")
        .env("LOCKSTEP_MEDIA__THREADS", "1")
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("the lockstep binary can be started");
    let log = child.stderr.take().map_or_else(Log::default, Log::follow);
    let addresses = child.stdout.take().expect("stdout is a pipe");
    (child, log, addresses)
}

/// The binary that `cargo build` made beside this test.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own file");
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("lockstep")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no lockstep binary near {}: run `cargo build --workspace` first", own.display()))
}

/// A running engine; killed when dropped.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    folder: PathBuf,
    variables: Vec<(String, String)>,
    key: Option<String>,
    log: Log,
    udp: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    api: Option<SocketAddr>,
    freeswitch: Option<SocketAddr>,
    event_socket: Option<SocketAddr>,
}

impl Engine {
    /// What to start it with.
    pub fn setup() -> Setup {
        Setup::default()
    }

    fn await_ready(mut self, stdout: ChildStdout) -> Self {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let address = |prefix: &str| line.strip_prefix(prefix).and_then(|text| text.parse().ok());
            self.udp = self.udp.or_else(|| address("sip udp:"));
            self.tcp = self.tcp.or_else(|| address("sip tcp:"));
            self.api = self.api.or_else(|| address("api http://"));
            self.event_socket = self.event_socket.or_else(|| address("event-socket "));
            self.freeswitch = self.freeswitch.or_else(|| address("freeswitch "));
            if line == "ready" {
                return self;
            }
        }
        // Its end closes the log, too.
        let status = self.child.wait();
        panic!("the engine did not start ({status:?}):\n{}", self.log.text());
    }

    /// Where it takes SIP over UDP.
    pub fn udp(&self) -> SocketAddr {
        self.udp.expect("the engine listens on UDP")
    }

    /// Where it takes SIP over TCP.
    pub fn tcp(&self) -> SocketAddr {
        self.tcp.expect("the engine listens on TCP")
    }

    /// Where it serves HTTP.
    pub fn api(&self) -> SocketAddr {
        self.api.expect("the engine serves HTTP")
    }

    /// Where FreeSWITCH hands calls over.
    pub fn freeswitch(&self) -> SocketAddr {
        self.freeswitch.expect("the configuration says `freeswitch_outbound`")
    }

    /// Where event-socket clients log in.
    pub fn event_socket(&self) -> SocketAddr {
        self.event_socket.expect("the configuration says `[event_socket] listen`")
    }

    /// Where it serves HTTP, as the start of a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.api.expect("the engine serves HTTP"))
    }

    /// The SIP URI of a number.
    pub fn uri(&self, number: &str) -> String {
        format!("sip:{number}@{}", self.udp())
    }

    /// The folder of its `lockstep.toml`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The engine's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process ids of the script workers.
    pub fn workers(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the engine lives");
        let mut workers: Vec<u32> = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
            .filter(|pid| {
                fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.split(|byte| *byte == 0).any(|arg| arg == b"worker"))
            })
            .collect();
        workers.sort_unstable();
        workers
    }

    /// What it logged.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// `GET path` of its HTTP interface.
    ///
    /// # Panics
    /// When the answer is no success.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, "").await;
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or(Value::String(body))
    }

    /// A request to its HTTP interface; the status and the body.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        match &self.key {
            Some(key) => self.request_as(key, method, path, body).await,
            None => self.exchange("", method, path, body.as_bytes()).await,
        }
    }

    /// A request with a bearer token.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn request_as(&self, key: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        self.exchange(&format!("Authorization: Bearer {key}\r\n"), method, path, body.as_bytes()).await
    }

    /// `POST path` with a body of this type, by bytes; the status and the body.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn post_as(&self, content_type: &str, path: &str, body: &[u8]) -> (u16, String) {
        self.exchange(&format!("Content-Type: {content_type}\r\n"), "POST", path, body).await
    }

    async fn exchange(&self, headers: &str, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let api = self.api.expect("the engine serves HTTP");
        // HTTP/1.0: one answer in one piece, then the connection ends.
        let request = format!("{method} {path} HTTP/1.0\r\nHost: {api}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        let exchange = async {
            let mut stream = TcpStream::connect(api).await?;
            stream.write_all(request.as_bytes()).await?;
            stream.write_all(body).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = within(path, exchange).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    /// What happens from now on (`/v1/events`).
    ///
    /// # Panics
    /// When they cannot be had.
    pub async fn events(&self) -> Events {
        self.events_at("").await
    }

    /// The events that a query asks for: `?types=channel&since=7`.
    ///
    /// # Panics
    /// When they cannot be had.
    pub async fn events_at(&self, query: &str) -> Events {
        self.events_as(self.key.as_deref(), query).await
    }

    /// The events that a key's account sees.
    ///
    /// # Panics
    /// When they cannot be had.
    pub async fn events_as(&self, key: Option<&str>, query: &str) -> Events {
        let api = self.api.expect("the engine serves HTTP");
        let mut request = format!("ws://{api}/v1/events{query}").into_client_request().expect("an address of a WebSocket");
        if let Some(key) = key {
            let token = format!("Bearer {key}").parse().expect("a key is plain text");
            request.headers_mut().insert("authorization", token);
        }
        let connect = tokio_tungstenite::connect_async(request);
        let (socket, _) = within("a WebSocket for events", connect).await.expect("the engine tells events");
        Events { socket, may_lose: false }
    }

    /// Kills it as a power cut would, and starts another one in its folder.
    ///
    /// # Panics
    /// When that one does not start.
    #[must_use]
    pub fn crash_and_restart(mut self) -> Self {
        self.child.kill().expect("the engine lives");
        self.child.wait().expect("a child can be waited for");
        let (child, log, addresses) = spawn(&self.folder, &self.variables, Stdio::piped());
        (self.child, self.log) = (child, log);
        (self.udp, self.tcp, self.api) = (None, None, None);
        (self.freeswitch, self.event_socket) = (None, None);
        self.await_ready(addresses)
    }

    /// Asks the engine to stop, waits until it has, and starts another one in its folder.
    ///
    /// # Panics
    /// When it does not stop, or that one does not start.
    #[must_use]
    pub async fn restart(mut self) -> Self {
        // SAFETY: kill takes two numbers; the process is our child, which was not waited for.
        assert_eq!(unsafe { libc::kill(self.pid().cast_signed(), libc::SIGTERM) }, 0, "the engine is gone");
        until("the engine's end", async || self.child.try_wait().expect("a child can be waited for").is_some()).await;
        let (child, log, addresses) = spawn(&self.folder, &self.variables, Stdio::piped());
        (self.child, self.log) = (child, log);
        (self.udp, self.tcp, self.api) = (None, None, None);
        (self.freeswitch, self.event_socket) = (None, None);
        self.await_ready(addresses)
    }

    /// Asks the engine to stop and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop(self) {
        self.stop_by(libc::SIGTERM).await;
    }

    /// The same, by another signal.
    ///
    /// # Panics
    /// When it does not stop, or fails.
    pub async fn stop_by(mut self, signal: i32) {
        let pid = self.pid().cast_signed();
        // SAFETY: kill takes two numbers; the process is our child, which was not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "the engine is gone");
        let folder = std::mem::take(&mut self.folder);
        let status = within("the engine's end", tokio::task::spawn_blocking(move || self.child.wait())).await;
        drop(folder);
        assert!(status.expect("waiting does not panic").expect("a child can be waited for").success());
    }

    /// The timeline of a call, once it is over or while it lives.
    pub async fn timeline(&self, call: &str) -> Value {
        self.get(&format!("/v1/calls/{call}/timeline")).await
    }

    /// The timeline of a call once nothing more can come: the call is over, its media are closed, and its script has ended.
    pub async fn whole_timeline(&self, call: &str) -> Value {
        let mut timeline = Value::Null;
        until(&format!("the whole timeline of the call {call}"), async || {
            timeline = self.timeline(call).await;
            timeline["ended"].is_object() && timeline["finishing"] != true
        })
        .await;
        timeline
    }

    /// A figure of `/metrics`.
    ///
    /// # Panics
    /// When there is none of this name.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await;
        let line = text.as_str().and_then(|text| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// Waits until every journal is on disk.
    pub async fn journals_on_disk(&self) {
        until("journals on disk", async || self.metric("lockstep_journals_behind").await == 0.0).await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the engine's log:\n{}", self.log.text());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The events of an engine.
pub struct Events {
    may_lose: bool,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Events {
    /// The next event that `look` finds something in; those before it are passed over.
    ///
    /// # Panics
    /// When none comes.
    pub async fn find<T>(&mut self, what: &str, mut look: impl FnMut(&Value) -> Option<T>) -> T {
        let search = async {
            loop {
                let message = self.socket.next().await.unwrap_or_else(|| panic!("the events ended before {what}"));
                if let Message::Text(text) = message.expect("events can be read") {
                    let event: Value = serde_json::from_str(&text).expect("an event is JSON");
                    assert!(self.may_lose || event["type"] != "lagged", "events were missed: {event}");
                    if let Some(found) = look(&event) {
                        return found;
                    }
                }
            }
        };
        within(what, search).await
    }

    /// Sends a command over the socket of the events.
    ///
    /// # Panics
    /// When the engine does not take it.
    pub async fn command(&mut self, command: &Value) {
        let message = Message::Text(command.to_string().into());
        within("a command to be taken", self.socket.send(message)).await.expect("the engine reads commands");
    }

    /// The id of the next call that comes from `from`.
    pub async fn started(&mut self, from: &str) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.find(&format!("a call from {from}"), |event| {
            (event["type"] == "call-started" && event["from"] == from).then(|| text(&event["call"]))
        })
        .await
    }

    /// Waits until `call` is over; how it ended.
    pub async fn ended(&mut self, call: &str) -> Value {
        self.find(&format!("the end of call {call}"), |event| {
            (event["type"] == "call-ended" && event["call"] == call).then(|| event["cause"].clone())
        })
        .await
    }

    /// Tolerates that events are missed while a script floods the engine with them.
    pub fn tolerate_loss(&mut self) {
        self.may_lose = true;
    }

    /// Waits for a line of a call's log that contains `text`; the event's entry.
    pub async fn logged(&mut self, text: &str) -> Value {
        self.find(&format!("a log line with `{text}`"), |event| {
            (event["type"] == "log" && event["entry"]["text"].as_str().is_some_and(|line| line.contains(text)))
                .then(|| event["entry"].clone())
        })
        .await
    }
}

/// The lines an engine wrote to stderr.
#[derive(Clone, Debug, Default)]
pub struct Log {
    shared: Arc<(Mutex<String>, Notify)>,
}

impl Log {
    fn follow(stderr: ChildStderr) -> Self {
        let log = Self::default();
        let shared = Arc::clone(&log.shared);
        // It ends with the engine, whose stderr it reads.
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
                shared.1.notify_waiters();
                line.clear();
            }
        });
        log
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Panics
    /// When none comes.
    pub async fn line(&self, text: &str) -> String {
        let search = async {
            loop {
                let more = self.shared.1.notified();
                if let Some(line) = self.text().lines().find(|line| line.contains(text)) {
                    return line.to_owned();
                }
                more.await;
            }
        };
        within(&format!("`{text}` in the engine's log"), search).await
    }
}
