//! fio and `t/io_uring` as opponents under the same load.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use bireme_control::units::Nanos;
use serde_json::Value;

use super::{Plan, Run, cores, limit};
use crate::versus::child::Runner;

/// How much of fio's work is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tuning {
    /// Registered files and buffers, batches of 32, the same bytes again and again, places drawn without a map of them.
    Full,
    /// fio's defaults.
    Plain,
}

impl Tuning {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Tuning::Full => "full",
            Tuning::Plain => "plain",
        }
    }

    /// fio's options that do not come from the job.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Tuning::Full => &[
                "--fixedbufs=1",
                "--registerfiles=1",
                "--nonvectored=1",
                "--iodepth_batch_submit=32",
                "--iodepth_batch_complete_min=1",
                "--iodepth_batch_complete_max=32",
                "--norandommap=1",
                "--refill_buffers=0",
                "--scramble_buffers=0",
            ],
            Tuning::Plain => &[],
        }
    }
}

pub(super) fn fio(plan: &Plan, runner: &mut Runner) -> Result<Run, String> {
    let ended = runner.run("fio", Command::new("fio").args(arguments(plan)), limit(plan))?;
    parse(&ended.stdout, plan.rw.direction_name(), ended.cpu)
}

fn arguments(plan: &Plan) -> Vec<OsString> {
    // A colon separates file names in fio.
    let names: Vec<String> = plan.devices.iter().map(|path| path.display().to_string().replace(':', "\\:")).collect();
    let mut arguments = vec![
        "--name=versus".to_owned(),
        format!("--filename={}", names.join(":")),
        format!("--rw={}", plan.rw.name()),
        format!("--bs={}", plan.request_bytes),
        format!("--iodepth={}", plan.depth),
        format!("--numjobs={}", plan.peers),
        format!("--runtime={}ms", plan.runtime.0 / 1_000_000),
    ];
    let always = ["--ioengine=io_uring", "--thread=1", "--time_based=1", "--group_reporting=1"];
    let report = ["--output-format=json", "--percentile_list=50:99:99.9"];
    arguments.extend(always.into_iter().chain(report).chain(plan.tuning.options().iter().copied()).map(String::from));
    if plan.devices.iter().any(|path| bireme_dataplane::device::is_null(path)) {
        // The null device knows no O_DIRECT, and has no size.
        arguments.push("--size=1g".to_owned());
    } else {
        arguments.push("--direct=1".to_owned());
    }
    if !plan.cores.is_empty() {
        arguments.extend([format!("--cpus_allowed={}", cores(plan)), "--cpus_allowed_policy=split".to_owned()]);
    }
    arguments.into_iter().map(OsString::from).collect()
}

/// fio may print remarks before the JSON.
fn parse(output: &str, direction: &str, cpu: Nanos) -> Result<Run, String> {
    let unreadable = || "fio's JSON cannot be read: use fio 3.x".to_owned();
    let json: Value =
        output.find('{').and_then(|at| serde_json::from_str(&output[at..]).ok()).ok_or_else(unreadable)?;
    let job = json["jobs"].get(0).ok_or_else(unreadable)?;
    if let Some(errno @ 1..) = job["error"].as_u64() {
        return Err(format!("fio failed with errno {errno}"));
    }
    let figures = &job[direction];
    let latency = |percentile: &str| figures["clat_ns"]["percentile"][percentile].as_f64();
    match (figures["iops"].as_f64(), figures["total_ios"].as_u64()) {
        (Some(operations_per_s), Some(operations @ 1..)) => Ok(Run {
            operations_per_s,
            p50_ns: latency("50.000000"),
            p99_ns: latency("99.000000"),
            p99_9_ns: latency("99.900000"),
            cpu_ns_per_operation: cpu.0 as f64 / operations as f64,
        }),
        _ => Err(unreadable()),
    }
}

