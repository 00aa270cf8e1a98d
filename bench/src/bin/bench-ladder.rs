//! What each layer costs; see `bench-ladder --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use bireme_bench::ladder::{self, Options};
use bireme_bench::report;
use clap::Parser;

/// Writes the same amount of data through every layer of Bireme in turn, from a bare ring to a volume: throughput, CPU time,
/// latency and memory traffic of each, beside what the devices and the memory give.
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
    let cli = Cli::parse();
    let run = || {
        let (text, json) = ladder::measure(&cli.options)?;
        let page = cli.html.as_deref().map_or(Ok(()), |file| report::give_html(&json, file));
        // What was measured is told even if there is no place for the page.
        report::give(&text, &json, cli.json.as_deref()).and(page)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench-ladder: {sentence}");
            ExitCode::FAILURE
        }
    }
}
