//! Loop devices and what they store their bytes in, read in both directions.
//!
//! ```text
//!   /dev/loop1 --> /dev/loop0 --> disk.img        below(loop1): all three, from the top
//!   above(disk.img): loop0 and loop1
//! ```
//!
//! The kernel lets two loop devices share a file, and a loop device lie on a mounted one, and shows no holder for
//! either: an exclusive open succeeds on both. So every use of a device looks up and down its chain.

use std::path::{Path, PathBuf};

use super::identity::{Identity, number_in};
use super::kernel;

/// One loop device that is attached to something.
#[derive(Clone, Debug)]
pub struct LoopDevice {
    /// Its node.
    pub path: PathBuf,
    /// Its number.
    pub number: u64,
    /// What it stores its bytes in; `None` if that could not be found out.
    pub backing: Option<Identity>,
    /// The path of that as the kernel has it; it ends in ` (deleted)` when the file has been removed.
    pub backing_path: PathBuf,
    /// Whether it bypasses the page cache of what it lies on.
    pub direct_io: bool,
}

/// All loop devices that are attached now.
#[derive(Clone, Debug, Default)]
pub struct Loops(pub Vec<LoopDevice>);

impl Loops {
    /// Reads them from /sys, and asks each for its backing file. None where the kernel has no loop devices.
    pub fn attached() -> Loops {
        let Ok(entries) = std::fs::read_dir("/sys/block") else { return Loops::default() };
        let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut loops: Vec<_> = folders.filter_map(|folder| read(&folder)).collect();
        loops.sort_by_key(|device| device.number);
        Loops(loops)
    }

    /// The chain from `top`, itself included, down to what stores the bytes at last.
    pub(super) fn below(&self, top: Identity) -> Vec<Identity> {
        let mut chain = vec![top];
        let mut at = top;
        // No chain is longer than there are loop devices; the bound holds even if the table was read during a change.
        for _ in &self.0 {
            let Some(next) = self.get(at).and_then(|device| device.backing) else { break };
            chain.push(next);
            at = next;
        }
        chain
    }

    /// A loop device that lies on `bottom`, directly or through others.
    pub(super) fn above(&self, bottom: Identity) -> Option<&LoopDevice> {
        self.0.iter().find(|device| {
            let own = Identity::Block(device.number);
            own != bottom && self.below(own).contains(&bottom)
        })
    }

    /// The loop device with this identity.
    pub(super) fn get(&self, identity: Identity) -> Option<&LoopDevice> {
        self.0.iter().find(|device| Identity::Block(device.number) == identity)
    }

    /// What the identity is called by the loop device that lies on it.
    pub(super) fn backing_path(&self, identity: Identity) -> Option<&Path> {
        self.0.iter().find(|device| device.backing == Some(identity)).map(|device| device.backing_path.as_path())
    }
}

fn read(folder: &Path) -> Option<LoopDevice> {
    let backing_path = backing_file(folder)?;
    let path = Path::new("/dev").join(folder.file_name()?);
    // Without permission to ask the device, the path is the next best.
    let backing = kernel::loop_backing(&path).ok().or_else(|| Identity::of_path(&backing_path));
    let direct_io = std::fs::read_to_string(folder.join("loop/dio")).is_ok_and(|text| text.trim() == "1");
    Some(LoopDevice { number: number_in(folder)?, path, backing, backing_path, direct_io })
}

/// The backing file by the folder of the device in /sys; `None` if it is no loop device or not attached.
pub(super) fn backing_file(folder: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(folder.join("loop/backing_file")).ok()?;
    Some(PathBuf::from(text.strip_suffix('\n').unwrap_or(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u64, backing: Identity) -> LoopDevice {
        let path = PathBuf::from(format!("/dev/loop{number}"));
        LoopDevice { path, number, backing: Some(backing), backing_path: PathBuf::new(), direct_io: true }
    }

    #[test]
    fn chains_are_followed_both_ways() {
        let file = Identity::File { device: 1, inode: 2 };
        let loops = Loops(vec![device(0, file), device(1, Identity::Block(0)), device(2, Identity::Block(9))]);
        assert_eq!(loops.below(Identity::Block(1)), [Identity::Block(1), Identity::Block(0), file]);
        assert_eq!(loops.below(file), [file]);
        assert_eq!(loops.above(file).map(|l| l.number), Some(0));
        assert_eq!(loops.above(Identity::Block(0)).map(|l| l.number), Some(1));
        assert!(loops.above(Identity::Block(1)).is_none());
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        let loops = Loops(vec![device(0, Identity::Block(1)), device(1, Identity::Block(0))]);
        assert_eq!(loops.below(Identity::Block(0)).len(), 3);
    }
}
