//! A cap on each device's writes, by cgroup v1: this process moves into a group of its own, and its children inherit it.
//!
//! blkio charges a split request twice, so requests above 512 KiB would meet half of the cap.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::{major, minor};

/// The cap is on as long as this lives.
#[derive(Debug)]
pub(super) struct Throttle {
    home: PathBuf,
    group: PathBuf,
    /// Unmounted last, and only if it was mounted here.
    _root: Root,
}

impl Throttle {
    /// Caps each device at `bytes_per_second`.
    pub(super) fn start(devices: &[PathBuf], bytes_per_second: u64) -> Result<Throttle, String> {
        let numbers = devices.iter().map(|path| device_number(path)).collect::<Result<Vec<_>, _>>()?;
        let root = Root::find()?;
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let home = Some(root.path.join(own_group(&groups).trim_start_matches('/'))).filter(|path| path.is_dir());
        let home = home.unwrap_or_else(|| root.path.clone());
        let group = home.join(format!("bireme-versus-{}", std::process::id()));
        let failed = |error: io::Error| format!("the cap cannot be set in {}: {error}; run as root", group.display());
        fs::create_dir(&group).map_err(failed)?;
        // From here on the drop takes back what was done, whatever fails.
        let throttle = Throttle { home, group: group.clone(), _root: root };
        for number in numbers {
            fs::write(group.join("blkio.throttle.write_bps_device"), format!("{number} {bytes_per_second}"))
                .map_err(failed)?;
        }
        join(&group).map_err(failed)?;
        Ok(throttle)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let left = join(&self.home).and_then(|()| fs::remove_dir(&self.group));
        if let Err(error) = left {
            eprintln!("bench-versus: the group {} is left behind: {error}", self.group.display());
        }
    }
}

/// Where the hierarchy of blkio is mounted.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Root {
    fn find() -> Result<Root, String> {
        if let Some(path) = mounted_at(&fs::read_to_string("/proc/mounts").unwrap_or_default()) {
            return Ok(Root { path, temporary: None });
        }
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder can be made: {error}"))?;
        mount(Some("cgroup"), folder.path(), Some("cgroup"), MsFlags::empty(), Some("blkio")).map_err(|errno| {
            format!("--throttle needs the blkio controller of cgroup v1, and it cannot be mounted: {}", errno.desc())
        })?;
        Ok(Root { path: folder.path().to_owned(), temporary: Some(folder) })
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.temporary.is_some()
            && let Err(errno) = umount(&self.path)
        {
            eprintln!("bench-versus: {} stays mounted: {}", self.path.display(), errno.desc());
        }
    }
}

fn device_number(path: &Path) -> Result<String, String> {
    let failed = |error| format!("{} cannot be used: {error}", path.display());
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.file_type().is_block_device() {
        return Err(format!("--throttle caps block devices, and {} is none: name loop devices", path.display()));
    }
    Ok(format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev())))
}

/// The mount point whose options name blkio.
fn mounted_at(mounts: &str) -> Option<PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|f| f.len() > 3 && f[2] == "cgroup" && f[3].split(',').any(|o| o == "blkio"))
        .map(|f| f[1].into())
        .next()
}

/// This process's group in the hierarchy of blkio; the root if there is none.
fn own_group(cgroup: &str) -> &str {
    let mut fields = cgroup.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    fields.find(|f| f.len() == 3 && f[1].split(',').any(|name| name == "blkio")).map_or("/", |f| f[2])
}

fn join(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_where_the_kernel_lists_it() {
        let mounts = "cgroup /a cgroup rw,cpu 0 0\ncgroup /b cgroup rw,relatime,blkio 0 0\nx\n";
        assert_eq!(mounted_at(mounts), Some(PathBuf::from("/b")));
        assert_eq!(mounted_at("cgroup2 /u cgroup2 rw,blkio 0 0\n"), None);
        assert_eq!(own_group("3:cpu:/c\n2:io,blkio:/d:e\n0::/\n"), "/d:e");
        assert_eq!(own_group("garbage"), "/");
        assert!(device_number(Path::new("/dev/null")).expect_err("no block device").contains("name loop devices"));
    }
}
