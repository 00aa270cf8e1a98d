//! `bench-device` on loop devices and files: trims, verification, a block that is flipped in mid-run, kill -9 and what the
//! journal says then, job files, and what is refused.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bireme_tests::child::Child;
use bireme_tests::command::Line;
use bireme_tests::loops::{Loops, Place, root_or_skip};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

const BYTES: u64 = 8 << 20;

/// A device to measure, and the file that holds its bytes.
struct Target {
    path: PathBuf,
    bytes: PathBuf,
    folder: TempDir,
    _loops: Option<Loops>,
}

/// A file; and a loop device, for whom that is allowed.
fn targets(name: &str) -> Vec<Target> {
    let folder = || tempfile::tempdir_in("/var/tmp").expect("a folder");
    let file = folder();
    let path = file.path().join("device");
    std::fs::write(&path, vec![0; usize::try_from(BYTES).expect("small")]).expect("a file");
    let mut all = vec![Target { bytes: path.clone(), path, folder: file, _loops: None }];
    if root_or_skip(name) {
        let loops = Loops::new(Place::Tmpfs, 1, BYTES, 4096);
        let (path, bytes) = (loops.path(0).to_path_buf(), loops.backing(0).to_path_buf());
        all.push(Target { path, bytes, folder: folder(), _loops: Some(loops) });
    }
    all
}

fn bench(options: &str) -> Line {
    Line::new(env!("CARGO_BIN_EXE_bench-device-under-test")).text(options)
}

fn measured(path: &Path, options: &str) -> (Value, String) {
    let ended = bench(options).words([path]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    (serde_json::from_str(&ended.stdout).expect("JSON"), ended.stderr)
}

fn spawned(path: &Path, options: &str) -> Child {
    let path = path.to_str().expect("a plain name");
    let words: Vec<&str> = options.split_whitespace().chain([path]).collect();
    Child::spawn(Path::new(env!("CARGO_BIN_EXE_bench-device-under-test")), &words).expect("it starts")
}

#[test]
fn trimmed_blocks_are_empty_and_the_way_is_said() {
    for Target { path, bytes, .. } in &targets("trimmed_blocks_are_empty_and_the_way_is_said") {
        let (json, _) = measured(path, "--rw write --bs 64KiB --bytes 8MiB --depth 4");
        assert_eq!(json["bireme"]["directions"]["write"]["bytes"], BYTES);
        let whole = std::fs::read(bytes).expect("the bytes");
        let empty: Vec<usize> =
            whole.chunks(4096).enumerate().filter(|(_, block)| *block == [0; 4096]).map(|(i, _)| i).collect();
        assert!(empty.is_empty(), "not written in {}: {empty:?}", path.display());
        let (json, text) =
            measured(path, "--rw trim --bs 64KiB --region 1MiB..3MiB --bytes 2MiB --depth 4 --destroy-data");
        assert_eq!(
            (&json["jobs"][0]["trim"]["total_ios"], &json["jobs"][0]["write"]["total_ios"]),
            (&32.into(), &0.into())
        );
        let way = if path == bytes { "FALLOCATE" } else { "BLOCK_URING_CMD_DISCARD" };
        assert!(text.contains(way), "{text}");
        let after = std::fs::read(bytes).expect("the bytes");
        assert!(after[1 << 20..3 << 20].iter().all(|&byte| byte == 0), "not trimmed");
        assert!(after[..1 << 20] == whole[..1 << 20] && after[3 << 20..] == whole[3 << 20..], "trimmed elsewhere");
    }
}

/// A loop device has no FUA: the kernel flushes after each write through the cache, and counts that.
#[test]
fn writes_are_made_durable_each_where_that_is_asked_for() {
    if !root_or_skip("writes_are_made_durable_each_where_that_is_asked_for") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 1, BYTES, 4096);
    let name = loops.path(0).file_name().expect("a node").to_string_lossy().into_owned();
    let flushes = || {
        let text = std::fs::read_to_string(format!("/sys/block/{name}/stat")).expect("its counters");
        text.split_whitespace().nth(15).and_then(|count| count.parse::<u64>().ok()).expect("flushes")
    };
    for (options, want) in [("", 0), ("--fua", 256), ("--flush-every 8", 31)] {
        let before = flushes();
        measured(loops.path(0), &format!("--rw write --bytes 1MiB --depth 1 --destroy-data {options}"));
        assert_eq!(flushes() - before, want, "{options}");
    }
}

