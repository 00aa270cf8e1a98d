//! A lab: loop devices over files of one folder, for trying Bireme without a spare disk.
//!
//! ```text
//!   up:    [tmpfs on FOLDER/tmpfs] -> files bireme-lab-N.img, all bytes reserved -> one loop device over each
//!   down:  the same backwards, found again by the names of the backing files
//! ```
//!
//! Nothing is remembered between the two: the folder, the names and the kernel's tables are the record. So `down` works
//! after a crash, twice, and after half an `up`, and it never touches what has another name.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use bireme_dataplane::device::file::{FileError, scratch};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};

use crate::loop_device::{self, Detached, LoopDevice, LoopError};

/// Where the lab is when nobody says otherwise.
pub const FOLDER: &str = "/var/tmp/bireme-lab";

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for the backing files; made if it does not exist.
    pub folder: PathBuf,
    /// How many devices.
    pub count: u32,
    /// The size of each.
    pub bytes: u64,
    /// Their logical block: 512 to 4096.
    pub block_bytes: u32,
    /// Whether the files lie in memory instead of on the disk under the folder.
    pub tmpfs: bool,
}

/// A lab that is up.
#[derive(Clone, Debug)]
pub struct Up {
    /// The loop devices, in the order of their files.
    pub devices: Vec<PathBuf>,
    /// What the operator should know, as sentences.
    pub notes: Vec<String>,
}

/// What `down` did.
#[derive(Clone, Debug, Default)]
pub struct Down {
    /// Devices that are free now.
    pub detached: Vec<PathBuf>,
    /// Devices that somebody still has open; they go at the last close, their files at the next `down`.
    pub busy: Vec<PathBuf>,
    /// Backing files that were removed.
    pub removed: Vec<PathBuf>,
    /// What the operator should know, as sentences.
    pub notes: Vec<String>,
}

