//! Files as members of a pool: they need no root, and can be damaged and looked at from outside.

use std::path::{Path, PathBuf};

use bireme_dataplane::device::file::scratch;
use tempfile::TempDir;

/// Files of one folder, which goes away with them.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    folder: TempDir,
}

impl Files {
    /// `count` files of `bytes` each, in memory.
    ///
    /// # Panics
    /// When there is no room.
    pub fn new(count: u32, bytes: u64) -> Files {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let paths = scratch::create(folder.path(), count, bytes).expect("room for the files");
        Files { paths, folder }
    }

    /// The files in order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Their folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