#[test]
fn a_sound_device_is_verified_in_the_run_and_at_its_end() {
    for Target { path, .. } in &targets("a_sound_device_is_verified_in_the_run_and_at_its_end") {
        for options in
            ["--rw randrw --bs 4KiB:70,16KiB:30 --trim-percent 10 --peers 2", "--rw write --fua --flush-every 8"]
        {
            let common = "--verify --runtime 400ms --depth 8 --destroy-data";
            let (json, text) = measured(path, &format!("{options} {common}"));
            let verified = &json["bireme"]["verified"];
            assert!(verified["at_end"].as_u64() > Some(100), "{verified}");
            assert_eq!(verified["in_run"].as_u64() > Some(100), options.contains("randrw"), "{verified}");
            assert!(text.contains("are what was written last"), "{text}");
        }
    }
}

#[test]
fn a_flipped_byte_ends_the_run_with_its_place() {
    for Target { path, bytes, .. } in &targets("a_flipped_byte_ends_the_run_with_its_place") {
        let mut run = spawned(path, "--rw randrw --read-percent 90 --verify --runtime 20s --destroy-data");
        let file = OpenOptions::new().read(true).write(true).open(bytes).expect("the bytes");
        let began = Instant::now();
        let ended = loop {
            // Often, as a block that is written before it is read is mended; the place is the same in each block.
            for block in 0..BYTES / 4096 {
                let mut byte = [0];
                file.read_exact_at(&mut byte, block * 4096 + 1000).expect("read");
                file.write_all_at(&[byte[0] ^ 16], block * 4096 + 1000).expect("written");
            }
            if let Some(ended) = run.wait(Duration::from_millis(20)) {
                break ended;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it goes on for ever");
        };
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        let sentence = ended.sentence();
        let at = sentence.split(" at byte ").nth(1).and_then(|rest| rest.split(':').next()).expect("a place");
        assert_eq!(at.parse::<u64>().expect("a number") % 4096, 512, "{sentence}");
        assert!(sentence.starts_with(&path.display().to_string()) && sentence.contains("checksum"), "{sentence}");
    }
}

#[test]
fn what_was_durable_before_kill_9_is_there_and_what_is_lost_is_named() {
    for target in &targets("what_was_durable_before_kill_9_is_there_and_what_is_lost_is_named") {
        for (round, options) in
            ["--flush-every 16", "--fua", "--flush-every 3 --bs 4KiB:50,8KiB:50 --peers 2"].into_iter().enumerate()
        {
            let journal = target.folder.path().join(format!("journal-{round}"));
            let line = format!(
                "--rw randwrite --verify --journal {} --runtime 60s --depth 8 --destroy-data {options}",
                journal.display()
            );
            let mut run = spawned(&target.path, &line);
            let began = Instant::now();
            while std::fs::metadata(&journal).map_or(0, |facts| facts.len()) < 20_000 {
                assert!(run.wait(Duration::from_millis(5)).is_none(), "it has ended by itself");
                assert!(began.elapsed() < Duration::from_secs(20), "nothing is written down");
            }
            run.signal(Signal::SIGKILL);
            assert_eq!(run.wait(Duration::from_secs(10)).expect("it ends").code, 137);

            let check = || bench("").path("--verify-journal", &journal);
            let json: Value = serde_json::from_str(&check().run().good()).expect("JSON");
            let owed = json["owed"].as_u64().expect("a number");
            assert!(owed > 100 && json["lost"] == 0 && json["unreadable"] == 0, "{json}");
            assert_eq!(
                json["as_owed"].as_u64().zip(json["later"].as_u64()).map(|(exact, later)| exact + later),
                Some(owed)
            );

            let file = OpenOptions::new().write(true).open(&target.bytes).expect("the bytes");
            file.write_all_at(&vec![0; 1 << 20], 2 << 20).expect("written");
            let sentence = check().words([&target.path]).run().sentence();
            assert!(
                sentence.contains(&format!("of {owed} owed blocks are lost")) && sentence.contains("zeroes"),
                "{sentence}"
            );
        }
    }
}

#[test]
fn job_files_run_one_job_after_another_and_the_line_goes_before_them() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let (device, other) = (folder.path().join("device"), folder.path().join("other"));
    for path in [&device, &other] {
        File::create(path).and_then(|file| file.set_len(BYTES)).expect("a file");
    }
    let toml = folder.path().join("jobs.toml");
    let text = format!(
        "[global]\npaths = \"{}\"\ndestroy-data = true\n[[job]]\nname = \"fill\"\nrw = \"write\"\nbytes = \"8MiB\"\n\
         [[job]]\nname = \"read\"\nruntime = \"10m\"\ndepth = 7\n",
        device.display()
    );
    std::fs::write(&toml, text).expect("written");
    let line = bench("--runtime 200ms").path("--job", &toml);
    let json: Value = serde_json::from_str(&line.run().good()).expect("JSON");
    let of = |job: usize, name: &str| json["jobs"][job]["job options"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (json["jobs"].as_array().map(Vec::len), of(0, "name"), of(1, "name")),
        (Some(2), "fill".into(), "read".into())
    );
    assert_eq!((of(0, "rw"), of(1, "rw"), of(1, "iodepth")), ("write".into(), "randread".into(), "7".into()));
    assert_eq!(json["bireme"]["jobs"].as_array().map(Vec::len), Some(2));

    let fio = folder.path().join("jobs.fio");
    let text = "[global]\nioengine=libaio\ndirect=1\nbs=8k\nruntime=1\ntime_based\ngroup_reporting\n[it]\nrw=randwrite\niodepth=4\n\
                verify=crc32c\nfilename=/dev/does-not-exist\n";
    std::fs::write(&fio, text).expect("written");
    let ended = bench("--destroy-data").path("--job", &fio).words([&other]).run();
    let json: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    assert!(json["bireme"]["verified"]["at_end"].as_u64() > Some(10), "{json}");
    assert_eq!(json["jobs"][0]["job options"]["name"], "it");
    assert!(json["bireme"]["notes"].as_array().is_some_and(|notes| notes.len() >= 3), "{}", json["bireme"]["notes"]);
    std::fs::write(&fio, "[it]\nioengine=libaio\ndirect=1\nruntime=1\nzonemode=zbd\n").expect("written");
    let sentence = bench("").path("--job", &fio).words([&other]).run().sentence();
    assert!(sentence.contains("jobs.fio: fio's option 'zonemode' of the job it is not known"), "{sentence}");
}

