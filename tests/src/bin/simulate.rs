//! Replays one simulated life, or lives many and names the first that breaks a promise.

use std::process::ExitCode;

use bireme_tests::simulation::tally::Tally;
use bireme_tests::simulation::{Lived, simulate};
use clap::Parser;

/// Lives of the whole engine on simulated devices, each from one seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Replay the life of this seed.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print each event of it: time, who, and the request or letter.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Live so many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Begin with this one.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return match simulate(seed, arguments.trace) {
            Ok(Lived { ends, hash, events, tally, .. }) => {
                ends.iter().for_each(|end| println!("{end:?}"));
                println!("{tally:?}");
                println!("seed {seed}: nothing was broken; {events} events, hash {hash:016x}");
                ExitCode::SUCCESS
            }
            Err(broken) => fail(seed, &broken),
        };
    }
    let mut tally = Tally::default();
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        match simulate(seed, false) {
            Ok(lived) => tally.merge(&lived.tally),
            Err(broken) => return fail(seed, &broken),
        }
    }
    println!("{} seeds from {}: nothing was broken; {tally:?}", arguments.seeds, arguments.from);
    ExitCode::SUCCESS
}

fn fail(seed: u64, broken: &str) -> ExitCode {
    eprintln!("seed {seed}: {broken}");
    eprintln!("replay it: cargo run -p bireme-tests --bin simulate -- --seed {seed} --trace");
    ExitCode::FAILURE
}
