//! Databases that only their owner opens: they hold passwords, and what scripts keep.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Endings of a database's files. SQLite makes those beside it with its mode; an engine that died leaves them.
const FILES: [&str; 3] = ["", "-wal", "-shm"];
const EVERYBODY: u32 = 0o007;

/// Has the database at `path` be its owner's alone. One that is there and is open to a group, but not to everybody, stays so: somebody
/// meant that.
pub(super) fn keep(path: &Path) {
    // What is there is not opened: closing it would give up the locks of whoever has it open in this process.
    if !path.exists() {
        // What keeps it from being made SQLite tells.
        let _ = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    }
    // SQLite follows links: its other files lie beside the database, not beside the link.
    let Ok(path) = path.canonicalize() else { return };
    for ending in FILES {
        let mut file = path.as_os_str().to_owned();
        file.push(ending);
        narrow(Path::new(&file));
    }
}

fn narrow(file: &Path) {
    let Ok(metadata) = fs::metadata(file) else { return };
    let mode = metadata.permissions().mode();
    if mode & EVERYBODY != 0
        && let Err(error) = fs::set_permissions(file, Permissions::from_mode(mode & 0o700))
    {
        tracing::warn!("{}: every user of this machine may open it, and that cannot be changed: {error}", file.display());
    }
}
