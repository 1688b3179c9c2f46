//! Opening and creating files that must lie beneath a folder, whatever links are in the way.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt},
        },
    },
    path::{Component, Path, PathBuf},
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
        Err(error) if is_unknown(&error) => open_canonical(folder, path),
        other => other,
    }
    .map_err(hide_outside)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((file, Stamp::of(&metadata)))
}

/// Creates or empties the file `path` inside `folder`, and makes the folders on its way; links may be followed as long as they
/// stay inside.
///
/// # Errors
/// `NotFound` for what is not beneath the folder, or no regular file; other kinds as the system says.
pub fn create(folder: &Path, path: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let file = match create_beneath(folder, path) {
        Err(error) if is_unknown(&error) => create_canonical(folder, path),
        other => other,
    }
    .map_err(hide_outside)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(file)
}

/// An old kernel, or a container whose filter does not know the call.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

fn open_beneath(folder: &Path, path: &str) -> io::Result<File> {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    resolve(&File::open(folder)?, Path::new(path), libc::O_RDONLY | libc::O_NONBLOCK)
}

fn create_beneath(folder: &Path, path: &Path) -> io::Result<File> {
    let root = File::open(folder)?;
    let mut at = root.try_clone()?;
    let mut walked = PathBuf::new();
    for name in folders_of(path)? {
        walked.push(name);
        let enter = || resolve(&root, &walked, libc::O_PATH | libc::O_DIRECTORY);
        at = match enter() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(&at, name)?;
                enter()?
            }
            other => other?,
        };
    }
    // O_NONBLOCK: opening a FIFO must not wait for a reader.
    resolve(&root, path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NONBLOCK)
}

/// The names of the folders on the way to a file; a path with other steps names none that is beneath anything.
fn folders_of(path: &Path) -> io::Result<Vec<&OsStr>> {
    let folders = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let name = |step| match step {
        Component::Normal(name) => Ok(name),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    folders.components().map(name).collect()
}

/// Lets the kernel refuse every step that leaves the folder, links that are swapped meanwhile included.
fn resolve(root: &File, path: &Path, flags: i32) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the struct is plain data for which all-zero is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = if flags & libc::O_CREAT == 0 { 0 } else { 0o666 };
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

fn make_folder(at: &File, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    // SAFETY: the name is a C string that outlives the call.
    if unsafe { libc::mkdirat(at.as_raw_fd(), name.as_ptr(), 0o777) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The check for kernels without `openat2`: resolve every link, then compare.
fn open_canonical(folder: &Path, path: &str) -> io::Result<File> {
    let root = folder.canonicalize()?;
    let full = inside(&root, &root.join(path))?;
    fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(full)
}

fn create_canonical(folder: &Path, path: &Path) -> io::Result<File> {
    let root = folder.canonicalize()?;
    let mut at = root.clone();
    for name in folders_of(path)? {
        let next = at.join(name);
        if !is_there(&next)? {
            fs::create_dir(&next)?;
        }
        at = inside(&root, &next)?;
    }
    let file = at.join(path.file_name().ok_or(io::ErrorKind::NotFound)?);
    let file = if is_there(&file)? { inside(&root, &file)? } else { file };
    fs::OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK).open(file)
}

/// Where `path` really lies, which must be beneath `root`.
fn inside(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let real = path.canonicalize()?;
    if real.starts_with(root) { Ok(real) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Whether something has this name, be it a link that leads nowhere.
fn is_there(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Outside, loops, paths through files, and pipes that nobody reads look like files that are not there.
fn hide_outside(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EXDEV | libc::ELOOP | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ENXIO) => io::ErrorKind::NotFound.into(),
        _ if error.kind() == io::ErrorKind::InvalidInput => io::ErrorKind::NotFound.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::fs::symlink,
    };

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

    type Create = fn(&Path, &Path) -> io::Result<File>;
    const WAYS_TO_CREATE: [Create; 2] = [create_beneath, create_canonical];

    #[test]
    fn files_are_created_with_their_folders_and_links_inside_are_followed() {
        for (way, name) in WAYS_TO_CREATE.into_iter().zip(["create-beneath", "create-canonical"]) {
            let root = tree(name);
            symlink("dir", root.join("folder")).unwrap();
            for (path, lies) in [("x", "x"), ("new/deep/x", "new/deep/x"), ("inside", "dir/b.wav"), ("folder/y", "dir/y")] {
                way(&root, Path::new(path)).unwrap().write_all(path.as_bytes()).unwrap();
                assert_eq!(fs::read_to_string(root.join(lies)).unwrap(), path);
            }
            fs::remove_dir_all(root.parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn nothing_is_created_or_written_outside() {
        let root = tree("create-outside");
        let base = root.parent().unwrap().to_owned();
        symlink("..", root.join("up")).unwrap();
        symlink("../new", root.join("new")).unwrap();
        for path in ["outside", "up/secret", "up/new", "up/new/x", "new", "../secret", "loop"] {
            let error = create(&root, Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}: {error}");
            for way in WAYS_TO_CREATE {
                assert!(way(&root, Path::new(path)).is_err(), "{path}");
            }
        }
        assert!(!base.join("new").exists());
        assert_eq!(fs::read_to_string(base.join("secret")).unwrap(), "secret");
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_pipe_is_no_file_to_write_and_is_not_waited_for() {
        let root = tree("create-pipe");
        let nobody_reads = create(&root, Path::new("fifo")).unwrap_err();
        assert_eq!(nobody_reads.kind(), io::ErrorKind::NotFound);
        assert!(create_canonical(&root, Path::new("fifo")).is_err());
        let reader = open_canonical(&root, "fifo").unwrap();
        let somebody_reads = create(&root, Path::new("fifo")).unwrap_err();
        assert_eq!(somebody_reads.kind(), io::ErrorKind::NotFound);
        drop(reader);
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