#[test]
fn a_steady_run_ends_early_and_says_so() {
    let options = "--rw randwrite --depth 32 --interval 100ms --runtime 25s --steady 100%/1s";
    let (json, text) = measured(Path::new("/dev/null"), options);
    let steady = &json["bireme"]["steady"];
    assert!(steady["reached_ns"].as_u64() >= Some(1_000_000_000), "{steady}");
    assert!(json["bireme"]["elapsed_ns"].as_u64() < Some(24_000_000_000), "{text}");
    assert!(text.contains("Steady state reached after"), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let (device, there) = (folder.path().join("device"), folder.path().join("there"));
    File::create(&device).and_then(|file| file.set_len(BYTES)).expect("a file");
    File::create(&there).expect("a file");
    let exists = format!("--rw write --verify --fua --runtime 1s --journal {}", there.display());
    #[rustfmt::skip]
    let cases = [
        ("--rw randread --verify", "choose a pattern that writes"),
        ("--rw write --fua --journal x", "say --verify too"),
        ("--rw write --verify --journal x", "without --flush-every N or --fua"),
        ("--rw rw --verify --fua --trim-percent 5 --journal x", "a trimmed block owes nothing"),
        (exists.as_str(), "exists already"),
        ("--rw randread --trim-percent 5", "--trim-percent is for mixed patterns"),
        ("--rw rw --read-percent 60 --trim-percent 41", "sum to 101"),
        ("--rw rw --data zero", "patterns without reads"),
        ("--rw write --verify --bs 4KiB:50,6KiB:50", "6144 is no multiple of that"),
        ("--rw write --steady 5%/2s", "fewer than 5 intervals"),
    ];
    for (options, want) in cases {
        let sentence = bench(options).words([&device]).run().sentence();
        assert!(sentence.contains(want), "{options}: {sentence}");
    }
    assert!(std::fs::read(&device).expect("the file").iter().all(|&byte| byte == 0), "something was written");
    // A file of 4 TiB in name only: the stamps of its blocks would fill the memory.
    File::options().write(true).open(&device).and_then(|file| file.set_len(4 << 40)).expect("a sparse file");
    let sentence = bench("--rw randwrite --verify --bs 512 --runtime 1s").words([&device]).run().sentence();
    assert!(sentence.contains("for 4 bytes per block") && sentence.contains("--region"), "{sentence}");
    let sentence = bench("--rw trim").words(["/dev/null"]).run().sentence();
    assert!(sentence.contains("keeps nothing"), "{sentence}");
    let sentence = bench("").path("--verify-journal", &there).run().sentence();
    assert!(sentence.contains("is no journal"), "{sentence}");
}
