//! `bireme compare` and `bireme report`: what is done with the JSON of runs that have ended.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

/// `bireme compare`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("runs").required(true).args(["files", "base"]))]
pub struct Compare {
    /// The report of what was before, and the one of what is judged. For repeats: --base and --new.
    #[arg(value_name = "FILE", num_args = 2)]
    pub files: Vec<PathBuf>,
    /// Reports of what was before; several are repeats.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "new")]
    pub base: Vec<PathBuf>,
    /// Reports of what is judged, in the order of those before if they were run in turn.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "base")]
    pub new: Vec<PathBuf>,
    /// Write the comparison as JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Exit with 1 if a figure has become worse by so many percent (default 5): where there are repeats, only if its
    /// interval is on the worse side. Other failures exit with 2.
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "5", value_parser = percent)]
    pub fail_on_regression: Option<f64>,
}

/// `bireme report`.
#[derive(Args, Debug)]
pub struct Report {
    /// The JSON of a run.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Write it as one page for a browser, with pictures; it needs no network.
    #[arg(long, value_name = "FILE")]
    pub html: PathBuf,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse::<f64>().ok().filter(|percent| (0.0..=1000.0).contains(percent));
    number.ok_or_else(|| format!("'{text}' is no percentage: write a number from 0 to 1000, such as 5 or 2.5"))
}
