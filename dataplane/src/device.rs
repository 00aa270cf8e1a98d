//! Opening devices, and the checks before anything is written.
//!
//! ```text
//!   paths -> one identity each, none twice -> exclusive open -> nobody below or above uses it -> size and alignment
//! ```
//!
//! The exclusive open is the truth: O_EXCL on a block device, a lock on a file. What /proc and /sys say explains its
//! refusals, and adds what it cannot see: loop devices, and partition tables that the kernel did not read. A process
//! that died keeps its claim until the kernel has finished its last writes, so a claim without a cause is waited for.
//!
//! Whether the contents are a pool, blank or foreign is decided by the [`pool`](crate::pool), by [`signature`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bireme_control::raid::geometry::BLOCK_BYTES;
use serde::Serialize;

use crate::buffer::Region;

mod claims;
mod error;
pub mod facts;
pub mod file;
mod identity;
#[expect(unsafe_code, reason = "asks the kernel by statx and ioctl")]
mod kernel;
pub mod loops;
pub mod namespace;
pub mod signature;

pub use error::DeviceError;
pub use facts::DeviceFacts;
pub use identity::Identity;
use loops::Loops;
use namespace::Commands;
pub use namespace::Namespace;

/// What a device is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write it and read it: nobody else may use it.
    Write,
    /// To read it only; files may have other readers.
    Read,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A block device.
    Block,
    /// A regular file.
    File,
    /// The null device, which takes everything and keeps nothing: for what the rest costs.
    Null,
}

/// What transfers must be multiples of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Alignment {
    /// The address in memory.
    pub memory: u32,
    /// The offset on the device, and the length.
    pub offset: u32,
    /// Whether the file system said so; if not, whole blocks are taken.
    pub known: bool,
}

/// An open device. Dropping it gives up the claim.
#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
    kind: Kind,
    identity: Identity,
    bytes: u64,
    alignment: Alignment,
    logical_block_bytes: u32,
    /// What it answered when its first blocks were read.
    unread: Option<i32>,
    /// Where requests go, if not to the block device.
    commands: Option<Commands>,
}

impl Device {
    /// Opens one device, or says why it must not be used. One that cannot be read is opened all the same: an array may do
    /// without it, and must be able to say so.
    pub fn open(path: impl AsRef<Path>, purpose: Purpose) -> Result<Device, DeviceError> {
        let path = path.as_ref();
        identity_of(path)?;
        let (file, identity) = claim(path, purpose)?;
        if let Some(refusal) = claims::find(path, identity, &Loops::attached()) {
            return Err(refusal);
        }
        let failed = |doing| move |source| DeviceError::Io { doing, path: path.into(), source };
        let exact = size(&file).map_err(failed("asking for the size of"))?;
        let bytes = exact / BLOCK_BYTES * BLOCK_BYTES;
        if bytes == 0 {
            return Err(DeviceError::Empty { path: path.into(), bytes: exact });
        }
        let (alignment, logical_block_bytes) = alignment(path, &file, identity)?;
        let (head, unread) = match first_blocks(&file) {
            Ok(head) => (head, None),
            Err(error) => (Vec::new(), Some(error.raw_os_error().unwrap_or(libc::EIO))),
        };
        if let Some(table) = signature::partition_table(&head) {
            let found = format!("its start holds the {table}");
            return Err(DeviceError::Partitioned { path: path.into(), found });
        }
        let kind = if matches!(identity, Identity::Block(_)) { Kind::Block } else { Kind::File };
        Ok(Device {
            file,
            path: path.into(),
            kind,
            identity,
            bytes,
            alignment,
            logical_block_bytes,
            unread,
            commands: None,
        })
    }

    /// Opens the null device, as one of so many bytes. It is no device for anything but measurements of the way to it.
    pub fn open_null(path: impl AsRef<Path>, bytes: u64) -> Result<Device, DeviceError> {
        let path = path.as_ref();
        let failed = |doing| move |source| DeviceError::Io { doing, path: path.into(), source };
        if !is_null(path) {
            return Err(DeviceError::WrongKind { path: path.into(), kind: "character device" });
        }
        let opened = OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open(path);
        let file = opened.map_err(failed("opening"))?;
        let metadata = file.metadata().map_err(failed("looking up"))?;
        let identity = Identity::File { device: metadata.dev(), inode: metadata.ino() };
        let alignment = Alignment { memory: BLOCK, offset: BLOCK, known: false };
        Ok(Device {
            file,
            path: path.into(),
            kind: Kind::Null,
            identity,
            bytes,
            alignment,
            logical_block_bytes: BLOCK,
            unread: None,
            commands: None,
        })
    }

