//! Where recordings go, and by what name a script finds them again.

use std::path::{Component, Path, PathBuf};

use lockstep_ctx_api::op::RecordFormat;
use lockstep_ctx_api::{ErrorCode, OpError};

/// The longest name, in octets.
const MAX_NAME: usize = 255;

/// The folder for recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recordings {
    folder: PathBuf,
    /// Stands before the names that scripts are told: `user/…/` where `play` finds the file under it, else nothing.
    prefix: String,
}

impl Recordings {
    /// Recordings go to `folder`, or among the account's audio in `user`.
    pub(crate) fn new(user: &Path, folder: Option<PathBuf>) -> Self {
        let folder = folder.unwrap_or_else(|| user.to_owned());
        // Without looking at the disk: neither folder needs to be there yet.
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (whole_user, whole_folder) = (whole(user), whole(&folder));
        let below = whole_folder.strip_prefix(&whole_user).ok().and_then(Path::to_str);
        let prefix = match below {
            Some("") => "user/".to_owned(),
            Some(below) => format!("user/{below}/"),
            None => String::new(),
        };
        Self { folder, prefix }
    }

    /// The file of a recording a script calls `name`: as the script is told of it, and its path. It has the format's
    /// extension and lies within the folder.
    pub(crate) fn file(&self, name: &str, format: RecordFormat) -> Result<(String, PathBuf), OpError> {
        let refused = || OpError::new(ErrorCode::NotFound, format!("{name:?} is no name within the recordings"));
        let extension = match format {
            RecordFormat::Wav => "wav",
            RecordFormat::Ogg => "ogg",
        };
        let below = |prefix: &str| if prefix.is_empty() { None } else { name.strip_prefix(prefix) };
        let bare = below(&self.prefix).or_else(|| below("user/")).unwrap_or(name);
        let relative = Path::new(bare);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if bare.is_empty() || !plain || bare.len() > MAX_NAME || bare.contains(['\0', '\\']) || bare.ends_with('/') {
            return Err(refused());
        }
        let has_extension = relative.extension().is_some_and(|own| own.eq_ignore_ascii_case(extension));
        let file = if has_extension { bare.to_owned() } else { format!("{bare}.{extension}") };
        let path = self.folder.join(&file);
        Ok((format!("{}{file}", self.prefix), path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(recordings: &Recordings, name: &str) -> (String, PathBuf) {
        recordings.file(name, RecordFormat::Wav).unwrap()
    }

    #[test]
    fn a_recording_has_a_name_that_play_takes() {
        let recordings = Recordings::new(Path::new("/app/scripts/user"), None);
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
        let user = Path::new("app/./scripts/user");
        let within = Recordings::new(user, Some("app/scripts/user/rec".into()));
        assert_eq!(file(&within, "x"), ("user/rec/x.wav".into(), "app/scripts/user/rec/x.wav".into()));
        assert_eq!(file(&within, "user/rec/x").0, "user/rec/x.wav");
        let elsewhere = Recordings::new(user, Some("/var/recordings".into()));
        assert_eq!(file(&elsewhere, "x"), ("x.wav".into(), "/var/recordings/x.wav".into()));
        assert_eq!(file(&elsewhere, "user/x").0, "x.wav");
    }

    #[test]
    fn recordings_stay_in_their_folder() {
        let recordings = Recordings::new(Path::new("/app/scripts/user"), None);
        for bad in ["", "user/", "..", "../a", "/etc/a", "a/../../b", "user/../a", "user//etc/a", "a\0", "a/"] {
            assert_eq!(recordings.file(bad, RecordFormat::Wav).unwrap_err().code, ErrorCode::NotFound, "{bad:?}");
        }
    }
}
