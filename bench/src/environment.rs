//! Where a figure was measured: without it no figure can be compared or repeated.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use serde::Serialize;
use serde_json::Value;

/// The machine, the devices and the command. What the system does not tell is `unknown` or `None`.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Bireme's version.
    pub version: String,
    /// The commit that Bireme was built from, if it is a release built in the repository or with `BIREME_COMMIT` set.
    pub commit: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's model.
    pub cpu: String,
    /// How many processors this process may use.
    pub cpus: usize,
    /// The cores that peers were pinned to.
    pub cores: Vec<Core>,
    /// What is known of each device.
    pub devices: Vec<Value>,
    /// Limits of the process.
    pub limits: Limits,
    /// The seed of generated data.
    pub seed: Option<u64>,
    /// The full command line.
    pub command: Vec<String>,
    /// When the environment was gathered, in UTC.
    pub time: String,
}

/// A core and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Core {
    /// The kernel's number for it.
    pub core: usize,
    /// The memory that is near.
    pub numa_node: Option<usize>,
}

/// Limits of the process that decide what it may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Memory that may be locked; `None` is without limit.
    pub memlock_bytes: Option<u64>,
    /// Files that may be open; `None` is without limit.
    pub open_files: Option<u64>,
}

impl Environment {
    /// Asks the system. `devices` are facts of any shape, one per device.
    pub fn gather(cores: &[usize], devices: &[impl Serialize], seed: Option<u64>) -> Environment {
        let value = |facts| serde_json::to_value(facts).unwrap_or_else(|error| Value::String(error.to_string()));
        let place = |&core: &usize| Core { core, numa_node: numa_node(core) };
        Environment {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("BIREME_COMMIT").unwrap_or(UNKNOWN).to_owned(),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            cpu: cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cores: cores.iter().map(place).collect(),
            devices: devices.iter().map(value).collect(),
            limits: Limits {
                memlock_bytes: limit(Resource::RLIMIT_MEMLOCK),
                open_files: limit(Resource::RLIMIT_NOFILE),
            },
            seed,
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            time: utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
        }
    }
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().filter(|line| !line.is_empty()).unwrap_or(UNKNOWN).to_owned()
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "model name");
    model.map_or(UNKNOWN, |(_, model)| model.trim()).to_owned()
}

/// The kernel links each core to its node by a directory entry `node0`.
fn numa_node(core: usize) -> Option<usize> {
    let entries = fs::read_dir(Path::new("/sys/devices/system/cpu").join(format!("cpu{core}"))).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("node")?.parse().ok()).next()
}

fn limit(resource: Resource) -> Option<u64> {
    getrlimit(resource).ok().map(|(soft, _)| soft).filter(|&soft| soft != RLIM_INFINITY)
}

/// `2026-11-21T13:05:14Z`. Days are counted in eras of 400 years that start in March, so that leap days come last.
fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

const UNKNOWN: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_says() {
        #[rustfmt::skip]
        let cases = [(0, "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"), (951_868_800, "2000-03-01T00:00:00Z"),
                     (1_795_266_468, "2026-11-21T13:07:48Z"), (4_102_444_799, "2099-12-31T23:59:59Z")];
        for (seconds, want) in cases {
            assert_eq!(utc(seconds), want);
        }
    }

    #[test]
    fn this_machine_is_described() {
        let facts = [serde_json::json!({ "path": "/dev/loop0" })];
        let environment = Environment::gather(&[0, 99_999], &facts, Some(7));
        assert_ne!(environment.kernel, UNKNOWN);
        assert_eq!(environment.cores[1], Core { core: 99_999, numa_node: None });
        assert_eq!(environment.devices, facts);
        assert!(!environment.command.is_empty() && environment.cpus > 0);
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: A CPU @ 2: fast\n"), "A CPU @ 2: fast");
        assert_eq!(cpu_model("garbage"), UNKNOWN);
    }
}
