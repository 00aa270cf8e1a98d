//! Bireme against fio on the same devices; see `bench-versus --help`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use bireme_bench::device::Pattern;
use bireme_bench::environment::Environment;
use bireme_bench::versus::{Plan, compare, device, fio::Tuning};
use bireme_bench::{duration, report, size};
use bireme_control::units::Nanos;
use clap::{Args, Parser, Subcommand};
use serde_json::json;

/// Compares Bireme with fio: the same bytes onto the same devices in turn, and the ratio pair by pair.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sequential writes that end durable: `bireme offload` against fio's --rw=write --end_fsync=1.
    Offload(Offload),
    /// Requests of one kind: `bench-device` against fio's job of the same kind, and `t/io_uring` if it is there.
    Device(Device),
}

#[derive(Args, Debug)]
struct Device {
    /// The devices or files; /dev/null takes writes.
    #[arg(required = true, value_name = "PATH")]
    devices: Vec<PathBuf>,
    /// What is done: read, write, randread or randwrite.
    #[arg(long, value_name = "PATTERN", value_enum, default_value = "randread")]
    rw: Pattern,
    /// Bytes of one request.
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = size::parse)]
    bs: u64,
    /// Requests in flight, for each peer and each job of fio.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=16384))]
    depth: u32,
    /// How many peers, and jobs of fio.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    peers: u16,
    /// The cores of both, by comma.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// How long each run measures.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    runtime: Nanos,
    /// Permit to overwrite the devices; without it nothing is written.
    #[arg(long)]
    destroy_data: bool,
    /// How often each tool runs, after one run of each that is not counted. Six or more give an interval.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=999))]
    pairs: u16,
    /// How fio is tuned.
    #[arg(long, value_enum, default_value_t = device::Tuning::Full)]
    fio_tuning: device::Tuning,
    /// fio's t/io_uring, to run it as well. It reads at random only.
    #[arg(long, value_name = "PATH")]
    t_io_uring: Option<PathBuf>,
    /// The bench-device command. Default: the one beside this program.
    #[arg(long, value_name = "PATH")]
    bench_device: Option<PathBuf>,
    /// Write the JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// More options for `bench-device`, after "--".
    #[arg(last = true)]
    extra: Vec<OsString>,
}

#[derive(Args, Debug)]
struct Offload {
    /// The devices or files. Everything on them is overwritten.
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<PathBuf>,
    /// Bytes per run over all devices; rounded down to whole requests of 512KiB per device.
    #[arg(long, value_parser = size::parse)]
    size: u64,
    /// Permit to overwrite the devices; without it nothing is run.
    #[arg(long, required = true)]
    destroy_data: bool,
    /// How often each tool runs, after one run of each that is not counted. Six or more give an interval.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..=999))]
    pairs: u16,
    /// How fio is tuned.
    #[arg(long, value_enum, default_value_t = Tuning::Full)]
    fio_tuning: Tuning,
    /// Cap the writes of each device at this much per second, such as 200MiB (cgroup v1, as root).
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    throttle: Option<u64>,
    /// The bireme command. Default: the one beside this program.
    #[arg(long, value_name = "PATH")]
    bireme: Option<PathBuf>,
    /// Write the JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// More options for `bireme offload`, after "--".
    #[arg(last = true)]
    extra: Vec<OsString>,
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Offload(arguments) => offload(arguments),
        Command::Device(arguments) => on_devices(arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench-versus: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn offload(arguments: Offload) -> Result<(), String> {
    let environment = environment(&arguments.devices);
    let comparison = compare(Plan {
        devices: arguments.devices,
        bytes: arguments.size,
        pairs: usize::from(arguments.pairs),
        tuning: arguments.fio_tuning,
        throttle: arguments.throttle,
        bireme: arguments.bireme.map_or_else(|| beside("bireme"), Ok)?,
        extra: arguments.extra,
    })?;
    report::give(&comparison.to_table(&environment), &comparison.to_json(&environment), arguments.json.as_deref())
}

fn on_devices(arguments: Device) -> Result<(), String> {
    let null = arguments.devices.iter().all(|path| bireme_dataplane::device::is_null(path));
    if arguments.rw.writes() && !arguments.destroy_data && !null {
        return Err("everything on the devices would be overwritten: permit it with --destroy-data".to_owned());
    }
    let environment = environment(&arguments.devices);
    let comparison = device::compare(device::Plan {
        devices: arguments.devices,
        rw: arguments.rw,
        request_bytes: arguments.bs,
        depth: arguments.depth,
        peers: arguments.peers,
        cores: arguments.cores,
        runtime: arguments.runtime,
        pairs: usize::from(arguments.pairs),
        tuning: arguments.fio_tuning,
        bench_device: arguments.bench_device.map_or_else(|| beside("bench-device"), Ok)?,
        t_io_uring: arguments.t_io_uring,
        extra: arguments.extra,
    })?;
    report::give(&comparison.to_table(&environment), &comparison.to_json(&environment), arguments.json.as_deref())
}

fn environment(devices: &[PathBuf]) -> Environment {
    let devices: Vec<_> = devices.iter().map(|path| json!({ "path": path.display().to_string() })).collect();
    Environment::gather(&[], &devices, None)
}

fn beside(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe()
        .map_err(|error| format!("this program's place is unknown: {error}; name {name} by --{name}"))?;
    let path = own.with_file_name(name);
    let missing = || format!("{} does not exist: build it with cargo build, or name one by --{name}", path.display());
    if path.is_file() { Ok(path.clone()) } else { Err(missing()) }
}
