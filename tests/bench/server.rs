//! The server under load: one `lockstep serve` kept on the first core, workers included.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{class4, net, stored};

/// Where bridges of the benchmark scripts lead: the load generator's SIP port.
pub(crate) const CALLEE_PORT: u16 = 17_060;

/// The scripts that the benchmarks dial.
const SCRIPTS: [(&str, &str); 7] = [
    (
        "answer.js",
        "// @lockstep class5_destination=7000\nexport async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }\n",
    ),
    (
        "playback.js",
        "// @lockstep class5_destination=7001\nexport async function main(data, ctx) { await ctx.answer(); await ctx.play('ivr/main-menu.wav', { loop: true }); }\n",
    ),
    (
        "bridge.js",
        "// @lockstep class5_destination=7002\nexport async function main(data, ctx) { await ctx.answer(); await ctx.bridge('sip:callee@127.0.0.1:17060'); }\n",
    ),
    (
        "digit.js",
        "// @lockstep class5_destination=7003\nexport async function main(data, ctx) { await ctx.answer(); await ctx.ivr('ivr/main-menu.wav', 9, 1, 1); await ctx.play('ivr/thank-you.wav'); await ctx.waitForHangup(); }\n",
    ),
    (
        "noop.js",
        "// @lockstep class5_destination=7004\nexport async function main(data, ctx) { await ctx.answer(); for (let i = 0; i < 5000; i += 1) await ctx.set('n', String(i)); await ctx.hangup(); }\n",
    ),
    (
        "short.js",
        "// @lockstep class5_destination=7006\nexport async function main(data, ctx) { await ctx.answer(); await ctx.hangup(); }\n",
    ),
    (
        "wait.js",
        "// @lockstep class5_destination=7005\nexport async function main(data, ctx) { await ctx.answer(); await ctx.waitFor(/never/, /never/, 900); }\n",
    ),
];

/// A running engine; stopped when dropped.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    pub(crate) sip: SocketAddrV4,
    pub(crate) api: SocketAddrV4,
    /// Where FreeSWITCH hands calls over.
    pub(crate) freeswitch: Option<SocketAddrV4>,
    /// Our own event socket, where it was asked for.
    pub(crate) event_socket: Option<SocketAddrV4>,
}

/// What clients of the event socket log in with.
pub(crate) const PASSWORD: &str = "bench";

impl Server {
    /// Starts the engine of this build on core 0, with one media thread and one worker.
    pub(crate) fn start() -> io::Result<Self> {
        Self::start_with("", true)
    }

    /// The same wherever the system puts it: for work that no load of ours has to be made for meanwhile.
    pub(crate) fn on_all_cores() -> io::Result<Self> {
        Self::start_with("", false)
    }

    /// The same with an event socket, which has work with every call.
    pub(crate) fn with_event_socket() -> io::Result<Self> {
        Self::start_with(&format!("listen = \"127.0.0.1:0\"\npassword = \"{PASSWORD}\"\n"), true)
    }

