//! Classes on loop devices: nothing that has a limit is ever faster than that on any device, whoever works for it, and all
//! data is what it should be afterwards; the report says what was in force; and what cannot be promised is refused in a
//! sentence before a byte was changed.
//!
//! Only the least time that a run may take is checked. A busy machine makes it longer, and that is nobody's fault here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bireme_control::reservation::balance::{BURST, QUANTUM_BYTES};
use bireme_tests::command::{Ended, Line, contents};
use bireme_tests::data::{assert_same, generated, input};
use bireme_tests::loops::{Loops, Place, root_or_skip};
use bireme_tests::members::Files;
use serde_json::Value;

const MIB: u64 = 1 << 20;
const MEMBER_BYTES: u64 = 128 * MIB;
/// Of a data set, and of a volume.
const BYTES: u64 = 32 * MIB;
const PEERS: u64 = 2;

fn bireme(command: &str) -> Line {
    Line::new(env!("CARGO_BIN_EXE_bireme-under-test")).text(command)
}

fn bench_array(options: &str) -> Line {
    Line::new(env!("CARGO_BIN_EXE_bench-array-under-test")).text(options)
}

fn loops(count: u32) -> Loops {
    Loops::new(Place::Tmpfs, count, MEMBER_BYTES, 4096)
}

/// How long `bytes` take at a limit, at least: a class may have saved a burst when it begins, and each peer is one request,
/// or one quantum, ahead.
fn least(bytes: u64, limit: u64, request: u64) -> Duration {
    let ahead = PEERS * request.max(QUANTUM_BYTES);
    let time = u128::from(bytes.saturating_sub(ahead)) * 1_000_000_000 / u128::from(limit);
    Duration::from_nanos(u64::try_from(time).expect("short").saturating_sub(BURST.0))
}

/// Runs a line to its end; what it printed and how long it took, seen from outside.
#[track_caller]
fn timed(line: Line) -> (String, Duration) {
    let began = Instant::now();
    let printed = line.run().good();
    (printed, began.elapsed())
}

/// The JSON of a run, all of whose devices were held to this limit for all the time in which data was moved.
#[track_caller]
fn held(line: Line, limit: u64, request: u64) -> Value {
    let text = line.words(["--json", "-"]).run().good();
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let moving = Duration::from_nanos(json["write_ns"].as_u64().expect("a time"));
    for device in json["devices"].as_array().expect("devices") {
        let bytes = device["bytes"].as_u64().expect("a number");
        let least = least(bytes, limit, request);
        assert!(moving >= least, "{bytes} bytes of {} in {moving:?}: {least:?} at least", device["path"]);
        println!("{}: {bytes} bytes in {moving:?}, {least:?} at least", device["path"]);
    }
    json
}

/// What the report of `json` says of the class that worked.
#[track_caller]
fn in_force(json: &Value, class: &str, limit: u64) {
    let [held] = json["classes"].as_array().expect("a list").as_slice() else { panic!("one class: {json:#}") };
    assert_eq!((held["class"].as_str(), held["limit_bytes_per_s"].as_u64()), (Some(class), Some(limit)), "{held}");
}

/// The newest set is the one of this number, generated from seed 8.
#[track_caller]
fn restores(paths: &[PathBuf], number: u64, folder: &Path) {
    let output = folder.join("output");
    bireme("restore").path("--output", &output).devices(paths).run().good();
    let found = std::fs::read(&output).expect("the output");
    assert_same(&found, &generated(8, number, usize::try_from(BYTES).expect("small")), "restored");
}

#[test]
fn sets_are_written_and_read_no_faster_than_their_limits() {
    if !root_or_skip("sets_are_written_and_read_no_faster_than_their_limits") {
        return;
    }
    for (devices, level) in [(2, "0"), (3, "5"), (2, "1")] {
        let loops = loops(devices);
        let limit = 40 * MIB;
        let offload = format!("offload --raid {level} --size {BYTES} --seed 8 --peers {PEERS} --slot 1MiB --class");
        let line = bireme(&offload).words([&format!("offload=limit:{limit}")]).devices(&loops.paths());
        in_force(&held(line, limit, MIB), "offload", limit);
        restores(&loops.paths(), 1, loops.folder());
        let output = loops.folder().join("limited");
        let restore = format!("restore --peers {PEERS} --slot 1MiB --class restore=limit:{limit}");
        let line = bireme(&restore).path("--output", &output).devices(&loops.paths());
        in_force(&held(line, limit, MIB), "restore", limit);
        let found = std::fs::read(&output).expect("the output");
        assert_same(&found, &generated(8, 1, found.len()), "restored within a limit");
        assert_eq!(found.len() as u64, BYTES);
    }
}

