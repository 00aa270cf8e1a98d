//! The character devices of NVMe namespaces (`/dev/ngXnY`), which take commands past the block layer.
//!
//! The block device of the same namespace is claimed and checked as always; the character device only carries requests.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::identity::{number_in, sysfs};
use super::{Device, DeviceError, Identity, kernel};

/// A namespace of an NVMe controller, as commands name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its number.
    pub id: u32,
    /// The power of two of its block size.
    pub block_shift: u32,
}

/// Where commands for a device go.
#[derive(Debug)]
pub(super) struct Commands {
    file: File,
    namespace: Namespace,
}

/// The block device of the namespace that a character device takes commands for; `None` when the path leads to something
/// else.
pub fn block_device(path: &Path) -> Option<PathBuf> {
    let found = std::fs::metadata(path).ok().filter(|found| found.file_type().is_char_device())?;
    let real = std::fs::canonicalize(path).ok()?;
    let name = real.file_name()?.to_str()?;
    let number = number_in(&Path::new("/sys/class/nvme-generic").join(name))?;
    let rest = name.strip_prefix("ng").filter(|_| number == found.rdev())?;
    Some(real.with_file_name(format!("nvme{rest}")))
}

impl Device {
    /// Sends requests to the character device `path` of this block device from now on, and calls itself by its name.
    ///
    /// # Errors
    /// It cannot be opened, or does not answer as a namespace.
    pub fn take_commands(&mut self, path: &Path) -> Result<(), DeviceError> {
        let failed = |doing| move |source| DeviceError::Io { doing, path: path.into(), source };
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(path);
        let file = file.map_err(failed("opening"))?;
        let id = kernel::namespace_id(file.as_fd()).map_err(failed("asking for the namespace of"))?;
        let namespace = Namespace { id, block_shift: self.logical_block_bytes.ilog2() };
        self.commands = Some(Commands { file, namespace });
        self.path = path.into();
        Ok(())
    }

    /// The namespace, if requests go to it as commands.
    pub fn namespace(&self) -> Option<Namespace> {
        self.commands.as_ref().map(|commands| commands.namespace)
    }

    /// Where requests go.
    pub fn request_fd(&self) -> BorrowedFd<'_> {
        self.commands.as_ref().map_or_else(|| self.as_fd(), |commands| commands.file.as_fd())
    }

    /// The most that one command may move, where the block layer does not split requests.
    pub fn command_bytes_max(&self) -> Option<u32> {
        let Identity::Block(number) = self.identity else { return None };
        self.commands.as_ref()?;
        let text = std::fs::read_to_string(sysfs(number)?.join("queue/max_hw_sectors_kb")).ok()?;
        text.trim().parse::<u32>().ok()?.checked_mul(1024)
    }
}
