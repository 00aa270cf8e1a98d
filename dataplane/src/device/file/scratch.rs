//! Scratch files to stand in for devices. They are never sparse: a write into a hole sends the kernel to a worker
//! thread of its own, and a full file system would only show in the middle of a run.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use super::{FileError, OPENING, reserve};

/// Makes `count` files of `bytes` in `folder`; all or none.
pub fn create(folder: &Path, count: u32, bytes: u64) -> Result<Vec<PathBuf>, FileError> {
    let mut made = Vec::new();
    for index in 0..count {
        let path = folder.join(format!("device-{index}.img"));
        if let Err(error) = allocate(&path, bytes) {
            for path in &made {
                let _ = std::fs::remove_file(path);
            }
            return Err(error);
        }
        made.push(path);
    }
    Ok(made)
}

/// Makes one file that does not exist yet, with all its bytes reserved.
pub fn allocate(path: &Path, bytes: u64) -> Result<(), FileError> {
    if bytes == 0 {
        return Err(FileError::Empty { path: path.into() });
    }
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let file = opened.map_err(|source| FileError::new(OPENING, path, bytes, source))?;
    let failed = |source| FileError::new("reserving the space of", path, bytes, source);
    let result = match reserve(&file, bytes) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failed(std::io::Error::from_raw_os_error(libc::EOPNOTSUPP))),
        Err(source) => Err(failed(source)),
    };
    if result.is_err() {
        let _ = std::fs::remove_file(path);
    }
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_files_have_all_their_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = create(folder.path(), 3, 1 << 20).expect("three files");
        assert_eq!(paths.len(), 3);
        for path in paths {
            let metadata = std::fs::metadata(path).expect("a file");
            assert!(metadata.len() == 1 << 20 && metadata.blocks() * 512 >= 1 << 20);
        }
    }

    #[test]
    fn all_or_none_and_never_over_another_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("device-1.img"), b"mine").expect("a file");
        assert!(matches!(create(folder.path(), 2, 4096), Err(FileError::Exists { .. })));
        assert!(!folder.path().join("device-0.img").exists());
        assert_eq!(std::fs::read(folder.path().join("device-1.img")).expect("the file"), b"mine");
        assert!(matches!(create(folder.path(), 1, 1 << 50), Err(FileError::NoSpace { .. })));
        assert!(!folder.path().join("device-0.img").exists());
    }
}
