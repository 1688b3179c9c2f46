//! Runs a script with `lockstep run`, as an operator would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::process::Command;

/// What a run printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Option<Value>,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The result, of a run that must have one.
    #[track_caller]
    pub(crate) fn value(self) -> Value {
        match self.result {
            Some(value) => value,
            None => panic!("the script failed:\n{}", self.stderr),
        }
    }
}

/// A folder that is removed with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The folder of `package.json`.
pub(crate) fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts")
}

/// Runs `source` with `data`; scripts may reach this machine.
pub(crate) async fn run(source: &str, data: Value) -> Outcome {
    run_with(source, data, "[security]\nfetch_allow = [\"127.0.0.0/8\"]\n").await
}

/// The same, with more or less allowed.
pub(crate) async fn run_with(source: &str, data: Value, config: &str) -> Outcome {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = Folder(std::env::temp_dir().join(format!("lockstep-packages-{}-{count}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("main.js");
    std::fs::write(&file, source).unwrap();
    let packages = packages();
    let config = format!("{config}\n[store]\npath = \":memory:\"\n[scripts]\npackages = {:?}\n", packages.to_str().unwrap());
    std::fs::write(folder.0.join("lockstep.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .arg("run")
        .arg(&file)
        .arg("--config")
        .arg(&folder.0)
        .args(["--timeout", "30", "--data", &data.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let result = output.status.success().then(|| serde_json::from_str(&stdout).expect("the result is JSON"));
    Outcome { result, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}
