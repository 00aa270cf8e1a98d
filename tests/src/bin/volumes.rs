//! Lives of volumes on simulated devices: replays one, or lives many and names the first that breaks a promise.

use std::process::ExitCode;

use bireme_tests::volume_life::{Tally, live};
use clap::Parser;

/// Reads, writes and flushes at random while members die, the power fails, devices are rebuilt and bits rot.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Live so many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Begin with this one.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut tally = Tally::default();
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        match live(seed) {
            Ok(lived) => tally.merge(&lived),
            Err(broken) => {
                eprintln!("seed {seed}: {broken}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{} seeds from {}: nothing was broken; {tally:?}", arguments.seeds, arguments.from);
    ExitCode::SUCCESS
}