    fn start_with(event_socket: &str, on_one_core: bool) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("lockstep-bench-{}", std::process::id()));
        let scripts = folder.join("scripts");
        std::fs::create_dir_all(&scripts)?;
        for (name, source) in SCRIPTS.into_iter().chain(stored::SCRIPTS) {
            std::fs::write(scripts.join(name), source)?;
        }
        for (name, source) in class4::scripts() {
            std::fs::write(scripts.join(name), source)?;
        }
        std::fs::write(
            folder.join("lockstep.toml"),
            format!(
                "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n[media]\nports = \"30000-49999\"\nthreads = 1\n[scripts]\nworkers = 1\n\
                 [event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"\n{event_socket}[api]\nlisten = \"127.0.0.1:0\"\n[[gateway]]\nid = 1\naddress = \"sip:127.0.0.1:{CALLEE_PORT}\"\n{}",
                class4::routes()
            ),
        )?;
        let mut command = Command::new(binary());
        command.arg("serve").arg(&folder).stdout(Stdio::piped()).stderr(Stdio::null()).env("LOCKSTEP_LOG", "error");
        // SAFETY: sched_setaffinity is async-signal-safe and touches only the new process.
        unsafe {
            command.pre_exec(move || {
                if on_one_core {
                    net::pin(0)
                } else {
                    net::unpin()
                }
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        let (mut sip, mut api, mut freeswitch, mut event_socket) = (None, None, None, None);
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            sip = sip.or_else(|| address_after(&line, "udp:"));
            api = api.or_else(|| address_after(&line, "http://"));
            freeswitch = freeswitch.or_else(|| address_after(&line, "freeswitch "));
            event_socket = event_socket.or_else(|| address_after(&line, "event-socket "));
            if let Some((sip, api)) = sip.zip(api).filter(|_| line == "ready") {
                return Ok(Self { child, folder, sip, api, freeswitch, event_socket });
            }
        }
        Err(io::Error::other("the engine ended before it printed its addresses"))
    }

    /// Proportional set size, bytes, of the engine and of its workers: shared pages count once.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let engine = self.child.id();
        let workers = self.processes().into_iter().filter(|&pid| pid != engine).filter_map(proportional_set_size).sum();
        (proportional_set_size(engine).unwrap_or(0), workers)
    }

    /// CPU time of the engine and its workers so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let engine = self.child.id();
        let mut cpu = Cpu::default();
        for pid in self.processes() {
            for (name, user, kernel) in threads(pid) {
                let part = match name.as_str() {
                    _ if pid != engine => &mut cpu.worker,
                    "core" => &mut cpu.core,
                    name if name.starts_with("media-") => &mut cpu.media,
                    _ => &mut cpu.other,
                };
                part.0 += user;
                part.1 += kernel;
            }
        }
        cpu
    }

    fn processes(&self) -> Vec<u32> {
        let parent = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let workers = std::fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .chain([children])
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>());
        let mut all: Vec<u32> = workers.chain([parent]).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The `lockstep` binary next to this one.
pub(crate) fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join("lockstep")
}

fn address_after(line: &str, prefix: &str) -> Option<SocketAddrV4> {
    let rest = line.split_once(prefix)?.1;
    let text: String = rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    let address: SocketAddrV4 = text.parse().ok()?;
    Some(SocketAddrV4::new(if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *address.ip() }, address.port()))
}

/// Seconds of CPU time, in user space and in the kernel.
pub(crate) type Seconds = (f64, f64);

/// CPU time by part of the server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) core: Seconds,
    pub(crate) media: Seconds,
    pub(crate) worker: Seconds,
    /// Everything else in the engine's process.
    pub(crate) other: Seconds,
}

impl Cpu {
    fn parts(&self) -> [(&'static str, Seconds); 4] {
        [("core", self.core), ("media", self.media), ("worker", self.worker), ("other", self.other)]
    }

    /// All of it, seconds.
    pub(crate) fn total(&self) -> f64 {
        self.parts().iter().map(|(_, (user, kernel))| user + kernel).sum()
    }

    /// What has come since `before`, shared out over `count`, as text: µs in user space + in the kernel.
    pub(crate) fn each_since(&self, before: &Self, count: usize) -> String {
        let us = |now: f64, then: f64| (now - then) * 1e6 / count.max(1) as f64;
        let parts = self.parts().into_iter().zip(before.parts());
        let texts: Vec<String> =
            parts.map(|((name, now), (_, then))| format!("{name} {:.0}+{:.0}", us(now.0, then.0), us(now.1, then.1))).collect();
        texts.join(", ")
    }
}

/// Name and CPU time, in user space and in the kernel, of a process's threads.
fn threads(pid: u32) -> Vec<(String, f64, f64)> {
    // SAFETY: sysconf only reads.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("stat")).ok()?;
            let (head, tail) = text.rsplit_once(") ")?;
            let fields: Vec<&str> = tail.split(' ').collect();
            let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / ticks);
            Some((head.split_once('(')?.1.to_owned(), seconds(11)?, seconds(12)?))
        })
        .collect()
}

fn proportional_set_size(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
