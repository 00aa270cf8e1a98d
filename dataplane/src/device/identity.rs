//! What a path leads to, whatever it is called: two names with one identity are one device.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// The block device by its number, the file by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The number of a block device.
    Block(u64),
    /// A regular file: the file system it lies on, and its number there.
    File {
        /// The number of the file system.
        device: u64,
        /// The number of the file on it.
        inode: u64,
    },
}

impl Identity {
    /// The identity of a block device or a regular file; `None` for everything else.
    pub fn of(metadata: &Metadata) -> Option<Identity> {
        let kind = metadata.file_type();
        if kind.is_block_device() {
            Some(Identity::Block(metadata.rdev()))
        } else if kind.is_file() {
            Some(Identity::File { device: metadata.dev(), inode: metadata.ino() })
        } else {
            None
        }
    }

    /// The same for a path; `None` also when there is nothing.
    pub fn of_path(path: &Path) -> Option<Identity> {
        Identity::of(&std::fs::metadata(path).ok()?)
    }
}

/// Where /sys describes the block device with this number; for a partition, inside the folder of its disk.
pub(super) fn sysfs(number: u64) -> Option<PathBuf> {
    std::fs::canonicalize(format!("/sys/dev/block/{}:{}", major(number), minor(number))).ok()
}

/// The usual name of the block device with this number.
pub(super) fn node_name(number: u64) -> PathBuf {
    let folder = sysfs(number);
    match folder.as_deref().and_then(Path::file_name) {
        // The kernel writes `!` in /sys for a `/` in the name of a node.
        Some(name) => Path::new("/dev").join(name.to_string_lossy().replace('!', "/")),
        None => PathBuf::from(format!("block device {}:{}", major(number), minor(number))),
    }
}

/// The number in a `dev` file of /sys: `major:minor`.
pub(super) fn number_in(folder: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(folder.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?))
}
