//! baresip as a real softphone: registered, told what to do over its control socket, without a sound card.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::free_port;
use crate::engine::{Engine, within};

/// Where Debian puts baresip's modules.
const MODULES: &str = "/usr/lib/baresip/modules";
/// The largest message of the control socket.
const MAX_MESSAGE: usize = 1 << 20;

/// What the softphone sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// A 440 Hz tone.
    Tone,
    /// What it hears.
    Echo,
}

/// A running baresip; killed when dropped.
#[derive(Debug)]
pub struct Baresip {
    child: Child,
    folder: PathBuf,
    control: TcpStream,
    buffer: Vec<u8>,
}

impl Baresip {
    /// Starts one as `user` of the engine, which answers calls by itself, and waits until it is registered.
    ///
    /// # Panics
    /// When it is not installed, does not start or does not get registered.
    pub async fn register(engine: &Engine, user: &str, password: &str, audio: Audio) -> Self {
        let folder = std::env::temp_dir().join(format!("lockstep-baresip-{}-{user}-{}", std::process::id(), free_port()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let port = free_port();
        let write =
            |name: &str, content: &[u8]| std::fs::write(folder.join(name), content).expect("the temporary folder can be written");
        write("config", config(&folder, port, audio).as_bytes());
        // The account is made below, once events are listened to: its registration is one of them.
        write(
            "accounts", b"# none
",
        );
        write("tone.wav", &tone());
        let log = std::fs::File::create(folder.join("log")).expect("the temporary folder can be written");
        let errors = log.try_clone().expect("a file can be shared");
        let child = Command::new("baresip")
            .args(["-4", "-f"])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("baresip cannot be started ({error}): install it with `make peers`"));
        let control = within("baresip's control socket", connect(port)).await;
        let mut phone = Self { child, folder, control, buffer: Vec::new() };
        let account = format!("<sip:{user}@{}>;auth_pass={password};regint=60;answermode=auto", engine.udp());
        phone.command("uanew", &account).await;
        phone.event("REGISTER_OK").await;
        phone
    }

    /// Calls `target` and waits until it is answered.
    pub async fn dial(&mut self, target: &str) {
        self.command("dial", target).await;
        self.event("CALL_ESTABLISHED").await;
    }

    /// Presses a key.
    pub async fn press(&mut self, key: char) {
        self.command("sndcode", &key.to_string()).await;
    }

    /// Hangs up.
    pub async fn hang_up(&mut self) {
        self.command("hangup", "").await;
    }

    /// Waits for an event of this type; those before it are passed over.
    ///
    /// # Panics
    /// When none comes, with baresip's log.
    pub async fn event(&mut self, kind: &str) -> Value {
        let search = async {
            loop {
                let message = self.message().await;
                assert_ne!(message["type"], "REGISTER_FAIL", "baresip was not registered: {message}");
                if message["type"] == kind {
                    return message;
                }
            }
        };
        within(&format!("{kind} of baresip"), search).await
    }

    /// What it heard in its last call: 16-bit samples at 8 kHz.
    ///
    /// # Panics
    /// When it has had no call.
    pub fn heard(&self) -> Vec<i16> {
        let mut recordings: Vec<PathBuf> = std::fs::read_dir(&self.folder)
            .expect("baresip's folder is there")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .collect();
        recordings.sort();
        let file = std::fs::read(recordings.last().expect("baresip records its calls")).expect("a recording can be read");
        file[44..].chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
    }

    async fn command(&mut self, command: &str, parameters: &str) {
        let message = json!({ "command": command, "params": parameters, "token": command }).to_string();
        // A netstring: length, colon, text, comma.
        let frame = format!("{}:{message},", message.len());
        self.control.write_all(frame.as_bytes()).await.expect("baresip takes commands");
    }

    /// The next response or event.
    async fn message(&mut self) -> Value {
        loop {
            if let Some(message) = self.take_message() {
                return message;
            }
            let mut chunk = [0; 4096];
            let len = self.control.read(&mut chunk).await.expect("baresip tells what happens");
            assert!(len > 0 && self.buffer.len() < MAX_MESSAGE, "baresip ended:\n{}", self.log());
            self.buffer.extend_from_slice(&chunk[..len]);
        }
    }

    fn take_message(&mut self) -> Option<Value> {
        let colon = self.buffer.iter().position(|octet| *octet == b':')?;
        let len: usize = std::str::from_utf8(&self.buffer[..colon]).ok()?.parse().expect("baresip speaks netstrings");
        let end = colon + 1 + len;
        if self.buffer.len() <= end {
            return None;
        }
        let message = serde_json::from_slice(&self.buffer[colon + 1..end]).expect("baresip's messages are JSON");
        self.buffer.drain(..=end);
        Some(message)
    }

    fn log(&self) -> String {
        std::fs::read(self.folder.join("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("baresip's log:\n{}", self.log());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn connect(port: u16) -> TcpStream {
    // Nothing tells when baresip listens; asking costs less than reading its log.
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        pause.tick().await;
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
            return stream;
        }
    }
}

fn config(folder: &Path, control_port: u16, audio: Audio) -> String {
    let folder = folder.display();
    // A bridge device without a second end swallows what is played; with one it returns it.
    let source = match audio {
        Audio::Tone => format!("aufile,{folder}/tone.wav"),
        Audio::Echo => "aubridge,echo".to_owned(),
    };
    format!(
        "poll_method epoll\nsip_listen 127.0.0.1:0\naudio_player aubridge,echo\naudio_source {source}\n\
         audio_alert aubridge,silent\nmodule_path {MODULES}\nmodule g711.so\nmodule aufile.so\nmodule aubridge.so\n\
         module sndfile.so\nmodule_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
         ctrl_tcp_listen 127.0.0.1:{control_port}\nsnd_path {folder}\n"
    )
}

/// A WAV of 60 s of 440 Hz, 16 bits at 8 kHz.
fn tone() -> Vec<u8> {
    let samples = (0..8_000 * 60).map(|n| (8_000.0 * (std::f64::consts::TAU * 440.0 * f64::from(n) / 8_000.0).sin()) as i16);
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(8_000u32.to_le_bytes());
    wav.extend(16_000u32.to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    wav
}
