//! Opening a file that must lie beneath a folder, whatever links are in the way.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

/// What tells that a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        }
    }

    /// Octets in the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Opens the regular file `path` inside `folder`; links may be followed as long as they stay inside.
///
/// # Errors
/// `NotFound` for everything that is not a regular file beneath the folder; other kinds as the system says.
pub fn open(folder: &Path, path: &str) -> io::Result<(File, Stamp)> {
    let file = match open_beneath(folder, path) {
        // An old kernel, or a container whose filter does not know the call.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => open_canonical(folder, path),
        other => other,
    }
    .map_err(hide_outside)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((file, Stamp::of(&metadata)))
}

/// Lets the kernel refuse every step that leaves the folder, links that are swapped meanwhile included.
fn open_beneath(folder: &Path, path: &str) -> io::Result<File> {
    let root = File::open(folder)?;
    let path = CString::new(path)?;
    // SAFETY: the struct is plain data for which all-zero is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    how.flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the path is a C string and `how` is of the size given; both outlive the call.
    let fd =
        unsafe { libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<libc::open_how>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and owned by nobody else.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

/// The check for kernels without `openat2`: resolve every link, then compare.
fn open_canonical(folder: &Path, path: &str) -> io::Result<File> {
    let root = folder.canonicalize()?;
    let full = root.join(path).canonicalize()?;
    if !full.starts_with(&root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(full)
}

/// Outside, loops, and paths through files look like files that are not there.
fn hide_outside(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EXDEV | libc::ELOOP | libc::ENOTDIR | libc::ENAMETOOLONG) => io::ErrorKind::NotFound.into(),
        _ if error.kind() == io::ErrorKind::InvalidInput => io::ErrorKind::NotFound.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::fs::symlink, path::PathBuf};

    use super::*;

    type Open = fn(&Path, &str) -> io::Result<File>;
    const WAYS: [Open; 2] = [open_beneath, open_canonical];

    /// `root/a.wav`, `root/dir/b.wav`, links inside and out, a FIFO, and `secret` beside the root.
    fn tree(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("lockstep-beneath-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let root = base.join("root");
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(base.join("secret"), "secret").unwrap();
        fs::write(root.join("a.wav"), "a").unwrap();
        fs::write(root.join("dir/b.wav"), "b").unwrap();
        symlink("dir/b.wav", root.join("inside")).unwrap();
        symlink("../secret", root.join("outside")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let fifo = CString::new(root.join("fifo").to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        root
    }

    #[test]
    fn opens_files_and_links_that_stay_inside() {
        let root = tree("inside");
        for way in WAYS {
            for (path, text) in [("a.wav", "a"), ("dir/b.wav", "b"), ("inside", "b"), ("./dir/../a.wav", "a")] {
                let mut read = String::new();
                way(&root, path).unwrap().read_to_string(&mut read).unwrap();
                assert_eq!(read, text, "{path}");
            }
        }
        fs::remove_dir_all(root.parent().unwrap()).unwrap();
    }

    #[test]
    fn everything_outside_or_not_a_file_is_not_found() {
        let root = tree("outside");
        for path in ["outside", "etc/passwd", "../secret", "/etc/passwd", "loop", "fifo", "dir", "missing", "a.wav/x", "a\0b"] {
            let error = open(&root, path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}: {error}");
        }
        for path in ["outside", "etc/passwd", "../secret"] {
            assert!(open_canonical(&root, path).is_err(), "{path}");
        }
        fs::remove_dir_all(root.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_stamp_changes_with_the_content() {
        let root = tree("stamp");
        let before = open(&root, "a.wav").unwrap().1;
        fs::write(root.join("a.wav"), "longer").unwrap();
        let after = open(&root, "a.wav").unwrap().1;
        assert_ne!(before, after);
        assert_eq!(after.size(), 6);
        fs::remove_dir_all(root.parent().unwrap()).unwrap();
    }
}
