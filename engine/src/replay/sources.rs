//! Other sources than those that were recorded.

use std::path::Path;
use std::sync::Arc;

use lockstep_ctx_api::wire::Bundle;

use crate::check::MAX_SOURCE;
use crate::typescript;

/// What names of scripts end with.
const ENDINGS: [&str; 4] = [".js", ".mjs", ".cjs", ".ts"];
/// Files of a folder that are looked at.
const MAX_FILES: usize = 1_000;

/// `recorded` with the text of `script` for its entry, and with the scripts beside it for its siblings. Packages stay.
///
/// # Errors
/// A file that cannot be read, or is no script.
pub(crate) fn replace(recorded: &Bundle, script: &Path) -> Result<Bundle, String> {
    let mut bundle = recorded.clone();
    bundle.files.insert(bundle.entry.clone(), read(script)?);
    let folder = script.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    for file in std::fs::read_dir(folder).map_err(unreadable)?.take(MAX_FILES) {
        let path = file.map_err(unreadable)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let is_sibling = ENDINGS.iter().any(|ending| name.ends_with(ending)) && !name.contains(".test.") && name != bundle.entry;
        if is_sibling && path.is_file() && Some(path.as_os_str()) != Some(script.as_os_str()) {
            match read(&path) {
                Ok(text) => drop(bundle.files.insert(name.to_owned(), text)),
                // Another script's fault, unless the recorded one needs it.
                Err(error) if recorded.files.contains_key(name) => return Err(error),
                Err(_) => {}
            }
        }
    }
    Ok(bundle)
}

fn read(path: &Path) -> Result<Arc<str>, String> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| format!("{name}: {error}");
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_SOURCE as u64 {
        return Err(format!("{name} has {size} bytes, at most {MAX_SOURCE} expected"));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if !typescript::is_typescript(&name) {
        return Ok(text.into());
    }
    let stripped = typescript::strip(&name, &text).map_err(|refused| format!("{}: {}", refused.at, refused.message))?;
    Ok(stripped.into())
}
