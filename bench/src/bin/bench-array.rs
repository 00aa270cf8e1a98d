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
    /// Write the report as one page for a browser, with pictures; it needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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
    let page = cli.html.as_deref().map_or(Ok(()), |file| report::give_html(&json, file));
    // What was measured is told even if there is no place for the page.
    report::give(&text, &json, cli.json.as_deref()).and(page)
}
