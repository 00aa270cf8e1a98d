use serde_json::{Value, json};

use super::{Comparison, Run, Verdict, compare};

fn device(operations: f64, p99: u64, kernel: &str) -> Run {
    let clat = json!({ "percentile": { "50.000000": 100_000, "99.000000": p99, "99.900000": 900_000 } });
    let read = json!({ "total_ios": 1000, "iops": operations, "bw_bytes": operations * 4096.0, "clat_ns": clat });
    let report = json!({
        "jobs": [{ "error": 0, "job options": { "rw": "randread", "bs": "4096", "iodepth": "32", "numjobs": "1" },
                   "read": read, "write": { "total_ios": 0, "iops": 0.0 } }],
        "bireme": { "kind": "device", "cpu_ns_per_operation": 800.0, "environment": { "kernel": kernel, "cpu": "A" } },
    });
    ("run".to_owned(), report)
}

fn fio(operations: f64) -> Run {
    let (_, mut report) = device(operations, 200_000, "");
    report["jobs"][0]["job options"]["bs"] = json!("4k");
    for (name, value) in [("usr_cpu", json!(10.0)), ("sys_cpu", json!(30.0)), ("job_runtime", json!(1000))] {
        report["jobs"][0][name] = value;
    }
    report.as_object_mut().expect("an object").remove("bireme");
    ("fio".to_owned(), report)
}

fn verdict(comparison: &Comparison, name: &str) -> Verdict {
    comparison.figures.iter().find(|figure| figure.name == name).expect(name).verdict
}

fn runs(operations: &[f64], p99: u64) -> Vec<Run> {
    operations.iter().enumerate().map(|(index, rate)| device(*rate, p99 + index as u64 * 100, "6.18")).collect()
}

#[test]
fn repeats_tell_faster_slower_and_the_same() {
    let comparison =
        compare(&runs(&[100.0, 101.0, 99.0], 200_000), &runs(&[120.0, 121.0, 119.0], 300_000)).expect("runs");
    assert_eq!(verdict(&comparison, "read operations"), Verdict::Faster);
    assert_eq!(verdict(&comparison, "read p99"), Verdict::Slower, "more time is worse");
    assert_eq!(verdict(&comparison, "read p50"), Verdict::Same);
    assert_eq!(verdict(&comparison, "CPU per operation"), Verdict::Same);
    assert!(comparison.warnings.is_empty(), "{:?}", comparison.warnings);
    let worse: Vec<_> = comparison.regressions(5.0).iter().map(|figure| figure.name.clone()).collect();
    assert_eq!(worse, ["read p99"]);
    assert!(comparison.regressions(60.0).is_empty());
    let pairs = comparison.figures[0].pairs.expect("as many on both sides");
    assert!((pairs.median - 1.2).abs() < 0.01 && pairs.low < pairs.high);
    let table = comparison.to_table();
    assert!(table.contains("faster") && table.contains("Welch") && !table.contains("Read with care"), "{table}");
}

#[test]
fn runs_that_scatter_are_unclear_and_no_regression() {
    let comparison = compare(&runs(&[100.0, 150.0], 200_000), &runs(&[90.0, 140.0], 200_000)).expect("runs");
    assert_eq!(verdict(&comparison, "read operations"), Verdict::Unclear);
    assert!(comparison.regressions(5.0).is_empty());
}

#[test]
fn one_run_a_side_has_a_ratio_and_no_confidence() {
    let comparison = compare(&runs(&[100.0], 200_000), &runs(&[80.0], 200_000)).expect("runs");
    assert_eq!(verdict(&comparison, "read operations"), Verdict::NoConfidence);
    assert!(comparison.warnings.iter().any(|warning| warning.contains("without confidence")));
    assert_eq!(comparison.regressions(5.0).len(), 2, "operations and throughput");
    assert!(comparison.regressions(25.0).is_empty());
    assert!(comparison.to_table().contains("no confidence"));
}

#[test]
fn other_machines_and_jobs_are_told() {
    let mut other = device(100.0, 200_000, "6.1");
    other.1["jobs"][0]["job options"]["iodepth"] = json!("64");
    let warnings = compare(&runs(&[100.0], 200_000), &[other]).expect("runs").warnings.join("\n");
    for part in ["the kernel differs: 6.18 before, 6.1 now", "iodepth differs: 32 before, 64 now"] {
        assert!(warnings.contains(part), "{warnings}");
    }
    assert!(!warnings.contains("processor"), "{warnings}");
}

#[test]
fn fio_is_read_too() {
    let comparison = compare(&[fio(90.0)], &runs(&[100.0], 200_000)).expect("runs");
    let names: Vec<_> = comparison.figures.iter().map(|figure| figure.name.as_str()).collect();
    assert_eq!(
        names,
        ["read operations", "read throughput", "read p50", "read p99", "read p99.9", "CPU per operation"]
    );
    let cpu = comparison.figures.last().expect("figures");
    assert!((cpu.base - 400_000.0).abs() < 1e-3 && (cpu.new - 800.0).abs() < 1e-6);
    let warnings = comparison.warnings.join("\n");
    assert!(warnings.contains("one side is of fio") && !warnings.contains("bs differs"), "{warnings}");
}

#[test]
fn histograms_of_several_jobs_are_added() {
    let job = |low: u64| json!({ "read": { "total_ios": 100, "iops": 5.0, "clat_ns": { "bins": { low.to_string(): 99, "9000": 1 } } } });
    let report = json!({ "jobs": [job(100), job(200)] });
    let comparison = compare(&[("a".to_owned(), report.clone())], &[("b".to_owned(), report)]).expect("runs");
    let base = |name: &str| comparison.figures.iter().find(|figure| figure.name == name).expect(name).base.round();
    assert_eq!(
        [base("read operations"), base("read p50"), base("read p99"), base("read p99.9")],
        [10.0, 200.0, 200.0, 9000.0]
    );
}

#[test]
fn what_cannot_be_compared_is_refused_in_a_sentence() {
    let refused = |base: Value, new: Value| {
        compare(&[("a.json".to_owned(), base)], &[("b.json".to_owned(), new)]).expect_err("refused")
    };
    assert!(refused(json!({}), json!({})).contains("a.json has no figures"));
    assert!(refused(json!(7), json!([])).contains("has no figures"));
    let offload = json!({ "kind": "offload", "throughput_bytes_per_s": 5 });
    assert!(refused(offload.clone(), device(1.0, 1, "").1).contains("no figure in common"));
    assert!(compare(&[], &[("b".to_owned(), offload)]).is_err());
    let (_, mut failed) = fio(1.0);
    failed["jobs"][0]["error"] = json!(5);
    assert!(refused(failed.clone(), failed).contains("errno 5"));
}
