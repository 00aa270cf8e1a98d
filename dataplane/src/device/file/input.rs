//! The file or block device that a data set is read from.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::super::identity::Identity;
use super::super::loops::Loops;
use super::super::{Alignment, Device, DeviceError, alignment, check_apart, identity_of, size};

/// A source of bytes, open for direct reads. Its last block may end early.
#[derive(Debug)]
pub struct Input {
    file: File,
    path: PathBuf,
    identity: Identity,
    bytes: u64,
    alignment: Alignment,
}

impl Input {
    /// Opens it. It is not claimed: reading disturbs nobody.
    pub fn open(path: impl AsRef<Path>) -> Result<Input, DeviceError> {
        let path: PathBuf = path.as_ref().into();
        let identity = identity_of(&path)?;
        let flags = libc::O_DIRECT | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(source) => {
                return Err(match source.raw_os_error() {
                    Some(libc::EINVAL) => DeviceError::NoDirect { path },
                    Some(libc::EACCES | libc::EPERM) => DeviceError::NoPermission { path },
                    _ => DeviceError::Io { doing: "opening", path, source },
                });
            }
        };
        let doing = "asking for the size of";
        let bytes = size(&file).map_err(|source| DeviceError::Io { doing, path: path.clone(), source })?;
        if bytes == 0 {
            return Err(DeviceError::NoInput { path });
        }
        let (alignment, _) = alignment(&path, &file, identity)?;
        Ok(Input { file, path, identity, bytes, alignment })
    }

    /// Refuses an input that shares its bytes with a device that is about to be written.
    pub fn check_apart(&self, devices: &[Device]) -> Result<(), DeviceError> {
        let loops = Loops::attached();
        let own = (self.path.as_path(), self.identity);
        devices.iter().try_for_each(|device| check_apart(own, (device.path(), device.identity()), &loops))
    }

    /// As the operator named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length, any number.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What reads must be multiples of.
    pub fn alignment(&self) -> Alignment {
        self.alignment
    }

    /// For the ring that reads it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Purpose;
    use super::*;

    #[test]
    fn any_length_is_read_but_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("input");
        for bytes in [1usize, 4095, 4096, 10_001] {
            std::fs::write(&path, vec![7; bytes]).expect("a file");
            assert_eq!(Input::open(&path).expect("an input").bytes(), bytes as u64);
        }
        std::fs::write(&path, b"").expect("a file");
        assert!(matches!(Input::open(&path), Err(DeviceError::NoInput { .. })));
        assert!(matches!(Input::open(folder.path()), Err(DeviceError::WrongKind { .. })));
        assert!(matches!(Input::open(folder.path().join("none")), Err(DeviceError::Missing { .. })));
    }

    #[test]
    fn an_input_that_is_a_device_too_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        for path in [&path, &other] {
            std::fs::write(path, vec![7; 8192]).expect("a file");
        }
        let devices = [Device::open(&path, Purpose::Write).expect("a device")];
        let error = Input::open(&path).expect("an input").check_apart(&devices).expect_err("the same");
        assert!(matches!(error, DeviceError::SameDevice { .. }), "{error}");
        Input::open(&other).expect("an input").check_apart(&devices).expect("another file");
    }
}
