//! The same bytes onto the same devices through fio and Bireme in turn, and the ratio pair by pair.
//!
//! ```text
//!   claim check, warm-up: bireme, fio     not counted
//!   fio, bireme | fio, bireme | ...       one ratio per pair: a drift of the machine touches both alike
//!   median of the ratios, 95 % interval   by order statistics: nothing is assumed of their distribution
//! ```
//!
//! Bireme warms up first, because its checks then protect the devices from fio as well.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bireme_control::units::Nanos;
use serde::Serialize;
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::report::Columns;
use crate::size;

mod bireme;
mod child;
pub mod device;
pub mod fio;
pub mod interval;
pub(crate) mod throttle;

use child::Runner;
use fio::Tuning;
use interval::{interval, median, verdict};

/// What to compare.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The devices or files; they are overwritten.
    pub devices: Vec<PathBuf>,
    /// Bytes per run in total.
    pub bytes: u64,
    /// How often each tool runs.
    pub pairs: usize,
    /// How fio is tuned.
    pub tuning: Tuning,
    /// A cap on each device's writes, in bytes per second.
    pub throttle: Option<u64>,
    /// The bireme command.
    pub bireme: PathBuf,
    /// More options for `bireme offload`.
    pub extra: Vec<OsString>,
}

/// What one run of a tool did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Data written.
    pub bytes: u64,
    /// Until it was durable.
    #[serde(rename = "elapsed_ns")]
    pub elapsed: Nanos,
    /// CPU time of the whole process and its threads, start and end included.
    #[serde(rename = "cpu_ns")]
    pub cpu: Nanos,
}

impl Run {
    fn rate(&self) -> f64 {
        size::rate(self.bytes, self.elapsed)
    }

    fn cpu_millis_per_gib(&self) -> f64 {
        self.cpu.0 as f64 / 1e6 / (self.bytes.max(1) as f64 / (1u64 << 30) as f64)
    }
}

/// One run of each.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// fio's.
    pub fio: Run,
    /// Bireme's.
    pub bireme: Run,
    /// Bireme's throughput divided by fio's.
    pub ratio: f64,
}

/// All pairs, and how they were made.
#[derive(Clone, Debug)]
pub struct Comparison {
    plan: Plan,
    fio_version: String,
    pairs: Vec<Pair>,
}

/// Runs the plan; an error is a sentence for the operator. The bytes are rounded down to whole requests per device.
pub fn compare(mut plan: Plan) -> Result<Comparison, String> {
    let step = fio::REQUEST_BYTES * plan.devices.len() as u64;
    plan.bytes -= plan.bytes % step.max(1);
    if plan.bytes == 0 {
        return Err(format!("--size is too small: each device needs at least {}", size::print(fio::REQUEST_BYTES)));
    }
    plan.devices.iter().try_for_each(|path| check_free(path))?;
    let mut runner = Runner::start().map_err(|error| format!("signals cannot be watched: {error}"))?;
    let fio_version = fio::version(&mut runner)?;
    // Dropped before the runner: signals still end children in order, not this process, while the cap is taken off.
    let cap = plan.throttle.map(|rate| throttle::Throttle::start(&plan.devices, rate)).transpose()?;
    let limit = time_limit(&plan);
    let mut pairs = Vec::with_capacity(plan.pairs);
    bireme::run(&plan, &mut runner, limit)?;
    fio::run(&plan, &mut runner, limit)?;
    for number in 1..=plan.pairs {
        let fio = fio::run(&plan, &mut runner, limit)?;
        let bireme = bireme::run(&plan, &mut runner, limit)?;
        let ratio = bireme.rate() / fio.rate();
        eprintln!("pair {number} of {}: ratio {ratio:.3}", plan.pairs);
        pairs.push(Pair { fio, bireme, ratio });
    }
    drop(cap);
    Ok(Comparison { plan, fio_version, pairs })
}

/// Consent never covers a device in use. O_EXCL lets the kernel decide that for block devices.
fn check_free(path: &Path) -> Result<(), String> {
    let name = path.display();
    if path.to_str().is_none() {
        return Err(format!("{name} is not UTF-8 and cannot be passed to fio: name the device by another path"));
    }
    let kind = path.metadata().map_err(|error| format!("{name} cannot be used: {error}"))?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    if !kind.is_block_device() {
        return Err(format!("{name} is neither a block device nor a file: name another"));
    }
    match OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            Err(format!("{name} is mounted or used by somebody else: unmount it, or name another device"))
        }
        Err(error) => Err(format!("{name} cannot be opened: {error}")),
    }
}

/// Two minutes, and a second for each 8 MiB, or twice what the cap asks for.
fn time_limit(plan: &Plan) -> Duration {
    let capped = plan.throttle.map_or(u64::MAX, |rate| rate.saturating_mul(plan.devices.len() as u64) / 4);
    Duration::from_secs(120 + plan.bytes / capped.clamp(1, 8 << 20))
}

impl Comparison {
    fn ratios(&self) -> Vec<f64> {
        self.pairs.iter().map(|pair| pair.ratio).collect()
    }

    fn medians(&self, figure: impl Fn(&Pair) -> f64) -> f64 {
        median(&self.pairs.iter().map(figure).collect::<Vec<_>>())
    }