/// A lab that could not be built or taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the sentence on each variant says what its fields are")]
pub enum LabError {
    #[error("a lab needs at least one device of at least one block of {block_bytes} bytes; give a count and a size")]
    Nothing { block_bytes: u32 },
    #[error("there is a lab in {folder} already; take it down with `bireme lab down`, or name another folder")]
    Exists { folder: PathBuf },
    #[error("mounting a tmpfs needs root; run with sudo, or build the lab on disk")]
    NeedsRoot,
    #[error(
        "{count} devices of {bytes} bytes do not fit in memory, where {free} are free; build a smaller lab, or on disk"
    )]
    NoMemory { count: u32, bytes: u64, free: u64 },
    #[error(transparent)]
    Loop(#[from] LoopError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{doing} {path} failed: {source}; put that right, then run `bireme lab down` and try again")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// Builds a lab, or leaves nothing behind.
pub fn up(options: &Options) -> Result<Up, LabError> {
    if options.count == 0 || options.bytes < u64::from(options.block_bytes) {
        return Err(LabError::Nothing { block_bytes: options.block_bytes });
    }
    let folder = absolute(&options.folder)?;
    if is_tmpfs_of_ours(&folder.join(TMPFS)) || exists(&folder) {
        return Err(LabError::Exists { folder });
    }
    let made_folder = !folder.exists();
    std::fs::create_dir_all(&folder).map_err(|source| io_error("making the folder", &folder, source))?;
    // The kernel names backing files by their real path.
    let folder = folder.canonicalize().map_err(|source| io_error("looking up", &folder, source))?;
    build(options, &folder).inspect_err(|_| {
        let _ = down(&folder);
        if made_folder {
            let _ = std::fs::remove_dir(&folder);
        }
    })
}

fn build(options: &Options, folder: &Path) -> Result<Up, LabError> {
    let place = if options.tmpfs { mount_tmpfs(options, folder)? } else { folder.to_path_buf() };
    let mut up = Up { devices: Vec::new(), notes: Vec::new() };
    let paths = (0..options.count).map(|index| place.join(format!("{PREFIX}{index}{SUFFIX}")));
    for path in paths {
        scratch::allocate(&path, options.bytes)?;
        let device = loop_device::attach(&path, options.block_bytes)?;
        if !device.direct_io {
            up.notes.push(format!(
                "{} goes through the page cache, as what is under {} does not allow direct I/O at blocks of {} bytes; \
                 its figures say little about devices",
                device.path.display(),
                path.display(),
                options.block_bytes,
            ));
        }
        up.devices.push(device.path);
    }
    Ok(up)
}

/// Takes a lab down: its devices, its files and its tmpfs, and nothing else. No lab is no error.
pub fn down(folder: &Path) -> Result<Down, LabError> {
    let mut down = Down::default();
    let Ok(folder) = folder.canonicalize() else { return Ok(down) };
    let memory = folder.join(TMPFS);
    for device in loop_device::list() {
        if is_ours(&device, &folder) || is_ours(&device, &memory) {
            match loop_device::detach(&device)? {
                Detached::Now => down.detached.push(device.path),
                Detached::AtLastClose => {
                    down.notes.push(format!(
                        "{} is still open or mounted; it is detached at its last close. Then run `bireme lab down` \
                         again to remove its file",
                        device.path.display()
                    ));
                    down.busy.push(device.path);
                }
            }
        }
    }
    let busy: HashSet<PathBuf> = loop_device::list().into_iter().map(|device| device.backing_path).collect();
    for path in files(&folder).into_iter().chain(files(&memory)).filter(|path| !busy.contains(path)) {
        std::fs::remove_file(&path).map_err(|source| io_error("removing", &path, source))?;
        down.removed.push(path);
    }
    if is_tmpfs_of_ours(&memory) && down.busy.is_empty() {
        match umount(&memory) {
            Ok(()) => {}
            Err(Errno::EBUSY) => down.notes.push(format!("{} is in use and stays mounted", memory.display())),
            Err(error) => return Err(io_error("unmounting", &memory, error.into())),
        }
    }
    // Only empty folders are removed, and a folder that somebody else put something into is not empty.
    let _ = std::fs::remove_dir(&memory);
    if folder == Path::new(FOLDER) {
        let _ = std::fs::remove_dir(&folder);
    }
    Ok(down)
}

/// A tmpfs of the size that the files need, in a folder of its own.
fn mount_tmpfs(options: &Options, folder: &Path) -> Result<PathBuf, LabError> {
    let (count, bytes, free) = (options.count, options.bytes, memory_free());
    let total = u64::from(count).checked_mul(bytes).filter(|&total| total <= free);
    let total = total.ok_or(LabError::NoMemory { count, bytes, free })?;
    let place = folder.join(TMPFS);
    std::fs::create_dir_all(&place).map_err(|source| io_error("making the folder", &place, source))?;
    // A little more than the files: each also has an inode, and its size is rounded up to pages.
    let size = total.saturating_add((u64::from(count) + 16) * 4096);
    let text = format!("size={size},mode=0700");
    match mount(Some(SOURCE), &place, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(text.as_str())) {
        Ok(()) => Ok(place),
        Err(Errno::EPERM | Errno::EACCES) => Err(LabError::NeedsRoot),
        Err(error) => Err(io_error("mounting a tmpfs on", &place, error.into())),
    }
}

/// MemAvailable, without which nothing is refused here.
fn memory_free() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib * 1024)
}

fn exists(folder: &Path) -> bool {
    !files(folder).is_empty() || loop_device::list().iter().any(|device| is_ours(device, folder))
}

/// A loop device over a file of the lab in this folder, also when the file has been removed since.
fn is_ours(device: &LoopDevice, folder: &Path) -> bool {
    let text = device.backing_path.to_string_lossy();
    let path = Path::new(text.strip_suffix(" (deleted)").unwrap_or(&text));
    path.parent() == Some(folder) && path.file_name().is_some_and(is_name_of_ours)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let ours = entries.filter_map(Result::ok).filter(|entry| is_name_of_ours(&entry.file_name()));
    let mut paths: Vec<_> = ours.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn is_name_of_ours(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// By the source that `up` gave it; a tmpfs of somebody else at the same place has another.
fn is_tmpfs_of_ours(place: &Path) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
    let place = place.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040");
    table.lines().any(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let dash = words.iter().position(|&word| word == "-").unwrap_or(words.len());
        words.get(4) == Some(&place.as_str()) && words.get(dash + 1..dash + 3) == Some(&["tmpfs", SOURCE])
    })
}

fn absolute(folder: &Path) -> Result<PathBuf, LabError> {
    folder
        .canonicalize()
        .or_else(|_| std::path::absolute(folder))
        .map_err(|source| io_error("looking up", folder, source))
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> LabError {
    LabError::Io { doing, path: path.into(), source }
}

const PREFIX: &str = "bireme-lab-";
const SUFFIX: &str = ".img";
const TMPFS: &str = "tmpfs";
const SOURCE: &str = "bireme-lab";
