//! The same requests to the same devices through fio and `bench-device` in turn, and the ratios pair by pair.
//!
//! Both run as whole processes, and their CPU time is what the kernel says when they have ended: start, end and all threads
//! included. What the kernel's own workers use (those of loop devices, say) is left out of both alike.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bireme_control::units::Nanos;
use serde::Serialize;
use serde_json::{Value, json};

use super::child::Runner;
use super::interval::{interval, median, verdict};
use super::{check_free, fio, words};
use crate::device::Pattern;
use crate::environment::Environment;
use crate::report::Columns;
use crate::size;

mod opponent;

pub use opponent::Tuning;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The devices or files.
    pub devices: Vec<PathBuf>,
    /// What is done.
    pub rw: Pattern,
    /// Bytes of one request.
    pub request_bytes: u64,
    /// Requests in flight, for each peer.
    pub depth: u32,
    /// Peers, and jobs of fio.
    pub peers: u16,
    /// Their cores; all that may be used if empty.
    pub cores: Vec<usize>,
    /// How long each run measures.
    pub runtime: Nanos,
    /// How often each tool runs.
    pub pairs: usize,
    /// How fio is tuned.
    pub tuning: Tuning,
    /// The `bench-device` command.
    pub bench_device: PathBuf,
    /// fio's `t/io_uring`, if it is to run as well. It reads at random.
    pub t_io_uring: Option<PathBuf>,
    /// More options for `bench-device`.
    pub extra: Vec<OsString>,
}

/// What one run of a tool did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Requests that ended, per second.
    pub operations_per_s: f64,
    /// Median latency.
    pub p50_ns: Option<f64>,
    /// 99 of a hundred were not slower.
    pub p99_ns: Option<f64>,
    /// 999 of a thousand were not slower.
    pub p99_9_ns: Option<f64>,
    /// CPU time of the whole process by request.
    pub cpu_ns_per_operation: f64,
}

/// One run of each.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// fio's.
    pub fio: Run,
    /// Bireme's.
    pub bireme: Run,
    /// That of `t/io_uring`, if it ran.
    pub t_io_uring: Option<Run>,
}

/// All pairs, and how they were made.
#[derive(Clone, Debug)]
pub struct Comparison {
    plan: Plan,
    fio_version: String,
    pairs: Vec<Pair>,
}

/// A figure of a run, by the name that tables and JSON have for it.
type Figure = (&'static str, fn(&Run) -> Option<f64>);

const FIGURES: [Figure; 5] = [
    ("operations_per_s", |run| Some(run.operations_per_s)),
    ("p50_ns", |run| run.p50_ns),
    ("p99_ns", |run| run.p99_ns),
    ("p99_9_ns", |run| run.p99_9_ns),
    ("cpu_ns_per_operation", |run| Some(run.cpu_ns_per_operation)),
];

/// Runs the plan.
///
/// # Errors
/// A sentence for the operator.
pub fn compare(plan: Plan) -> Result<Comparison, String> {
    if plan.t_io_uring.is_some() && plan.rw != Pattern::RandRead {
        return Err(
            "t/io_uring reads at random and nothing else: choose --rw randread or leave --t-io-uring out".into()
        );
    }
    if !matches!(plan.rw, Pattern::Read | Pattern::Write | Pattern::RandRead | Pattern::RandWrite) {
        return Err("tools are compared in one direction: choose --rw read, write, randread or randwrite".into());
    }
    let null = plan.devices.iter().any(|path| bireme_dataplane::device::is_null(path));
    if !null {
        plan.devices.iter().try_for_each(|path| check_free(path))?;
    }
    let mut runner = Runner::start().map_err(|error| format!("signals cannot be watched: {error}"))?;
    let fio_version = fio::version(&mut runner)?;
    // Bireme first: its checks then protect the devices from fio as well.
    ours(&plan, &mut runner)?;
    opponent::fio(&plan, &mut runner)?;
    let mut pairs = Vec::with_capacity(plan.pairs);
    for number in 1..=plan.pairs {
        let pair = Pair {
            fio: opponent::fio(&plan, &mut runner)?,
            bireme: ours(&plan, &mut runner)?,
            t_io_uring: plan
                .t_io_uring
                .as_deref()
                .map(|path| opponent::t_io_uring(path, &plan, &mut runner))
                .transpose()?,
        };
        let ratio = |figure: fn(&Run) -> f64| figure(&pair.bireme) / figure(&pair.fio);
        eprintln!(
            "pair {number} of {}: {:.3} times the operations of fio, {:.3} times its CPU time per operation",
            plan.pairs,
            ratio(|run| run.operations_per_s),
            ratio(|run| run.cpu_ns_per_operation),
        );
        pairs.push(pair);
    }
    Ok(Comparison { plan, fio_version, pairs })
}

/// Our own options, without what only names files.
fn arguments(plan: &Plan) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = plan.devices.iter().map(OsString::from).collect();
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    option("--rw", plan.rw.name().to_owned());
    option("--bs", plan.request_bytes.to_string());
    option("--depth", plan.depth.to_string());
    option("--peers", plan.peers.to_string());
    option("--runtime", format!("{}ms", plan.runtime.0 / 1_000_000));
    if !plan.cores.is_empty() {
        option("--cores", cores(plan));
    }
    if plan.rw.writes() {
        arguments.push("--destroy-data".into());
    }
    arguments.extend(plan.extra.iter().cloned());
    arguments
}

