//! `bench-array` on files: what is recorded by interval is all that was counted, in the report and in the files.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn intervals_sum_to_the_totals_and_are_in_all_files() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-array"));
    command.args(
        "--destroy-data --raid 5 --rw mixed --size 16MiB --runtime 1 --interval 100ms --flush-every 50".split(' '),
    );
    for (option, name) in
        [("--hlog", "log"), ("--hgrm", "table"), ("--intervals", "lines"), ("--json", "report"), ("--html", "page")]
    {
        command.arg(option).arg(path(name));
    }
    command.arg("--device");
    for name in ["a", "b", "c"] {
        std::fs::write(path(name), vec![0; 64 << 20]).expect("a file");
        command.arg(path(name));
    }
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file of the run");
    let report: Value = serde_json::from_str(&read(&path("report"))).expect("JSON");
    let intervals = report["intervals"].as_array().expect("a list");
    let sum = |pointer: &str| -> u64 {
        let numbers = |interval: &Value| match interval.pointer(pointer) {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_u64).sum(),
            other => other.and_then(Value::as_u64).unwrap_or(0),
        };
        intervals.iter().map(numbers).sum()
    };
    assert!(intervals.len() >= 5, "{} intervals", intervals.len());
    assert_eq!(Some(sum("/operations")), report["operations"].as_u64());
    assert_eq!(Some(sum("/bytes")), report["bytes"].as_u64());
    assert_eq!(Some(sum("/read/count")), report["operation"]["reads"]["latency_ns"]["count"].as_u64());
    assert_eq!(Some(sum("/write/count")), report["operation"]["writes"]["latency_ns"]["count"].as_u64());
    assert_eq!(read(&path("lines")).lines().count(), intervals.len());
    assert!(read(&path("log")).starts_with("#[Histogram log format version 1.3]"));
    assert!(read(&path("table.read")).contains("#[Mean") && read(&path("table.write")).contains("#[Mean"));
    assert!(read(&path("page")).contains("Over time"));
}