    /// Opens several devices that share no byte; all or none.
    pub fn open_all<P: AsRef<Path>>(paths: &[P], purpose: Purpose) -> Result<Vec<Device>, DeviceError> {
        let names: Vec<(&Path, Identity)> = paths
            .iter()
            .map(|path| Ok((path.as_ref(), identity_of(path.as_ref())?)))
            .collect::<Result<_, DeviceError>>()?;
        let loops = Loops::attached();
        for (index, &second) in names.iter().enumerate() {
            for &first in &names[..index] {
                check_apart(first, second, &loops)?;
            }
        }
        paths.iter().map(|path| Device::open(path, purpose)).collect()
    }

    /// The same device under the same claim, for several uses of it one after the other: a claim that is given up in between
    /// may not be had again at once, and somebody else may have it first. Requests of the copy go to the block device.
    ///
    /// # Errors
    /// The process has too many files open.
    pub fn again(&self) -> Result<Device, DeviceError> {
        let failed = |source| DeviceError::Io { doing: "opening once more", path: self.path.clone(), source };
        let file = self.file.try_clone().map_err(failed)?;
        Ok(Device { file, path: self.path.clone(), commands: None, ..*self })
    }

    /// Refuses a device of which nobody knows whether it is partitioned, for those who overwrite what they have not read.
    ///
    /// # Errors
    /// Its first blocks could not be read.
    pub fn check_read(&self) -> Result<(), DeviceError> {
        let Some(errno) = self.unread else { return Ok(()) };
        let source = io::Error::from_raw_os_error(errno);
        Err(DeviceError::Io { doing: "reading the first blocks of", path: self.path.clone(), source })
    }

    /// As the operator named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The usable size: whole blocks of 4096.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is, whatever it is called.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What transfers must be multiples of.
    pub fn alignment(&self) -> Alignment {
        self.alignment
    }

    /// The unit in which it addresses its bytes; for a file, the offset alignment.
    pub fn logical_block_bytes(&self) -> u32 {
        self.logical_block_bytes
    }

    /// The block device or file itself.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What a report says about it.
    pub fn facts(&self) -> DeviceFacts {
        DeviceFacts::of(self)
    }
}

/// Whether a path leads to the null device, whatever it is called.
pub fn is_null(path: &Path) -> bool {
    let metadata = std::fs::metadata(path);
    metadata.is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == nix::sys::stat::makedev(1, 3))
}

/// What a path leads to, by its metadata: nothing is opened, as opening a FIFO or a tape has effects.
fn identity_of(path: &Path) -> Result<Identity, DeviceError> {
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => DeviceError::Missing { path: path.into() },
        io::ErrorKind::PermissionDenied => DeviceError::NoPermission { path: path.into() },
        _ => DeviceError::Io { doing: "looking up", path: path.into(), source },
    })?;
    let kind = metadata.file_type();
    let name = if kind.is_dir() {
        "directory"
    } else if kind.is_char_device() {
        "character device"
    } else if kind.is_fifo() {
        "FIFO"
    } else {
        "socket"
    };
    Identity::of(&metadata).ok_or(DeviceError::WrongKind { path: path.into(), kind: name })
}

/// Refuses two names that share their bytes, with the sentence that suits how they do.
fn check_apart(first: (&Path, Identity), second: (&Path, Identity), loops: &Loops) -> Result<(), DeviceError> {
    let (first_chain, second_chain) = (loops.below(first.1), loops.below(second.1));
    let Some(&shared) = first_chain.iter().find(|part| second_chain.contains(part)) else { return Ok(()) };
    let target = || match shared {
        Identity::Block(number) => identity::node_name(number),
        Identity::File { .. } => match loops.backing_path(shared) {
            Some(path) => path.into(),
            None => std::fs::canonicalize(first.0).unwrap_or_else(|_| first.0.into()),
        },
    };
    let (first_path, second_path): (PathBuf, PathBuf) = (first.0.into(), second.0.into());
    Err(if first.1 == second.1 {
        DeviceError::SameDevice { first: first_path, second: second_path, target: target() }
    } else if shared == first.1 {
        DeviceError::LoopAndBacking { loop_device: second_path, target: first_path }
    } else if shared == second.1 {
        DeviceError::LoopAndBacking { loop_device: first_path, target: second_path }
    } else {
        DeviceError::SameBacking { first: first_path, second: second_path, target: target() }
    })
}

