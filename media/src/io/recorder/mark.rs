//! Whose recording a file is. A later one of the same name takes its place, so the file itself says it, in an extended attribute.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The extended attribute with the mark.
const NAME: &CStr = c"user.lockstep.call";
/// The longest mark that is read, in octets.
const MAX_MARK: usize = 256;

/// Marks a recording as somebody's.
///
/// # Errors
/// Those of the system; some file systems have no extended attributes.
pub fn mark_recording(file: BorrowedFd<'_>, mark: &str) -> io::Result<()> {
    // SAFETY: the name is a C string, the mark is of the length given, and both outlive the call.
    let done = unsafe { libc::fsetxattr(file.as_raw_fd(), NAME.as_ptr(), mark.as_ptr().cast(), mark.len(), 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whose recording a file is, where it says so.
#[must_use]
pub fn recording_mark(file: BorrowedFd<'_>) -> Option<String> {
    let mut mark = vec![0_u8; MAX_MARK];
    // SAFETY: the name is a C string, the buffer is of the length given, and both outlive the call.
    let length = unsafe { libc::fgetxattr(file.as_raw_fd(), NAME.as_ptr(), mark.as_mut_ptr().cast(), mark.len()) };
    mark.truncate(usize::try_from(length).ok()?);
    String::from_utf8(mark).ok()
}
