//! One version of one script.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use lockstep_ctx_api::journal::SourceDigest;
use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::wire::{Bundle, ScriptType};
use sha2::{Digest, Sha256};

use crate::config::{DEFAULT_ACCOUNT, ScriptEntry};
use crate::script::Environment;

/// A script that can be run: sources and settings, pinned. Live runs keep theirs when the files change.
#[derive(Clone, Debug)]
pub struct Program {
    /// File name without its extension, lowercase: how the API and other scripts know it.
    pub name: String,
    /// File name within the scripts folder.
    pub file: String,
    /// Depends on the name alone, so that links to public functions survive edits.
    pub uuid: String,
    /// Short number for `SCRIPTFORGE_ID`, from the uuid.
    pub id: u32,
    pub script_type: ScriptType,
    /// Whose audio, keys and records its runs see.
    pub account: String,
    /// The `[[script]]` entry over the header comment.
    pub settings: ScriptEntry,
    pub limits: ProgramLimits,
    /// IANA name of the zone its `Date` shows.
    pub time_zone: String,
    /// `process.env` that belongs to the script and its app.
    pub env: Vars,
    /// What has been set of its app besides, now and later.
    pub environment: Environment,
    /// Identifies the sources within this engine process.
    pub bundle_id: u64,
    pub bundle: Arc<Bundle>,
    /// Hash over all sources: 16 hexadecimal digits.
    pub version: String,
    pub sources: BTreeMap<String, SourceDigest>,
}

impl Program {
    /// `process.env` of a run that starts now.
    pub fn env_now(&self) -> Vars {
        let mut env = self.env.clone();
        self.environment.extend(&mut env, &self.account, self.settings.app.as_deref());
        env
    }

    /// Whether a Run First or Run Last script is in the way of everybody's calls: where it is the operator's, or was made one by
    /// its `[[script]]`.
    pub fn is_operators_global(&self) -> bool {
        self.account == DEFAULT_ACCOUNT || self.settings.run_is_configured
    }
}

/// What a run of the program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramLimits {
    pub memory_bytes: u64,
    /// CPU time of one turn.
    pub turn_ms: u32,
    /// How long code may run on after the call has ended.
    pub after_end_ms: u32,
}

/// Identifies a source text.
pub fn digest_of(text: &str) -> SourceDigest {
    SourceDigest { bytes: text.len(), sha256: hex(&Sha256::digest(text.as_bytes())) }
}

/// The version that `sources` make together when `entry` is run.
pub fn version_of(entry: &str, sources: &BTreeMap<String, SourceDigest>) -> String {
    let mut all = Sha256::new_with_prefix(entry.as_bytes());
    for (file, digest) in sources {
        for part in [file, &digest.sha256] {
            all.update([0]);
            all.update(part.as_bytes());
        }
    }
    let mut version = hex(&all.finalize());
    version.truncate(16);
    version
}

/// The uuid of the script called `name`: version 8 of RFC 9562, from a hash.
pub(super) fn uuid_of(name: &str) -> String {
    let digest = Sha256::new_with_prefix(b"lockstep script ").chain_update(name.as_bytes()).finalize();
    let mut text = hex(&digest);
    text.replace_range(12..13, "8");
    let variant = 0x8 | (digest.get(8).copied().unwrap_or_default() >> 4 & 0x3);
    text.replace_range(16..17, &format!("{variant:x}"));
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..32])
}

/// A number for places that know scripts by number, positive also as a signed one.
pub(super) fn id_of(uuid: &str) -> u32 {
    u32::from_str_radix(uuid.get(..8).unwrap_or("0"), 16).unwrap_or(0) & 0x7fff_ffff
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_well_formed_and_depends_on_the_name_alone() {
        let uuid = uuid_of("main-menu");
        assert_eq!(uuid, uuid_of("main-menu"));
        assert_ne!(uuid, uuid_of("main-menu2"));
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(uuid.as_bytes()[14], b'8');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]));
    }

    #[test]
    fn the_version_changes_with_any_source_and_with_the_entry() {
        let sources = |b: &str| [("a.js".to_owned(), digest_of("1")), ("b.js".to_owned(), digest_of(b))].into();
        let version = version_of("a.js", &sources("2"));
        assert_eq!(version.len(), 16);
        assert_eq!(version, version_of("a.js", &sources("2")));
        assert_ne!(version, version_of("a.js", &sources("3")));
        assert_ne!(version, version_of("b.js", &sources("2")));
    }
}
