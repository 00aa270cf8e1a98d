//! The file that a data set is restored to: it appears under its name whole, or not at all.
//!
//! ```text
//!   create: .NAME.PID.bireme-tmp of whole blocks --> direct writes --> finish: cut to length, sync, rename, sync folder
//!                                                     drop before that: removed
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bireme_control::raid::geometry::BLOCK_BYTES;

use super::super::loops::Loops;
use super::super::{Alignment, Device, DeviceError, Identity, alignment, identity_of};
use super::{FileError, OPENING, folder_of, reserve};

/// A file in the making.
#[derive(Debug)]
pub struct Output {
    file: File,
    target: PathBuf,
    /// Removed on drop; `None` once it has its final name.
    temporary: Option<PathBuf>,
    bytes: u64,
    alignment: Alignment,
}

impl Output {
    /// Makes room for `bytes` beside `path`. What `path` holds now stays until [`Output::finish`].
    pub fn create(path: impl AsRef<Path>, bytes: u64) -> Result<Output, FileError> {
        let target = target(path.as_ref())?;
        if bytes == 0 {
            return Err(FileError::Empty { path: target });
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder_of(&target).join(format!(".{name}.{}.bireme-tmp", std::process::id()));
        let flags = libc::O_DIRECT | libc::O_CLOEXEC;
        let opened = OpenOptions::new().read(true).write(true).create_new(true).custom_flags(flags).open(&temporary);
        let file = opened.map_err(|source| {
            if source.raw_os_error() == Some(libc::EINVAL) {
                // ext4 and others make the file before they refuse O_DIRECT.
                let _ = std::fs::remove_file(&temporary);
            }
            FileError::new(OPENING, &temporary, bytes, source)
        })?;
        // From here on the drop of `output` removes the temporary file.
        let alignment_unknown = Alignment { memory: 4096, offset: 4096, known: false };
        let mut output =
            Output { file, target: target.clone(), temporary: Some(temporary), bytes, alignment: alignment_unknown };
        let failed = |doing| {
            let target = &target;
            move |source| FileError::new(doing, target, bytes, source)
        };
        reserve(&output.file, bytes.next_multiple_of(BLOCK_BYTES)).map_err(failed("reserving the space of"))?;
        let metadata = output.file.metadata().map_err(failed("looking up"))?;
        let identity = Identity::of(&metadata).ok_or_else(|| failed("looking up")(io::Error::other("not a file")))?;
        output.alignment = match alignment(&output.target, &output.file, identity) {
            Ok((alignment, _)) => alignment,
            Err(DeviceError::Io { source, .. }) => return Err(failed("asking for the alignment of")(source)),
            Err(_) => return Err(FileError::NoDirect { path: output.target.clone() }),
        };
        Ok(output)
    }

    /// Refuses to replace a file that holds the bytes of one of the devices.
    pub fn check_apart<'a>(
        path: impl AsRef<Path>,
        devices: impl IntoIterator<Item = &'a Device>,
    ) -> Result<(), FileError> {
        let path = path.as_ref();
        // What cannot be looked up is refused with its own sentence by `create`.
        let Ok(identity) = identity_of(path) else { return Ok(()) };
        let loops = Loops::attached();
        let shares = |device: &&Device| {
            super::super::check_apart((path, identity), (device.path(), device.identity()), &loops).is_err()
        };
        match devices.into_iter().find(shares) {
            Some(device) => Err(FileError::IsDevice { path: path.into(), device: device.path().into() }),
            None => Ok(()),
        }
    }

    /// The exact length that it will have.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it will appear.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// What writes must be multiples of; the last one may reach past the length, to the end of its block.
    pub fn alignment(&self) -> Alignment {
        self.alignment
    }

    /// For the ring that writes it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives it its length and its name, durably.
    pub fn finish(mut self) -> Result<(), FileError> {
        let failed = |doing| {
            let (target, bytes) = (self.target.clone(), self.bytes);
            move |source| FileError::new(doing, &target, bytes, source)
        };
        self.file.set_len(self.bytes).map_err(failed("cutting to its length"))?;
        self.file.sync_all().map_err(failed("making durable"))?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        std::fs::rename(temporary, &self.target).map_err(failed("naming"))?;
        let synced = File::open(folder_of(&self.target)).and_then(|folder| folder.sync_all());
        let result = synced.map_err(failed("making the name durable of"));
        self.temporary = None;
        result
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = std::fs::remove_file(temporary);
        }
    }
}

/// The file itself where `path` is a link: a rename would replace the link. Nothing but a regular file is replaced.
fn target(path: &Path) -> Result<PathBuf, FileError> {
    let path_owned = path.to_path_buf();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(source) if source.kind() == io::ErrorKind::NotFound && path.file_name().is_some() => return Ok(path_owned),
        Err(source) => return Err(FileError::new("looking up", path, 0, source)),
    };
    let kind = metadata.file_type();
    let name = if kind.is_dir() {
        "directory"
    } else if kind.is_block_device() {
        "block device"
    } else {
        "device, FIFO or socket"
    };
    if !kind.is_file() {
        return Err(FileError::WrongKind { path: path_owned, kind: name });
    }
    std::fs::canonicalize(path).map_err(|source| FileError::new("looking up", path, 0, source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::buffer::Region;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("the folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn it_appears_whole_with_its_exact_length() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        std::fs::write(&path, b"old").expect("a file");
        let output = Output::create(&path, 5000).expect("an output");
        let mut region = Region::new(8192).expect("memory");
        let all = region.all();
        region.bytes_mut(all).fill(9);
        output.file.write_all_at(region.bytes(all), 0).expect("a direct write");
        assert_eq!(std::fs::read(&path).expect("the old file"), b"old");
        output.finish().expect("finished");
        assert_eq!(std::fs::read(&path).expect("the new file"), vec![9; 5000]);
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn dropped_it_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Output::create(folder.path().join("out"), 5000).expect("an output"));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn through_a_link_the_file_is_replaced_and_not_the_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("out"), folder.path().join("link"));
        std::fs::write(&path, b"old").expect("a file");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        Output::create(&link, 100).expect("an output").finish().expect("finished");
        assert_eq!(std::fs::read(&path).expect("the file"), vec![0; 100]);
        assert!(link.is_symlink());
    }

    #[test]
    fn bad_targets_are_refused_and_leave_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path();
        let case = |path: &Path, bytes| Output::create(path, bytes).expect_err("refused");
        assert!(matches!(case(file, 1), FileError::WrongKind { kind: "directory", .. }));
        assert!(matches!(case(Path::new("/dev/null"), 1), FileError::WrongKind { .. }));
        assert!(matches!(case(&file.join("none/out"), 1), FileError::NoFolder { .. }));
        assert!(matches!(case(&file.join("out"), 0), FileError::Empty { .. }));
        for bytes in [1 << 50, u64::MAX - 5000] {
            let error = case(&file.join("out"), bytes);
            assert!(matches!(error, FileError::NoSpace { .. }), "{error}");
        }
        assert!(names(file).is_empty());
    }
}
