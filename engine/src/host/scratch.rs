//! A folder of a run's own.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

/// What the names of these folders begin with.
const PREFIX: &str = "lockstep-scratch-";

/// The private folder of one run: made when somebody first needs it, removed when the last of its holders has gone.
///
/// A script sees it as its whole file system: `/upload.csv` and `upload.csv` are the same file in it.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Arc<Folder>);

#[derive(Debug, Default)]
struct Folder(OnceLock<Made>);

#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// The folder, locked: it has an owner.
    _lock: File,
}

impl Made {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", uuid::Uuid::new_v4()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        let lock = File::open(&path)?;
        // Where nothing can be locked, nothing is taken for left behind either.
        let _ = lock.lock_shared();
        Ok(Self { path, _lock: lock })
    }
}

impl Scratch {
    /// Where it lies on this machine.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn dir(&self) -> io::Result<&Path> {
        if let Some(dir) = self.0.0.get() {
            return Ok(&dir.path);
        }
        // An engine that starts at this moment may take it for one without an owner: then it is made again.
        let made = loop {
            match Made::new() {
                Ok(made) if made.path.exists() => break made,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && std::env::temp_dir().is_dir() => {}
                Err(error) => return Err(error),
            }
        };
        if let Err(late) = self.0.0.set(made) {
            // Somebody else was faster; theirs is the run's.
            fs::remove_dir(&late.path)?;
        }
        self.0.0.get().map(|made| made.path.as_path()).ok_or_else(|| io::Error::other("the folder is gone"))
    }

    /// Whether anybody has needed it.
    pub fn is_made(&self) -> bool {
        self.0.0.get().is_some()
    }

    /// Where the file lies that a script calls `path`; `None`: not within the folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn resolve(&self, path: &str) -> io::Result<Option<PathBuf>> {
        let mut inside = PathBuf::new();
        for part in Path::new(path).components() {
            match part {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => inside.push(name),
                Component::ParentDir => {
                    if !inside.pop() {
                        return Ok(None);
                    }
                }
                Component::Prefix(_) => return Ok(None),
            }
        }
        Ok(Some(self.dir()?.join(inside)))
    }
}

impl Scratch {
    /// What tells later whether the run is still there.
    pub fn witness(&self) -> Witness {
        Witness(Arc::downgrade(&self.0))
    }
}

/// Tells whether a run is still there, and does not hold it.
#[derive(Clone, Debug)]
pub struct Witness(Weak<Folder>);

impl Witness {
    /// Whether anything of the run is left.
    pub fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl PartialEq for Scratch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Scratch {}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(Made { path, .. }) = self.0.get()
            && let Err(error) = fs::remove_dir_all(path)
        {
            tracing::warn!(dir = %path.display(), %error, "a run's scratch folder was not removed");
        }
    }
}

/// Removes the folders whose processes died without doing so.
pub fn remove_left() {
    remove_left_in(&std::env::temp_dir());
}

fn remove_left_in(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    for path in folders.map(|entry| entry.path()) {
        // One that cannot be opened is another user's.
        let Ok(folder) = File::open(&path) else { continue };
        if folder.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(dir = %path.display(), %error, "the scratch folder of a run before this start was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_on_demand_and_goes_with_its_last_holder() {
        let scratch = Scratch::default();
        assert!(!scratch.is_made());
        let other = scratch.clone();
        let dir = scratch.dir().unwrap().to_owned();
        std::fs::write(dir.join("a"), "1").unwrap();
        assert_eq!(other.dir().unwrap(), dir);
        drop(scratch);
        assert!(dir.exists());
        drop(other);
        assert!(!dir.exists());
    }

    #[test]
    fn those_without_an_owner_are_removed_and_no_others() {
        let place = std::env::temp_dir().join(format!("lockstep-left-{}", uuid::Uuid::new_v4()));
        let folder = |name: &str| {
            let path = place.join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("upload"), "1").unwrap();
            path
        };
        let (owned, left, strange) = (folder("lockstep-scratch-1"), folder("lockstep-scratch-2"), folder("other"));
        let scratch = Scratch::default();
        assert!(File::open(scratch.dir().unwrap()).unwrap().try_lock().is_err(), "a run's is locked");
        let lock = File::open(&owned).unwrap();
        lock.lock_shared().unwrap();
        remove_left_in(&place);
        assert_eq!([&owned, &left, &strange].map(|path| path.exists()), [true, false, true]);
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn paths_stay_within() {
        let scratch = Scratch::default();
        let dir = scratch.dir().unwrap().to_owned();
        let resolve = |path| scratch.resolve(path).unwrap();
        for path in ["a/b.txt", "/a/b.txt", "./a/x/../b.txt", "//a//b.txt"] {
            assert_eq!(resolve(path), Some(dir.join("a/b.txt")), "{path}");
        }
        for path in ["..", "../x", "/../x", "a/../../x"] {
            assert_eq!(resolve(path), None, "{path}");
        }
    }
}
