//! Files around a run: where a data set comes from, where one is restored to, and scratch files to try things on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::error::explain;

mod input;
mod output;
pub mod scratch;

pub use input::Input;
pub use output::Output;

/// A file that could not be made or finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the sentence on each variant says what its fields are")]
pub enum FileError {
    #[error("the folder {folder} does not exist; make it with `mkdir -p {folder}`, or name another")]
    NoFolder { folder: PathBuf },
    #[error("{path} is a {kind}, and only regular files are written by name; name a file")]
    WrongKind { path: PathBuf, kind: &'static str },
    #[error("{path} exists already; remove it or name another place")]
    Exists { path: PathBuf },
    #[error("no permission to write in {folder}; run with sudo, or name a folder of your own")]
    NoPermission { folder: PathBuf },
    #[error("there is no room for the {bytes} bytes of {path}; free some space, or name another file system")]
    NoSpace { path: PathBuf, bytes: u64 },
    #[error(
        "the file system under {path} cannot bypass the page cache (O_DIRECT); name a place on ext4, xfs, btrfs or tmpfs"
    )]
    NoDirect { path: PathBuf },
    #[error("{path} holds the bytes of {device}, which the data set is read from; name another file")]
    IsDevice { path: PathBuf, device: PathBuf },
    #[error("{path} would have no bytes; give it a size")]
    Empty { path: PathBuf },
    #[error("{doing} {path} failed: {}", explain(source.raw_os_error().unwrap_or(libc::EIO)))]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl FileError {
    /// The sentence for what the kernel answered while a file of `bytes` was made.
    fn new(doing: &'static str, path: &Path, bytes: u64, source: io::Error) -> FileError {
        let folder = || folder_of(path).to_path_buf();
        let path = path.to_path_buf();
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => FileError::NoFolder { folder: folder() },
            Some(libc::EEXIST) => FileError::Exists { path },
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => FileError::NoPermission { folder: folder() },
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => FileError::NoSpace { path, bytes },
            Some(libc::EINVAL) if doing == OPENING => FileError::NoDirect { path },
            _ => FileError::Io { doing, path, source },
        }
    }
}

const OPENING: &str = "opening";

/// The folder that a path lies in; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reserves every byte of a file now, so that no write meets a full file system later. A file system that cannot
/// reserve (`Ok(false)`) still gets the size.
fn reserve(file: &File, bytes: u64) -> io::Result<bool> {
    let length = i64::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, length) {
            Ok(()) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(Errno::EOPNOTSUPP) => return file.set_len(bytes).map(|()| false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_bare_name_is_the_current_one() {
        for (path, want) in [("a", "."), ("a/b", "a"), ("/a", "/")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(want));
        }
    }
}
