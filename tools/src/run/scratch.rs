//! Files to write to when no device is named: fallocated, in a directory of their own, kept until the next such run.

use std::path::{Path, PathBuf};

use bireme_control::raid::geometry::Geometry;
use bireme_dataplane::device::file::scratch;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::layout::Layout;

/// One for each user: another's files could not be replaced.
fn folder() -> PathBuf {
    PathBuf::from(format!("/var/tmp/bireme-scratch-{}", nix::unistd::getuid()))
}

/// Makes the files, large enough for the newest set and the next one.
pub(super) fn create(geometry: Geometry, bytes: u64, sets: u32) -> Result<Vec<PathBuf>, String> {
    let folder = folder();
    let cannot = |e| format!("{} cannot be made: {e}; name devices with --device", folder.display());
    std::fs::create_dir_all(&folder).map_err(cannot)?;
    remove_old(&folder)?;
    let pages = bytes.div_ceil(u64::from(geometry.page_bytes()));
    let file_bytes = file_bytes(geometry, pages.saturating_mul(u64::from(sets.min(2))));
    let file_bytes = file_bytes.ok_or("a set of that size does not fit into files: choose a smaller --size")?;
    let count = u32::try_from(FILES).expect("four");
    scratch::create(&folder, count, file_bytes).map_err(|error| error.to_string())
}

/// Where the data lies, and how to get it back.
pub(super) fn note(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let names = names.join(" ");
    format!(
        "no device was named, so the data lies in scratch files, which the next such run replaces; restore them with: \
         bireme restore --output FILE --device {names}"
    )
}

/// Removes the files of the run before, unless somebody uses them.
fn remove_old(folder: &Path) -> Result<(), String> {
    let files = std::fs::read_dir(folder).map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
    for path in files.flatten().map(|file| file.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !(name.starts_with("device-") && name.ends_with(".img")) {
            continue;
        }
        // An empty file is what is left of a disk that was full; nobody can hold it.
        let is_empty = path.metadata().is_ok_and(|facts| facts.len() == 0);
        let claimed =
            if is_empty { None } else { Some(Device::open(&path, Purpose::Write).map_err(|e| e.to_string())?) };
        std::fs::remove_file(&path).map_err(|e| format!("{} cannot be removed: {e}", path.display()))?;
        drop(claimed);
    }
    Ok(())
}

/// The smallest round size that holds so many frames; `None` when no file does.
fn file_bytes(geometry: Geometry, frames: u64) -> Option<u64> {
    let mut bytes = frames.checked_mul(u64::from(geometry.frame_member_bytes()))?.checked_next_multiple_of(STEP)?;
    loop {
        bytes = bytes.checked_add(STEP)?;
        if Layout::new(geometry, bytes).is_ok_and(|layout| layout.frames() >= frames) {
            return Some(bytes);
        }
    }
}

/// How many files.
pub(super) const FILES: usize = 4;
const STEP: u64 = 16 << 20;
