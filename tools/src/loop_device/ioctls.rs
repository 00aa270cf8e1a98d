//! The requests that attach and detach a loop device, and the only unsafe code of this crate.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use nix::Result;

/// The number of a loop device that was free a moment ago.
pub(super) fn free_number(control: &File) -> Result<i32> {
    // SAFETY: LOOP_CTL_GET_FREE has no argument, and `control` is open as long as it is borrowed.
    unsafe { get_free(control.as_raw_fd()) }
}

/// Attaches `device` to `backing`, past the page cache. EBUSY: somebody else was faster.
pub(super) fn configure(device: &File, backing: &File, block_bytes: u32) -> Result<()> {
    let backing = u32::try_from(backing.as_raw_fd()).map_err(|_| nix::errno::Errno::EBADF)?;
    let config = LoopConfig { backing, block_bytes, flags: LO_FLAGS_DIRECT_IO, ..LoopConfig::default() };
    // SAFETY: LOOP_CONFIGURE reads one `loop_config`, which `LoopConfig` is byte for byte; both files are open.
    unsafe { loop_configure(device.as_raw_fd(), &raw const config) }?;
    Ok(())
}

/// Detaches it, at its last close if it is open elsewhere too.
pub(super) fn clear(device: &File) -> Result<()> {
    // SAFETY: LOOP_CLR_FD has no argument, and `device` is open as long as it is borrowed.
    unsafe { clear_fd(device.as_raw_fd()) }?;
    Ok(())
}

/// Clears the read-only mark, which outlives a detach: the next user of the device would inherit it.
pub(super) fn make_writable(device: &File) -> Result<()> {
    let read_only: libc::c_int = 0;
    // SAFETY: BLKROSET reads one `int`, which `read_only` is, and `device` is open as long as it is borrowed.
    unsafe { set_read_only(device.as_raw_fd(), &raw const read_only) }?;
    Ok(())
}

/// `struct loop_config` of linux/loop.h with the fields of its `loop_info64` in place.
#[repr(C)]
#[derive(Default)]
struct LoopConfig {
    backing: u32,
    block_bytes: u32,
    _places: [u64; 5],
    _number_and_encryption: [u32; 3],
    flags: u32,
    _names: [[u64; 4]; 5],
    _init: [u64; 2],
    _reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 304);
const _: () = assert!(std::mem::offset_of!(LoopConfig, flags) == 8 + 52);

const LO_FLAGS_DIRECT_IO: u32 = 16;

/// LOOP_CTL_GET_FREE, which answers a number.
unsafe fn get_free(fd: RawFd) -> Result<i32> {
    // SAFETY: the request has no argument; the caller passes an open file.
    nix::errno::Errno::result(unsafe { libc::ioctl(fd, 0x4C82) })
}

nix::ioctl_none_bad!(
    /// LOOP_CLR_FD
    clear_fd,
    0x4C01
);
nix::ioctl_write_ptr_bad!(
    /// LOOP_CONFIGURE
    loop_configure,
    0x4C0A,
    LoopConfig
);
nix::ioctl_write_ptr_bad!(
    /// BLKROSET
    set_read_only,
    0x125D,
    libc::c_int
);
