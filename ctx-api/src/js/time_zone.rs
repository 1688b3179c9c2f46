//! Local time in the zone of the run whose turn it is.
//!
//! QuickJS asks the C library for local time, which knows one zone a process. A worker process is single-threaded and runs one turn
//! at a time, so the zone is switched between turns, when it differs at all. The sandbox lets no file be read later, so the rule of
//! every zone (the POSIX line at the end of its file) is read beforehand.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

const DATABASE: &str = "/usr/share/zoneinfo";
/// Bound on what is read from the database.
const MAX_ZONES: usize = 2_000;

unsafe extern "C" {
    fn tzset();
}

/// The rules of the zones this system knows.
#[derive(Debug, Default)]
pub(super) struct TimeZones {
    rules: BTreeMap<String, CString>,
    current: String,
}

impl TimeZones {
    /// Reads the system's database; an absent one leaves UTC only.
    pub(super) fn read() -> Self {
        let mut zones = Self::default();
        zones.read_directory(Path::new(DATABASE), "");
        zones
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // `right` and `posix` repeat every zone.
            if self.rules.len() >= MAX_ZONES || name == "right" || name == "posix" {
                continue;
            }
            let zone = format!("{prefix}{name}");
            let path = entry.path();
            if path.is_dir() {
                if prefix.matches('/').count() < 2 {
                    self.read_directory(&path, &format!("{zone}/"));
                }
            } else if let Some(rule) = std::fs::read(&path).ok().as_deref().and_then(posix_rule) {
                self.rules.insert(zone, rule);
            }
        }
    }

    /// Makes local times those of `zone`; an unknown one is UTC.
    pub(super) fn enter(&mut self, zone: &str) {
        if self.current == zone {
            return;
        }
        zone.clone_into(&mut self.current);
        let utc = c"UTC0";
        let rule = self.rules.get(zone).map_or(utc, CString::as_c_str);
        // SAFETY: the worker process has one thread, so nobody reads the environment meanwhile; both strings end in a NUL.
        unsafe {
            libc::setenv(c"TZ".as_ptr(), rule.as_ptr(), 1);
            tzset();
        }
    }
}

/// The last line of a TZif file, version 2 and later (RFC 8536, section 3.3): the rule for all times to come.
fn posix_rule(file: &[u8]) -> Option<CString> {
    if !file.starts_with(b"TZif") {
        return None;
    }
    let body = file.strip_suffix(b"\n")?;
    let start = body.iter().rposition(|byte| *byte == b'\n')? + 1;
    let rule = body.get(start..)?;
    if rule.is_empty() || !rule.is_ascii() {
        return None;
    }
    CString::new(rule).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_the_last_line_of_a_version_2_file() {
        let file = b"TZif2\0\0binary\nbody\nGMT0BST,M3.5.0/1,M10.5.0\n";
        assert_eq!(posix_rule(file).as_deref(), Some(c"GMT0BST,M3.5.0/1,M10.5.0"));
    }

    #[test]
    fn other_files_have_no_rule() {
        for file in [&b"TZif"[..], b"# tzdata", b"TZif2 \n\n", b"", b"TZif2\n\xff\xff\n"] {
            assert_eq!(posix_rule(file), None, "{file:?}");
        }
    }
}
