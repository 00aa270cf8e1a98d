//! `bench-array` as the tests run it: they can find the binaries of their own package only.

use std::process::ExitCode;

use bireme_bench::array::{Options, measure};
use clap::Parser;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse().options) {
        Ok((text, _)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("bireme: {sentence}");
            ExitCode::FAILURE
        }
    }
}
