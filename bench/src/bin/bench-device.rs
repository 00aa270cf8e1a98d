//! Devices under a load; see `bench-device --help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bireme_bench::device::{self, Options};
use bireme_bench::report;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

/// Drives block devices or files with reads, writes and trims: operations per second, throughput, latencies.
///
/// Reads need no permission. Writes overwrite what is there: devices in use are refused always, and those that hold something
/// without --destroy-data.
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
    let line = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&line).unwrap_or_else(|error| error.exit());
    match run(&cli, &line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench-device: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, line: &ArgMatches) -> Result<(), String> {
    let mut options = cli.options.clone();
    // Whoever takes the JSON from standard output has no use for a line beside it.
    options.watching.quiet |= cli.json.as_deref() == Some(Path::new("-"));
    let (text, json) = device::run(&options, line)?;
    let page = cli.html.as_deref().map_or(Ok(()), |file| report::give_html(&json, file));
    // What was measured is told even if there is no place for the page.
    report::give(&text, &json, cli.json.as_deref()).and(page)
}