/// Small pages have many leaves for their data: these count too.
#[test]
fn leaves_count_as_what_they_are() {
    if !root_or_skip("leaves_count_as_what_they_are") {
        return;
    }
    let (loops, limit) = (loops(2), 30 * MIB);
    let offload = "offload --page 16KiB --chunk 4KiB --size 16MiB --seed 8 --class";
    let line = bireme(offload).words([&format!("offload=limit:{limit}")]).devices(&loops.paths());
    let json = held(line, limit, MIB);
    let moved = json["devices"][0]["bytes"].as_u64().expect("a number");
    assert!(moved > 11 * MIB, "{moved} bytes are hardly more than the data");
}

/// A rate of the link is nobody's to exceed, with or without a limit of the class.
#[test]
fn the_rate_of_a_link_is_not_exceeded() {
    if !root_or_skip("the_rate_of_a_link_is_not_exceeded") {
        return;
    }
    let (loops, rate) = (loops(2), 40 * MIB);
    let offload = format!("offload --size {BYTES} --seed 8 --peers {PEERS} --slot 1MiB --link-rate {rate}");
    let json = held(bireme(&offload).devices(&loops.paths()), rate, MIB);
    assert_eq!(json["classes"][0]["link_bytes_per_s"].as_u64(), Some(rate), "{json:#}");
    restores(&loops.paths(), 1, loops.folder());
}

#[test]
fn arrays_are_mended_no_faster_than_their_limits() {
    if !root_or_skip("arrays_are_mended_no_faster_than_their_limits") {
        return;
    }
    let (loops, limit) = (loops(4), 24 * MIB);
    let (members, spare) = (loops.paths()[..3].to_vec(), loops.path(3).to_owned());
    let (file, data) = input(loops.folder(), 3, usize::try_from(BYTES).expect("small"));
    bireme(&format!("offload --raid 5 --page 1MiB --size {BYTES} --seed 8")).devices(&members).run().good();
    bireme(&format!("volume create --name v --size {BYTES}")).devices(&members).run().good();
    bireme("volume write --name v").path("--input", &file).devices(&members).run().good();
    // A third of the set lies on each device and a third of that again is parity; a volume counts as a whole.
    let both = least(BYTES / 2, limit, MIB) + least(BYTES, limit, MIB);
    let mend = |what: &str, given: &[PathBuf]| {
        let line = format!("array {what} --peers {PEERS} --slot 1MiB --class {what}=limit:{limit}");
        let (printed, took) = timed(bireme(&line).devices(given));
        assert!(took >= both, "{what}: {took:?}, {both:?} at least: {printed}");
        println!("{printed}");
        for place in ["on each device", "of data on the whole array"] {
            assert!(printed.contains(&format!("class {what}: at most 24 MiB/s {place}\n")), "{place}: {printed}");
        }
    };
    mend("scrub", &members);
    bireme("array replace --member 1").path("--with", &spare).devices(&members).run().good();
    let filled = [members[0].clone(), members[2].clone(), spare];
    mend("rebuild", &filled);
    let printed = bireme("array scrub").devices(&filled).run().good();
    assert!(!printed.contains("class") && printed.matches("nothing was damaged").count() == 2, "{printed}");
    restores(&filled, 1, loops.folder());
    let output = loops.folder().join("dump");
    let dump = format!("volume dump --name v --class foreground=limit:{limit}");
    let (printed, took) = timed(bireme(&dump).path("--output", &output).devices(&filled));
    assert!(took >= least(BYTES, limit, MIB), "{took:?}: {printed}");
    assert!(printed.contains("class foreground: at most 24 MiB/s of data on the whole array\n"), "{printed}");
    assert_same(&std::fs::read(&output).expect("the output"), &data, "dumped");
}

#[test]
fn a_rebuild_under_load_keeps_to_its_limit_and_the_load_to_its_own() {
    if !root_or_skip("a_rebuild_under_load_keeps_to_its_limit_and_the_load_to_its_own") {
        return;
    }
    let (loops, rebuild, foreground) = (loops(4), 20 * MIB, 10 * MIB);
    let line = format!(
        "--destroy-data --raid 5 --page 1MiB --size {BYTES} --peers {PEERS} --rw mixed --bs 16KiB --runtime 1 --verify \
         --state rebuilding --class rebuild=limit:{rebuild} --class foreground=limit:{foreground}"
    );
    let line = bench_array(&line).path("--spare", loops.path(3)).devices(&loops.paths()[..3]);
    let printed = line.run_within(Duration::from_secs(60)).good();
    println!("{printed}");
    for want in [
        "class foreground: at most 10 MiB/s of data on the whole array",
        "class rebuild: at most 20 MiB/s of data on the whole array",
        "every block holds what was written last",
    ] {
        assert!(printed.contains(want), "{want}: {printed}");
    }
}

