//! A block device in compressed memory, which fails writes once it has more than it may: the kernel's own EIO.

use std::fs;
use std::path::{Path, PathBuf};

/// A zram device that is removed with the test.
#[derive(Debug)]
pub struct Zram {
    number: u32,
    path: PathBuf,
}

impl Zram {
    /// A device of this many bytes. `None`: the kernel has no zram.
    ///
    /// # Panics
    /// When the kernel refuses what it offers.
    pub fn new(bytes: u64) -> Option<Zram> {
        // Reading makes a device and says its number.
        let number = fs::read_to_string(format!("{CONTROL}/hot_add")).ok()?.trim().parse().ok()?;
        let zram = Zram { number, path: PathBuf::from(format!("/dev/zram{number}")) };
        zram.set("disksize", bytes);
        Some(zram)
    }

    /// The node.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes fail when the device would take more memory than this; 0 is no limit.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn limit(&self, bytes: u64) {
        self.set("mem_limit", bytes);
    }

    fn set(&self, name: &str, value: u64) {
        fs::write(format!("/sys/block/zram{}/{name}", self.number), value.to_string()).expect("a setting of zram");
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        // A process that has just ended may hold it for a moment.
        let gone = || fs::write(format!("{CONTROL}/hot_remove"), self.number.to_string()).is_ok();
        if !crate::child::until(std::time::Duration::from_secs(5), gone) {
            eprintln!("{} is left behind", self.path.display());
        }
    }
}

const CONTROL: &str = "/sys/class/zram-control";
