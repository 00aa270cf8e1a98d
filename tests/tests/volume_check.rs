//! Volumes against the model of an independent program, `tests/verifier/volume_check.py`, through the command line.

use std::path::{Path, PathBuf};

use bireme_dataplane::device::file::scratch;
use bireme_tests::command::Line;
use bireme_tests::loops::{Loops, Place, root_or_skip};

/// Level, members, what else is said, and members that fail in the middle.
#[rustfmt::skip]
const CASES: [(&str, u32, &str, &str); 9] = [
    ("0",  3, "",           ""),
    ("1",  2, "",           "--fail 1"),
    ("10", 3, "",           "--fail 0"),
    ("5",  3, "",           "--fail 2"),
    ("5",  5, "--chunk 4KiB --page 100KiB", "--fail 0"),
    ("6",  5, "",           "--fail 1 --fail 4"),
    ("6",  4, "--chunk 64KiB", "--fail 3"),
    ("50", 6, "--groups 2", "--fail 1 --fail 4"),
    ("60", 8, "--groups 2", "--fail 0 --fail 3 --fail 5"),
];

#[test]
fn dumps_are_what_the_model_has_on_every_level() {
    if !python_or_skip("dumps_are_what_the_model_has_on_every_level") {
        return;
    }
    for (seed, (level, members, shape, failing)) in (1..).zip(CASES) {
        let folder = tempfile::tempdir().expect("a folder");
        let devices = scratch::create(folder.path(), members, DEVICE_BYTES).expect("room for the devices");
        let options =
            format!("--raid {level} {shape} {failing} --seed {seed} --size 12582912 --extents 80 --rounds 2 --kills 3");
        check(&devices, &options, folder.path());
    }
}

#[test]
fn dumps_are_what_the_model_has_on_loop_devices() {
    let name = "dumps_are_what_the_model_has_on_loop_devices";
    if !python_or_skip(name) || !root_or_skip(name) {
        return;
    }
    for (level, failing, block) in [("5", "--fail 3", 512), ("6", "--fail 0 --fail 2", 4096)] {
        let loops = Loops::new(Place::Tmpfs, 5, DEVICE_BYTES, block);
        check(&loops.paths(), &format!("--raid {level} {failing} --rounds 2 --kills 4"), loops.folder());
    }
}

fn check(devices: &[PathBuf], options: &str, scratch: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/verifier/volume_check.py");
    let line =
        Line::new("python3").words([script, "--bireme", env!("CARGO_BIN_EXE_bireme-under-test"), "--destroy-data"]);
    let told = line.text(options).path("--scratch", scratch).devices(devices).run_within(LIMIT).good();
    assert!(told.contains("dumps as the model has it"), "{options}: {told}");
}

fn python_or_skip(name: &str) -> bool {
    let found =
        std::process::Command::new("python3").arg("--version").output().is_ok_and(|ended| ended.status.success());
    if !found {
        println!("{name} skipped: needs python3");
    }
    found
}

const DEVICE_BYTES: u64 = 64 << 20;
const LIMIT: std::time::Duration = std::time::Duration::from_secs(240);
