//! Types are taken out of a text in a process of its own: what parses TypeScript recurses, and a text of a few kilobytes that is nested deep
//! enough would end the stack, and with it the engine.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use lockstep_ctx_api::wire::Location;
use serde::{Deserialize, Serialize};

use super::{Refused, strip};

/// What one text may take: seconds of CPU, and octets of memory.
const LIMITS: [(libc::__rlimit_resource_t, libc::rlim_t); 2] = [(libc::RLIMIT_CPU, 10), (libc::RLIMIT_AS, 2 << 30)];
/// The command of the `lockstep` binary.
const COMMAND: &str = "strip";

/// What the process says.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Stripped(String),
    Refused { line: u32, column: u32, message: String },
}

/// As [`strip`], by the `lockstep` binary `program`.
///
/// # Errors
/// As there; and when the text is too much for the process.
pub(crate) fn strip_apart(program: &Path, file: &str, source: &str) -> Result<String, Refused> {
    let refused = |line, column, message: String| Refused { at: Location { file: file.into(), line, column }, message };
    match ask(program, file, source) {
        Ok(Some(Answer::Stripped(text))) => Ok(text),
        Ok(Some(Answer::Refused { line, column, message })) => Err(refused(line, column, message)),
        Ok(None) => Err(refused(1, 1, "the TypeScript is nested too deep, or too large, to be read".to_owned())),
        Err(error) => Err(refused(1, 1, format!("the process that reads TypeScript: {error}"))),
    }
}

/// `None`: the process was ended by what it read.
fn ask(program: &Path, file: &str, source: &str) -> io::Result<Option<Answer>> {
    let mut command = Command::new(program);
    command.args([COMMAND, "--", file]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    // It reads all of the text before it writes: neither waits for the other.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(source.as_bytes()));
    // Waited for also where it has not read all of it.
    let output = child.wait_with_output()?;
    if output.status.code().is_none() {
        return Ok(None);
    }
    written?;
    serde_json::from_slice(&output.stdout).map(Some).map_err(|_| io::Error::other(format!("it said nothing ({})", output.status)))
}

/// What the process does: reads a text from stdin and answers on stdout.
///
/// # Errors
/// When it cannot read or write.
pub(crate) fn serve(file: &str) -> io::Result<()> {
    bound_process()?;
    let mut source = String::new();
    io::stdin().lock().read_to_string(&mut source)?;
    let answer = match strip(file, &source) {
        Ok(text) => Answer::Stripped(text),
        Err(Refused { at, message }) => Answer::Refused { line: at.line, column: at.column, message },
    };
    io::stdout().lock().write_all(&serde_json::to_vec(&answer)?)
}

/// Bounds what this process may take, for texts that may be anybody's.
///
/// # Errors
/// When the system does not do so.
pub(crate) fn bound_process() -> io::Result<()> {
    for (resource, most) in LIMITS {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the limit lives through the call, which only reads it.
        if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
