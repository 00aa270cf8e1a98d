//! Bireme against fio on the same devices; see `bench-versus --help`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use bireme_bench::environment::Environment;
use bireme_bench::versus::{Plan, compare, fio::Tuning};
use bireme_bench::{report, size};
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
    let Command::Offload(arguments) = Cli::parse().command;
    match offload(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench-versus: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn offload(arguments: Offload) -> Result<(), String> {
    let devices: Vec<_> = arguments.devices.iter().map(|path| json!({ "path": path.display().to_string() })).collect();
    let environment = Environment::gather(&[], &devices, None);
    let comparison = compare(Plan {
        devices: arguments.devices,
        bytes: arguments.size,
        pairs: usize::from(arguments.pairs),
        tuning: arguments.fio_tuning,
        throttle: arguments.throttle,
        bireme: arguments.bireme.map_or_else(beside, Ok)?,
        extra: arguments.extra,
    })?;
    report::give(&comparison.to_table(&environment), &comparison.to_json(&environment), arguments.json.as_deref())
}

fn beside() -> Result<PathBuf, String> {
    let own =
        std::env::current_exe().map_err(|error| format!("this program's place is unknown: {error}; use --bireme"))?;
    let bireme = own.with_file_name("bireme");
    let missing = || format!("{} does not exist: build it with cargo build, or use --bireme", bireme.display());
    if bireme.is_file() { Ok(bireme.clone()) } else { Err(missing()) }
}
