//! The questions about a device that only the kernel itself answers, and the only unsafe code of [`device`](super).

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use super::identity::Identity;

/// What memory and offsets must be multiples of for O_DIRECT; `None` where the file system does not say.
pub(super) fn direct_alignment(fd: BorrowedFd<'_>) -> io::Result<Option<(u32, u32)>> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is an empty string that ends in zero, `fd` is open as long as it is borrowed, and `answer` is
    // a whole `statx` that the kernel may write.
    let failed = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_BASIC_STATS | libc::STATX_DIOALIGN,
            answer.as_mut_ptr(),
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `statx` is integers only, so zeroes are a value, and the kernel wrote over them.
    let answer = unsafe { answer.assume_init() };
    let known = answer.stx_mask & libc::STATX_DIOALIGN != 0;
    Ok(known.then_some((answer.stx_dio_mem_align, answer.stx_dio_offset_align)))
}

/// The unit in which the block device addresses its bytes.
pub(super) fn logical_block_bytes(device: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one `int`, which `bytes` is, and `device` is open as long as it is borrowed.
    unsafe { block_size(device.as_raw_fd(), &raw mut bytes) }?;
    u32::try_from(bytes).map_err(|_| io::Error::other("the kernel answers a negative block size"))
}

/// The number of the namespace that a character device of NVMe takes commands for.
pub(super) fn namespace_id(device: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: NVME_IOCTL_ID takes no argument, and `device` is open as long as it is borrowed.
    let id = unsafe { nvme_id(device.as_raw_fd()) }?;
    u32::try_from(id).map_err(|_| io::Error::other("the kernel answers a negative namespace"))
}

/// What a loop device stores its bytes in: the truth, where the path in /sys may since lead to another file.
pub(super) fn loop_backing(loop_device: &Path) -> io::Result<Identity> {
    let file = File::open(loop_device)?;
    let mut status = MaybeUninit::<LoopStatus>::zeroed();
    // SAFETY: LOOP_GET_STATUS64 writes one `loop_info64`, which `LoopStatus` is byte for byte; `file` is open.
    unsafe { loop_status(file.as_fd().as_raw_fd(), status.as_mut_ptr()) }?;
    // SAFETY: `LoopStatus` is integers only, so zeroes are a value, and the kernel wrote over them.
    let status = unsafe { status.assume_init() };
    Ok(match status.backing_node {
        0 => Identity::File { device: status.device, inode: status.inode },
        node => Identity::Block(node),
    })
}

/// `struct loop_info64` of linux/loop.h, of which only the start is of interest here.
#[repr(C)]
struct LoopStatus {
    device: u64,
    inode: u64,
    backing_node: u64,
    _rest: [u64; 26],
}

const _: () = assert!(size_of::<LoopStatus>() == 232);

nix::ioctl_none!(
    /// NVME_IOCTL_ID
    nvme_id,
    b'N',
    0x40
);
nix::ioctl_read_bad!(
    /// BLKSSZGET
    block_size,
    libc::BLKSSZGET,
    libc::c_int
);
nix::ioctl_read_bad!(
    /// LOOP_GET_STATUS64
    loop_status,
    0x4C05,
    LoopStatus
);
