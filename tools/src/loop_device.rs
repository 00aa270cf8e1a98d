//! Loop devices: a file, or another device, that is read and written as a block device.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bireme_dataplane::device::loops::Loops;
use nix::errno::Errno;

#[expect(unsafe_code, reason = "asks the kernel by ioctl")]
mod ioctls;

pub use bireme_dataplane::device::loops::LoopDevice;

/// A loop device that could not be attached or detached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the sentence on each variant says what its fields are")]
pub enum LoopError {
    #[error("loop devices need root; run with sudo, or use plain files as devices")]
    NeedsRoot,
    #[error("this kernel has no loop devices; try `modprobe loop`, or use plain files as devices")]
    NoSupport,
    #[error("a loop device has blocks of 512 to 4096 bytes, a power of two, and not {block_bytes}")]
    BlockSize { block_bytes: u32 },
    #[error("{path} cannot be attached as a loop device: {source}; see that it exists and is a file or block device")]
    Backing { path: PathBuf, source: io::Error },
    #[error("{doing} {path} failed: {source}; `losetup --list` shows the loop devices as they are")]
    Kernel { doing: &'static str, path: PathBuf, source: io::Error },
}

/// What became of a detached device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// It is free.
    Now,
    /// Somebody has it open: the kernel detaches it when the last of them closes it.
    AtLastClose,
}

/// Attaches a file or block device to a free loop device, past the page cache where what is under it allows that:
/// [`LoopDevice::direct_io`] says whether it does.
pub fn attach(backing_path: &Path, block_bytes: u32) -> Result<LoopDevice, LoopError> {
    if !block_bytes.is_power_of_two() || !(512..=4096).contains(&block_bytes) {
        return Err(LoopError::BlockSize { block_bytes });
    }
    let control = control()?;
    let opened = OpenOptions::new().read(true).write(true).open(backing_path);
    let backing = opened.map_err(|source| LoopError::Backing { path: backing_path.into(), source })?;
    for _ in 0..ATTEMPTS_MAX {
        let failed = |doing, error: Errno| kernel_error(doing, Path::new(CONTROL), error.into());
        let number = ioctls::free_number(&control).map_err(|error| failed("asking for a free device from", error))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let device = opened.map_err(|source| kernel_error("opening", &path, source))?;
        match ioctls::configure(&device, &backing, block_bytes) {
            Ok(()) => return attached(&path, &device),
            // Another process took the number in between.
            Err(Errno::EBUSY) => {}
            Err(Errno::EINVAL) => {
                let source = io::Error::from(Errno::EINVAL);
                return Err(LoopError::Backing { path: backing_path.into(), source });
            }
            Err(error) => return Err(kernel_error("attaching", &path, error.into())),
        }
    }
    Err(kernel_error("finding a free device by", Path::new(CONTROL), Errno::EBUSY.into()))
}

/// Detaches a loop device. One that is not attached, or gone, is no error.
pub fn detach(device: &LoopDevice) -> Result<Detached, LoopError> {
    detach_at_last_close(device)?;
    // A process that only looks at all loop devices has each open for a moment; the kernel offers no event for its end.
    let start = Instant::now();
    while is_attached(device) {
        if start.elapsed() >= DETACH_WAIT {
            return Ok(Detached::AtLastClose);
        }
        std::thread::sleep(DETACH_POLL);
    }
    Ok(Detached::Now)
}

/// Has the kernel detach a loop device as soon as nobody has it open, and does not wait for that.
pub fn detach_at_last_close(device: &LoopDevice) -> Result<(), LoopError> {
    let file = match File::open(&device.path) {
        Ok(file) => file,
        Err(source) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) => return Ok(()),
        Err(source) => return Err(kernel_error("opening", &device.path, source)),
    };
    match ioctls::clear(&file) {
        Ok(()) | Err(Errno::ENXIO) => Ok(()),
        Err(error) => Err(kernel_error("detaching", &device.path, error.into())),
    }
}

/// All loop devices that are attached, whoever made them.
pub fn list() -> Vec<LoopDevice> {
    Loops::attached().0
}

fn control() -> Result<File, LoopError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(CONTROL)
        .map_err(|source| kernel_error("opening", Path::new(CONTROL), source))
}

fn kernel_error(doing: &'static str, path: &Path, source: io::Error) -> LoopError {
    match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => LoopError::NeedsRoot,
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) if path == Path::new(CONTROL) => LoopError::NoSupport,
        _ => LoopError::Kernel { doing, path: path.into(), source },
    }
}

/// The device as the kernel now describes it; detached again if that fails.
fn attached(path: &Path, device: &File) -> Result<LoopDevice, LoopError> {
    let describe = || {
        ioctls::make_writable(device)?;
        let number = device.metadata()?.rdev();
        let found = list().into_iter().find(|found| found.number == number);
        found.ok_or_else(|| io::Error::from(Errno::ENXIO))
    };
    describe().map_err(|source| {
        let _ = ioctls::clear(device);
        kernel_error("looking up", path, source)
    })
}

/// Whether it still has the backing file that it had; its number may have gone to another file since.
fn is_attached(device: &LoopDevice) -> bool {
    list().iter().any(|found| found.number == device.number && found.backing == device.backing)
}

const CONTROL: &str = "/dev/loop-control";

/// More processes than this do not race for a number at a time.
const ATTEMPTS_MAX: u32 = 100;
const DETACH_WAIT: Duration = Duration::from_millis(500);
const DETACH_POLL: Duration = Duration::from_millis(5);
