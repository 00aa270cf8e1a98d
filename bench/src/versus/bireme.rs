//! Bireme as a child process, so that its start, its end and its CPU time are measured as fio's are.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use bireme_control::units::Nanos;
use serde_json::Value;

use super::child::Runner;
use super::{Plan, Run};

pub(super) fn arguments(plan: &Plan) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["offload", "--destroy-data", "--size"].map(OsString::from).into();
    arguments.push(plan.bytes.to_string().into());
    for device in &plan.devices {
        arguments.extend(["--device".into(), device.clone().into()]);
    }
    arguments.extend(plan.extra.iter().cloned());
    arguments
}

pub(super) fn run(plan: &Plan, runner: &mut Runner, limit: Duration) -> Result<Run, String> {
    let report = tempfile::NamedTempFile::new().map_err(|error| format!("no temporary file can be made: {error}"))?;
    let mut command = Command::new(&plan.bireme);
    command.args(arguments(plan)).arg("--json").arg(report.path());
    let ended = runner.run(&plan.bireme.display().to_string(), &mut command, limit)?;
    let json = std::fs::read_to_string(report.path()).map_err(|error| format!("bireme left no JSON: {error}"))?;
    let (bytes, elapsed) = parse(&json)?;
    if bytes != plan.bytes {
        return Err(format!("bireme wrote {bytes} bytes instead of {}: leave --size and --sets alone", plan.bytes));
    }
    Ok(Run { bytes, elapsed, cpu: ended.cpu })
}

fn parse(text: &str) -> Result<(u64, Nanos), String> {
    let json: Value = serde_json::from_str(text).map_err(|error| format!("bireme's JSON cannot be read: {error}"))?;
    match (json["bytes"].as_u64(), json["elapsed_ns"].as_u64()) {
        (Some(bytes), Some(elapsed @ 1..)) => Ok((bytes, Nanos(elapsed))),
        _ => Err("bireme's JSON lacks bytes or elapsed_ns: use a bireme of the same version".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_json_is_read() {
        assert_eq!(parse(r#"{ "bytes": 5, "elapsed_ns": 7, "more": [] }"#), Ok((5, Nanos(7))));
        assert!(parse("{}").is_err() && parse("").is_err() && parse(r#"{ "bytes": 5, "elapsed_ns": 0 }"#).is_err());
    }
}