fn cores(plan: &Plan) -> String {
    plan.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// The time that a run may take.
fn limit(plan: &Plan) -> Duration {
    Duration::from_nanos(plan.runtime.0.saturating_mul(2)) + Duration::from_secs(60)
}

fn ours(plan: &Plan, runner: &mut Runner) -> Result<Run, String> {
    let report = tempfile::NamedTempFile::new().map_err(|error| format!("no temporary file can be made: {error}"))?;
    let mut command = Command::new(&plan.bench_device);
    command.args(arguments(plan)).arg("--json").arg(report.path());
    let ended = runner.run("bench-device", &mut command, limit(plan))?;
    let text = std::fs::read_to_string(report.path()).map_err(|error| format!("bench-device left no JSON: {error}"))?;
    parse(&text, plan.rw.direction_name(), ended.cpu)
}

fn parse(text: &str, direction: &str, cpu: Nanos) -> Result<Run, String> {
    let json: Value =
        serde_json::from_str(text).map_err(|error| format!("bench-device's JSON cannot be read: {error}"))?;
    let own = &json["bireme"];
    let figures = &own["directions"][direction];
    let latency = |name: &str| figures["service_ns"][name].as_f64();
    match (own["operations_per_s"].as_f64(), figures["operations"].as_u64()) {
        (Some(operations_per_s), Some(operations @ 1..)) => Ok(Run {
            operations_per_s,
            p50_ns: latency("p50"),
            p99_ns: latency("p99"),
            p99_9_ns: latency("p99_9"),
            cpu_ns_per_operation: cpu.0 as f64 / operations as f64,
        }),
        _ => Err("bench-device's JSON lacks its operations: use one of the same version".to_owned()),
    }
}

impl Comparison {
    fn ratios(&self, figure: fn(&Run) -> Option<f64>, whom: impl Fn(&Pair) -> Option<Run>) -> Vec<f64> {
        let ratio = |pair: &Pair| Some(figure(&pair.bireme)? / figure(&whom(pair)?)?);
        self.pairs.iter().filter_map(ratio).collect()
    }

    fn median_of(&self, figure: fn(&Run) -> Option<f64>, whom: impl Fn(&Pair) -> Option<Run>) -> Option<f64> {
        let values: Vec<f64> = self.pairs.iter().filter_map(|pair| figure(&whom(pair)?)).collect();
        (!values.is_empty()).then(|| median(&values))
    }

    /// For people.
    pub fn to_table(&self, environment: &Environment) -> String {
        let plan = &self.plan;
        let request = size::print(plan.request_bytes);
        let mut text =
            format!("{} of {request}, depth {} x {} on {}\n\n", plan.rw.name(), plan.depth, plan.peers, names(plan));
        text += &self.table("fio", |pair| Some(pair.fio));
        if plan.t_io_uring.is_some() {
            text += &format!("\n{}", self.table("t/io_uring", |pair| pair.t_io_uring));
        }
        let operations = self.ratios(FIGURES[0].1, |pair| Some(pair.fio));
        text += &format!("\nOperations per second, median ratio Bireme / fio: {}\n", verdict(&operations));
        let cpu = self.ratios(FIGURES[4].1, |pair| Some(pair.fio));
        text += &format!("CPU time per operation, median ratio Bireme / fio: {}\n", verdict(&cpu));
        text += &format!("{}, tuning {}: {}\n", self.fio_version, plan.tuning.name(), plan.tuning.options().join(" "));
        text += &format!("bench-device {}\n", words(&arguments(plan)).join(" "));
        text += "CPU is that of each whole process, start and end included, without the kernel's own threads\n";
        text += &format!("{}, Linux {}, {}\n", environment.cpu, environment.kernel, environment.time);
        text
    }

    fn table(&self, name: &str, whom: impl Fn(&Pair) -> Option<Run> + Copy) -> String {
        let heading = format!("Medians of {} pairs", self.pairs.len());
        let mut columns = Columns::new(&[&heading, name, "Bireme", "ratio", "lowest", "highest"]);
        for (label, figure) in FIGURES {
            let ratios = self.ratios(figure, whom);
            let (Some(theirs), Some(own)) =
                (self.median_of(figure, whom), self.median_of(figure, |pair| Some(pair.bireme)))
            else {
                continue;
            };
            let bound = |choose: fn(f64, f64) -> f64| ratios.iter().copied().reduce(choose).unwrap_or(0.0);
            columns.row(vec![
                label.replace('_', " "),
                format!("{theirs:.0}"),
                format!("{own:.0}"),
                format!("{:.3}", median(&ratios)),
                format!("{:.3}", bound(f64::min)),
                format!("{:.3}", bound(f64::max)),
            ]);
        }
        columns.print()
    }

    /// For programs; `bench/docs/json.md` explains it.
    pub fn to_json(&self, environment: &Environment) -> Value {
        let against = |whom: fn(&Pair) -> Option<Run>| -> Value {
            let entry = |(name, figure): Figure| {
                let ratios = self.ratios(figure, whom);
                (name.to_owned(), json!({ "ratio_median": median(&ratios), "ratio_interval": interval(&ratios) }))
            };
            Value::Object(FIGURES.into_iter().map(entry).collect())
        };
        let plan = &self.plan;
        json!({
            "kind": "versus device",
            "rw": plan.rw.name(),
            "request_bytes": plan.request_bytes,
            "depth": plan.depth,
            "peers": plan.peers,
            "runtime_ns": plan.runtime,
            "fio_version": self.fio_version,
            "fio_tuning": plan.tuning.name(),
            "fio_options": plan.tuning.options(),
            "bench_device_options": words(&arguments(plan)),
            "pairs": self.pairs,
            "against_fio": against(|pair| Some(pair.fio)),
            "against_t_io_uring": plan.t_io_uring.as_ref().map(|_| against(|pair| pair.t_io_uring)),
            "environment": environment,
        })
    }
}

fn names(plan: &Plan) -> String {
    plan.devices.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(operations_per_s: f64) -> Run {
        let latency = |factor: f64| Some(1e9 / operations_per_s * factor);
        Run {
            operations_per_s,
            p50_ns: latency(1.0),
            p99_ns: latency(2.0),
            p99_9_ns: latency(3.0),
            cpu_ns_per_operation: 1e9 / operations_per_s,
        }
    }

    fn comparison() -> Comparison {
        let plan = Plan {
            devices: vec!["/dev/loop0".into()],
            rw: Pattern::RandWrite,
            request_bytes: 4096,
            depth: 128,
            peers: 1,
            cores: vec![0],
            runtime: Nanos::from_millis(1500),
            pairs: 3,
            tuning: Tuning::Full,
            bench_device: "bench-device".into(),
            t_io_uring: None,
            extra: vec!["--seed".into(), "7".into()],
        };
        let pair = |fio, bireme| Pair { fio: run(fio), bireme: run(bireme), t_io_uring: None };
        let pairs = vec![pair(100.0, 150.0), pair(100.0, 120.0), pair(200.0, 280.0)];
        Comparison { plan, fio_version: "fio-3.33".into(), pairs }
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let comparison = comparison();
        let ratios = comparison.ratios(FIGURES[0].1, |pair| Some(pair.fio));
        assert_eq!(ratios, [1.5, 1.2, 1.4]);
        let table = comparison.to_table(&Environment::gather(&[], &[] as &[Value], None));
        assert!(table.contains("operations per s           100       150  1.400   1.200    1.500"), "{table}");
        assert!(table.contains("fewer than six pairs"), "{table}");
        let json = comparison.to_json(&Environment::gather(&[], &[] as &[Value], None));
        assert_eq!(json["against_fio"]["operations_per_s"]["ratio_median"], 1.4);
        assert!(json["against_t_io_uring"].is_null());
    }

    #[test]
    fn both_are_given_the_same_job() {
        let plan = comparison().plan;
        let own = words(&arguments(&plan)).join(" ");
        assert_eq!(
            own,
            "/dev/loop0 --rw randwrite --bs 4096 --depth 128 --peers 1 --runtime 1500ms --cores 0 --destroy-data --seed 7"
        );
        let refused = compare(Plan { t_io_uring: Some("x".into()), ..plan.clone() }).expect_err("it cannot write");
        assert!(refused.contains("randread"), "{refused}");
        let refused = compare(Plan { rw: Pattern::Rw, ..plan }).expect_err("two directions");
        assert!(refused.contains("one direction"), "{refused}");
    }

    #[test]
    fn our_json_is_read() {
        let text = r#"{ "bireme": { "operations_per_s": 500.0, "directions": { "read": { "operations": 10,
            "service_ns": { "p50": 1, "p99": 2, "p99_9": 3 } } } } }"#;
        let read = parse(text, "read", Nanos(1000)).expect("complete");
        assert_eq!((read.p99_ns, read.cpu_ns_per_operation), (Some(2.0), 100.0));
        assert!(parse(text, "write", Nanos(1)).is_err() && parse("{}", "read", Nanos(1)).is_err());
    }
}
