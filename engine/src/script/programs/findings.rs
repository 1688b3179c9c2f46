//! What `lockstep check` finds in texts that become live. It looks in a process of its own: what parses a text recurses, and one of an
//! account might end the stack, or take more than there is.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::loader::{Loader, ScriptText};
use crate::check::Finding;

/// Most that is told of one change.
const MAX_FINDINGS: usize = 100;

impl Loader {
    /// Looks into texts that have just come into the folder, for no longer than `most`, and logs what there is to say of them.
    pub(super) fn look_into(&self, texts: &[ScriptText], most: Duration) -> Vec<Finding> {
        let Some((program, project)) = self.checker().filter(|_| !texts.is_empty()) else { return Vec::new() };
        let mut command = Command::new(program);
        command.args(["check", "--json", "--bounded", "--config"]).arg(project).arg("--");
        command.args(texts.iter().map(|text| self.dir().join(&text.file)));
        let found = ask(command, most).unwrap_or_else(|error| {
            tracing::warn!(%error, "scripts that have changed could not be checked");
            Vec::new()
        });
        let named = found.into_iter().take(MAX_FINDINGS).map(|finding| Finding { file: name(&finding.file), ..finding });
        let findings: Vec<Finding> = named.collect();
        for finding in &findings {
            tracing::warn!("script {finding}");
        }
        findings
    }
}

fn ask(mut command: Command, most: Duration) -> io::Result<Vec<Finding>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (sender, heard) = channel();
    let mut stdout = child.stdout.take();
    let read = move || {
        let mut text = Vec::new();
        let read = stdout.as_mut().map_or(Ok(0), |stdout| stdout.read_to_end(&mut text));
        // Nobody listens any more when it has taken too long.
        let _ = sender.send(read.map(|_| text));
    };
    let reader = thread::Builder::new().name("findings".to_owned()).spawn(read);
    let text = heard.recv_timeout(most);
    if text.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    reader?;
    let text = text.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("the checker took more than {most:?}")))??;
    serde_json::from_slice(&text).map_err(|_| io::Error::other(format!("the checker said nothing ({status})")))
}

/// Of a path that a finding has, the file of the folder.
fn name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checker_that_does_not_end_is_ended() {
        let mut endless = Command::new("tail");
        endless.args(["-f", "/dev/null"]);
        assert_eq!(ask(endless, Duration::from_millis(1)).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut quick = Command::new("echo");
        quick.arg("[]");
        assert!(ask(quick, Duration::from_secs(600)).unwrap().is_empty());
    }
}
