//! A reader that shares no code with Bireme, against what the `bireme` command writes.
//!
//! `tests/reader/bireme_reader.py` was written from `dataplane/docs/on-disk-format.md` alone. It reads what the command
//! wrote, byte for byte, over geometries in which every formula of the document matters, and it names what is damaged:
//! so the document, the program and the checksums agree. Devices are regular files.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bireme_tests::loops::root_or_skip;
use serde_json::Value;
use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
struct Case {
    why: &'static str,
    members: usize,
    chunk: u64,
    page: u64,
    bytes: u64,
    raid: &'static str,
}

#[test]
fn every_geometry_is_read_byte_for_byte() {
    if !python_or_skip("every_geometry_is_read_byte_for_byte") {
        return;
    }
    #[rustfmt::skip]
    let cases = [
        Case { why: "one member",                                  members: 1,  chunk: 4 * KIB,  page: 256 * KIB,  bytes: 600_001, raid: "0" },
        Case { why: "a frame with two blocks of leaves",           members: 1,  chunk: 64 * KIB, page: 3072 * KIB, bytes: 2_200_001, raid: "0" },
        Case { why: "small chunks, every stripe full",             members: 4,  chunk: 4 * KIB,  page: 64 * KIB,   bytes: 1_400_001, raid: "0" },
        Case { why: "a page that is no multiple of the stripe",    members: 3,  chunk: 64 * KIB, page: 1024 * KIB, bytes: 1_300_001, raid: "0" },
        Case { why: "nor of the chunk",                            members: 4,  chunk: 64 * KIB, page: 100 * KIB,  bytes: 350_001, raid: "0" },
        Case { why: "a chunk that is no power of two",             members: 3,  chunk: 12 * KIB, page: 100 * KIB,  bytes: 350_001, raid: "0" },
        Case { why: "the last page is one byte",                   members: 3,  chunk: 4 * KIB,  page: 64 * KIB,   bytes: 131_073, raid: "0" },
    ];
    cases.into_iter().for_each(second_set_is_read);
}

#[test]
fn every_level_is_read_byte_for_byte() {
    if !python_or_skip("every_level_is_read_byte_for_byte") {
        return;
    }
    let case = |raid, members, chunk, page| Case { raid, members, chunk: chunk * KIB, page: page * KIB, ..SMALL };
    let cases = [
        case("1", 2, 64, 256),
        case("1", 3, 4, 100),
        case("10", 4, 16, 256),
        case("10", 3, 16, 256),
        case("10", 5, 4, 100),
        case("5", 3, 64, 256),
        case("5", 5, 12, 100),
        case("6", 4, 16, 256),
        case("6", 7, 4, 100),
        case("50", 6, 16, 256),
        case("60", 8, 4, 100),
    ];
    cases.into_iter().for_each(second_set_is_read);
}

/// With so many members the buffers do not fit the usual limit of locked memory: this one needs root.
#[test]
fn the_second_sector_of_the_member_table_is_read() {
    let name = "the_second_sector_of_the_member_table_is_read";
    if python_or_skip(name) && root_or_skip(name) {
        let why = "17 members";
        second_set_is_read(Case { why, members: 17, chunk: 4 * KIB, page: 256 * KIB, bytes: 500_001, raid: "0" });
    }
}

fn second_set_is_read(case: Case) {
    let pool = Pool::with_two_sets(case);
    let frames: Vec<_> = pages(&pool.export).iter().map(|page| page[0].as_u64().expect("a frame")).collect();
    assert!(!frames.contains(&0), "the first set lies in frame 0, so this one does not: {frames:?}");
    pool.read().wrote(&pool.input, case.why);
}

