//! What was offloaded comes back byte by byte, through the command line and the real kernel.

use bireme_tests::command::Line;
use bireme_tests::data::{assert_same, generated, input, noise};
use bireme_tests::loops::{Loops, Place, root_or_skip};
use bireme_tests::members::Files;
use serde_json::Value;

fn bireme(command: &str) -> Line {
    Line::new(env!("CARGO_BIN_EXE_bireme-under-test")).text(command)
}

/// One trip of an input of `bytes` over loop devices.
#[derive(Clone, Copy, Debug)]
struct Trip {
    place: Place,
    block_bytes: u32,
    members: u32,
    chunk: u64,
    page: u64,
    peers: u16,
    balance: &'static str,
    bytes: usize,
}

impl Trip {
    fn make(self) {
        let Trip { place, block_bytes, members, chunk, page, peers, balance, bytes } = self;
        // Two sets of whole frames, the metadata of so many, and some room.
        let share = (bytes as u64).div_ceil(page) * (page + chunk * u64::from(members)) / u64::from(members);
        let loops = Loops::new(place, members, (2 * share + (12 << 20)).next_multiple_of(1 << 20), block_bytes);
        let (file, data) = input(loops.folder(), bytes as u64 ^ chunk, bytes);
        let options = format!("offload --chunk {chunk} --page {page} --peers {peers} --balance {balance}");
        let table = bireme(&options).path("--input", file).devices(&loops.paths()).run().good();
        assert!(table.starts_with("Offloaded "), "{self:?}: {table}");
        let output = loops.folder().join("output");
        let mut given = loops.paths();
        given.reverse();
        given.rotate_left(usize::from(members > 2));
        bireme("restore").path("--output", &output).devices(&given).text(&format!("--peers {peers}")).run().good();
        assert_same(&std::fs::read(&output).expect("the output"), &data, &format!("{self:?}"));
    }
}

const ODD: usize = (8 << 20) + 12_345;

#[test]
fn files_come_back_byte_by_byte() {
    if !root_or_skip("files_come_back_byte_by_byte") {
        return;
    }
    use Place::{Disk, Tmpfs};
    let (k16, k64, m1, m4) = (16 << 10, 64 << 10, 1 << 20, 4 << 20);
    #[rustfmt::skip]
    let trips = [
        // place, sector, members, chunk, page, peers, balance, bytes
        (Tmpfs,   512,  1, k64, m4,       1, "pull",  ODD),
        (Disk,    4096, 2, k64, m4,       2, "pull",  ODD),
        (Tmpfs,   4096, 3, k16, m1,       4, "fixed", ODD),
        (Disk,    512,  5, k64, m4,       2, "fixed", ODD),
        (Tmpfs,   512,  2, m1,  m4,       4, "pull",  ODD),
        // Stripes of 3 MiB and of 320 KiB do not divide these pages.
        (Tmpfs,   512,  3, m1,  m4,       2, "pull",  ODD),
        (Disk,    4096, 5, k64, m1 + 4096, 1, "fixed", ODD),
        (Tmpfs,   4096, 3, k16, m1,       2, "pull",  1),
        (Tmpfs,   512,  5, k64, m1,       4, "fixed", 1 << 20),
        (Disk,    512,  2, k16, m1,       2, "pull",  (1 << 20) + 1),
    ];
    for (place, block_bytes, members, chunk, page, peers, balance, bytes) in trips {
        Trip { place, block_bytes, members, chunk, page, peers, balance, bytes }.make();
    }
}

