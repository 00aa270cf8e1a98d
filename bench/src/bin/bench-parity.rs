//! The speed of parity and checksums; see `bench-parity --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use bireme_bench::environment::Environment;
use bireme_bench::parity::{self, Plan, Shape, isal};
use bireme_bench::{report, size};
use clap::Parser;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;

/// Measures parity, checksums and recovery on one core, from the cache and from memory, beside ISA-L where it is installed.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Shards of data. Without this and --parity: 4+1, 8+1, 4+2 and 8+2.
    #[arg(long, value_name = "N", requires = "parity", value_parser = clap::value_parser!(u16).range(1..=255))]
    data: Option<u16>,
    /// Shards of parity.
    #[arg(long, value_name = "N", requires = "data", value_parser = clap::value_parser!(u16).range(1..=2))]
    parity: Option<u16>,
    /// Bytes of one shard: 4KiB to 1MiB, in whole 4KiB.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_shard)]
    shard: usize,
    /// Memory to go through when cold, 16MiB to 1GiB: several times the processor's caches.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_cold)]
    cold: usize,
    /// How often each kernel is measured. Six or more give an interval.
    #[arg(long, value_name = "N", default_value_t = 51, value_parser = clap::value_parser!(u16).range(1..=9999))]
    rounds: u16,
    /// How long each time, in microseconds.
    #[arg(long, value_name = "US", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    slice: u64,
    /// The core to run on. Default: the last one that this process may use.
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Write the JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench-parity: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    let core = pin(cli.core)?;
    let shapes = match (cli.data, cli.parity) {
        (Some(data), Some(parity)) => vec![Shape { data: data.into(), parity: parity.into() }],
        _ => [(4, 1), (8, 1), (4, 2), (8, 2)].map(|(data, parity)| Shape { data, parity }).to_vec(),
    };
    let plan = Plan {
        shapes,
        shard_bytes: cli.shard,
        cold_bytes: cli.cold,
        rounds: usize::from(cli.rounds),
        slice_us: cli.slice,
    };
    let environment = Environment::gather(&[core], &[] as &[Value], None);
    let outcome = parity::measure(&plan)?;
    let table = parity::to_table(&plan, &outcome, &environment);
    report::give(&table, &parity::to_json(&plan, &outcome, &environment), cli.json.as_deref())
}

/// Keeps this thread on one core, and says which.
fn pin(core: Option<usize>) -> Result<usize, String> {
    let this = Pid::from_raw(0);
    let unpinned = |error| format!("this process cannot be kept on one core: {error}; choose another --core");
    let allowed = sched_getaffinity(this).map_err(unpinned)?;
    let may = |&core: &usize| allowed.is_set(core).unwrap_or(false);
    let last = (0..CpuSet::count()).rev().find(may);
    let core = match core {
        Some(core) if !may(&core) => {
            return Err(format!("core {core} is not one that this process may use: change --core"));
        }
        Some(core) => core,
        None => last.ok_or("this process may use no core")?,
    };
    let mut set = CpuSet::new();
    set.set(core).map_err(unpinned)?;
    sched_setaffinity(this, &set).map_err(unpinned)?;
    Ok(core)
}

fn parse_shard(text: &str) -> Result<usize, String> {
    let bytes = bounded(text, 4096..=1 << 20)?;
    if bytes.is_multiple_of(4096) {
        Ok(bytes)
    } else {
        Err(format!("'{text}' is not in whole 4KiB: choose such as 64KiB"))
    }
}

const _: () = assert!(4096 % isal::ALIGNMENT == 0, "shards are as ISA-L wants them");

fn parse_cold(text: &str) -> Result<usize, String> {
    bounded(text, 16 << 20..=1 << 30)
}

fn bounded(text: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<usize, String> {
    let bytes = size::parse(text).map_err(|error| error.to_string())?;
    let inside = usize::try_from(bytes).ok().filter(|_| bounds.contains(&bytes));
    inside.ok_or_else(|| {
        let (low, high) = (size::print(*bounds.start()), size::print(*bounds.end()));
        format!("'{text}' is out of bounds: write a size from {low} to {high}")
    })
}
