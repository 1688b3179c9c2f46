//! What a script may name as audio.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::error::{Cause, PromptError};

/// Names longer than this are refused; a path or URL of honest audio is shorter.
const MAX_NAME: usize = 2048;
/// The longest `silence:`.
const MAX_SILENCE: Duration = Duration::from_secs(3600);

/// A parsed name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file below one of the folders.
    File {
        /// Which folder.
        folder: Folder,
        /// The path inside it, without `..` and not absolute.
        path: String,
    },
    /// An `http:` or `https:` URL.
    Url(String),
    /// The text after `tone:`, e.g. `350+440,1000/0`; [`crate::tone`] reads it.
    Tone(String),
    /// `silence:MS`.
    Silence(Duration),
}

/// What stands before the first slash of a file's name, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// `user/`: audio of the account that everything belongs to where none is named.
    User,
    /// `user/` of another account.
    Account(Arc<str>),
    /// `ivr/`: stock prompts.
    Ivr,
}

/// The folders that audio is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Behind `user/`.
    pub user: PathBuf,
    /// Behind `ivr/`; a name it lacks is looked for among the built-in prompts.
    pub ivr: PathBuf,
    /// Holds the other accounts' `NAME/user/`.
    pub accounts: PathBuf,
}

impl Folders {
    /// Those of a folder with scripts.
    #[must_use]
    pub fn beneath(scripts: &Path) -> Self {
        Self { user: scripts.join("user"), ivr: scripts.join("ivr"), accounts: scripts.join("accounts") }
    }

    /// Where the files of `folder` are.
    #[must_use]
    pub fn find(&self, folder: &Folder) -> Cow<'_, Path> {
        match folder {
            Folder::User => self.user.as_path().into(),
            Folder::Account(account) => self.accounts.join(&**account).join("user").into(),
            Folder::Ivr => self.ivr.as_path().into(),
        }
    }
}

impl Folders {
    /// What finds the file at `path`, as long as it lies in the `user/` of an account.
    #[must_use]
    pub fn source_of(&self, path: &Path) -> Option<Source> {
        let (folder, path) = match path.strip_prefix(&self.user) {
            Ok(path) => (Folder::User, path),
            Err(_) => {
                let mut steps = path.strip_prefix(&self.accounts).ok()?.components();
                let account = steps.next()?.as_os_str().to_str()?;
                (Folder::Account(account.into()), steps.as_path().strip_prefix("user").ok()?)
            }
        };
        Some(Source::File { folder, path: path.to_str()?.to_owned() })
    }
}

impl Source {
    /// Reads the name a script wrote.
    ///
    /// # Errors
    /// [`PromptError::NotFound`] for a path outside the two folders, [`PromptError::Media`] for a name of no known form.
    pub fn parse(name: &str) -> Result<Self, PromptError> {
        if name.len() > MAX_NAME {
            let start = redacted(name).chars().take(60).collect::<String>();
            return Err(PromptError::not_found(format!("{start}…")));
        }
        if let Some(tone) = name.strip_prefix("tone:") {
            return Ok(Self::Tone(tone.to_owned()));
        }
        if let Some(length) = name.strip_prefix("silence:") {
            let length = length.parse().ok().map(Duration::from_millis).filter(|length| *length <= MAX_SILENCE);
            return length.map(Self::Silence).ok_or_else(|| PromptError::media(name, Cause::BadName));
        }
        if has_scheme(name, "http://") || has_scheme(name, "https://") {
            return Ok(Self::Url(name.to_owned()));
        }
        let leaves = name.starts_with('/') || name.contains('\0') || name.split('/').any(|part| part == "..");
        if leaves {
            return Err(PromptError::not_found(name));
        }
        let (folder, path) = match name.split_once('/') {
            Some(("user", path)) => (Folder::User, path),
            Some(("ivr", path)) => (Folder::Ivr, path),
            // Another scheme is an attempt at something else; all else would be a file, and there is none outside the folders.
            _ if name.contains("://") => return Err(PromptError::media(redacted(name), Cause::BadName)),
            _ => return Err(PromptError::not_found(name)),
        };
        if path.is_empty() || path.starts_with('/') {
            return Err(PromptError::not_found(name));
        }
        Ok(Self::File { folder, path: path.to_owned() })
    }

