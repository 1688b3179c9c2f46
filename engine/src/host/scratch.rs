//! A folder of a run's own.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

/// The private folder of one run: made when somebody first needs it, removed when the last of its holders has gone.
///
/// A script sees it as its whole file system: `/upload.csv` and `upload.csv` are the same file in it.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Arc<Folder>);

#[derive(Debug, Default)]
struct Folder(OnceLock<PathBuf>);

impl Scratch {
    /// Where it lies on this machine.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn dir(&self) -> io::Result<&Path> {
        if let Some(dir) = self.0.0.get() {
            return Ok(dir);
        }
        let made = std::env::temp_dir().join(format!("lockstep-run-{}", uuid::Uuid::new_v4()));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&made)?;
        if let Err(late) = self.0.0.set(made) {
            // Somebody else was faster; theirs is the run's.
            std::fs::remove_dir(late)?;
        }
        self.0.0.get().map(PathBuf::as_path).ok_or_else(|| io::Error::other("the folder is gone"))
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
        if let Some(dir) = self.0.get()
            && let Err(error) = std::fs::remove_dir_all(dir)
        {
            tracing::warn!(dir = %dir.display(), %error, "a run's scratch folder was not removed");
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
