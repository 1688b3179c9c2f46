//! Time zones: that of the run whose turn it is, for local time, and any other by its name.
//!
//! QuickJS asks the C library for local time, which knows one zone a process. A worker process is single-threaded and runs one turn
//! at a time, so the zone is switched between turns, when it differs at all. The sandbox lets no file be read later, so the system's
//! database is read beforehand, and the C library begins with the engine's zone, of which it then has the whole table. Of other zones
//! it gets the rule for all times to come (the POSIX line at the end of their files).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;

const DATABASE: &str = "/usr/share/zoneinfo";
/// Bound on what is read from the database.
const MAX_ZONES: usize = 2_000;

unsafe extern "C" {
    fn tzset();
}

/// Seconds that a zone's clock is ahead of UTC at a time, in milliseconds since 1970; `None` for a zone that is not known.
pub(super) fn offset(zone: &str, at: f64) -> Option<i32> {
    Some(Database::of_this_system().zone(zone)?.to_offset(timestamp(at)).seconds())
}

/// What its time is called then, such as `CEST`.
pub(super) fn abbreviation(zone: &str, at: f64) -> Option<String> {
    Some(Database::of_this_system().zone(zone)?.to_offset_info(timestamp(at)).abbreviation().to_owned())
}

/// Beyond the calendar it is as at its end.
fn timestamp(at: f64) -> Timestamp {
    let end = if at < 0.0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at as i64).unwrap_or(end)
}

/// The system's zones.
#[derive(Debug, Default)]
struct Database {
    /// TZif files (RFC 8536), by their names. Many have several.
    files: BTreeMap<String, Arc<[u8]>>,
    parsed: Mutex<BTreeMap<String, TimeZone>>,
}

impl Database {
    /// Read once a process; an absent one leaves UTC only.
    fn of_this_system() -> &'static Self {
        static READ: OnceLock<Database> = OnceLock::new();
        READ.get_or_init(|| {
            let mut database = Self::default();
            database.read_directory(Path::new(DATABASE), "", &mut BTreeSet::new());
            database
        })
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str, texts: &mut BTreeSet<Arc<[u8]>>) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // `right` and `posix` repeat every zone.
            if self.files.len() >= MAX_ZONES || name == "right" || name == "posix" {
                continue;
            }
            let zone = format!("{prefix}{name}");
            let path = entry.path();
            if path.is_dir() {
                if prefix.matches('/').count() < 2 {
                    self.read_directory(&path, &format!("{zone}/"), texts);
                }
            } else if let Some(file) = std::fs::read(&path).ok().filter(|file| file.starts_with(b"TZif")) {
                let file: Arc<[u8]> = file.into();
                let known = texts.get(&file).cloned();
                let file = known.unwrap_or_else(|| {
                    texts.insert(Arc::clone(&file));
                    file
                });
                self.files.insert(zone, file);
            }
        }
    }

    /// A zone by its name in any case.
    fn zone(&self, name: &str) -> Option<TimeZone> {
        if ["UTC", "GMT", "Etc/UTC", "Etc/GMT"].iter().any(|utc| utc.eq_ignore_ascii_case(name)) {
            return Some(TimeZone::UTC);
        }
        let entry = self.files.get_key_value(name);
        let (name, file) = entry.or_else(|| self.files.iter().find(|(zone, _)| zone.eq_ignore_ascii_case(name)))?;
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = parsed.get(name) {
            return Some(zone.clone());
        }
        let zone = TimeZone::tzif(name, file).ok()?;
        parsed.insert(name.clone(), zone.clone());
        Some(zone)
    }
}

/// Switches the zone of the process.
#[derive(Debug)]
pub(super) struct TimeZones {
    current: String,
}

impl TimeZones {
    /// Reads what there is to read of files; the process begins in the zone of its `TZ`.
    pub(super) fn read() -> Self {
        let zones = Database::of_this_system();
        let current = std::env::var("TZ").ok().filter(|zone| zones.files.contains_key(zone)).unwrap_or_default();
        // SAFETY: the worker process has one thread, so nobody changes the environment meanwhile.
        unsafe { tzset() };
        Self { current }
    }

    /// Makes local times those of `zone`; an unknown one is UTC.
    pub(super) fn enter(&mut self, zone: &str) {
        if self.current == zone {
            return;
        }
        zone.clone_into(&mut self.current);
        let rule = Database::of_this_system().files.get(zone).and_then(|file| posix_rule(file)).unwrap_or_else(|| c"UTC0".into());
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

    #[test]
    fn a_zone_is_found_by_its_name_whatever_its_case() {
        let june = 1_781_000_000_000.0;
        assert_eq!((offset("UTC", june), offset("etc/utc", june), offset("Nowhere/Land", june)), (Some(0), Some(0), None));
        if Path::new(DATABASE).join("America/New_York").exists() {
            assert_eq!(offset("america/new_york", june), Some(-4 * 3600));
            // Ramadan 2026, of which the rule at the end of the file says nothing.
            assert_eq!(offset("Africa/Casablanca", 1_772_366_400_000.0), Some(0));
            assert_eq!((offset("Europe/London", 0.0), offset("Europe/London", f64::MAX)), (Some(3600), Some(0)));
        }
    }
}