    /// The same name, written by a script of another account.
    ///
    /// The account's name becomes that of a folder: it has to be checked before.
    #[must_use]
    pub fn of_account(self, account: &Arc<str>) -> Self {
        match self {
            Self::File { folder: Folder::User, path } => Self::File { folder: Folder::Account(Arc::clone(account)), path },
            other => other,
        }
    }

    /// The name, as a script would write it, but for what of a URL may be secret.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File { folder: Folder::User | Folder::Account(_), path } => format!("user/{path}"),
            Self::File { folder: Folder::Ivr, path } => format!("ivr/{path}"),
            Self::Url(url) => redacted(url),
            Self::Tone(tone) => format!("tone:{tone}"),
            Self::Silence(length) => format!("silence:{}", length.as_millis()),
        }
    }
}

/// The extension of a file name or URL path, without the dot; `""` for none.
pub(super) fn extension(name: &str) -> &str {
    let path = name.split(['?', '#']).next().unwrap_or(name);
    let file = path.rsplit('/').next().unwrap_or(path);
    file.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// A URL for messages and the log: its query and its user part may carry a key.
pub(super) fn redacted(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

fn has_scheme(name: &str, scheme: &str) -> bool {
    name.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_parsing() {
        for name in ["user/x.wav", "ivr/a/b c.mp3", "https://h/x.wav", "tone:350+440,1000/0", "silence:500"] {
            assert_eq!(Source::parse(name).unwrap().name(), name);
        }
        assert!(matches!(Source::parse("HTTPS://h/x"), Ok(Source::Url(_))));
    }

    #[test]
    fn what_of_a_url_may_be_secret_is_in_no_message() {
        for name in ["http://bob:hunter2@h:81/x.wav?token=hush", "http://h:81/x.wav#hush"] {
            let Ok(source @ Source::Url(_)) = Source::parse(name) else { panic!() };
            assert_eq!(source.name(), "http://h:81/x.wav");
        }
        let long = format!("http://bob:hunter2@h/{}", "x".repeat(MAX_NAME));
        for name in ["ftp://bob:hunter2@h/x.wav", &long] {
            let error = Source::parse(name).unwrap_err().to_string();
            assert!(error.contains("://h/x") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn names_that_leave_the_folders_are_not_found() {
        for name in ["../../etc/passwd", "/etc/passwd", "user/../../x", "user/..", "ivr//etc/passwd", "user/", "user/a\0b"] {
            assert_eq!(Source::parse(name), Err(PromptError::not_found(name)), "{name}");
        }
    }

    #[test]
    fn an_accounts_own_audio_has_the_name_that_everybodys_has() {
        let folders = Folders::beneath(Path::new("/app/scripts"));
        for (name, path) in [("user/x.wav", "/app/scripts/accounts/north/user"), ("ivr/x.wav", "/app/scripts/ivr")] {
            let source = Source::parse(name).unwrap().of_account(&"north".into());
            assert_eq!(source.name(), name);
            let Source::File { folder, .. } = source else { panic!() };
            assert_eq!(folders.find(&folder), Path::new(path));
        }
        let tone = Source::parse("tone:400,400/200").unwrap();
        assert_eq!(tone.clone().of_account(&"north".into()), tone);
    }

    #[test]
    fn dots_inside_a_name_are_just_dots() {
        assert!(Source::parse("user/a..b/...wav").is_ok());
    }

    #[test]
    fn a_file_in_neither_folder_is_not_found_and_the_folders_are_named() {
        for name in ["x.wav", "", "sub/x.wav", "user", "User/x.wav"] {
            let error = Source::parse(name).unwrap_err();
            assert_eq!(error, PromptError::not_found(name), "{name}");
            assert_eq!(error.to_string(), format!("no such audio: {name}: expected user/… or ivr/…"));
        }
    }

    #[test]
    fn other_names_say_what_is_expected() {
        for name in ["file:///etc/passwd", "silence:", "silence:-1", "silence:99999999999", "ftp://h/x"] {
            assert_eq!(Source::parse(name), Err(PromptError::media(name, Cause::BadName)), "{name}");
        }
    }

    #[test]
    fn an_endless_name_is_refused_and_quoted_in_part() {
        let Err(PromptError::NotFound { name }) = Source::parse(&format!("user/{}", "ä".repeat(4000))) else { panic!() };
        assert!(name.chars().count() < 70);
    }

    #[test]
    fn extension_ignores_query_and_folders() {
        assert_eq!(extension("https://h.example/a.b/x.mp3?x=y.wav#f"), "mp3");
        assert_eq!(extension("dir.d/file"), "");
    }
}