#[test]
fn generated_sets_of_one_run_are_read_as_restore_reads_them() {
    if !python_or_skip("generated_sets_of_one_run_are_read_as_restore_reads_them") {
        return;
    }
    let case = Case { why: "", members: 3, chunk: 4 * KIB, page: 100 * KIB, bytes: 300_001, raid: "0" };
    let mut pool = Pool::blank(case);
    pool.offload(&["--size", "300001", "--seed", "7", "--sets", "5"]);
    let restored = pool.folder.path().join("restored");
    let words = ["restore"].iter().chain(&TUNING).map(AsRef::as_ref);
    let words: Vec<_> = words.chain(["--output".as_ref(), restored.as_os_str()]).collect();
    pool.bireme(&words).good();
    let want = std::fs::read(restored).expect("the restored set");
    assert_eq!(pool.export["sets"][0]["number"], 5);
    pool.read().wrote(&want, "the fifth set");
}

#[test]
fn damage_to_data_and_leaves_is_named() {
    if !python_or_skip("damage_to_data_and_leaves_is_named") {
        return;
    }
    let pool = Pool::with_two_sets(SMALL);
    let Place { data, leaf } = pool.place(1);
    let path = pool.devices[2].display();
    let at = data + 3 * BLOCK;
    let bad = |kind: &str, at: u64| format!("page 1: {kind} of the block at {at} of {path} is not the leaf's");

    let damage = Damage::flip(&pool.devices[2], at + 4095);
    pool.read().refused(&[&bad("CRC-32C", at)], "one byte of the data");
    drop(damage);
    for (offset, kind) in [(0, "CRC-32C"), (7, "tag")] {
        let _damage = Damage::flip(&pool.devices[2], leaf + 3 * 8 + offset);
        let stderr = pool.read().refused(&["page 1: the root of its leaves is", &bad(kind, at)], "one byte of a leaf");
        assert_eq!(stderr.matches("is not the leaf's").count(), 1, "{stderr}");
    }
    let damage = Damage::flip(&pool.devices[2], leaf + BLOCK - 1);
    pool.read().refused(&["page 1: the root", "leaves for blocks that were not written"], "behind the leaves");
    drop(damage);

    // Two blocks change places together with their leaves: the sums fit, the tags do not.
    let _data = Damage::swap(&pool.devices[2], [at, at + BLOCK], BLOCK);
    let _leaves = Damage::swap(&pool.devices[2], [leaf + 3 * 8, leaf + 4 * 8], 8);
    let want = ["page 1: the root", &bad("tag", at), &bad("tag", at + BLOCK)];
    let stderr = pool.read().refused(&want, "blocks at each other's place");
    assert!(!stderr.contains("CRC-32C"), "{stderr}");
}

#[test]
fn damaged_superblocks_are_named_and_their_copies_used() {
    if !python_or_skip("damaged_superblocks_are_named_and_their_copies_used") {
        return;
    }
    let pool = Pool::with_two_sets(SMALL);
    let newest: Vec<[u64; 2]> = pool.devices.iter().map(|path| newest_slots(path)).collect();
    let path = pool.devices[1].display();
    let now = generation(&File::open(&pool.devices[1]).expect("a device"), newest[1][0]);
    let before = now - 1;
    {
        let _start = Damage::flip(&pool.devices[1], newest[1][0] + 4000);
        let want = [
            format!("at the start of {path} is damaged"),
            format!("{path} holds generation {before} at the start and {now}"),
        ];
        pool.read().wrote_with_notes(&pool.input, &want, "the newest at the start");
        let _end = Damage::flip(&pool.devices[1], newest[1][1] + 600);
        let want = [
            format!("at the end of {path} is damaged"),
            format!("{path} is at generation {before}, the pool at {now}"),
        ];
        pool.read().wrote_with_notes(&pool.input, &want, "the newest at both ends");
    }
    {
        let both = pool.devices.iter().zip(&newest).flat_map(|(path, slots)| slots.map(|slot| (path, slot)));
        let _all: Vec<Damage> = both.map(|(path, slot)| Damage::flip(path, slot + 32)).collect();
        pool.read().wrote_with_notes(&pool.input, &[format!("{path} is damaged")], "the newest everywhere");
    }
    let _both = [0, BLOCK].map(|slot| Damage::flip(&pool.devices[1], slot));
    pool.read().refused(&[&format!("{path} has no sound superblock at its start")], "both slots of an end");
}

