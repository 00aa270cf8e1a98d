//! Who else uses a device, by /proc and /sys: the explanation of a refusal.
//!
//! The kernel's exclusive open decides; it knows mounts in other namespaces, which the files read here do not show.
//! But it does not know loop devices: a device is refused too for what uses the devices below it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::error::DeviceError;
use super::identity::{Identity, node_name, number_in, sysfs};
use super::loops::Loops;

/// Why `identity`, which the operator calls `path`, must not be used; `None` if nothing is found.
pub(super) fn find(path: &Path, identity: Identity, loops: &Loops) -> Option<DeviceError> {
    for (depth, part) in loops.below(identity).into_iter().enumerate() {
        for (subject, relative) in relatives(path, part, depth) {
            if let Some(claim) = claim_on(subject, relative) {
                return Some(claim);
            }
        }
    }
    for (subject, relative) in relatives(path, identity, 0) {
        if let Some(device) = loops.above(relative) {
            return Some(DeviceError::UnderLoop { subject, loop_device: device.path.clone() });
        }
    }
    let Identity::Block(number) = identity else { return None };
    let partitions = partitions(&sysfs(number)?);
    let first = *partitions.first()?;
    let found = format!("the kernel shows {} on it", node_name(first).display());
    Some(DeviceError::Partitioned { path: path.into(), found })
}

/// The device itself, its partitions, and the disk that it is a partition of, each with what to call it.
fn relatives(path: &Path, identity: Identity, depth: usize) -> Vec<(String, Identity)> {
    let Identity::Block(number) = identity else {
        let subject =
            if depth == 0 { path.display().to_string() } else { format!("the file under {}", path.display()) };
        return vec![(subject, identity)];
    };
    let (node, path) = (node_name(number), path.display());
    let own = if depth == 0 { path.to_string() } else { format!("{}, which {path} lies on,", node.display()) };
    let mut relatives = vec![(own, identity)];
    let Some(folder) = sysfs(number) else { return relatives };
    for partition in partitions(&folder) {
        let subject = format!("{}, a partition of {},", node_name(partition).display(), node.display());
        relatives.push((subject, Identity::Block(partition)));
    }
    if folder.join("partition").exists()
        && let Some(disk) = folder.parent().and_then(number_in)
    {
        let subject = format!("{}, the disk that {} is a part of,", node_name(disk).display(), node.display());
        relatives.push((subject, Identity::Block(disk)));
    }
    relatives
}

fn claim_on(subject: String, identity: Identity) -> Option<DeviceError> {
    if let Some(node) = swap(identity) {
        return Some(DeviceError::Swap { subject, node });
    }
    let Identity::Block(number) = identity else { return None };
    if let Some(place) = mount_place(number) {
        return Some(DeviceError::Mounted { subject, place });
    }
    let holder = holder(number)?;
    Some(DeviceError::Held { subject, holder })
}

fn mount_place(number: u64) -> Option<PathBuf> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    table.split(|&byte| byte == b'\n').find_map(|line| {
        let mount = Mount::parse(line)?;
        // btrfs mounts under a number of its own; only the source leads to the device.
        let source =
            || mount.source.starts_with("/dev") && Identity::of_path(&mount.source) == Some(Identity::Block(number));
        (mount.number == number || source()).then_some(mount.place)
    })
}

/// One line of mountinfo: `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`.
#[derive(Debug, PartialEq)]
struct Mount {
    number: u64,
    place: PathBuf,
    source: PathBuf,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Mount> {
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let (major, minor) = std::str::from_utf8(words.get(2)?).ok()?.split_once(':')?;
        let dash = words.iter().position(|&word| word == b"-")?;
        Some(Mount {
            number: nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?),
            place: unescape(words.get(4)?),
            source: unescape(words.get(dash + 2)?),
        })
    }
}

fn swap(identity: Identity) -> Option<PathBuf> {
    let table = std::fs::read("/proc/swaps").ok()?;
    let lines = table.split(|&byte| byte == b'\n').skip(1);
    lines
        .filter_map(|line| line.split(|&byte| byte == b' ' || byte == b'\t').next())
        .map(unescape)
        .find(|path| path.is_absolute() && Identity::of_path(path) == Some(identity))
}

fn holder(number: u64) -> Option<PathBuf> {
    let entry = std::fs::read_dir(sysfs(number)?.join("holders")).ok()?.next()?.ok()?;
    Some(Path::new("/dev").join(entry.file_name()))
}

fn partitions(folder: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter(|child| child.join("partition").exists()).filter_map(|child| number_in(&child)).collect()
}

/// The kernel writes blanks in paths as `\040`, and newlines, tabs and backslashes alike.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten();
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo_are_read() {
        let line = br"36 35 254:1 / /mnt/a\040b rw,noatime master:1 - ext4 /dev/vda\1341 rw";
        let want =
            Mount { number: nix::sys::stat::makedev(254, 1), place: "/mnt/a b".into(), source: r"/dev/vda\1".into() };
        assert_eq!(Mount::parse(line), Some(want));
        for garbage in [&b""[..], b"36 35", b"36 35 x:y / /mnt - a b", b"36 35 1:2 / /mnt - ext4"] {
            assert_eq!(Mount::parse(garbage), None);
        }
    }

    #[test]
    fn odd_escapes_stay_as_they_are() {
        for (word, want) in [(r"a\04", r"a\04"), (r"\999", r"\999"), (r"\011x", "\tx"), (r"\", r"\")] {
            assert_eq!(unescape(word.as_bytes()), Path::new(want));
        }
    }
}