/// Opens and claims. A claim of somebody else is explained; without an explanation it may be that of a process that
/// has just died, which ends by itself: that is polled for, as the kernel offers no event for it.
fn claim(path: &Path, purpose: Purpose) -> Result<(File, Identity), DeviceError> {
    let start = Instant::now();
    loop {
        match try_claim(path, purpose) {
            Ok(claimed) => return Ok(claimed),
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Busy) => {}
        }
        if let Some(cause) = claims::find(path, identity_of(path)?, &Loops::attached()) {
            return Err(cause);
        }
        if start.elapsed() >= CLAIM_WAIT {
            return Err(DeviceError::Busy { path: path.into(), seconds: CLAIM_WAIT.as_secs() });
        }
        std::thread::sleep(CLAIM_POLL);
    }
}

enum Refusal {
    Busy,
    Final(DeviceError),
}

fn try_claim(path: &Path, purpose: Purpose) -> Result<(File, Identity), Refusal> {
    let (expected, write) = (identity_of(path).map_err(Refusal::Final)?, purpose == Purpose::Write);
    let exclusive = if matches!(expected, Identity::Block(_)) { libc::O_EXCL } else { 0 };
    let flags = libc::O_DIRECT | libc::O_CLOEXEC | libc::O_NONBLOCK | exclusive;
    let open = |flags| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    // Time stamps of reads cost time; only the owner may leave them out.
    let opened = match open(flags | libc::O_NOATIME) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open(flags),
        opened => opened,
    };
    let file = opened.map_err(|source| open_refusal(path, expected, write, source))?;
    let metadata = file.metadata().map_err(|source| io_refusal("looking up", path, source))?;
    let found = Identity::of(&metadata);
    if found != Some(expected) {
        // The name was given to something else in between; what was opened may lack the claim.
        return Err(Refusal::Busy);
    }
    if write && is_read_only(expected) {
        return Err(Refusal::Final(DeviceError::ReadOnly { path: path.into() }));
    }
    if exclusive == 0 {
        let locked = if write { file.try_lock() } else { file.try_lock_shared() };
        locked.map_err(|error| match error {
            TryLockError::WouldBlock => Refusal::Busy,
            TryLockError::Error(source) => io_refusal("locking", path, source),
        })?;
    }
    Ok((file, expected))
}

fn open_refusal(path: &Path, identity: Identity, write: bool, source: io::Error) -> Refusal {
    let path: PathBuf = path.into();
    Refusal::Final(match source.raw_os_error() {
        Some(libc::EBUSY) => return Refusal::Busy,
        Some(libc::EROFS) => DeviceError::ReadOnly { path },
        Some(libc::EACCES | libc::EPERM) if write && is_read_only(identity) => DeviceError::ReadOnly { path },
        Some(libc::EACCES | libc::EPERM) => DeviceError::NoPermission { path },
        Some(libc::EINVAL) => DeviceError::NoDirect { path },
        Some(libc::ENOENT) => DeviceError::Missing { path },
        _ => DeviceError::Io { doing: "opening", path, source },
    })
}

fn io_refusal(doing: &'static str, path: &Path, source: io::Error) -> Refusal {
    Refusal::Final(DeviceError::Io { doing, path: path.into(), source })
}

/// Linux lets a read-only block device be opened for writing, and then fails the writes.
fn is_read_only(identity: Identity) -> bool {
    let Identity::Block(number) = identity else { return false };
    let flag = identity::sysfs(number).and_then(|folder| std::fs::read_to_string(folder.join("ro")).ok());
    flag.is_some_and(|flag| flag.trim() == "1")
}

