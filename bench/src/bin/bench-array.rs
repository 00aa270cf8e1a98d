//! One volume under reads and writes; see `bench-array --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use bireme_bench::array::{self, Options};
use bireme_bench::report;
use clap::Parser;

/// Drives one volume on a new pool of any RAID level: operations per second, throughput, latencies.
///
/// Everything on the devices is overwritten.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// Write the JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench-array: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let (text, json) = array::measure(&cli.options)?;
    report::give(&text, &json, cli.json.as_deref())
}
