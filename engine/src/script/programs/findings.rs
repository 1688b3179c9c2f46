//! What `lockstep check` finds in texts that become live. It looks in a process of its own: what parses a text recurses, and one of an
//! account might end the stack, or take more than there is.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::loader::{Loader, ScriptText};
use crate::check::Finding;

/// Most that is told of one change.
const MAX_FINDINGS: usize = 100;

impl Loader {
    /// Looks into texts that have just come into the folder, and logs what there is to say of them.
    pub(super) fn look_into(&self, texts: &[ScriptText]) -> Vec<Finding> {
        let Some((program, project)) = self.checker().filter(|_| !texts.is_empty()) else { return Vec::new() };
        let mut command = Command::new(program);
        command.args(["check", "--json", "--bounded", "--config"]).arg(project).arg("--");
        command.args(texts.iter().map(|text| self.dir().join(&text.file)));
        let found = ask(command).unwrap_or_else(|error| {
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

fn ask(mut command: Command) -> io::Result<Vec<Finding>> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout).map_err(|_| io::Error::other(format!("the checker said nothing ({})", output.status)))
}

/// Of a path that a finding has, the file of the folder.
fn name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}
