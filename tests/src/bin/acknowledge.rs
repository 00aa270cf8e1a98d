//! Writes blocks of a volume at random and says what was acknowledged; see `bireme_tests::acknowledged`.

use std::path::PathBuf;
use std::process::ExitCode;

use bireme_tests::acknowledged::{Job, run};
use clap::Parser;

/// Writes blocks of a volume at random and says what was acknowledged.
#[derive(Debug, Parser)]
struct Arguments {
    /// The members of the pool.
    #[arg(long = "device", num_args = 1.., required = true)]
    devices: Vec<PathBuf>,
    /// The volume.
    #[arg(long)]
    name: String,
    /// Places and data derive from this number.
    #[arg(long)]
    seed: u64,
    /// How many writes each peer is asked for.
    #[arg(long)]
    writes: u64,
}

fn main() -> ExitCode {
    let Arguments { devices, name, seed, writes } = Arguments::parse();
    match run(&Job { devices, name, seed, writes }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bireme: {sentence}");
            ExitCode::FAILURE
        }
    }
}
