//! Where recordings go, and by what name a script finds them again.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use lockstep_ctx_api::op::RecordFormat;
use lockstep_ctx_api::{ErrorCode, OpError};
use lockstep_media::prompt::{Folder, Folders};

/// The longest name, in octets.
const MAX_NAME: usize = 255;

/// Within the folder for recordings where that is apart from scripts: the other accounts'.
const ACCOUNTS: &str = "accounts";

/// The folders for recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recordings {
    folders: Folders,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Among the audio of each account: in `user/`, or in this folder of it, which ends in a slash.
    Among(String),
    /// Where `play` does not find them.
    Apart(PathBuf),
}

impl Recordings {
    /// Recordings go to `folder`, or among the accounts' audio.
    pub(crate) fn new(folders: Folders, folder: Option<PathBuf>) -> Self {
        let Some(folder) = folder else { return Self { folders, place: Place::Among(String::new()) } };
        let (user, whole) = (absolute(&folders.user), absolute(&folder));
        let place = match whole.strip_prefix(user).ok().and_then(Path::to_str) {
            Some("") => Place::Among(String::new()),
            Some(below) => Place::Among(format!("{below}/")),
            None => Place::Apart(folder),
        };
        Self { folders, place }
    }

    /// The folder of an account's recordings, and what stands before the names that its scripts are told: `user/…/` where
    /// `play` finds the file under it, else nothing.
    fn place(&self, account: Option<&Arc<str>>) -> (PathBuf, String) {
        match (&self.place, account) {
            (Place::Among(below), account) => (self.folders.find(&user_of(account)).join(below), format!("user/{below}")),
            (Place::Apart(folder), None) => (folder.clone(), String::new()),
            (Place::Apart(folder), Some(account)) => (folder.join(ACCOUNTS).join(&**account), String::new()),
        }
    }

    /// The folder that an account's recordings must lie in, links on the way followed.
    pub(crate) fn within(&self, account: Option<&Arc<str>>) -> PathBuf {
        match &self.place {
            Place::Among(_) => self.folders.find(&user_of(account)).into_owned(),
            Place::Apart(_) => self.place(account).0,
        }
    }

    /// Whether what the account without a folder of its own records would go to another's.
    fn is_anothers(&self, path: &Path) -> bool {
        let Place::Apart(folder) = &self.place else { return false };
        let path = absolute(path);
        path.starts_with(absolute(&folder.join(ACCOUNTS))) || path.starts_with(absolute(&self.folders.accounts))
    }

    /// The file of a recording a script calls `name`: as the script is told of it, and its path. It has the format's
    /// extension and lies within the account's folder.
    pub(crate) fn file(
        &self,
        account: Option<&Arc<str>>,
        name: &str,
        format: RecordFormat,
    ) -> Result<(String, PathBuf), OpError> {
        let refused = || OpError::new(ErrorCode::NotFound, format!("{name:?} is no name within the recordings"));
        let extension = format.extension();
        let (folder, prefix) = self.place(account);
        let below = |prefix: &str| if prefix.is_empty() { None } else { name.strip_prefix(prefix) };
        let bare = below(&prefix).or_else(|| below("user/")).unwrap_or(name);
        let relative = Path::new(bare);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if bare.is_empty() || !plain || bare.len() > MAX_NAME || bare.contains(['\0', '\\']) || bare.ends_with('/') {
            return Err(refused());
        }
        let has_extension = relative.extension().is_some_and(|own| own.eq_ignore_ascii_case(extension));
        let file = if has_extension { bare.to_owned() } else { format!("{bare}.{extension}") };
        let path = folder.join(&file);
        if account.is_none() && self.is_anothers(&path) {
            return Err(refused());
        }
        Ok((format!("{prefix}{file}"), path))
    }
}

fn user_of(account: Option<&Arc<str>>) -> Folder {
    account.map_or(Folder::User, |account| Folder::Account(Arc::clone(account)))
}

/// Without looking at the disk: no folder needs to be there yet.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(recordings: &Recordings, name: &str) -> (String, PathBuf) {
        recordings.file(None, name, RecordFormat::Wav).unwrap()
    }

    fn recordings(scripts: &str, folder: Option<&str>) -> Recordings {
        Recordings::new(Folders::beneath(Path::new(scripts)), folder.map(PathBuf::from))
    }

    #[test]
    fn a_recording_has_a_name_that_play_takes() {
        let recordings = recordings("/app/scripts", None);
        for (name, told) in [
            ("x", "user/x.wav"),
            ("x.wav", "user/x.wav"),
            ("user/x.WAV", "user/x.WAV"),
            ("recordings/x.wav", "user/recordings/x.wav"),
        ] {
            let path = Path::new("/app/scripts").join(told);
            assert_eq!(file(&recordings, name), (told.to_owned(), path), "{name}");
            assert_eq!(file(&recordings, told).0, told, "and may be recorded again under it");
        }
    }

    #[test]
    fn a_folder_of_its_own_is_named_after_user_only_where_it_lies_within() {
        let within = recordings("app/./scripts", Some("app/scripts/user/rec"));
        assert_eq!(file(&within, "x"), ("user/rec/x.wav".into(), "app/scripts/user/rec/x.wav".into()));
        assert_eq!(file(&within, "user/rec/x").0, "user/rec/x.wav");
        let elsewhere = recordings("app/./scripts", Some("/var/recordings"));
        assert_eq!(file(&elsewhere, "x"), ("x.wav".into(), "/var/recordings/x.wav".into()));
        assert_eq!(file(&elsewhere, "user/x").0, "x.wav");
    }

    #[test]
    fn accounts_record_in_folders_of_their_own() {
        let north: Arc<str> = "north".into();
        for (folder, told, path) in [
            (None, "user/x.wav", "/app/scripts/accounts/north/user/x.wav"),
            (Some("/app/scripts/user/rec"), "user/rec/x.wav", "/app/scripts/accounts/north/user/rec/x.wav"),
            (Some("/var/recordings"), "x.wav", "/var/recordings/accounts/north/x.wav"),
        ] {
            let recordings = recordings("/app/scripts", folder);
            for name in ["x", "user/x", told] {
                let file = recordings.file(Some(&north), name, RecordFormat::Wav);
                assert_eq!(file, Ok((told.to_owned(), path.into())), "{name}");
            }
        }
    }

    #[test]
    fn nobody_records_into_the_folder_of_another_account() {
        for (folder, name) in [
            ("/var/recordings", "accounts/north/x"),
            ("/app/scripts", "accounts/north/user/x"),
            ("/app", "scripts/accounts/north/user/x"),
        ] {
            let refused = recordings("/app/scripts", Some(folder)).file(None, name, RecordFormat::Wav);
            assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound, "{folder}");
        }
        let (told, path) = recordings("/app/scripts", None).file(None, "accounts/north/x", RecordFormat::Wav).unwrap();
        assert_eq!((told.as_str(), path), ("user/accounts/north/x.wav", "/app/scripts/user/accounts/north/x.wav".into()));
    }

    #[test]
    fn recordings_stay_in_their_folder() {
        let recordings = recordings("/app/scripts", None);
        for bad in ["", "user/", "..", "../a", "/etc/a", "a/../../b", "user/../a", "user//etc/a", "a\0", "a/"] {
            assert_eq!(recordings.file(None, bad, RecordFormat::Wav).unwrap_err().code, ErrorCode::NotFound, "{bad:?}");
        }
    }
}
