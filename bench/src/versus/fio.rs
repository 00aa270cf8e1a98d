//! fio as the opponent: sequential writes, one job per device, io_uring, O_DIRECT, durable at the end.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use bireme_control::units::Nanos;
use serde_json::Value;

use super::child::Runner;
use super::{Plan, Run};

/// How much of fio's work is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tuning {
    /// Nothing but requests: registered files and buffers, the same bytes again and again, few clock reads.
    Full,
    /// As full, but each buffer is changed a little before each write.
    Data,
    /// fio's defaults.
    Plain,
}

impl Tuning {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Tuning::Full => "full",
            Tuning::Data => "data",
            Tuning::Plain => "plain",
        }
    }

    /// fio's options, without sizes and files.
    pub fn options(self) -> Vec<String> {
        let kernel = ["--fixedbufs=1", "--registerfiles=1", "--nonvectored=1", "--gtod_reduce=1", "--refill_buffers=0"];
        let tuned: &[&str] = if self == Tuning::Plain { &[] } else { &kernel };
        let data: &[&str] = match self {
            Tuning::Full => &["--scramble_buffers=0"],
            Tuning::Data => &["--scramble_buffers=1"],
            Tuning::Plain => &[],
        };
        let common = ["--rw=write", "--ioengine=io_uring", "--direct=1", "--end_fsync=1", "--thread=1"];
        let sizes = [format!("--iodepth={DEPTH}"), format!("--bs={REQUEST_BYTES}")];
        common.iter().chain(tuned).chain(data).map(|&option| option.to_owned()).chain(sizes).collect()
    }
}

pub(super) fn version(runner: &mut Runner) -> Result<String, String> {
    let ended = runner.run("fio", Command::new("fio").arg("--version"), Duration::from_secs(60))?;
    Ok(ended.stdout.trim().to_owned())
}

pub(super) fn run(plan: &Plan, runner: &mut Runner, limit: Duration) -> Result<Run, String> {
    let ended = runner.run("fio", Command::new("fio").args(arguments(plan)), limit)?;
    let (bytes, elapsed) = parse(&ended.stdout)?;
    if bytes != plan.bytes {
        return Err(format!("fio wrote {bytes} bytes instead of {}: is each device large enough?", plan.bytes));
    }
    Ok(Run { bytes, elapsed, cpu: ended.cpu })
}

fn arguments(plan: &Plan) -> Vec<OsString> {
    let share = plan.bytes / plan.devices.len().max(1) as u64;
    let mut arguments: Vec<OsString> = vec!["--output-format=json".into(), format!("--size={share}").into()];
    arguments.extend(plan.tuning.options().into_iter().map(OsString::from));
    for (number, device) in plan.devices.iter().enumerate() {
        arguments.push(format!("--name=device{number}").into());
        // A colon separates file names in fio.
        let escaped = device.display().to_string().replace(':', "\\:");
        arguments.push(format!("--filename={escaped}").into());
    }
    arguments
}

/// Bytes of all jobs, and the time of the slowest, its final flush included. fio may print remarks before the JSON.
fn parse(output: &str) -> Result<(u64, Nanos), String> {
    let unreadable = || "fio's JSON cannot be read: use fio 3.x".to_owned();
    let json: Value =
        output.find('{').and_then(|at| serde_json::from_str(&output[at..]).ok()).ok_or_else(unreadable)?;
    let jobs = json["jobs"].as_array().ok_or_else(unreadable)?;
    let (mut bytes, mut millis) = (0u64, 0u64);
    for job in jobs {
        if let Some(errno @ 1..) = job["error"].as_u64() {
            return Err(format!("fio's job {} failed with errno {errno}", job["jobname"]));
        }
        let write = &job["write"];
        bytes = bytes.saturating_add(write["io_bytes"].as_u64().ok_or_else(unreadable)?);
        millis = millis.max(write["runtime"].as_u64().ok_or_else(unreadable)?);
    }
    let elapsed = Nanos(millis.saturating_mul(1_000_000));
    if elapsed == Nanos::ZERO {
        Err("fio took less than 1 ms: choose a larger --size".to_owned())
    } else {
        Ok((bytes, elapsed))
    }
}

/// One request, as Bireme's default.
pub const REQUEST_BYTES: u64 = 512 << 10;
/// Requests in flight per device.
pub const DEPTH: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// From fio 3.33 with two jobs of 8 MiB; what is not read is left out.
    const RECORDED: &str = r#"note: a remark
{
  "fio version" : "fio-3.33",
  "jobs" : [
    { "jobname" : "device0", "error" : 0,
      "read" : { "io_bytes" : 0, "runtime" : 0 },
      "write" : { "io_bytes" : 8388608, "io_kbytes" : 8192, "bw_bytes" : 1677721600, "runtime" : 5 },
      "job_runtime" : 4 },
    { "jobname" : "device1", "error" : 0,
      "read" : { "io_bytes" : 0, "runtime" : 0 },
      "write" : { "io_bytes" : 8388608, "io_kbytes" : 8192, "bw_bytes" : 2097152000, "runtime" : 4 },
      "job_runtime" : 3 }
  ]
}"#;

    #[test]
    fn jobs_are_added_and_the_slowest_counts() {
        assert_eq!(parse(RECORDED), Ok((16 << 20, Nanos::from_millis(5))));
        let failed = RECORDED.replacen("\"error\" : 0", "\"error\" : 28", 1);
        assert_eq!(parse(&failed), Err("fio's job \"device0\" failed with errno 28".to_owned()));
        for garbage in ["", "{", "{}", "{\"jobs\": [{}]}", "\u{0}", "{\"jobs\": 7}"] {
            assert!(parse(garbage).expect_err(garbage).contains("cannot be read"));
        }
        assert!(parse("{\"jobs\": []}").is_err());
    }

    #[test]
    fn a_colon_in_a_path_names_one_file() {
        let plan = Plan {
            devices: vec!["/dev/disk/by-path/pci-0:1".into(), "/b".into()],
            bytes: 8 << 20,
            pairs: 1,
            tuning: Tuning::Data,
            throttle: None,
            bireme: "bireme".into(),
            extra: vec![],
        };
        let words = super::super::words(&arguments(&plan));
        assert!(words.contains(&"--filename=/dev/disk/by-path/pci-0\\:1".to_owned()));
        assert!(words.contains(&"--size=4194304".to_owned()) && words.contains(&"--scramble_buffers=1".to_owned()));
        assert!(!Tuning::Plain.options().iter().any(|option| option.contains("fixedbufs")));
    }
}
