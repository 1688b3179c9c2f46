//! Scripts that come over HTTP: checked first, then put into the folder in one piece.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::loader::{Loader, MAX_SOURCE, Reload, is_script, name_of};
use super::set::ScriptProblem;
use crate::config::Class5Destination;

/// The longest file name, in bytes.
const MAX_NAME: usize = 100;
/// Scripts of an account; the operator may have more.
const MAX_SCRIPTS: usize = 1_000;

/// A text to be put into the folder.
#[derive(Clone, Debug)]
pub struct SaveScript {
    /// File name within the folder.
    pub file: String,
    pub source: Arc<str>,
    /// There must be no such script yet.
    pub must_be_new: bool,
    /// The account it has to belong to; `None`: any.
    pub account: Option<String>,
    /// The kept version that the text is; `None`: it is another one.
    pub version: Option<u32>,
}

/// Why a text was not put into the folder.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SaveError {
    /// It would not run.
    #[error("{0}")]
    Invalid(ScriptProblem),
    #[error("expected a file name of letters, digits, `-`, `_` and `.` that ends in .js, .mjs, .cjs or .ts, found `{0}`")]
    Name(String),
    #[error("there is a script {0} already")]
    Exists(String),
    #[error("no script {0}")]
    NoSuchScript(String),
    #[error("the script would belong to the account {0}: expected an `app` of the key's account")]
    NotYours(String),
    #[error("the name of {0} is kept for a script of others")]
    NameTaken(String),
    #[error("class5_destination {0} belongs to another script of the account")]
    Taken(String),
    #[error("the account {0} has {MAX_SCRIPTS} scripts already")]
    TooMany(String),
    #[error("{file}: {why}")]
    Unwritable { file: String, why: String },
}

impl Loader {
    /// Puts a text into the folder and makes it live. Nothing changes where it would not run.
    ///
    /// # Errors
    /// What is wrong with the text, its name, or the folder.
    pub(super) fn save(&mut self, save: &SaveScript) -> Result<Reload, SaveError> {
        let SaveScript { file, source, must_be_new, account, .. } = save;
        check_name(file)?;
        if source.len() as u64 > MAX_SOURCE {
            let message = format!("{} bytes, at most {MAX_SOURCE} are read", source.len());
            return Err(SaveError::Invalid(ScriptProblem { file: file.clone(), message, at: None }));
        }
        let name = name_of(file);
        // A file of this name whose text never ran is mended by whoever may write all of them.
        let is_mended = |known: &str| known == file && account.is_none() && self.set.by_name(&name).is_none();
        let is_other = |known: &&String| name_of(known) == name && (*must_be_new && !is_mended(known) || *known != file);
        if let Some(other) = self.known_files().find(is_other) {
            return Err(SaveError::Exists(other.clone()));
        }
        if !must_be_new && !self.known_files().any(|known| known == file) {
            return Err(SaveError::NoSuchScript(file.clone()));
        }
        let (owner, settings) = self.claims_of(file, source).map_err(SaveError::Invalid)?;
        if let Some(account) = account {
            if *account != owner {
                return Err(SaveError::NotYours(owner));
            }
            if *must_be_new && self.set.mistaken_for(file, account).is_some() {
                return Err(SaveError::NameTaken(file.clone()));
            }
            if let Some((key, sentence)) = settings.beyond_defaults(self.entry_of(file)) {
                let message = format!("{key}: {sentence}");
                return Err(SaveError::Invalid(ScriptProblem { file: file.clone(), message, at: None }));
            }
            let own = self.set.iter().filter(|program| program.account == owner && program.name != name).count();
            if own >= MAX_SCRIPTS {
                return Err(SaveError::TooMany(owner));
            }
        }
        if let Some(Class5Destination::Exact(destination)) = settings.class5_destination
            && self.set.exact(&destination, &owner).is_some_and(|holder| holder.name != name)
        {
            return Err(SaveError::Taken(destination));
        }
        let unwritable = |error: io::Error| SaveError::Unwritable { file: file.clone(), why: error.to_string() };
        replace(self.dir(), file, source).map_err(unwritable)?;
        self.load_one(file).map_err(unwritable)
    }

    /// Takes a script out of the folder; runs under way go on.
    ///
    /// # Errors
    /// When there is none, or the folder does not let go of it.
    pub(super) fn remove(&mut self, file: &str) -> Result<Reload, SaveError> {
        if !self.known_files().any(|known| known == file) {
            return Err(SaveError::NoSuchScript(file.to_owned()));
        }
        let unwritable = |error: io::Error| SaveError::Unwritable { file: file.to_owned(), why: error.to_string() };
        fs::remove_file(self.dir().join(file)).map_err(unwritable)?;
        self.load_one(file).map_err(unwritable)
    }
}

fn check_name(file: &str) -> Result<(), SaveError> {
    let is_plain = file.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if is_plain && is_script(file) && file.len() <= MAX_NAME { Ok(()) } else { Err(SaveError::Name(file.to_owned())) }
}

/// Whoever looks finds the old text or the new one, also after a power cut.
fn replace(dir: &Path, file: &str, source: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // Its name begins with a dot: it is no script.
    let draft = dir.join(format!(".{file}.new"));
    let written = File::create(&draft).and_then(|mut out| {
        out.write_all(source.as_bytes())?;
        out.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&draft, dir.join(file)));
    if replaced.is_err() {
        // Left behind at worst.
        let _ = fs::remove_file(&draft);
    }
    replaced?;
    File::open(dir)?.sync_all()
}
