//! Recorded calls as tests: a journal beside the test file, which the script must still repeat.

use std::path::{Component, Path, PathBuf};

use lockstep_ctx_api::OpError;
use lockstep_ctx_api::journal::{Journal, lines};
use lockstep_ctx_api::wire::Bundle;

use super::session::{misuse, unmet};
use crate::journals::Redaction;
use crate::replay;
use crate::simulation::Project;

/// The largest journal a test reads, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Replays a journal beside `test` on the project's scripts; how many turns it took.
pub(super) fn repeats(project: &Project, test: &str, file: &str, script: Option<&str>) -> Result<u32, OpError> {
    let said = format!("replays({file:?})");
    if file.is_empty() || !Path::new(file).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(misuse(format!("{said}: expected the name of a file beside the test")));
    }
    let path = Path::new(test).parent().unwrap_or(Path::new("")).join(file);
    let unreadable = |error: std::io::Error| misuse(format!("{said}: {}: {error}", path.display()));
    let size = std::fs::metadata(&path).map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(misuse(format!("{said}: {} has {size} bytes, at most {MAX_FILE} expected", path.display())));
    }
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    let journal = lines::parse(&text).map_err(|error| misuse(format!("{said}: {error}")))?;
    let wanted = script.unwrap_or(&journal.header.script);
    let program = project.programs.iter().find(|program| program.file == wanted).or_else(|| project.programs.by_name(wanted));
    let program = program.ok_or_else(|| misuse(format!("{said}: no script {wanted}")))?;
    let bundle = Bundle { entry: program.file.clone(), ..(*program.bundle).clone() };
    let redaction = Redaction::of(&project.config).for_journal(&journal, Some(&bundle));
    replay::repeats(&journal, &bundle, Some(&redaction)).map_err(|difference| {
        let (then, now) = (&journal.header.run.time_zone, &program.time_zone);
        let zone = if then == now { String::new() } else { format!("\nrecorded in the time zone {then}: --timezone {then}") };
        unmet(format!("{wanted} does not do what it did:\n{difference}{zone}"))
    })
}

/// Writes a recorded call as a test file into `folder`, with the journal beside it, free of secrets; the test file.
///
/// # Errors
/// When a file is there already or cannot be written, or when the journal cannot be repeated without its secrets.
pub(crate) fn write(
    folder: &Path,
    name: &str,
    journal: &Journal,
    bundle: Option<&Bundle>,
    redaction: &Redaction,
) -> Result<PathBuf, String> {
    let text = lines::render(journal, Some(redaction));
    if let Some(bundle) = bundle {
        let shown = lines::parse(&text).map_err(|error| format!("the journal cannot be read back: {error}"))?;
        replay::repeats(&shown, bundle, Some(redaction))
            .map_err(|why| format!("without its secrets the recorded script does not repeat this journal:\n{why}"))?;
    }
    let script = &journal.header.script;
    let stem = script.rsplit_once('.').map_or(script.as_str(), |(stem, _)| stem);
    let short: String = name.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let base = format!("{stem}-{short}");
    let began = jiff::Timestamp::from_millisecond(i64::try_from(journal.start.at).unwrap_or(0)).unwrap_or_default();
    let zone = &journal.header.run.time_zone;
    let quoted = serde_json::json!(format!("{script} does what it did in call {name}"));
    let test = format!(
        "// Made by `lockstep test --from-journal`: a call of {began}, in the time zone {zone}.\n\
         // It fails where {script} asks for something else than it did then.\n\
         import {{ test, replays }} from 'lockstep:test';\n\n\
         test({quoted}, () => replays('{base}.journal.jsonl'));\n"
    );
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let (journal_file, test_file) = (folder.join(format!("{base}.journal.jsonl")), folder.join(format!("{base}.test.js")));
    for (path, content) in [(&journal_file, &text), (&test_file, &test)] {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed(path))?;
        std::io::Write::write_all(&mut file, content.as_bytes()).map_err(failed(path))?;
    }
    Ok(test_file)
}
