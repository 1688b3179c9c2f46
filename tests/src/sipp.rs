//! sipp as an outside caller: it plays a scenario of `tests/sipp/` against an engine.

#![expect(clippy::disallowed_methods, reason = "ports for outside peers are found by binding them")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::process::Command;

use crate::engine::{Engine, PATIENCE};

/// Folders of sipp runs of this process, counted.
static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A scenario, whom it calls, and what lies in its folder.
#[derive(Debug)]
pub struct Scenario {
    name: &'static str,
    number: String,
    transport: &'static str,
    sees_copies: bool,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Scenario {
    /// `tests/sipp/NAME.xml`, calling `number` over UDP.
    #[must_use]
    pub fn new(name: &'static str, number: &str) -> Self {
        Self { name, number: number.to_owned(), transport: "u1", sees_copies: false, files: Vec::new() }
    }

    /// Calls over TCP.
    #[must_use]
    pub fn over_tcp(mut self) -> Self {
        self.transport = "t1";
        self
    }

    /// Shows the scenario messages that come again; otherwise sipp answers those by itself.
    #[must_use]
    pub fn seeing_copies(mut self) -> Self {
        self.sees_copies = true;
        self
    }

    /// Puts a file where the scenario looks for it.
    #[must_use]
    pub fn file(mut self, name: &'static str, content: Vec<u8>) -> Self {
        self.files.push((name, content));
        self
    }

    /// Plays the scenario once.
    ///
    /// # Panics
    /// When sipp is not installed, or the engine did something else than the scenario expects; with the messages exchanged.
    pub async fn play(self, engine: &Engine) {
        let folder = Folder::new(&self.files);
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp").join(self.name).with_extension("xml");
        let peer = if self.transport == "t1" { engine.tcp() } else { engine.udp() };
        let media = free_port_pair();
        let child = Command::new("sipp")
            .arg("-sf")
            .arg(scenario)
            .args(["-s", &self.number, "-t", self.transport, "-m", "1", "-i", "127.0.0.1", "-mi", "127.0.0.1"])
            .args(["-p", &free_port().to_string(), "-mp", &media.to_string()])
            .args(["-nostdin", "-trace_msg", "-message_file", "messages.log", "-trace_err", "-error_file", "errors.log"])
            .args(["-timeout", &PATIENCE.as_secs().to_string(), "-timeout_error", "-recv_timeout", "30000"])
            .args(self.sees_copies.then_some("-nr"))
            .arg(peer.to_string())
            .current_dir(&folder.path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("sipp cannot be started ({error}): install it with `make peers`"));
        let output = child.wait_with_output().await.expect("sipp ends");
        if !output.status.success() {
            let read = |name: &str| std::fs::read_to_string(folder.path.join(name)).unwrap_or_default();
            panic!("sipp, {}: {}\n{}\n{}", self.name, output.status, read("errors.log"), read("messages.log"));
        }
    }
}

/// A folder for one run; removed when dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lockstep-sipp-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        for (name, content) in files {
            std::fs::write(path.join(name), content).expect("the temporary folder can be written");
        }
        Self { path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A UDP port that was free a moment ago.
pub fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    socket.local_addr().expect("a bound socket has an address").port()
}

/// An even port with a free one above it.
fn free_port_pair() -> u16 {
    loop {
        let port = free_port();
        if port.is_multiple_of(2) && std::net::UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// A capture of keys pressed one after another as telephone-event packets (RFC 4733), payload type 101, 8 kHz, one packet every
/// 20 ms: what sipp's `play_pcap_audio` sends.
///
/// ```text
/// key down                    key up                     next key
/// E0 E0 E0 E1 E2 E3 E4 ...    End End End                E0 ...
/// M                                                      M          M: marker bit
/// ├──────── 100 ms ───────────┤├──────── 100 ms ─────────┤
/// ```
///
/// # Panics
/// When a character is no key.
pub fn keys_capture(keys: &str) -> Vec<u8> {
    const KEYS: &str = "0123456789*#ABCD";
    const PACKET_MS: u32 = 20;
    const HELD_PACKETS: u16 = 5;
    const TICKS: u16 = 160;
    const GAP_MS: u32 = 100;
    let mut capture = pcap_header();
    let (mut at_ms, mut sequence) = (0u32, 0u16);
    for key in keys.chars() {
        let event = KEYS.find(key).unwrap_or_else(|| panic!("{key} is no key")) as u8;
        let timestamp = at_ms * 8;
        let ends = [true; 3].map(|end| (end, HELD_PACKETS * TICKS));
        let held = (1..=HELD_PACKETS).map(|packet| (false, packet * TICKS));
        for (index, (end, duration)) in held.chain(ends).enumerate() {
            let mut rtp = vec![0x80, if index == 0 { 0x80 | 101 } else { 101 }];
            rtp.extend(sequence.to_be_bytes());
            rtp.extend(timestamp.to_be_bytes());
            rtp.extend(0x1234_5678_u32.to_be_bytes());
            // E bit and a volume of -10 dBm0.
            rtp.extend([event, if end { 0x80 | 10 } else { 10 }]);
            rtp.extend(duration.to_be_bytes());
            push_packet(&mut capture, at_ms, &rtp);
            sequence = sequence.wrapping_add(1);
            at_ms += PACKET_MS;
        }
        at_ms += GAP_MS;
    }
    capture
}

/// The header of a pcap file: version 2.4, Ethernet frames.
fn pcap_header() -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(0xA1B2_C3D4_u32.to_le_bytes());
    header.extend(2u16.to_le_bytes());
    header.extend(4u16.to_le_bytes());
    header.extend([0; 8]);
    header.extend(65_535u32.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    header
}

/// One record: Ethernet, IPv4 and UDP around `rtp`. sipp puts in addresses, ports and checksums of its own.
fn push_packet(capture: &mut Vec<u8>, at_ms: u32, rtp: &[u8]) {
    let udp_len = 8 + rtp.len() as u16;
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    frame.extend([0x45, 0]);
    frame.extend((20 + udp_len).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([127, 0, 0, 1, 127, 0, 0, 1]);
    frame.extend(6000u16.to_be_bytes());
    frame.extend(6000u16.to_be_bytes());
    frame.extend(udp_len.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(rtp);
    let len = (frame.len() as u32).to_le_bytes();
    capture.extend((at_ms / 1000).to_le_bytes());
    capture.extend((at_ms % 1000 * 1000).to_le_bytes());
    capture.extend(len);
    capture.extend(len);
    capture.extend(frame);
}
