//! Every reason for `bench-device` to refuse a device, on loop devices: a sentence that names the cause, an exit code of 1,
//! and not a byte changed. Permission to overwrite lifts the check of the content, and no other.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use bireme_tests::command::{Line, contents};
use bireme_tests::data::assert_same;
use bireme_tests::loops::{Loops, Mount, Place, root_or_skip};

const BYTES: u64 = 8 << 20;

fn bench(options: &str, path: &Path) -> Line {
    let line = Line::new(env!("CARGO_BIN_EXE_bench-device-under-test"));
    let writes = if options.contains("--rw") { "" } else { "--rw randwrite" };
    line.text(writes).text("--runtime 100ms").text(options).words([path])
}

/// Runs a line that must be refused with these words, and leave the bytes as they are.
#[track_caller]
fn refused(line: Line, bytes: &Path, words: &[&str]) {
    let before = contents(&[bytes]);
    let sentence = line.run().sentence();
    println!("{sentence}");
    words.iter().for_each(|word| assert!(sentence.contains(word), "'{word}' is missing: {sentence}"));
    assert_same(&contents(&[bytes])[0].1, &before[0].1, &sentence);
}

/// With permission and without it.
#[track_caller]
fn refused_always(path: &Path, bytes: &Path, words: &[&str]) {
    refused(bench("", path), bytes, words);
    refused(bench("--destroy-data", path), bytes, words);
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let output = Command::new(program).args(arguments).arg(path).output().expect("the program runs");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn write(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).expect("the device");
    file.write_all_at(bytes, offset).and_then(|()| file.sync_all()).expect("written");
}

#[test]
fn what_is_in_use_is_refused_with_permission_too() {
    if !root_or_skip("what_is_in_use_is_refused_with_permission_too") {
        return;
    }
    let mut loops = Loops::new(Place::Tmpfs, 3, BYTES, 512);
    let (lower, held, read_only) =
        (loops.path(0).to_path_buf(), loops.path(1).to_path_buf(), loops.path(2).to_path_buf());
    let bytes: Vec<_> = (0..3).map(|index| loops.backing(index).to_path_buf()).collect();
    run("mkfs.ext4", &["-q", "-F"], &lower);
    let upper = loops.attach(&lower, 512);
    {
        let _mount = Mount::ext4(&upper, &loops.folder().join("here"));
        refused_always(&upper, &bytes[0], &["is mounted on", "umount"]);
        // The kernel would open this one exclusively.
        refused_always(&lower, &bytes[0], &["stores the bytes of the loop device"]);
    }
    refused_always(&bytes[0], &bytes[0], &["stores the bytes of the loop device"]);
    let _holder = OpenOptions::new().read(true).open(&held).expect("a reader");
    let claim =
        bireme_dataplane::device::Device::open(&held, bireme_dataplane::device::Purpose::Write).expect("a claim");
    refused(bench("--destroy-data", &held), &bytes[1], &["in use by another process"]);
    drop(claim);
    run("blockdev", &["--setro"], &read_only);
    refused_always(&read_only, &bytes[2], &["is read-only", "--setrw"]);
    run("blockdev", &["--setrw"], &read_only);
}

#[test]
fn swap_is_refused_with_permission_too() {
    if !root_or_skip("swap_is_refused_with_permission_too") {
        return;
    }
    let loops = Loops::new(Place::Disk, 1, BYTES, 4096);
    run("mkswap", &["-q"], loops.path(0));
    // Without being used it is only somebody's data.
    refused(bench("", loops.path(0)), loops.backing(0), &["swap", "--destroy-data"]);
    let swapon = Command::new("swapon").arg(loops.path(0)).output().expect("swapon runs");
    if !swapon.status.success() {
        println!("swap in use skipped: {}", String::from_utf8_lossy(&swapon.stderr));
        return;
    }
    let refused =
        std::panic::catch_unwind(|| refused_always(loops.path(0), loops.backing(0), &["used as swap", "swapoff"]));
    run("swapoff", &[], loops.path(0));
    assert!(refused.is_ok());
}

#[test]
fn partitioned_devices_are_refused_with_permission_too() {
    if !root_or_skip("partitioned_devices_are_refused_with_permission_too") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 1, BYTES, 512);
    write(loops.path(0), 512, b"EFI PART");
    refused_always(loops.path(0), loops.backing(0), &["is partitioned", "GPT"]);
}

#[test]
fn what_holds_something_is_overwritten_with_permission_only() {
    if !root_or_skip("what_holds_something_is_overwritten_with_permission_only") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 3, BYTES, 4096);
    run("mkfs.ext4", &["-q", "-F"], loops.path(0));
    write(loops.path(1), 0, &[7; 4096]);
    let cases = [(0, "ext"), (1, "is not blank")];
    for (index, words) in cases {
        refused(bench("", loops.path(index)), loops.backing(index), &[words, "--destroy-data"]);
        // Who only reads asks nobody, and changes nothing.
        let before = contents(&[loops.backing(index)]);
        bench("--rw randread", loops.path(index)).run().good();
        assert_same(&contents(&[loops.backing(index)])[0].1, &before[0].1, "after reads");
        bench("--destroy-data", loops.path(index)).run().good();
    }
    // A blank one needs no permission, the first time.
    bench("", loops.path(2)).run().good();
    refused(bench("", loops.path(2)), loops.backing(2), &["is not blank", "--destroy-data"]);
}

#[test]
fn requests_that_do_not_fit_are_refused_before_the_first_one() {
    if !root_or_skip("requests_that_do_not_fit_are_refused_before_the_first_one") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 1, BYTES, 4096);
    let (path, bytes) = (loops.path(0), loops.backing(0));
    refused(bench("--bs 512", path), bytes, &["takes multiples of 4096 bytes", "--bs"]);
    refused(bench("--bs 16MiB", path), bytes, &["no request fits", "--region and --bs"]);
    refused(bench("--iopoll", path), bytes, &["no queue that can be polled", "--iopoll"]);
    refused(bench("", Path::new("/dev/loop-none")), bytes, &["does not exist"]);
    refused(bench("", Path::new("/dev/loop-control")), bytes, &["character device"]);
}
