//! Why a device is refused: what, on which device, and what to change.

use std::io;
use std::path::PathBuf;

use crate::error::explain;

/// A device that cannot or must not be used. `subject` is the device itself or one that shares its bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the sentence on each variant says what its fields are")]
pub enum DeviceError {
    #[error("{path} does not exist; make it with `fallocate -l SIZE {path}`, or try loop devices: `bireme lab up`")]
    Missing { path: PathBuf },
    #[error("{path} is a {kind}; name a block device or a regular file")]
    WrongKind { path: PathBuf, kind: &'static str },
    #[error("no permission to open {path}; run with sudo, or join the group that owns it (often `disk`)")]
    NoPermission { path: PathBuf },
    #[error(
        "{path} is read-only; make it writable with `blockdev --setrw {path}`, or remount its file system with \
         `mount -o remount,rw` if it is a file"
    )]
    ReadOnly { path: PathBuf },
    #[error("{first} and {second} are the same device: both lead to {target}; name each device once")]
    SameDevice { first: PathBuf, second: PathBuf, target: PathBuf },
    #[error(
        "{first} and {second} are loop devices that both store their bytes in {target}; name only one of them, or \
         give each a file of its own"
    )]
    SameBacking { first: PathBuf, second: PathBuf, target: PathBuf },
    #[error("{loop_device} is a loop device that stores its bytes in {target}; name one of them, not both")]
    LoopAndBacking { loop_device: PathBuf, target: PathBuf },
    #[error("{subject} is mounted on {place}; unmount it with `umount {place}`, or name another device")]
    Mounted { subject: String, place: PathBuf },
    #[error("{subject} is used as swap; turn that off with `swapoff {node}`, or name another device")]
    Swap { subject: String, node: PathBuf },
    #[error(
        "{subject} is held by {holder}; take that apart first (`lsblk` shows it; `mdadm --stop`, `vgchange -an` or \
         `dmsetup remove`), or name another device"
    )]
    Held { subject: String, holder: PathBuf },
    #[error(
        "{subject} stores the bytes of the loop device {loop_device}; name that instead, or unmount it and detach it \
         with `losetup -d {loop_device}`"
    )]
    UnderLoop { subject: String, loop_device: PathBuf },
    #[error("{path} is partitioned ({found}); name one of its partitions, or clear it with `wipefs --all {path}`")]
    Partitioned { path: PathBuf, found: String },
    #[error(
        "{path} is in use by another process, and stayed so for {seconds} seconds; end that process (`fuser -v {path}` \
         or `lsof {path}` names it; a mount in a container also counts), or name another device"
    )]
    Busy { path: PathBuf, seconds: u64 },
    #[error(
        "the file system under {path} cannot bypass the page cache (O_DIRECT); move the file to ext4, xfs, btrfs or \
         tmpfs, or name a block device"
    )]
    NoDirect { path: PathBuf },
    #[error(
        "{path} wants transfers aligned to {bytes} bytes, and Bireme's blocks have 4096; format it to blocks of at \
         most 4096 bytes (`nvme format --block-size=4096`), or name another device"
    )]
    Alignment { path: PathBuf, bytes: u32 },
    #[error(
        "{path} holds {bytes} bytes, less than one block of 4096; give it a size with `fallocate -l SIZE {path}` if \
         it is a file, or attach a backing file if it is a loop device"
    )]
    Empty { path: PathBuf, bytes: u64 },
    #[error(
        "{path} has no queue that can be polled (IOPOLL): an NVMe drive has some after the kernel was started with \
         `nvme.poll_queues=N` and then shows 1 in queue/io_poll; other devices have none, so leave --iopoll out"
    )]
    NotPolled { path: PathBuf },
    #[error("{path} is empty; name an input that holds a data set, or generate one with `--size`")]
    NoInput { path: PathBuf },
    #[error("{doing} {path} failed: {}", explain(source.raw_os_error().unwrap_or(libc::EIO)))]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}
