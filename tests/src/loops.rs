//! Loop devices for tests, detached on drop, and mounts likewise.

use std::path::{Path, PathBuf};

use bireme_dataplane::device::file::scratch;
use bireme_tools::loop_device::{self, LoopDevice};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// Where the backing files lie.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// In memory.
    Tmpfs,
    /// In the folder for temporary files.
    Disk,
}

/// Loop devices over files of a folder of their own.
#[derive(Debug)]
pub struct Loops {
    devices: Vec<LoopDevice>,
    folder: TempDir,
}

impl Loops {
    /// `count` devices of `bytes` each.
    ///
    /// # Panics
    /// When there are no loop devices: a test that runs as root needs them.
    pub fn new(place: Place, count: u32, bytes: u64, block_bytes: u32) -> Loops {
        let folder = match place {
            Place::Tmpfs => tempfile::tempdir_in("/dev/shm"),
            Place::Disk => tempfile::tempdir(),
        };
        let folder = folder.expect("a folder for the backing files");
        let files = scratch::create(folder.path(), count, bytes).expect("room for the backing files");
        // Pushed one by one, so that a failure half way detaches what there is.
        let mut loops = Loops { devices: Vec::new(), folder };
        for file in files {
            loops.attach(&file, block_bytes);
        }
        loops
    }

    /// One more device, over a file or device of the test's choice.
    ///
    /// # Panics
    /// When it cannot be attached.
    pub fn attach(&mut self, backing: &Path, block_bytes: u32) -> PathBuf {
        let device = loop_device::attach(backing, block_bytes).expect("a loop device");
        let path = device.path.clone();
        self.devices.push(device);
        path
    }

    /// The node of one device.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn path(&self, index: usize) -> &Path {
        &self.devices[index].path
    }

    /// All nodes.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.devices.iter().map(|device| device.path.clone()).collect()
    }

    /// The backing file of one device.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn backing(&self, index: usize) -> &Path {
        &self.devices[index].backing_path
    }

    /// The folder of the backing files, for more files and mount points.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        // The last attached first: it may lie on an earlier one.
        for device in self.devices.iter().rev() {
            if let Err(error) = loop_device::detach(device) {
                eprintln!("{error}");
            }
        }
    }
}

/// A mount that ends with the test.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts an ext4 device on a new folder.
    ///
    /// # Panics
    /// When that fails.
    pub fn ext4(device: &Path, place: &Path) -> Mount {
        std::fs::create_dir(place).expect("a folder to mount on");
        mount(Some(device), place, Some("ext4"), MsFlags::MS_NOEXEC, None::<&str>).expect("a mount");
        Mount(place.into())
    }

    /// Mounts a file system in memory, of so many bytes, on a new folder.
    ///
    /// # Panics
    /// When that fails.
    pub fn tmpfs(place: &Path, bytes: u64) -> Mount {
        std::fs::create_dir(place).expect("a folder to mount on");
        let size = format!("size={bytes}");
        mount(Some("bireme-test"), place, Some("tmpfs"), MsFlags::MS_NOEXEC, Some(size.as_str())).expect("a mount");
        Mount(place.into())
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::empty()) {
            eprintln!("unmounting {} failed: {error}", self.0.display());
        }
    }
}

/// Whether this runs as root. If not, says that the test `name` is skipped.
pub fn root_or_skip(name: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("{name} skipped: needs root");
    }
    root
}