/// A class in which a benchmark works holds for all its peers on each of its devices, whatever else is asked for.
#[test]
fn benchmarks_work_in_a_class_too() {
    if !root_or_skip("benchmarks_work_in_a_class_too") {
        return;
    }
    let (loops, limit) = (loops(2), 40 * MIB);
    let line = |options: &str| {
        let device = Line::new(env!("CARGO_BIN_EXE_bench-device-under-test")).words(loops.paths());
        device
            .text("--peers 2 --depth 16 --destroy-data --class")
            .words([format!("foreground=limit:{limit}")])
            .text(options)
    };
    for (options, request, bytes) in [
        ("--rw randwrite --bs 64KiB --bytes 24MiB", 64 << 10, 24 * MIB),
        ("--rw randrw --bs 4KiB --bytes 8MiB --verify --flush-every 100", 4096, 8 * MIB),
        ("--rw write --bs 1MiB --bytes 24MiB --arrivals constant --arrival-rate 10000", MIB, 24 * MIB),
    ] {
        let json: Value = serde_json::from_str(&line(options).run().good()).expect("JSON");
        let own = &json["bireme"];
        assert!(own["bytes"].as_u64().expect("a number") >= bytes, "{options}");
        let took = Duration::from_nanos(own["elapsed_ns"].as_u64().expect("a time"));
        // Two peers, each with a device of its own that is held to the limit.
        let least = least(bytes / 2, limit, request);
        assert!(took >= least, "{options}: {took:?}, {least:?} at least");
        in_force(own, "foreground", limit);
    }
    let refusals = [
        ("--class scrub=limit:1MiB", "a workload runs in class foreground alone"),
        ("--class foreground=limit:1MiB", "names foreground twice"),
    ];
    for (options, words) in refusals {
        let sentence = line("--rw randread").text(options).run().sentence();
        assert!(sentence.contains(words), "{sentence}");
    }
}

/// What is refused, and by which words; the first of the line is what it is refused for.
const REFUSED: [(&str, &[&str]); 5] = [
    ("CLASS=reserve:50MiB/s", &["class CLASS is promised", "add --link-rate"]),
    ("CLASS=weight:3", &["class CLASS is promised", "add --link-rate"]),
    ("backup=limit:50MiB/s", &["'backup'", "one of scrub, rebuild, restore, offload, foreground"]),
    ("CLASS=limit:1MiB --class CLASS=limit:2MiB", &["names CLASS twice"]),
    ("CLASS=reserve:3MiB --class foreground=reserve:2MiB --link-rate 4MiB", &["5242880 bytes per second", "4194304"]),
];

#[test]
fn what_cannot_be_promised_is_refused_before_a_byte_was_changed() {
    let files = Files::new(4, 24 * MIB);
    let (members, other) = (&files.paths()[..3], files.paths()[3].as_path());
    bireme("offload --raid 5 --size 3MiB --seed 8").devices(members).run().good();
    bireme("volume create --name v --size 1MiB").devices(members).run().good();
    let (file, _) = input(files.folder(), 1, 4096);
    let output = files.folder().join("never");
    let lines: [(&str, &dyn Fn() -> Line); 7] = [
        ("offload", &|| bireme("offload --raid 5 --size 3MiB").devices(members)),
        ("restore", &|| bireme("restore").path("--output", &output).devices(members)),
        ("scrub", &|| bireme("array scrub").devices(members)),
        ("rebuild", &|| bireme("array rebuild").devices(members)),
        ("scrub", &|| bireme("volume write --name v").path("--input", &file).devices(members)),
        ("scrub", &|| bireme("volume dump --name v").path("--output", &output).devices(members)),
        ("rebuild", &|| {
            bench_array("--destroy-data --size 1MiB --state rebuilding").path("--spare", other).devices(members)
        }),
    ];
    bireme("array fail --member 1").devices(members).run().good();
    let lost = [files.paths()[0].clone(), files.paths()[2].clone()];
    bireme("array replace --member 1 --destroy-data").path("--with", &members[1]).devices(&lost).run().good();
    let before = contents(files.paths());
    for (class, line) in lines {
        for (terms, words) in REFUSED {
            let terms = format!("--class {}", terms.replace("CLASS", class));
            let sentence = line().text(&terms).run().sentence();
            for word in words {
                let word = word.replace("CLASS", class);
                assert!(sentence.contains(&word), "'{word}' is missing: {sentence}");
            }
        }
        let Ended { code, stdout, stderr, .. } = line().text(&format!("--class {class}=limit:0")).run();
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains("would stop it for ever"), "{stderr}");
    }
    assert!(!output.exists(), "an output for a restore that was refused");
    for ((path, before), (_, after)) in before.iter().zip(&contents(files.paths())) {
        assert_same(after, before, &path.display().to_string());
    }
}
