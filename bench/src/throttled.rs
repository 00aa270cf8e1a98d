//! How long the kernel has held this process back because of a limit on its CPU time (cgroup `cpu.max`, or `cpu.cfs_quota_us`
//! of version 1). Threads that are held back look like slow devices, so a measurement has to know.

use std::path::{Path, PathBuf};

use bireme_control::units::Nanos;

/// Since the limit was set, of the cgroup of this process and those above it; the largest of them. Zero where there is no
/// limit or nobody tells.
pub fn held_back() -> Nanos {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders = text.lines().filter_map(folder).flat_map(|(root, path)| {
        let root_of = root.clone();
        let own = root.join(path.trim_start_matches('/'));
        own.ancestors().take_while(|above| above.starts_with(&root_of)).map(Path::to_path_buf).collect::<Vec<_>>()
    });
    folders.filter_map(|folder| time(&std::fs::read_to_string(folder.join("cpu.stat")).ok()?)).max().unwrap_or_default()
}

/// Where a line of `/proc/self/cgroup` leads to, if it is that of the CPU: the root of the hierarchy, and the path in it.
fn folder(line: &str) -> Option<(PathBuf, &str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    match controllers {
        "" => Some(("/sys/fs/cgroup".into(), path)),
        names if names.split(',').any(|name| name == "cpu") => Some((Path::new("/sys/fs/cgroup").join(names), path)),
        _ => None,
    }
}

/// `throttled_usec` in microseconds, or `throttled_time` in nanoseconds.
fn time(stat: &str) -> Option<Nanos> {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    value("throttled_usec").map(|usec| Nanos(usec.saturating_mul(1000))).or_else(|| value("throttled_time").map(Nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let two = "usage_usec 5\nnr_periods 3\nnr_throttled 1\nthrottled_usec 1500\n";
        assert_eq!(time(two), Some(Nanos(1_500_000)));
        assert_eq!(time("nr_periods 0\nnr_throttled 0\nthrottled_time 42\n"), Some(Nanos(42)));
        assert_eq!(time("usage_usec 5\n"), None);
        assert_eq!(folder("0::/user.slice"), Some(("/sys/fs/cgroup".into(), "/user.slice")));
        assert_eq!(folder("4:cpu,cpuacct:/a:b"), Some(("/sys/fs/cgroup/cpu,cpuacct".into(), "/a:b")));
        assert_eq!(folder("5:cpuset:/"), None);
        assert_eq!(folder("garbage"), None);
    }
}
