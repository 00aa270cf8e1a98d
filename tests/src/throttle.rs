//! A device that becomes slow or stops answering: a control group of blkio (version 1) with a cap on writes.
//!
//! The cap is lifted when this is dropped, also by a panic. Whoever waits for a process in the group declares its
//! [`Child`](crate::child::Child) after the throttle in a struct, so that the cap is lifted first.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// A group whose members' writes to some devices are capped.
#[derive(Debug)]
pub struct Throttle {
    group: PathBuf,
    numbers: Vec<String>,
}

impl Throttle {
    /// A group without caps yet for these devices. `None`: this machine has no such control groups.
    ///
    /// # Panics
    /// When the kernel refuses what it offers.
    pub fn new(devices: &[PathBuf]) -> Option<Throttle> {
        if !Path::new(ROOT).join(WRITE_RATE).exists() {
            return None;
        }
        let number = |path: &PathBuf| {
            let device = path.metadata().expect("a device").rdev();
            format!("{}:{}", major(device), minor(device))
        };
        let numbers: Vec<_> = devices.iter().map(number).collect();
        // Named after a device, as a test process may have several at a time.
        let name = format!("bireme-test-{}-{}", std::process::id(), numbers.join("-").replace(':', "_"));
        let group = Path::new(ROOT).join(name);
        fs::create_dir(&group).expect("a control group");
        Some(Throttle { group, numbers })
    }

    /// From now on the group's writes to device `index` are this slow. One byte a second is a device that hangs.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn cap(&self, index: usize, bytes_per_second: u64) {
        let rule = format!("{} {bytes_per_second}", self.numbers[index]);
        fs::write(self.group.join(WRITE_RATE), rule).expect("a cap");
    }

    /// Everything that waits goes on.
    pub fn lift(&self) {
        for number in &self.numbers {
            if let Err(error) = fs::write(self.group.join(WRITE_RATE), format!("{number} 0")) {
                eprintln!("the cap on {number} in {} stays: {error}", self.group.display());
            }
        }
    }

    /// Takes a process with all its threads into the group.
    ///
    /// # Panics
    /// When it is gone.
    pub fn take(&self, process: u32) {
        fs::write(self.group.join("cgroup.procs"), process.to_string()).expect("a process that lives");
    }

    /// Takes a single thread into the group. `false`: it is gone, or may not be moved.
    pub fn take_thread(&self, thread: u32) -> bool {
        fs::write(self.group.join("tasks"), thread.to_string()).is_ok()
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.lift();
        let members = fs::read_to_string(self.group.join("tasks")).unwrap_or_default();
        for member in members.lines() {
            // One that has ended meanwhile need not be moved.
            let _ = fs::write(Path::new(ROOT).join("tasks"), member);
        }
        if let Err(error) = fs::remove_dir(&self.group) {
            eprintln!("the control group {} is left behind: {error}", self.group.display());
        }
    }
}

/// Where the hierarchy of blkio is mounted, if it is.
const ROOT: &str = "/sys/fs/cgroup/blkio";
const WRITE_RATE: &str = "blkio.throttle.write_bps_device";
