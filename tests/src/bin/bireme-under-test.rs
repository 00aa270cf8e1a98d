//! The `bireme` command again, so that tests of this crate find it built beside them.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match bireme_tools::run::run(&bireme_tools::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bireme: {sentence}");
            ExitCode::FAILURE
        }
    }
}
