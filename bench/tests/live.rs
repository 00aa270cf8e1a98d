//! The program on files: it measures, says why it cannot, and leaves nothing behind.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bireme_dataplane::device::file::scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

struct Files {
    _folder: TempDir,
    paths: Vec<PathBuf>,
}

fn files(bytes: u64) -> Files {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = scratch::create(folder.path(), 2, bytes).expect("room for the files");
    Files { _folder: folder, paths }
}

fn program(files: &Files, options: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-balance"));
    command.args(&files.paths).args(options.split_whitespace());
    command
}

fn run(files: &Files, options: &str) -> Output {
    program(files, options).output().expect("it runs")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The process that this program has started to compete, once there is one.
fn rival_of(parent: u32) -> Option<String> {
    let processes = std::fs::read_dir("/proc").expect("a list of processes").flatten();
    let is_rival = |pid: &String| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let parent_of = |stat: String| stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<u32>().ok();
        read("cmdline").contains("--spin-on") && parent_of(read("stat")) == Some(parent)
    };
    processes.filter_map(|entry| entry.file_name().into_string().ok()).find(is_rival)
}

#[test]
fn strategies_are_compared_over_a_flip() {
    let files = files(96 << 20);
    let options = "--destroy-data --size 32MiB --page 256KiB --sets 3 --flip 2 --peer-rate 0=160MiB/s,1=40MiB/s \
                   --strategies fixed,measured,measured-not-early --rounds 2 --json -";
    let json = json(&run(&files, options));
    assert_eq!(json["kind"], "balance-live");
    assert_eq!(json["arguments"]["rates_bytes_per_s"], serde_json::json!([160u64 << 20, 40u64 << 20]));
    assert_eq!(json["calibrations"].as_array().map(Vec::len), Some(2));
    let strategies = json["strategies"].as_array().expect("a list");
    assert_eq!(
        strategies.iter().map(|s| s["strategy"].as_str()).collect::<Vec<_>>(),
        [Some("fixed"), Some("measured"), Some("measured-not-early")]
    );
    for strategy in strategies {
        let rounds = strategy["rounds"].as_array().expect("a list");
        assert_eq!(rounds.len(), 2);
        for set in rounds.iter().flat_map(|round| round["sets"].as_array().expect("a list")) {
            let done = set["done"].as_array().expect("a list").iter().filter_map(Value::as_u64).sum::<u64>();
            assert_eq!(done, 128);
        }
        // After the flip the other peer is the slow one, and does less.
        let by = |set: usize, peer: usize| rounds[0]["sets"][set]["done"][peer].as_u64().expect("a count");
        let is_fixed = strategy["strategy"] == "fixed";
        assert!(is_fixed || (by(0, 0) > by(0, 1) && by(2, 0) < by(2, 1)), "{strategy}");
    }
    let divided = |row: usize, set: usize| &strategies[row]["rounds"][0]["sets"][set]["divided"];
    let halves = serde_json::json!([64, 64]);
    assert_eq!((divided(1, 0), divided(2, 0)), (&halves, &halves), "no strategy helps the next");
    assert_ne!(divided(1, 1), &halves, "sets that overlapped would be divided before anything is learnt");
    let lost = |row: usize| strategies[row]["lost_percent"].as_f64().expect("a number");
    assert!(lost(0) > lost(1) + 20.0, "four to one: fixed {} %, measured {} %", lost(0), lost(1));
}

#[test]
fn pairs_are_compared() {
    let files = files(96 << 20);
    let options = "--destroy-data --size 32MiB --sets 2 --pairs 2 --strategies measured,pull --json -";
    let json = json(&run(&files, options));
    assert_eq!((&json["kind"], json["pairs"].as_array().map(Vec::len)), (&"balance-cost".into(), Some(2)));
    assert!(json["ratio_median"].as_f64().expect("a number") > 0.0 && json["ratio_interval"].is_null());
}

#[test]
fn a_signal_ends_it_and_the_process_that_competes() {
    let files = files(96 << 20);
    let options = "--destroy-data --size 32MiB --sets 1000 --strategies pull --compete 0 --peer-rate 0=8MiB,1=8MiB";
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut command = program(&files, options);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        let pid = child.id();
        within_a_minute(|| rival_of(pid).is_some());
        let rival = rival_of(pid).expect("it spins");
        kill(Pid::from_raw(i32::try_from(pid).expect("a process")), signal).expect("it lives");
        let status = child.wait().expect("it ends");
        assert!(!status.success());
        within_a_minute(|| !is_spinning(&rival));
    }
}

/// It lives: neither gone nor a dead process that nobody has waited for.
fn is_spinning(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn within_a_minute(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "it takes too long");
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_be_measured_is_said_in_a_sentence_and_nothing_is_written() {
    let files = files(64 << 20);
    #[rustfmt::skip]
    let cases = [
        ("",                                                  "permit it with --destroy-data"),
        ("--destroy-data --size 1GiB",                        "the set needs"),
        ("--destroy-data --size 40MiB --throttle-peer 0=1MiB", "name loop devices"),
        ("--destroy-data --speeds 1:4",                       "cannot be used with"),
        ("--destroy-data --size 40MiB --cores 4000",          "core 4000 cannot be used"),
    ];
    for (options, want) in cases {
        let output = run(&files, options);
        let sentence = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && sentence.contains(want), "{options}: {sentence}");
        for path in &files.paths {
            let bytes = std::fs::read(path).expect("the file");
            assert!(bytes.iter().all(|&byte| byte == 0), "{options}: {} was written to", path.display());
        }
    }
}
