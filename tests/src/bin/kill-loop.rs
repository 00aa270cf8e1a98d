//! Kills an offload at random moments, again and again, and restores what was committed: not a bit may be missing.
//!
//! ```text
//!   set 1 -> [ offload of endless sets -> SIGKILL at a random moment -> what is newest? -> restore and compare ] x N
//! ```
//!
//! The newest set after a kill is at least the newest before it and what the child had said on its live line. Its bytes
//! are computed apart from the product. Rounds alternate between generated data and an input file.

use std::path::PathBuf;
use std::process::ExitCode;

use bireme_tests::kills::{Options, kill_loop};
use clap::Parser;

/// Kills an offload at random moments and checks that the newest committed set restores bit for bit.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many kills.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// MiB of each set.
    #[arg(long, default_value_t = 32)]
    mib: u64,
    /// The moments derive from this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many loop devices.
    #[arg(long, default_value_t = 2)]
    devices: u32,
    /// Backing files in memory instead of the folder for temporary files.
    #[arg(long)]
    tmpfs: bool,
}

fn main() -> ExitCode {
    let Arguments { kills, mib, seed, devices, tmpfs } = Arguments::parse();
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("bireme-under-test")));
    let program = beside.unwrap_or_else(|| PathBuf::from("bireme-under-test"));
    match kill_loop(&Options { program, kills, bytes: mib << 20, seed, devices, tmpfs }) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("kill-loop: {sentence}");
            ExitCode::FAILURE
        }
    }
}
