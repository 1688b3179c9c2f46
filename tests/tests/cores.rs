//! Cores are handed the time and what has come in (ARCHITECTURE.md): nothing in them names a runtime, starts a thread or opens a socket.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders of cores, each with what lies there and does IO.
const CORES: [(&str, &[&str]); 4] = [
    ("ctx-api/src", &["js/process.rs", "js/sandbox.rs"]),
    ("sip/src", &["transport", "resolve"]),
    ("media/src", &["io", "prompt"]),
    ("engine/src/call", &[]),
];

const ELSEWHERE: [&str; 8] =
    ["tokio::", "socket2::", "thread::spawn", "thread::Builder", "UdpSocket", "TcpStream", "TcpListener", "UnixStream"];

#[test]
fn cores_leave_sockets_threads_and_runtimes_to_the_edges() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (folder, edges) in CORES {
        let folder = root.join(folder);
        let edges: Vec<PathBuf> = edges.iter().map(|edge| folder.join(edge)).collect();
        assert!(edges.iter().all(|edge| edge.exists()), "{edges:?}");
        let files = sources(&folder, &edges);
        assert!(files.len() > 5, "{}: {files:?}", folder.display());
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let found: Vec<&str> = code.filter(|line| ELSEWHERE.iter().any(|name| line.contains(name))).collect();
            assert!(found.is_empty(), "{}: {found:?}", file.display());
        }
    }
}

/// Rust files beneath a folder, without those that are edges or lie beneath one.
fn sources(folder: &Path, edges: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if edges.contains(&path) {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path, edges));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