#[test]
#[ignore = "some minutes: every combination"]
fn files_come_back_in_every_combination() {
    if !root_or_skip("files_come_back_in_every_combination") {
        return;
    }
    for place in [Place::Tmpfs, Place::Disk] {
        for (block_bytes, balance) in [(512, "pull"), (4096, "fixed")] {
            for members in [1, 2, 3, 5] {
                for (chunk, page) in [(16 << 10, 1 << 20), (64 << 10, 4 << 20), (1 << 20, 4 << 20), (64 << 10, 69_632)]
                {
                    for peers in [1, 2, 4] {
                        for bytes in [1, usize::try_from(page).expect("small") + 1, ODD] {
                            Trip { place, block_bytes, members, chunk, page, peers, balance, bytes }.make();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_level_comes_back_whole_and_without_each_member() {
    #[rustfmt::skip]
    let cases = [
        // level, members, chunk, page
        ("1",  2, "64KiB", "1MiB"),
        ("1",  3, "16KiB", "1MiB"),
        ("10", 3, "64KiB", "1MiB"),
        ("10", 4, "16KiB", "100KiB"),
        ("5",  3, "64KiB", "1MiB"),
        ("5",  5, "16KiB", "1MiB"),
        ("6",  5, "64KiB", "1MiB"),
        ("50", 6, "16KiB", "100KiB"),
        ("60", 8, "16KiB", "1MiB"),
    ];
    for (level, members, chunk, page) in cases {
        let files = Files::new(members, 24 << 20);
        let (file, data) = input(files.folder(), 5, ODD / 2);
        let options = format!("offload --raid {level} --chunk {chunk} --page {page} --peers 2 --verify");
        let table = bireme(&options).path("--input", file).devices(files.paths()).run().good();
        assert!(table.contains(&format!("RAID {level} over {members} devices")), "{table}");
        assert_same(&restored(&files), &data, &options);
        for absent in 0..files.paths().len() {
            let mut given = files.paths().to_vec();
            given.remove(absent);
            let output = files.folder().join("output");
            let table = bireme("restore").path("--output", &output).devices(&given).run().good();
            assert!(table.contains("reconstructed"), "{table}");
            assert_same(&std::fs::read(&output).expect("the output"), &data, &format!("{options}, not {absent}"));
        }
    }
}

fn restored(files: &Files) -> Vec<u8> {
    let output = files.folder().join("output");
    bireme("restore").path("--output", &output).devices(files.paths()).run().good();
    std::fs::read(output).expect("the output")
}

#[test]
fn of_several_sets_the_newest_comes_back() {
    let files = Files::new(3, 32 << 20);
    let bytes = (5 << 20) + 77;
    let offload = |options: &str| {
        let size = format!("offload --size {bytes} --page 1MiB {options}");
        bireme(&size).devices(files.paths()).run().good()
    };
    offload("--seed 9 --sets 3");
    assert_same(&restored(&files), &generated(9, 3, bytes), "the third of three sets");
    offload("--seed 4");
    assert_same(&restored(&files), &generated(4, 4, bytes), "a set beside the old ones");
    let (file, data) = input(files.folder(), 5, ODD);
    bireme("offload --page 1MiB").path("--input", file).devices(files.paths()).run().good();
    assert_same(&restored(&files), &data, "a file beside generated sets");
}

#[test]
fn destroying_data_makes_a_pool_of_another_shape() {
    let files = Files::new(3, 32 << 20);
    bireme("offload --size 9MiB --sets 2").devices(files.paths()).run().good();
    let (file, data) = input(files.folder(), 6, ODD);
    let other = bireme("offload --destroy-data --chunk 1MiB --page 2MiB").path("--input", file);
    other.devices(&files.paths()[..2]).run().good();
    let output = files.folder().join("output");
    bireme("restore").path("--output", &output).devices(&files.paths()[..2]).run().good();
    assert_same(&std::fs::read(output).expect("the output"), &data, "the new pool");
    // What is left of the old one is no pool any more.
    let sentence = bireme("restore --verify").devices(files.paths()).run().sentence();
    assert!(sentence.contains("different pools"), "{sentence}");
}

#[test]
fn an_output_replaces_the_old_file_whole_and_leaves_nothing_beside() {
    let files = Files::new(2, 16 << 20);
    bireme("offload --size 1MiB --seed 2").devices(files.paths()).run().good();
    let output = files.folder().join("output");
    std::fs::write(&output, noise(1, 3 << 20)).expect("an old file");
    assert_same(&restored(&files), &generated(2, 1, 1 << 20), "the new file");
    let left = std::fs::read_dir(files.folder()).expect("the folder").flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn number(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} is no whole number"))
}

/// The fields that `bench/docs/json.md` promises, in a report of this run.
fn check_json(json: &Value, kind: &str, bytes: u64, sets: u64, peers: u64) {
    assert_eq!(json["kind"], kind);
    assert_eq!(number(json, "/bytes"), bytes * sets);
    assert!(number(json, "/elapsed_ns") >= number(json, "/write_ns") && number(json, "/write_ns") > 0);
    let rate = number(json, "/bytes") as f64 * 1e9 / number(json, "/elapsed_ns") as f64;
    assert!((rate - number(json, "/throughput_bytes_per_s") as f64).abs() <= 1.0);
    assert!(number(json, "/cpu_ns") > 0);
    let list = |name: &str| json[name].as_array().unwrap_or_else(|| panic!("{name} is no list")).clone();
    assert_eq!(list("sets").iter().map(|set| number(set, "/bytes")).sum::<u64>(), bytes * sets);
    assert_eq!(list("peers").len() as u64, peers);
    let moved = list("peers").iter().map(|peer| number(peer, "/bytes")).sum::<u64>();
    // What was repeated in the end game was moved twice.
    assert!(moved == bytes * sets || moved > bytes * sets && number(json, "/balance/repeated") > 0, "{moved} bytes");
    let requests: u64 = list("devices").iter().map(|device| number(device, "/writes") + number(device, "/reads")).sum();
    assert_eq!(number(json, "/latency_ns/count"), requests);
    assert_eq!(list("peers").iter().map(|peer| number(peer, "/latency_ns/count")).sum::<u64>(), requests);
    assert!(list("devices").iter().map(|device| number(device, "/bytes")).sum::<u64>() >= bytes * sets);
    let states =
        ["devices", "kernel", "filling", "checksum", "parity", "input", "handover", "throttled", "turn", "idle"];
    for peer in list("peers") {
        let percent = |state: &str| peer["time_percent"][state].as_f64().expect("a share of each state");
        let sum: f64 = states.iter().map(|state| percent(state)).sum();
        assert!((sum - 100.0).abs() < 0.05, "{sum} percent in {peer}");
        assert_eq!(peer["idle_percent"], peer["time_percent"]["idle"]);
        assert_eq!(peer["time_percent"].as_object().map(serde_json::Map::len), Some(states.len()));
        assert!(peer["achieved_depth"].as_f64().expect("a depth") > 0.0 || number(&peer, "/transfers") == 0);
    }
    for pointer in ["/ring/depth", "/ring/iou_workers", "/pool/frames", "/pool/frames_free", "/environment/cpus"] {
        number(json, pointer);
    }
    for pointer in ["/ring/opcodes", "/ring/paging", "/pool/uuid", "/environment/kernel", "/environment/time"] {
        assert!(json.pointer(pointer).is_some_and(Value::is_string), "{pointer}");
    }
}

#[test]
fn reports_add_up_and_are_understood_without_the_source() {
    let files = Files::new(2, 48 << 20);
    let (path, out) = (files.folder().join("report"), files.folder().join("reports"));
    let bytes = ODD as u64;
    let offload = bireme(&format!("offload --size {bytes} --seed 3 --sets 2 --peers 2 --verify")).path("--json", &path);
    let table = offload.path("--out", &out).devices(files.paths()).run().good();
    let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let json = parse(&std::fs::read_to_string(&path).expect("a report"));
    check_json(&json, "offload", bytes, 2, 2);
    assert_eq!((number(&json, "/environment/seed"), number(&json, "/verified/bytes")), (3, bytes));
    assert_eq!(std::fs::read_to_string(out.join("report.txt")).expect("the table"), table);
    assert!(std::fs::read_to_string(out.join("latency.hgrm")).expect("the percentiles").contains("#[Mean"));
    assert!(std::fs::read_to_string(out.join("report.html")).expect("the page").contains("Where the peers' time went"));
    assert_eq!(parse(&std::fs::read_to_string(out.join("report.json")).expect("the JSON")), json);
    for words in
        ["Offloaded 16 MiB in ", "Data sets", "Devices", "Peers", "device wait", "Latency", "verified: 8.01 MiB"]
    {
        assert!(table.contains(words), "{words}\n{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    for (option, kind) in [("--verify", "verify"), ("--output", "restore")] {
        let restore = bireme("restore --json - --peers 1");
        let restore = match option {
            "--output" => restore.path(option, files.folder().join("output")),
            _ => restore.text(option),
        };
        check_json(&parse(&restore.devices(files.paths()).run().good()), kind, bytes, 1, 1);
    }
}

#[test]
fn the_metadata_are_exported_for_others_to_read() {
    let files = Files::new(2, 24 << 20);
    bireme("offload --size 5MiB --page 1MiB --sets 2").devices(files.paths()).run().good();
    let export = bireme("export").devices(files.paths()).run().good();
    let export: Value = serde_json::from_str(&export).expect("JSON");
    let sets = export["sets"].as_array().expect("a list");
    assert_eq!((sets.len(), number(&sets[0], "/number"), number(&sets[0], "/bytes")), (1, 2, 5 << 20));
    assert_eq!(sets[0]["pages"].as_array().map(Vec::len), Some(5));
}

/// What is recorded by interval is all that was counted, of writing and of reading, in the report and in the files.
#[test]
fn intervals_sum_to_the_totals_and_are_in_all_files() {
    let files = Files::new(2, 128 << 20);
    // About a second: each peer has a rate of its own, and the slower one sleeps in between.
    let offload = "offload --size 48MiB --sets 2 --page 1MiB --balance fixed --peer-rate 0=60MiB/s,1=40MiB/s";
    for (kind, line) in [("write", offload), ("read", "restore --verify")] {
        let path = |name: &str| files.folder().join(format!("{kind}-{name}"));
        let options = [("--hlog", "log"), ("--hgrm", "table"), ("--intervals", "lines"), ("--html", "page")];
        let command = bireme(line).text("--interval 100ms").path("--json", path("report")).devices(files.paths());
        options.iter().fold(command, |command, (option, name)| command.path(option, path(name))).run().good();
        let read = |name: &str| std::fs::read_to_string(path(name)).expect("a file of the run");
        let report: Value = serde_json::from_str(&read("report")).expect("JSON");
        let sum = |list: &str, pointer: &str| -> u64 {
            let number = |entry: &Value| match entry.pointer(pointer) {
                Some(Value::Array(all)) => all.iter().filter_map(Value::as_u64).sum(),
                other => other.and_then(Value::as_u64).unwrap_or(0),
            };
            report[list].as_array().expect("a list").iter().map(number).sum()
        };
        let count = report["latency_ns"]["count"].as_u64().expect("a number");
        assert!(count > 0);
        assert_eq!(sum("intervals", "/operations"), count);
        assert_eq!(sum("intervals", &format!("/{kind}/count")), count);
        assert_eq!(sum("devices", &format!("/{kind}s")), count);
        assert_eq!(sum("intervals", "/bytes"), sum("devices", "/bytes"));
        assert_eq!(sum("intervals", "/bytes_by_peer"), sum("devices", "/bytes"));
        let intervals = report["intervals"].as_array().map_or(0, Vec::len);
        assert!(kind == "read" || intervals >= 5, "{intervals} intervals");
        assert_eq!(read("lines").lines().count(), intervals);
        assert!(read("log").starts_with("#[Histogram log format version 1.3]"));
        assert!(read("table").contains("#[Mean") && read("page").contains("Latency over time"));
    }
}