/// The size by its end, which is right for files and block devices alike.
fn size(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// What transfers must be multiples of, and the logical block; more than a block of ours is refused.
fn alignment(path: &Path, file: &File, identity: Identity) -> Result<(Alignment, u32), DeviceError> {
    let failed = |source| DeviceError::Io { doing: "asking for the alignment of", path: path.into(), source };
    let direct = kernel::direct_alignment(file.as_fd()).map_err(failed)?;
    let alignment = match direct {
        Some((0, _) | (_, 0)) => return Err(DeviceError::NoDirect { path: path.into() }),
        Some((memory, offset)) => Alignment { memory, offset, known: true },
        None => Alignment { memory: BLOCK, offset: BLOCK, known: false },
    };
    let logical = match identity {
        Identity::Block(_) => kernel::logical_block_bytes(file.as_fd()).map_err(failed)?,
        Identity::File { .. } => alignment.offset,
    };
    let most = alignment.memory.max(alignment.offset).max(logical);
    if most > BLOCK {
        return Err(DeviceError::Alignment { path: path.into(), bytes: most });
    }
    Ok((alignment, logical))
}

/// As much of the start as holds a partition table on blocks of 512 or 4096 bytes.
fn first_blocks(file: &File) -> io::Result<Vec<u8>> {
    let mut region = Region::new(2 * BLOCK as usize)?;
    let all = region.all();
    let read = file.read_at(region.bytes_mut(all), 0)?;
    Ok(region.bytes(all)[..read].to_vec())
}

const BLOCK: u32 = 4096;
const _: () = assert!(BLOCK as u64 == BLOCK_BYTES);

/// The longest that a dead process was seen to keep its claim is 0.84 s.
const CLAIM_WAIT: Duration = Duration::from_secs(5);
const CLAIM_POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, bytes: u64) -> PathBuf {
        let path = folder.join(name);
        File::create(&path).and_then(|file| file.set_len(bytes)).expect("a file");
        path
    }

    #[test]
    fn a_file_is_opened_with_whole_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = Device::open(file(folder.path(), "a", 3 * 4096 + 100), Purpose::Write).expect("a device");
        assert_eq!((device.bytes(), device.kind()), (3 * 4096, Kind::File));
        assert!(device.alignment().offset <= 4096);
    }

    #[test]
    fn what_is_no_device_is_refused_in_a_sentence() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let cases = [
            (folder.path().join("none"), "does not exist; make it with `fallocate"),
            (folder.path().into(), "is a directory; name a block device or a regular file"),
            ("/dev/null".into(), "is a character device; name"),
            (socket, "is a socket; name"),
            (file(folder.path(), "empty", 0), "holds 0 bytes, less than one block"),
            (file(folder.path(), "short", 4095), "holds 4095 bytes, less than one block"),
        ];
        for (path, want) in cases {
            let error = Device::open(&path, Purpose::Write).expect_err("refused").to_string();
            assert!(error.starts_with(&path.display().to_string()) && error.contains(want), "{error}");
        }
    }

    #[test]
    fn one_file_under_two_names_is_one_device() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path(), "a", 8192);
        let (hard, soft) = (folder.path().join("hard"), folder.path().join("soft"));
        std::fs::hard_link(&path, &hard).expect("a link");
        std::os::unix::fs::symlink(&path, &soft).expect("a link");
        for other in [&path, &hard, &soft] {
            let error = Device::open_all(&[&path, other], Purpose::Read).expect_err("the same");
            assert!(matches!(error, DeviceError::SameDevice { .. }), "{error}");
        }
    }

    #[test]
    fn a_forbidden_file_is_refused_in_a_sentence() {
        use std::os::unix::fs::PermissionsExt;
        if nix::unistd::geteuid().is_root() {
            println!("skipped: root may open everything");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path(), "a", 8192);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).expect("forbidden");
        let error = Device::open(&path, Purpose::Write).expect_err("refused");
        assert!(matches!(error, DeviceError::NoPermission { .. }), "{error}");
    }

    #[test]
    fn readers_share_a_file_and_a_writer_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path(), "a", 8192);
        let first = Device::open(&path, Purpose::Read).expect("a reader");
        let second = Device::open(&path, Purpose::Read).expect("another reader");
        assert!(matches!(try_claim(&path, Purpose::Write), Err(Refusal::Busy)));
        drop((first, second));
        let _writer = Device::open(&path, Purpose::Write).expect("alone");
        assert!(matches!(try_claim(&path, Purpose::Read), Err(Refusal::Busy)));
    }
}
