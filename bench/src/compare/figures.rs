//! What is compared of a run, whoever has written its report: this program or fio.

use serde_json::Value;

use super::{Run, Unit};

/// A figure of one run, above zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) value: f64,
}

/// The figures of a run; an error is a sentence.
pub(super) fn of((path, report): &Run) -> Result<Vec<Figure>, String> {
    let mut figures = match report["jobs"].as_array() {
        Some(jobs) => of_jobs(path, jobs)?,
        None => of_ours(report),
    };
    let own = report.get("bireme").unwrap_or(report);
    let operations = own["operations"].as_f64();
    // The whole process as its kernel counted it; fio's figures leave out the kernel's workers.
    let each = own["cpu_ns_per_operation"].as_f64().or_else(|| Some(own["cpu_ns"].as_f64()? / operations?));
    let each = each.or_else(|| of_fio_cpu(report));
    figures.extend(each.map(|value| Figure { name: "CPU per operation".to_owned(), unit: Unit::Ns, value }));
    figures.retain(|figure| figure.value.is_finite() && figure.value > 0.0);
    if figures.is_empty() {
        return Err(format!(
            "{path} has no figures: it is neither a report of Bireme nor one of fio's --output-format=json"
        ));
    }
    Ok(figures)
}

fn of_jobs(path: &str, jobs: &[Value]) -> Result<Vec<Figure>, String> {
    if let Some(errno @ 1..) = jobs.iter().find_map(|job| job["error"].as_i64().filter(|errno| *errno != 0)) {
        return Err(format!("{path} is of a run that failed with errno {errno}"));
    }
    let mut figures = Vec::new();
    for direction in ["read", "write", "trim"] {
        let used: Vec<&Value> =
            jobs.iter().map(|job| &job[direction]).filter(|all| all["total_ios"].as_u64().unwrap_or(0) > 0).collect();
        let sum = |field: &str| used.iter().filter_map(|all| all[field].as_f64()).sum::<f64>();
        let mut add =
            |what: &str, unit, value| figures.push(Figure { name: format!("{direction} {what}"), unit, value });
        add("operations", Unit::PerS, sum("iops"));
        add("throughput", Unit::BytesPerS, sum("bw_bytes"));
        for (what, per_100_000) in PERCENTILES {
            add(what, Unit::Ns, percentile(&used, per_100_000).unwrap_or(0.0));
        }
    }
    Ok(figures)
}

/// Of one job as fio gives it; of several from the sum of their histograms, if there are any.
fn percentile(jobs: &[&Value], per_100_000: u32) -> Option<f64> {
    if let [job] = jobs {
        let name = format!("{}.{:03}000", per_100_000 / 1000, per_100_000 % 1000);
        return job["clat_ns"]["percentile"][name].as_f64();
    }
    let mut bins: Vec<(u64, u64)> = Vec::new();
    for job in jobs {
        let own = job["clat_ns"]["bins"].as_object()?;
        bins.extend(own.iter().filter_map(|(value, count)| Some((value.parse::<u64>().ok()?, count.as_u64()?))));
    }
    bins.sort_unstable();
    let total: u64 = bins.iter().map(|(_, count)| count).sum();
    let rank = (total as f64 * f64::from(per_100_000) / 100_000.0).ceil();
    let mut seen = 0;
    let reached = bins.into_iter().find(|(_, count)| {
        seen += count;
        seen as f64 >= rank
    });
    reached.map(|(value, _)| value as f64)
}

/// Percent of the runtime, by job.
fn of_fio_cpu(report: &Value) -> Option<f64> {
    let jobs = report["jobs"].as_array()?;
    let (mut nanos, mut operations) = (0.0, 0.0);
    for job in jobs {
        nanos += (job["usr_cpu"].as_f64()? + job["sys_cpu"].as_f64()?) / 100.0 * job["job_runtime"].as_f64()? * 1e6;
        operations += ["read", "write", "trim"].iter().filter_map(|name| job[name]["total_ios"].as_f64()).sum::<f64>();
    }
    Some(nanos / operations)
}

/// Reports that are not in the form of fio's.
fn of_ours(report: &Value) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |name: String, unit, value: Option<f64>| {
        figures.extend(value.map(|value| Figure { name, unit, value }));
    };
    add("operations".to_owned(), Unit::PerS, report["operations_per_s"].as_f64());
    add("throughput".to_owned(), Unit::BytesPerS, report["throughput_bytes_per_s"].as_f64());
    let kinds = [
        ("read", "/operation/reads/latency_ns"),
        ("write", "/operation/writes/latency_ns"),
        ("request", "/latency_ns"),
    ];
    for (name, pointer) in kinds {
        for (what, field) in [("p50", "p50"), ("p99", "p99"), ("p99.9", "p99_9")] {
            let value = report.pointer(pointer).and_then(|all| all[field].as_f64());
            add(format!("{name} {what}"), Unit::Ns, value);
        }
    }
    figures
}

const PERCENTILES: [(&str, u32); 3] = [("p50", 50_000), ("p99", 99_000), ("p99.9", 99_900)];