#[test]
fn damaged_mirrors_are_named() {
    if !python_or_skip("damaged_mirrors_are_named") {
        return;
    }
    let pool = Pool::with_two_sets(SMALL);
    let differ = ["the mirrors differ".to_owned()];
    let _image = Damage::flip(&pool.devices[0], ZONE + 3 * BLOCK);
    pool.read().wrote_with_notes(&pool.input, &differ, "one byte of an image");
    let _lengths: Vec<[Damage; 2]> =
        pool.devices.iter().map(|path| [0, 1].map(|block| Damage::flip(path, ZONE + block * BLOCK + 39))).collect();
    pool.read().refused(&["no member has a mirror of the metadata that counts"], "no length");
}

#[test]
fn an_export_of_something_else_does_not_fit() {
    if !python_or_skip("an_export_of_something_else_does_not_fit") {
        return;
    }
    let mut pool = Pool::with_two_sets(SMALL);
    let own = pool.export.clone();

    // Frames stay, the roots of two whole pages change places.
    let mut pages = pages(&own).clone();
    let first = pages[0][1].clone();
    pages[0][1] = std::mem::replace(&mut pages[1][1], first);
    pool.export["sets"][0]["pages"] = Value::Array(pages);
    pool.read().refused(&["page 0: the root of its leaves", "page 1: the root of its leaves"], "swapped roots");

    let other = Pool::with_two_sets(SMALL).export;
    pool.export = other.clone();
    pool.read().refused(&["the export is of pool"], "another pool");
    // With the same name, generation and frames only the roots can tell, as the data differ.
    pool.export["pool"] = own["pool"].clone();
    pool.export["sets"][0]["generation"] = own["sets"][0]["generation"].clone();
    let want = [0, 1, 2].map(|page| format!("page {page}: the root of its leaves"));
    pool.read().refused(&want.each_ref().map(String::as_str), "another pool's roots");
    pool.export = own;

    pool.devices.pop();
    pool.read().refused(&["the pool has 3 members, given were [0, 1]"], "a member is missing");
}

/// A pool on regular files.
struct Pool {
    case: Case,
    folder: TempDir,
    devices: Vec<PathBuf>,
    /// The newest set, if it came from a file.
    input: Vec<u8>,
    export: Value,
}

impl Pool {
    fn blank(case: Case) -> Pool {
        let folder = tempfile::tempdir().expect("a folder");
        let devices = (0..case.members).map(|index| folder.path().join(format!("device {index}"))).collect::<Vec<_>>();
        for (index, path) in (0..).zip(&devices) {
            // Neither whole blocks nor the same size; the first is the smallest.
            let file = File::create(path).expect("a device");
            file.set_len(DEVICE_BYTES + index * 5000 + 1000).expect("its size");
        }
        Pool { case, folder, devices, input: Vec::new(), export: Value::Null }
    }

    /// The second set is the one to read: its frames do not start at 0, and it has a generation of its own.
    fn with_two_sets(case: Case) -> Pool {
        let mut pool = Pool::blank(case);
        for bytes in [case.page / 2 + 1, case.bytes] {
            pool.input = noise(bytes);
            let path = pool.folder.path().join("input");
            std::fs::write(&path, &pool.input).expect("the input");
            pool.offload(&["--input", path.to_str().expect("a plain path")]);
        }
        pool
    }

    fn offload(&mut self, source: &[&str]) {
        let [chunk, page] = [self.case.chunk, self.case.page].map(|bytes| format!("{}KiB", bytes / KIB));
        let shape = ["offload", "--raid", self.case.raid, "--chunk", &chunk, "--page", &page];
        let words: Vec<_> = shape.iter().chain(&TUNING).chain(source).map(AsRef::as_ref).collect();
        self.bireme(&words).good();
        self.export = serde_json::from_str(&self.bireme(&["export".as_ref()]).good()).expect("an export");
    }

