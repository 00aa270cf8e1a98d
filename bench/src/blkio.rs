//! Control groups of blkio (cgroup version 1): caps on what their members write to single devices.
//!
//! A group is made beside the one of this process, and what a member writes is charged to the group in which the member
//! is when it writes. blkio charges a split request twice, so requests above 512 KiB would meet half of the cap.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::{major, minor};
use nix::unistd::gettid;

/// A group that lives as long as this; its members return to the group of this process then.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    home: PathBuf,
    /// Unmounted last, and only if it was mounted here.
    _root: Root,
}

/// A block device as the kernel numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNumber(String);

impl Group {
    /// An empty group of this name; `option` is what the operator asked for it with.
    pub(crate) fn new(name: &str, option: &str) -> Result<Group, String> {
        let root = Root::find(option)?;
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let home = Some(root.path.join(own_group(&groups).trim_start_matches('/'))).filter(|path| path.is_dir());
        let home = home.unwrap_or_else(|| root.path.clone());
        let path = home.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| refused(&path, &error))?;
        Ok(Group { path, home, _root: root })
    }

    /// Caps what the members write to a device; none or zero lifts the cap.
    pub(crate) fn cap(&self, device: &DeviceNumber, bytes_per_second: Option<u64>) -> Result<(), String> {
        let rule = format!("{} {}", device.0, bytes_per_second.unwrap_or(0));
        fs::write(self.path.join(WRITE_RATE), rule).map_err(|error| refused(&self.path, &error))
    }

    /// Takes this process in, with all its threads.
    pub(crate) fn take_process(&self) -> Result<(), String> {
        let all = fs::write(self.path.join("cgroup.procs"), std::process::id().to_string());
        all.map_err(|error| refused(&self.path, &error))
    }

    /// Takes the calling thread in, and no other.
    pub(crate) fn take_thread(&self) -> Result<(), String> {
        fs::write(self.path.join(TASKS), gettid().to_string()).map_err(|error| refused(&self.path, &error))
    }

    /// A thread that ends is a member for a moment longer than it can be joined.
    fn remove(&self) -> io::Result<()> {
        for _ in 0..REMOVALS {
            for member in fs::read_to_string(self.path.join(TASKS))?.lines() {
                // One that has ended meanwhile need not be moved.
                let _ = fs::write(self.home.join(TASKS), member);
            }
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(BETWEEN_REMOVALS),
                ended => return ended,
            }
        }
        fs::remove_dir(&self.path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("The control group {} is left behind: {error}", self.path.display());
        }
    }
}

impl DeviceNumber {
    /// The number of a block device; `option` is what the operator asked for its cap with.
    pub(crate) fn of(path: &Path, option: &str) -> Result<DeviceNumber, String> {
        let metadata = path.metadata().map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
        if !metadata.file_type().is_block_device() {
            return Err(format!("{option} caps block devices, and {} is none: name loop devices", path.display()));
        }
        Ok(DeviceNumber(format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()))))
    }
}

fn refused(group: &Path, error: &io::Error) -> String {
    format!("the cap cannot be set in {}: {error}; run as root", group.display())
}

/// Where the hierarchy of blkio is mounted.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Root {
    fn find(option: &str) -> Result<Root, String> {
        if let Some(path) = mounted_at(&fs::read_to_string("/proc/mounts").unwrap_or_default()) {
            return Ok(Root { path, temporary: None });
        }
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder can be made: {error}"))?;
        mount(Some("cgroup"), folder.path(), Some("cgroup"), MsFlags::empty(), Some("blkio")).map_err(|errno| {
            format!(
                "{option} needs the blkio controller of cgroup v1, and it cannot be mounted: {}; run as root, on a \
                 kernel whose blkio is not taken by cgroup v2",
                errno.desc()
            )
        })?;
        Ok(Root { path: folder.path().to_owned(), temporary: Some(folder) })
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.temporary.is_some()
            && let Err(errno) = umount(&self.path)
        {
            eprintln!("{} stays mounted: {}", self.path.display(), errno.desc());
        }
    }
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

const WRITE_RATE: &str = "blkio.throttle.write_bps_device";
const TASKS: &str = "tasks";
/// A thread has left its group within a few milliseconds; a second is patience enough.
const REMOVALS: u32 = 100;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(10);

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
        let none = DeviceNumber::of(Path::new("/dev/null"), "--throttle").expect_err("no block device");
        assert!(none.starts_with("--throttle caps") && none.contains("name loop devices"), "{none}");
    }

    /// Needs root and the hierarchy; elsewhere the refusal must be a sentence.
    #[test]
    fn one_thread_is_taken_in_and_the_group_goes_again() {
        let group = match Group::new("bireme-blkio-test", "--throttle-peer") {
            Ok(group) => group,
            Err(sentence) => return assert!(sentence.contains("run as root"), "{sentence}"),
        };
        let path = group.path.clone();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                group.take_thread().expect("a thread that lives");
                fs::read_to_string(path.join(TASKS)).expect("members")
            });
            let members = inside.join().expect("no panic");
            assert_eq!(members.lines().count(), 1, "this thread stays outside: {members}");
        });
        drop(group);
        assert!(!path.exists(), "{} is left behind", path.display());
    }
}