    /// For people.
    pub fn to_table(&self, environment: &Environment) -> String {
        let plan = &self.plan;
        let mut columns = Columns::new(&["Pairs", "fio", "Bireme", "ratio", "fio CPU/GiB", "Bireme CPU/GiB"]);
        for (number, pair) in self.pairs.iter().enumerate() {
            columns.row(vec![
                (number + 1).to_string(),
                size::print_rate(pair.fio.rate()),
                size::print_rate(pair.bireme.rate()),
                format!("{:.3}", pair.ratio),
                format!("{:.0} ms", pair.fio.cpu_millis_per_gib()),
                format!("{:.0} ms", pair.bireme.cpu_millis_per_gib()),
            ]);
        }
        columns.row(vec![
            "median".to_owned(),
            size::print_rate(self.medians(|pair| pair.fio.rate())),
            size::print_rate(self.medians(|pair| pair.bireme.rate())),
            format!("{:.3}", median(&self.ratios())),
            format!("{:.0} ms", self.medians(|pair| pair.fio.cpu_millis_per_gib())),
            format!("{:.0} ms", self.medians(|pair| pair.bireme.cpu_millis_per_gib())),
        ]);
        let devices = plan.devices.len();
        let mut text = columns.print();
        text += &format!("\nMedian ratio Bireme / fio: {}\n", verdict(&self.ratios()));
        text += &self.calibration().map_or(String::new(), |line| line + "\n");
        text += self.too_short();
        text += &format!("{} per run onto {devices} devices, durable at the end\n", size::print(plan.bytes));
        text += &format!("{}, tuning {}: {}\n", self.fio_version, plan.tuning.name(), plan.tuning.options().join(" "));
        text += &format!("bireme: {}\n", words(&bireme::arguments(plan)).join(" "));
        text += "CPU is that of each whole process, start and end included, without the kernel's own threads\n";
        text += &format!("{}, Linux {}, {}\n", environment.cpu, environment.kernel, environment.time);
        text
    }

    /// fio counts whole milliseconds, so short runs are rounded by more than the tools differ.
    fn too_short(&self) -> &'static str {
        let short = self.medians(|pair| pair.fio.elapsed.0 as f64) < SHORT_NANOS;
        if short { "Too short to trust: fio counts whole milliseconds; choose a larger --size\n" } else { "" }
    }

    /// What each tool reached of the caps: near 100 % means that the cap decides the ratio, not the tools.
    fn calibration(&self) -> Option<String> {
        let cap = self.plan.throttle?.saturating_mul(self.plan.devices.len() as u64) as f64;
        let fio = self.medians(|pair| pair.fio.rate()) / cap * 100.0;
        let bireme = self.medians(|pair| pair.bireme.rate()) / cap * 100.0;
        let all = size::print_rate(cap);
        Some(format!("Calibration: all caps together are {all}; fio reached {fio:.1} %, Bireme {bireme:.1} %"))
    }

    /// For programs; `bench/docs/json.md` explains it.
    pub fn to_json(&self, environment: &Environment) -> Value {
        json!({
            "bytes": self.plan.bytes,
            "request_bytes": fio::REQUEST_BYTES,
            "depth": fio::DEPTH,
            "fio_version": self.fio_version,
            "fio_tuning": self.plan.tuning.name(),
            "fio_options": self.plan.tuning.options(),
            "bireme_command": words(&bireme::arguments(&self.plan)),
            "throttle_bytes_per_s": self.plan.throttle,
            "pairs": self.pairs,
            "ratio_median": median(&self.ratios()),
            "ratio_interval": interval(&self.ratios()),
            "environment": environment,
        })
    }
}

fn words(arguments: &[OsString]) -> Vec<String> {
    arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Below this a millisecond is more than half a percent.
const SHORT_NANOS: f64 = 200e6;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn comparison(pairs: usize) -> Comparison {
        let plan = Plan {
            devices: vec!["/dev/loop0".into(), "/dev/loop1".into()],
            bytes: 1 << 30,
            pairs,
            tuning: Tuning::Full,
            throttle: Some(1 << 30),
            bireme: "/usr/bin/bireme".into(),
            extra: vec!["--peers".into(), "2".into()],
        };
        let run = |millis| Run { bytes: 1 << 30, elapsed: Nanos::from_millis(millis), cpu: Nanos::from_millis(250) };
        let pair = Pair { fio: run(1000), bireme: run(800), ratio: 1.25 };
        Comparison { plan, fio_version: "fio-3.33".into(), pairs: vec![pair; pairs] }
    }

    #[test]
    fn the_table_names_ratio_interval_and_caps() {
        let environment = Environment::gather(&[], &[] as &[Value], None);
        let table = comparison(7).to_table(&environment);
        assert!(table.contains("median  1024 MiB/s  1280 MiB/s  1.250       250 ms          250 ms"), "{table}");
        assert!(table.contains("1.250, between 1.250 and 1.250 with 98.4 % confidence"), "{table}");
        assert!(table.contains("fio reached 50.0 %, Bireme 62.5 %"), "{table}");
        assert!(comparison(5).to_table(&environment).contains("fewer than six pairs"));
        let json = comparison(7).to_json(&environment);
        let keys: BTreeSet<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        assert!(keys.is_superset(&BTreeSet::from(["pairs", "ratio_median", "ratio_interval", "fio_options"])));
        assert_eq!(json["pairs"][0]["bireme"]["elapsed_ns"], 800_000_000);
    }

    #[test]
    fn only_devices_and_files_that_exist_are_taken() {
        assert!(check_free(Path::new("/nonexistent")).expect_err("absent").contains("cannot be used"));
        assert!(check_free(Path::new("/dev/null")).expect_err("a character device").contains("neither"));
        assert!(check_free(Path::new("/proc")).expect_err("a folder").contains("neither"));
    }
}