/// It knows no time in parts of a second, and prints a line each second.
pub(super) fn t_io_uring(path: &Path, plan: &Plan, runner: &mut Runner) -> Result<Run, String> {
    let seconds = plan.runtime.0.div_ceil(1_000_000_000).max(2);
    let mut command = Command::new(path);
    command.args(["-p0", "-B1", "-F1", "-O1", "-n"]).arg(plan.peers.to_string());
    command.arg(format!("-d{}", plan.depth)).arg("-s32").arg("-c32");
    command.arg(format!("-b{}", plan.request_bytes)).arg(format!("-r{seconds}")).args(&plan.devices);
    let ended = runner.run("t/io_uring", &mut command, limit(plan))?;
    lines(&ended.stdout, ended.cpu, seconds)
}

/// `IOPS=1.23M, BW=...` or `IOPS=45678, BW=...`, one a second; the first one has the start in it.
fn lines(output: &str, cpu: Nanos, seconds: u64) -> Result<Run, String> {
    let rates: Vec<f64> = output.lines().filter_map(|line| rate(line.trim().strip_prefix("IOPS=")?)).collect();
    let steady = rates.get(1..).filter(|steady| !steady.is_empty()).unwrap_or(&rates);
    if steady.is_empty() {
        return Err("t/io_uring printed no line with IOPS=: use that of fio 3.3x or newer".to_owned());
    }
    let operations_per_s = steady.iter().sum::<f64>() / steady.len() as f64;
    let operations = operations_per_s * seconds as f64;
    let none = None;
    Ok(Run {
        operations_per_s,
        p50_ns: none,
        p99_ns: none,
        p99_9_ns: none,
        cpu_ns_per_operation: cpu.0 as f64 / operations,
    })
}

fn rate(text: &str) -> Option<f64> {
    let number = text.split(',').next()?.trim();
    let (number, scale) = match number.chars().last()? {
        'K' => (number.trim_end_matches('K'), 1e3),
        'M' => (number.trim_end_matches('M'), 1e6),
        _ => (number, 1.0),
    };
    Some(number.parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From fio 3.33; what is not read is left out.
    const RECORDED: &str = r#"fio: a remark
{ "fio version" : "fio-3.33", "jobs" : [ { "jobname" : "versus", "error" : 0,
  "read" : { "io_bytes" : 0, "total_ios" : 0, "iops" : 0.0 },
  "write" : { "io_bytes" : 9318400000, "iops" : 455000.25, "total_ios" : 2275000,
    "clat_ns" : { "min" : 1, "percentile" : { "50.000000" : 276480, "99.000000" : 441000, "99.900000" : 700000 } } } } ] }"#;

    #[test]
    fn fio_is_read() {
        let run = parse(RECORDED, "write", Nanos(2_275_000_000)).expect("complete");
        assert_eq!((run.operations_per_s, run.p99_ns, run.cpu_ns_per_operation), (455_000.25, Some(441_000.0), 1000.0));
        assert!(parse(RECORDED, "read", Nanos(1)).is_err(), "nothing was read");
        let failed = RECORDED.replace("\"error\" : 0", "\"error\" : 5");
        assert!(parse(&failed, "write", Nanos(1)).expect_err("failed").contains("errno 5"));
        assert!(["", "{", "{}"].iter().all(|text| parse(text, "write", Nanos(1)).is_err()));
    }

    #[test]
    fn t_io_uring_is_read() {
        let output = "submitter=0, tid=1, file=/dev/loop0\nIOPS=100K, BW=1GiB/s, IOS/call=32/31\nIOPS=1.20M, BW=x\n\
                      IOPS=800000, BW=x\nExiting on timeout\nMaximum IOPS=1.20M\n";
        let run = lines(output, Nanos(2_000_000_000), 2).expect("three lines");
        assert_eq!((run.operations_per_s, run.cpu_ns_per_operation, run.p50_ns), (1e6, 1000.0, None));
        assert!(lines("nothing", Nanos(1), 1).is_err());
    }
}
