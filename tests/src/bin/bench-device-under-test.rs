//! `bench-device` as the tests run it: they can find the binaries of their own package only.

use std::path::Path;
use std::process::ExitCode;

use bireme_bench::device::{self, Options};
use bireme_bench::report;
use clap::{CommandFactory, FromArgMatches, Parser};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let line = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&line).unwrap_or_else(|error| error.exit());
    match device::run(&arguments.options, &line) {
        Ok((text, json)) => {
            // The table goes where people look, the JSON where the tests do.
            eprint!("{text}");
            match report::give(&text, &json, Some(Path::new("-"))) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(sentence) => {
            eprintln!("bireme: {sentence}");
            ExitCode::FAILURE
        }
    }
}
