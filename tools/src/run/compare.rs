//! Reads reports of runs that have ended, and compares them or draws them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use bireme_bench::compare::{self, Run};
use bireme_bench::report;
use serde_json::Value;

use crate::cli::{Compare, Report};

/// Compares; the code is 1 for a regression that the operator wants to be told of.
pub(super) fn run(arguments: &Compare) -> Result<ExitCode, String> {
    let (base, new) = match arguments.files.as_slice() {
        [base, new] => (std::slice::from_ref(base), std::slice::from_ref(new)),
        _ => (arguments.base.as_slice(), arguments.new.as_slice()),
    };
    let read = |paths: &[std::path::PathBuf]| paths.iter().map(|path| load(path)).collect::<Result<Vec<Run>, _>>();
    let comparison = compare::compare(&read(base)?, &read(new)?)?;
    let worse = arguments.fail_on_regression.map(|percent| (percent, comparison.regressions(percent)));
    let mut json =
        serde_json::to_value(&comparison).map_err(|error| format!("the comparison cannot be written: {error}"))?;
    json["regressions"] = worse.iter().flat_map(|(_, worse)| worse).map(|figure| figure.name.clone()).collect();
    report::give(&comparison.to_table(), &json, arguments.json.as_deref())?;
    let Some((percent, worse)) = worse.filter(|(_, worse)| !worse.is_empty()) else { return Ok(ExitCode::SUCCESS) };
    let names: Vec<&str> = worse.iter().map(|figure| figure.name.as_str()).collect();
    eprintln!("bireme: worse by {percent} % or more: {}", names.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Draws a report again.
pub(super) fn draw(arguments: &Report) -> Result<(), String> {
    let (path, json) = load(&arguments.file)?;
    if !json.is_object() {
        return Err(format!("{path} is no report: it is JSON, but no object"));
    }
    report::give_html(&json, &arguments.html)
}

/// A report of at most so many bytes: fio may print remarks before its JSON.
fn load(path: &Path) -> Result<Run, String> {
    let name = path.display().to_string();
    let cannot = |error: &dyn std::fmt::Display| format!("{name} cannot be read: {error}");
    let file = File::open(path).map_err(|error| cannot(&error))?;
    let mut text = String::new();
    BufReader::new(file.take(REPORT_MAX)).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    let start = text.find('{').ok_or_else(|| cannot(&"it has no JSON in it"))?;
    let json: Value = serde_json::from_str(&text[start..]).map_err(|error| cannot(&error))?;
    Ok((name, json))
}

const REPORT_MAX: u64 = 1 << 30;
