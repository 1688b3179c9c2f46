//! Programs from other people's hands, run against an engine: what they say on stdout, a line each.
#![expect(clippy::disallowed_methods, reason = "ports for outside peers are found by binding them")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::engine::within;

/// A running client; killed when dropped.
#[derive(Debug)]
pub struct Client {
    name: String,
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Client {
    /// Starts `node/NAME.mjs` or `python/NAME.py` of `tests/clients`.
    ///
    /// # Panics
    /// When it cannot be started: `make clients` installs what it needs.
    pub fn start(name: &str, args: &[&str]) -> Self {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let (folder, program): (PathBuf, PathBuf) = if name.ends_with(".py") {
            (clients.join("python"), clients.join("python/.venv/bin/python"))
        } else {
            (clients.join("node"), "node".into())
        };
        let child = Command::new(&program)
            .arg(folder.join(name))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}; `make clients` installs them", program.display()));
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        Self { name: name.to_owned(), _child: child, lines, said: Vec::new() }
    }

    /// Waits for a line that begins with `word`; the rest of it.
    ///
    /// # Panics
    /// When none comes.
    pub async fn says(&mut self, word: &str) -> String {
        let search = async {
            loop {
                if let Some(line) = self.said.iter().find(|line| line.split(' ').next() == Some(word)) {
                    return line.get(word.len()..).unwrap_or_default().trim().to_owned();
                }
                match self.lines.next_line().await.expect("stdout is text") {
                    Some(line) => self.said.push(line),
                    None => panic!("{} ended before it said `{word}`; it said {:?}", self.name, self.said),
                }
            }
        };
        within(&format!("{} to say `{word}`", self.name), search).await
    }
}

/// A port of this machine that nobody listens on now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("a port of the loopback interface is free").port()
}