    /// One at a time, and again while memory is short: all processes of a user share the limit of locked memory, and
    /// the kernel gives back an ended one's a while later.
    fn bireme(&self, words: &[&OsStr]) -> Ended {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        loop {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bireme-under-test"));
            let ended = run(command.args(words).arg("--device").args(&self.devices));
            let short = !ended.status.success() && ended.stderr.contains("Cannot allocate memory");
            if !short || start.elapsed() > REAPING {
                return ended;
            }
        }
    }

    /// What the independent reader says, given the devices in another order.
    fn read(&self) -> Reading {
        let [metadata, output] = ["export.json", "output"].map(|name| self.folder.path().join(name));
        std::fs::write(&metadata, self.export.to_string()).expect("the export");
        let mut command = Command::new("python3");
        command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("reader/bireme_reader.py"));
        command.arg("--metadata").arg(metadata).arg("--output").arg(&output).args(self.devices.iter().rev());
        let ended = run(&mut command);
        let bytes = std::fs::read(&output).ok();
        if bytes.is_some() {
            std::fs::remove_file(&output).expect("removed");
        }
        Reading { ended, bytes }
    }

    /// Where a page of the newest set lies on each member, from the fields of a superblock.
    fn place(&self, page: usize) -> Place {
        let file = File::open(&self.devices[0]).expect("a device");
        let field = |at| u64::from_le_bytes(read_at(&file, at, 8).try_into().expect("8 bytes"));
        let frame = pages(&self.export)[page][0].as_u64().expect("a frame");
        let rows = self.case.page.div_ceil(self.case.chunk * self.devices.len() as u64);
        assert!(rows * self.case.chunk / BLOCK * 8 < BLOCK, "a case with one block of leaves and some room in it");
        Place { data: field(88) + frame * rows * self.case.chunk, leaf: field(80) + frame * BLOCK }
    }
}

struct Place {
    data: u64,
    leaf: u64,
}

/// How the independent reader ended, and what it wrote.
struct Reading {
    ended: Ended,
    bytes: Option<Vec<u8>>,
}

impl Reading {
    #[track_caller]
    fn wrote(self, want: &[u8], why: &str) {
        assert_eq!(self.ended.stderr, "", "{why}");
        self.wrote_with_notes(want, &[], why);
    }

    #[track_caller]
    fn wrote_with_notes(self, want: &[u8], notes: &[String], why: &str) {
        let Ended { status, stderr, .. } = self.ended;
        assert!(status.success(), "{why}: {stderr}");
        let bytes = self.bytes.expect("the set");
        let differs = bytes.iter().zip(want).position(|(have, want)| have != want);
        assert_eq!((bytes.len(), differs), (want.len(), None), "{why}: the bytes differ");
        for note in notes {
            assert!(stderr.lines().any(|line| line.starts_with("note: ") && line.contains(note)), "{why}: {stderr}");
        }
    }

    #[track_caller]
    fn refused(self, mismatches: &[&str], why: &str) -> String {
        let Ended { status, stderr, .. } = self.ended;
        assert_eq!((status.code(), self.bytes), (Some(1), None), "{why}: {stderr}");
        for want in mismatches {
            assert!(
                stderr.lines().any(|line| line.starts_with("mismatch: ") && line.contains(want)),
                "{why}: {stderr}"
            );
        }
        assert_eq!(stderr.matches("mismatch: ").count(), mismatches.len(), "{why}: {stderr}");
        stderr
    }
}

/// Changed bytes of a file, put back on drop.
struct Damage {
    file: File,
    before: Vec<(u64, Vec<u8>)>,
}

impl Damage {
    fn flip(path: &Path, at: u64) -> Damage {
        let damage = Damage::remember(path, &[at], 1);
        damage.file.write_all_at(&[damage.before[0].1[0] ^ 1], at).expect("written");
        damage
    }

    fn swap(path: &Path, at: [u64; 2], bytes: u64) -> Damage {
        let damage = Damage::remember(path, &at, bytes);
        for (at, (_, bytes)) in at.iter().rev().zip(&damage.before) {
            damage.file.write_all_at(bytes, *at).expect("written");
        }
        damage
    }

