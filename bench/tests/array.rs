//! `bench-array --state rebuilding` on files: the rebuild ends before the workload or after it, gives way when it is told
//! to, leaves an array that holds what was written; and says before it writes anything why it cannot.

use std::path::PathBuf;
use std::process::{Command, Output};

use bireme_dataplane::device::file::scratch;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::arrays;
use serde_json::Value;
use tempfile::TempDir;

struct Files {
    _folder: TempDir,
    devices: Vec<PathBuf>,
    spare: PathBuf,
}

fn files(members: u32, bytes: u64) -> Files {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let mut devices = scratch::create(folder.path(), members + 1, bytes).expect("room for the files");
    let spare = devices.pop().expect("one more");
    Files { _folder: folder, devices, spare }
}

fn run(devices: &[PathBuf], options: &str, spare: Option<&PathBuf>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-array"));
    command.arg("--device").args(devices).args(options.split_whitespace());
    if let Some(spare) = spare {
        command.arg("--spare").arg(spare);
    }
    command.output().expect("it runs")
}

/// A rebuild beside a workload, and everything compared at the end; its JSON.
fn rebuild(files: &Files, options: &str) -> Value {
    let options = format!("--destroy-data --state rebuilding --verify --page 256KiB --json - {options}");
    let output = run(&files.devices, &options, Some(&files.spare));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["state"], &json["verified"]), (&"rebuilding".into(), &true.into()));
    assert_eq!((&json["healed_blocks"], &json["lost_blocks"]), (&0.into(), &0.into()));
    for figure in ["operations_per_s", "iops_ratio", "p99_ratio"] {
        assert!(number(&json["rebuild"]["healthy"], figure) > 0.0 && number(&json["rebuild"]["while"], figure) > 0.0);
    }
    let members: Vec<&PathBuf> = files.devices[1..].iter().chain([&files.spare]).collect();
    let members = Device::open_all(&members, Purpose::Read).expect("they are there");
    let array = arrays::show_array(&members).expect("an array");
    assert!(array.whole && array.members.iter().all(|member| member.state == "active"), "{:?}", array.members);
    assert_eq!(array.members[0].path.as_ref(), Some(&files.spare));
    json["rebuild"].clone()
}

