//! What the kernel or a device answered, as a sentence for the operator.

use std::path::Path;

/// The kernel's words for an errno, and what an operator can do about it on a device.
pub fn explain(errno: i32) -> String {
    let words = std::io::Error::from_raw_os_error(errno);
    match hint(errno) {
        Some(hint) => format!("{words}; {hint}"),
        None => words.to_string(),
    }
}

/// A request that failed, as a sentence: what, on which device, where, why, and what to change.
pub fn request_failed(doing: &str, path: &Path, offset: u64, errno: i32) -> String {
    format!("{doing} {} at byte {offset} failed: {}", path.display(), explain(errno))
}

fn hint(errno: i32) -> Option<&'static str> {
    match errno {
        libc::EIO | libc::ENODATA => Some("the device reports an error: see the kernel log (dmesg)"),
        libc::ENOSPC => {
            Some("the space under it is used up, or the device is gone (dmesg): free some, or use preallocated files")
        }
        libc::EINVAL => Some("the device refuses the alignment or size of the request: see its logical block size"),
        libc::EROFS | libc::EPERM => Some("it cannot be written: make it writable, or choose another"),
        libc::ENODEV | libc::ENXIO => Some("the device is gone: attach it again"),
        libc::ETIMEDOUT => Some(
            "the device does not answer: see the kernel log (dmesg), leave it out, or allow more time (--hang-limit)",
        ),
        libc::EOPNOTSUPP => Some("the device or file system does not support it: choose another"),
        _ => None,
    }
}