    fn remember(path: &Path, at: &[u64], bytes: u64) -> Damage {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the device");
        let before = at.iter().map(|&at| (at, read_at(&file, at, bytes))).collect();
        Damage { file, before }
    }
}

impl Drop for Damage {
    fn drop(&mut self) {
        for (at, bytes) in &self.before {
            self.file.write_all_at(bytes, *at).expect("written");
        }
    }
}

/// The offsets of the slots with the highest generation, at the start and at the end.
fn newest_slots(path: &Path) -> [u64; 2] {
    let file = File::open(path).expect("a device");
    let bytes = file.metadata().expect("its size").len() / BLOCK * BLOCK;
    let newest = |zone| [zone, zone + BLOCK].into_iter().max_by_key(|&slot| generation(&file, slot));
    [0, bytes - ZONE].map(|zone| newest(zone).expect("one of two"))
}

fn generation(file: &File, slot: u64) -> u64 {
    u64::from_le_bytes(read_at(file, slot + 32, 8).try_into().expect("8 bytes"))
}

fn read_at(file: &File, at: u64, bytes: u64) -> Vec<u8> {
    let mut buffer = vec![0; usize::try_from(bytes).expect("a small size")];
    file.read_exact_at(&mut buffer, at).expect("read");
    buffer
}

fn pages(export: &Value) -> &Vec<Value> {
    export["sets"][0]["pages"].as_array().expect("the pages of the newest set")
}

/// Bytes that no two blocks, and no two calls, have in common.
fn noise(bytes: u64) -> Vec<u8> {
    let mut data = vec![0; usize::try_from(bytes).expect("a small size")];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut data)).expect("random bytes");
    data
}

struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn good(self) -> String {
        assert!(self.status.success(), "{}", self.stderr);
        self.stdout
    }
}

#[track_caller]
fn run(command: &mut Command) -> Ended {
    try_run(command).expect("the program starts")
}

/// Runs a command to its end, if there is such a program. Its output goes to files, so no pipe fills up; one that is
/// late is killed, and left behind if even that does not end it.
#[track_caller]
fn try_run(command: &mut Command) -> std::io::Result<Ended> {
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().expect("a file for the output"));
    let copy = |file: &File| Stdio::from(file.try_clone().expect("a second descriptor"));
    command.stdin(Stdio::null()).stdout(copy(&stdout)).stderr(copy(&stderr));
    let mut child = command.spawn()?;
    let start = Instant::now();
    let mut killed = false;
    let status = loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) => break Some(status),
            None if start.elapsed() > LIMIT + REAPING => break None,
            None if start.elapsed() > LIMIT && !killed => killed = child.kill().is_ok(),
            None => std::thread::sleep(POLL),
        }
    };
    let [stdout, stderr] = [&mut stdout, &mut stderr].map(|file| {
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("the output is text");
        text
    });
    match status {
        Some(status) if !killed => Ok(Ended { status, stdout, stderr }),
        _ => panic!("not ended within {LIMIT:?}: {command:?}\n{stderr}"),
    }
}

fn python_or_skip(name: &str) -> bool {
    match try_run(Command::new("python3").arg("--version")) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("{name} skipped: needs python3");
            false
        }
        version => {
            version.expect("python3 starts").good();
            true
        }
    }
}

/// Little locked memory; and fewer runs than pages, so that their buffers are used again.
const TUNING: [&str; 6] = ["--peers", "1", "--depth", "1", "--slot", "128KiB"];
const KIB: u64 = 1024;
const BLOCK: u64 = 4096;
const ZONE: u64 = 64 * KIB;
const DEVICE_BYTES: u64 = 20 << 20;
const LIMIT: Duration = Duration::from_secs(30);
const REAPING: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
const SMALL: Case = Case { why: "", members: 3, chunk: 64 * KIB, page: 256 * KIB, bytes: 600_001, raid: "0" };