fn number(json: &Value, name: &str) -> f64 {
    json[name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {json}"))
}

#[test]
fn a_rebuild_that_ends_before_the_workload_shows_what_it_had_cost() {
    for (raid, members, rw) in [("1", 2, "randwrite"), ("5", 4, "mixed"), ("6", 4, "randwrite")] {
        let files = files(members, 48 << 20);
        let rebuild = rebuild(&files, &format!("--raid {raid} --rw {rw} --size 16MiB --runtime 2 --depth 4"));
        let (beside, alone, after) = (&rebuild["beside"], &rebuild["alone"], &rebuild["after"]);
        assert_eq!((&beside["bytes"], &alone["bytes"]), (&(16 << 20).into(), &0.into()), "RAID {raid}");
        let spans = [&rebuild["while"], after, &rebuild["healthy"]].map(|phase| number(phase, "elapsed_ns"));
        // What is under way when time is up may take a while on a busy machine.
        assert!((2e9..4e9).contains(&(spans[0] + spans[1])), "both parts are the runtime: {spans:?}");
        assert!((2e9..4e9).contains(&spans[2]), "the healthy array as long: {spans:?}");
        assert!((spans[0] - number(beside, "elapsed_ns")).abs() < 5e8, "parted when the rebuild had ended: {rebuild}");
        assert!(number(after, "p99_ratio") > 0.0 && number(&after["latency_ns"], "count") > 0.0);
        assert_eq!(number(&after["latency_ns"], "count"), number(after, "operations"));
        assert_eq!((&rebuild["p99_target_ns"], &rebuild["intervals"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn a_rebuild_that_is_not_done_when_time_is_up_ends_alone() {
    let files = files(4, 48 << 20);
    let rebuild = rebuild(&files, "--raid 5 --size 16MiB --runtime 1 --rebuild-rate 8MiB");
    let (beside, alone) = (&rebuild["beside"], &rebuild["alone"]);
    assert_eq!(number(beside, "bytes") + number(alone, "bytes"), f64::from(16 << 20));
    // The rate is kept beside the workload and alone; what is under way when time is up counts as alone.
    for part in [beside, alone] {
        assert!((6e6..=1.1e7).contains(&number(part, "bytes_per_s")), "{part}");
    }
    assert_eq!(rebuild["after"], Value::Null);
}

#[test]
fn a_rebuild_gives_way_to_a_target_and_to_nobody_when_it_is_alone() {
    let files = files(4, 160 << 20);
    let size = f64::from(160 << 20);
    let hopeless = rebuild(&files, "--raid 5 --size 160MiB --runtime 2 --p99-target 1us");
    let (beside, alone) = (&hopeless["beside"], &hopeless["alone"]);
    assert!(number(&hopeless, "intervals_exceeded") > 20.0, "{hopeless}");
    assert!(number(&hopeless, "intervals_exceeded") <= number(&hopeless, "intervals"));
    // It comes to the floor of two peers, and not below.
    let floor = number(&hopeless, "floor_bytes_per_s");
    assert_eq!(floor, f64::from(8 << 20));
    assert!((floor * 0.7..floor * 2.0).contains(&number(beside, "bytes_per_s")), "{beside}");
    assert!(number(alone, "bytes_per_s") > 2.0 * number(beside, "bytes_per_s"), "{alone}");
    assert_eq!(number(beside, "bytes") + number(alone, "bytes"), size);

    let easy = rebuild(&files, "--raid 5 --size 160MiB --runtime 2 --p99-target 100s");
    assert_eq!(number(&easy, "intervals_exceeded"), 0.0);
    assert!(number(&easy["beside"], "bytes_per_s") > 2.0 * number(beside, "bytes_per_s"), "{easy}");
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is_written() {
    let files = files(4, 32 << 20);
    let small = files.spare.with_file_name("small");
    std::fs::write(&small, vec![0; 8 << 20]).expect("room");
    let (devices, spare) = (&files.devices, Some(&files.spare));
    let rebuilding = "--destroy-data --size 16MiB --runtime 1 --state rebuilding";
    let healthy = "--destroy-data --size 16MiB --runtime 1";
    #[rustfmt::skip]
    let cases = [
        // options,                                          spare,             says
        (rebuilding.to_owned(),                              None,              vec!["--state rebuilding needs", "--spare"]),
        (healthy.to_owned(),                                 spare,             vec!["--spare says", "add --state rebuilding"]),
        (format!("{healthy} --state degraded"),              spare,             vec!["--spare says", "--state degraded"]),
        (format!("{healthy} --p99-target 2ms"),              None,              vec!["--p99-target says"]),
        (format!("{healthy} --rebuild-rate 1MiB"),           None,              vec!["--rebuild-rate says"]),
        (format!("{rebuilding} --rebuild-rate 0"),           spare,             vec!["--rebuild-rate 0 would never end"]),
        (format!("{rebuilding} --p99-target 2"),             spare,             vec!["'2' is no time", "500us"]),
        (rebuilding.to_owned(),                              Some(&small),      vec!["8388608 bytes", "33554432", "at least as large"]),
        (rebuilding.to_owned(),                              Some(&devices[2]), vec!["the same device", "name each device once"]),
        (format!("{rebuilding} --raid 0"),                   spare,             vec!["RAID 0 keeps no data without a member"]),
        (rebuilding.replace("--destroy-data", ""),           spare,             vec!["--destroy-data"]),
    ];
    let contents = || devices.iter().chain(spare).all(is_blank);
    for (options, spare, says) in cases {
        let output = run(devices, &options, spare);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{options}: {text}");
        assert!(says.iter().all(|part| text.contains(part)), "{options}: {text}");
        assert!(contents(), "{options}: something was written");
    }
}

fn is_blank(path: &PathBuf) -> bool {
    std::fs::read(path).expect("a file").iter().all(|&byte| byte == 0)
}
