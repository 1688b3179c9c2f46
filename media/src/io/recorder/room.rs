//! How much room is left for recordings.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
};

/// Octets that may still be written where `file` lies, by others than root.
fn free(file: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: it is made of numbers alone, for which zero is a value.
    let mut room: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the structure ours; both outlive the call.
    if unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut room) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// Fails where less than `keep_free` octets are free for the files of `folder`. One that is not there yet has room.
pub(super) fn check(folder: &Path, keep_free: u64) -> io::Result<()> {
    match File::open(folder).and_then(|folder| free(folder.as_fd())) {
        Ok(free) if free < keep_free => {
            let why = format!("less than {} MB are free", keep_free >> 20);
            Err(io::Error::new(io::ErrorKind::StorageFull, why))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
