//! A worker as a process of its own: shut in, in the run's time zone, over a socket.
#![cfg(feature = "js")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lockstep_ctx_api::js::{NoProbe, PRELUDE_VERSION, run_worker};
use lockstep_ctx_api::wire::{
    Bundle, FromWorker, Limits, RunHeader, RunId, RunState, ScriptErrorKind, ScriptType, Start, ToWorker, read_frame, write_frame,
};

const CHILD: &str = "LOCKSTEP_TEST_WORKER";

/// Not a test of its own: the process that the other tests start, with its socket as standard input.
#[test]
fn the_process_itself() {
    if std::env::var_os(CHILD).is_some() {
        let socket = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).expect("standard input is a socket");
        run_worker(socket, NoProbe).expect("the worker ends with its socket");
    }
}

struct Process {
    socket: UnixStream,
    buffer: Vec<u8>,
    child: std::process::Child,
}

impl Process {
    fn start() -> Self {
        Self::start_in("UTC")
    }

    /// One of an engine in that time zone.
    fn start_in(time_zone: &str) -> Self {
        let (socket, theirs) = UnixStream::pair().expect("a socket pair");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "the_process_itself", "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .env("TZ", time_zone)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        Self { socket, buffer: Vec::new(), child }
    }

    fn send(&mut self, frame: &ToWorker) {
        let mut bytes = Vec::new();
        write_frame(frame, &mut bytes).expect("frames are written");
        self.socket.write_all(&bytes).expect("the worker reads");
    }

    fn receive(&mut self) -> FromWorker {
        loop {
            if let Some((frame, length)) = read_frame(&self.buffer).expect("whole frames") {
                self.buffer.drain(..length);
                return frame;
            }
            let mut chunk = [0; 4096];
            let count = self.socket.read(&mut chunk).expect("the worker writes");
            assert!(count > 0, "the worker has gone");
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    /// Starts a run of a bundle with one file; what it says up to the end of its first turn.
    fn run(&mut self, bundle: u64, source: &str, time_zone: &str) -> (Vec<String>, RunState) {
        let sources = Arc::new(Bundle {
            entry: "main.js".to_owned(),
            files: [("main.js".to_owned(), source.into())].into(),
            ..Bundle::default()
        });
        self.send(&ToWorker::Bundle { bundle, sources });
        let header = Arc::new(RunHeader {
            bundle,
            script_type: ScriptType::App,
            function: None,
            env: Default::default(),
            limits: Limits { memory_bytes: 64 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
            seed: [1; 32],
            time_zone: time_zone.to_owned(),
            prelude: PRELUDE_VERSION,
            is_awaited: true,
        });
        let start = Arc::new(Start { at: 1_720_000_000_000, data: "null".to_owned(), call: None });
        self.send(&ToWorker::Start { run: RunId(bundle), epoch: 0, header, start });
        let mut lines = Vec::new();
        loop {
            match self.receive() {
                FromWorker::Log { line, .. } => lines.push(line.text),
                FromWorker::TurnEnd(end) => return (lines, end.state),
                FromWorker::Ready { .. } => panic!("a worker is ready once"),
            }
        }
    }

    fn end(mut self) {
        drop(self.socket);
        assert!(self.child.wait().expect("the worker ends").success());
    }
}

fn finished(json: &str) -> RunState {
    RunState::Finished { result: Some(json.to_owned()) }
}

#[test]
fn runs_are_served_until_the_socket_closes() {
    let mut worker = Process::start();
    let FromWorker::Ready { sandbox } = worker.receive() else { panic!("a worker says first that it is ready") };
    assert!(sandbox.iter().all(|layer| layer.starts_with("landlock") || layer == "seccomp"), "{sandbox:?}");
    let (lines, state) = worker.run(1, "function main() { console.log('hello'); return 1 }", "UTC");
    assert_eq!((lines, state), (vec!["hello".to_owned()], finished("1")));
    worker.end();
}

#[test]
fn each_run_sees_local_times_in_its_own_zone() {
    let mut worker = Process::start();
    worker.receive();
    let source = "function main() { const d = new Date(); return [d.getHours(), d.getTimezoneOffset(), new Date(2024, 0, 1).toISOString()] }";
    let utc = worker.run(1, source, "UTC").1;
    assert_eq!(utc, finished(r#"[9,0,"2024-01-01T00:00:00.000Z"]"#));
    // Without a database every zone is UTC.
    if std::path::Path::new("/usr/share/zoneinfo/America/New_York").exists() {
        assert_eq!(worker.run(2, source, "America/New_York").1, finished(r#"[5,240,"2024-01-01T05:00:00.000Z"]"#));
        assert_eq!(worker.run(3, source, "Asia/Kolkata").1, finished(r#"[15,-330,"2023-12-31T18:30:00.000Z"]"#));
    }
    assert_eq!(worker.run(4, source, "Nowhere/Land").1, utc);
    worker.end();
}

#[test]
fn the_zone_of_the_engine_has_all_its_history() {
    if !std::path::Path::new("/usr/share/zoneinfo/Africa/Casablanca").exists() {
        return;
    }
    let mut worker = Process::start_in("Africa/Casablanca");
    worker.receive();
    // In Ramadan, and before the summer time that now lasts.
    let source = "function main() { return [[2026, 2, 1], [2026, 4, 1], [2010, 0, 1]].map((d) => new Date(Date.UTC(...d, 12)).getHours()) }";
    assert_eq!(worker.run(1, source, "Africa/Casablanca").1, finished("[12,13,12]"));
    worker.end();
}

#[test]
fn local_times_within_a_change_of_the_clock_are_those_of_the_standard() {
    if !std::path::Path::new("/usr/share/zoneinfo/Europe/London").exists() {
        return;
    }
    let mut worker = Process::start();
    worker.receive();
    let source = "function main() {
        const late = new Date(2026, 9, 25);
        late.setHours(1, 30);
        const days = [new Date(2026, 2, 29, 1, 30), new Date(2026, 2, 29, 2), new Date('2026-10-25T01:30:00'), new Date('10/25/2026, 1:30:00 AM'), late, new Date('2026-10-25'), new Date('2026-10-25T01:30:00Z')];
        return days.map((day) => day.toISOString().slice(11, 16)).join();
    }";
    assert_eq!(worker.run(1, source, "Europe/London").1, finished("\"01:30,01:00,00:30,00:30,00:30,00:00,01:30\""));
    worker.end();
    // Where the clock changes at midnight.
    let mut worker = Process::start_in("America/Sao_Paulo");
    worker.receive();
    let source = "function main() { return ['02-17-2019', 'Feb 17, 2019', '02-17-2019 10:30 +0100'].map((text) => new Date(text).toISOString().slice(11, 16)).join() }";
    assert_eq!(worker.run(1, source, "America/Sao_Paulo").1, finished("\"03:00,03:00,09:30\""));
    worker.end();
}

#[test]
fn a_turn_too_large_for_a_frame_ends_its_run_only() {
    let mut worker = Process::start();
    worker.receive();
    let (_, state) = worker.run(1, "function main() { return 'x'.repeat(20 << 20) }", "UTC");
    let RunState::Failed(error) = state else { panic!("expected an error") };
    assert_eq!(error.kind, ScriptErrorKind::Limit);
    assert_eq!(worker.run(2, "function main() { return 2 }", "UTC").1, finished("2"));
    worker.end();
}
