//! Every wrong input through the command line: one sentence that names the cause and the way out, an exit code of 1
//! (2 where the line itself cannot be read), and not a byte changed on any device.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bireme_tests::command::{Ended, Line, contents};
use bireme_tests::data::{assert_same, input};
use bireme_tests::loops::{Loops, Mount, Place, root_or_skip};
use bireme_tests::members::Files;
use bireme_tests::pools::make_empty;

fn bireme(command: &str) -> Line {
    Line::new(env!("CARGO_BIN_EXE_bireme-under-test")).text(command)
}

/// Runs a line that must be refused, with these words, and leave the files as they are.
#[track_caller]
fn refused<P: AsRef<Path>>(line: Line, watched: &[P], words: &[&str]) -> String {
    let before = contents(watched);
    let sentence = line.run().sentence();
    for word in words {
        assert!(sentence.contains(word), "'{word}' is missing: {sentence}");
    }
    for ((path, before), (_, after)) in before.iter().zip(&contents(watched)) {
        assert_same(after, before, &format!("{} after: {sentence}", path.display()));
    }
    println!("{sentence}");
    sentence
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn lines_that_cannot_be_read() {
    let files = Files::new(2, 16 << 20);
    #[rustfmt::skip]
    let cases = [
        ("offload --peers 0", "0 is not in 1.."),
        ("offload --peers many", "invalid digit"),
        ("offload --depth 0", "0 is not in 1.."),
        ("offload --sets 0", "0 is not in 1.."),
        ("offload --size 64K", "write KiB, MiB, GiB or TiB"),
        ("offload --chunk -4096", "unexpected argument"),
        ("offload --cores 0,0", "names a core twice"),
        ("offload --balance best", "possible values: measured, ratio, steal-half, pull, fixed"),
        ("offload --hang-limit 5", "such as 30s"),
        ("offload --speed", "unexpected argument"),
        ("restore", "--output <FILE>|--verify"),
    ];
    let before = contents(files.paths());
    for (command, words) in cases {
        let Ended { code, stdout, stderr, .. } = bireme(command).devices(files.paths()).run();
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{command}: {stderr}");
        assert!(stderr.contains(words) && stderr.contains("--help"), "{command}: {stderr}");
    }
    assert_eq!(bireme("").run().code, Some(2));
    assert_eq!(before, contents(files.paths()));
}

#[test]
fn figures_that_cannot_work() {
    let files = Files::new(2, 16 << 20);
    #[rustfmt::skip]
    let cases: [(&str, &[&str]); 14] = [
        ("--peers 257", &["257 peers", "1 to 256"]),
        ("--cores 4095", &["core 4095", "--cores"]),
        ("--chunk 5000", &["5000", "multiple of 4 KiB"]),
        ("--chunk 0", &["0 bytes", "multiple of 4 KiB"]),
        ("--chunk 32MiB", &["33554432", "at most 16 MiB"]),
        ("--page 0", &["a page of 0 bytes", "multiple of 4 KiB"]),
        ("--page 128MiB", &["134217728", "at most 64 MiB"]),
        ("--request 1000", &["requests of 1000 bytes", "multiple of 4 KiB"]),
        ("--request 0", &["requests of 0 bytes"]),
        ("--slot 5000", &["slot of 5000 bytes", "multiple of 4 KiB"]),
        ("--slot 1TiB", &["slot of 1099511627776 bytes", "at most 64 MiB"]),
        ("--depth 4000000000", &["4000000000", "lower --depth or --slot"]),
        ("--depth 100000", &["100000", "lower --depth or --slot"]),
        ("--size 0", &["a set of 0 bytes", "1 byte"]),
    ];
    for (options, words) in cases {
        let size = if options.starts_with("--size") { "" } else { "--size 1MiB" };
        let line = bireme(&format!("offload {size} {options}")).devices(files.paths());
        refused(line, files.paths(), words);
    }
    let sentence = bireme("offload --size 16777215TiB").devices(files.paths()).run().sentence();
    assert!(sentence.contains("larger --page"), "{sentence}");
    bireme("offload --size 1MiB").devices(files.paths()).run().good();
    for options in ["--peers 300", "--cores 4095", "--depth 100000", "--slot 1", "--request 1"] {
        refused(bireme(&format!("restore --verify {options}")).devices(files.paths()), files.paths(), &[]);
    }
}

#[test]
fn more_peers_than_cores_work_and_are_noted() {
    let files = Files::new(2, 32 << 20);
    let cores = std::thread::available_parallelism().expect("cores").get();
    let peers = cores + 2;
    let table = bireme(&format!("offload --size 9MiB --peers {peers}")).devices(files.paths()).run().good();
    let note = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(note.contains(&format!("{peers} peers share {cores} cores")), "{table}");
    bireme(&format!("restore --verify --peers {peers}")).devices(files.paths()).run().good();
}

#[test]
fn devices_that_cannot_be_used() {
    if !root_or_skip("devices_that_cannot_be_used") {
        return;
    }
    let mut loops = Loops::new(Place::Tmpfs, 2, 16 << 20, 512);
    let (first, second) = (loops.path(0).to_path_buf(), loops.path(1).to_path_buf());
    let small = loops.folder().join("small");
    std::fs::write(&small, vec![0; 1 << 20]).expect("a file");
    let small = loops.attach(&small, 512);
    let none = PathBuf::from("/dev/bireme-none");
    let folder = loops.folder().to_path_buf();
    let devices = [first.clone(), second.clone()];
    let offload = |paths: &[&PathBuf]| bireme("offload --size 1MiB").devices(paths);
    refused(offload(&[&first, &none]), &devices, &["/dev/bireme-none does not exist", "fallocate"]);
    refused(offload(&[&first, &folder]), &devices, &[&shown(&folder), "is a directory", "name a block device"]);
    refused(offload(&[&first, &first]), &devices, &["are the same device", "name each device once"]);
    refused(offload(&[&first, &small]), &devices, &[&shown(&small), "is too small", "larger device"]);
    let destroy = bireme("offload --size 1MiB --destroy-data").devices(&[&first, &small]);
    refused(destroy, &devices, &[&shown(&small), "is too small"]);
    let many = vec![first.clone(); 65];
    refused(bireme("offload --size 1MiB").devices(&many), &devices, &["65 devices", "1 to 64"]);
    let _read_only = ReadOnly::set(&second);
    refused(offload(&[&first, &second]), &devices, &[&shown(&second), "is read-only", "blockdev --setrw"]);
}

/// A device that is marked read-only for as long as this lives.
struct ReadOnly<'a>(&'a Path);

impl ReadOnly<'_> {
    fn set(path: &Path) -> ReadOnly<'_> {
        Line::new("blockdev").text("--setro").path("-v", path).run().good();
        ReadOnly(path)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        let ended = Line::new("blockdev").text("--setrw").path("-v", self.0).run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[test]
fn what_others_have_written_stays() {
    let files = Files::new(2, 16 << 20);
    Line::new("mkfs.ext4").text("-q -F").words([&files.paths()[1]]).run().good();
    let name = shown(&files.paths()[1]);
    let offload = |options: &str| bireme(&format!("offload {options}")).devices(files.paths());
    refused(offload("--size 1MiB"), files.paths(), &[&name, "ext4", "--destroy-data"]);
    refused(bireme("restore --verify").devices(files.paths()), files.paths(), &[&name, "holds no pool", "ext4"]);
    // A shape that does not fit is no reason to destroy.
    refused(offload("--destroy-data --size 1GiB"), files.paths(), &["larger devices or a smaller set"]);
    offload("--destroy-data --size 1MiB").run().good();
    bireme("restore --verify").devices(files.paths()).run().good();
}

#[test]
fn other_members_and_other_shapes() {
    let (one, two) = (Files::new(2, 16 << 20), Files::new(2, 16 << 20));
    let blank = Files::new(1, 16 << 20);
    let offload = |options: &str| bireme(&format!("offload --size 1MiB {options}"));
    offload("").devices(one.paths()).run().good();
    offload("").devices(two.paths()).run().good();
    let all: Vec<&PathBuf> = one.paths().iter().chain(two.paths()).chain(blank.paths()).collect();
    let (a, b, c) = (&one.paths()[0], &two.paths()[1], &blank.paths()[0]);
    let (a_name, b_name, c_name) = (shown(a), shown(b), shown(c));
    refused(offload("").devices(&[a, b]), &all, &[&a_name, &b_name, "different pools", "--destroy-data"]);
    refused(offload("").devices(&[a, c]), &all, &[&a_name, &c_name, "is a member of a pool", "--destroy-data"]);
    refused(offload("").devices(&[c, a]), &all, &[&a_name, &c_name, "--destroy-data"]);
    refused(offload("").devices(&[a]), &all, &[&a_name, "pool of 2 devices, and 1 were named"]);
    let shape = refused(offload("--chunk 16KiB").devices(one.paths()), &all, &["chunks of 64 KiB", "chunks of 16 KiB"]);
    assert!(shape.contains("pages of 4096 KiB") && shape.contains("--destroy-data"), "{shape}");
    refused(offload("--page 1MiB").devices(one.paths()), &all, &["pages of 4096 KiB", "pages of 1024 KiB"]);
    let copy = one.folder().join("copy");
    std::fs::copy(a, &copy).expect("a copy");
    refused(offload("").devices(&[a, &copy]), &all, &["copies of one member", &shown(&copy)]);
    let restore = |paths: &[&PathBuf]| bireme("restore --verify").devices(paths);
    refused(restore(&[a]), &all, &[&a_name, "pool of 2 devices, and 1 were named", "Name all its members"]);
    refused(restore(&[a, c]), &all, &[&a_name, &c_name]);
    refused(restore(&[c]), &all, &[&c_name, "holds no pool", "blank"]);
    refused(bireme("export").devices(&[c]), &all, &[&c_name, "holds no pool"]);
}

#[test]
fn a_pool_without_a_set_has_nothing_to_restore() {
    let files = Files::new(1, 16 << 20);
    let (file, _) = input(files.folder(), 1, 9000);
    let members = files.paths();
    make_empty(members);
    let output = files.folder().join("output");
    let restore = bireme("restore").path("--output", &output).devices(members);
    refused(restore, members, &[&shown(&members[0]), "holds no data set", "nothing was ever committed"]);
    assert!(!output.exists());
    bireme("offload").path("--input", file).devices(members).run().good();
}

#[test]
fn inputs_that_cannot_be_read() {
    let files = Files::new(2, 16 << 20);
    let members = files.paths();
    let empty = files.folder().join("empty");
    std::fs::write(&empty, b"").expect("a file");
    let link = files.folder().join("link");
    std::os::unix::fs::symlink(&members[1], &link).expect("a link");
    let missing = files.folder().join("missing");
    let offload = |input: &Path| bireme("offload").path("--input", input).devices(members);
    refused(offload(&missing), members, &[&shown(&missing), "does not exist"]);
    refused(offload(&empty), members, &[&shown(&empty), "is empty", "--size"]);
    refused(offload(files.folder()), members, &["is a directory", "name a block device or a regular file"]);
    refused(offload(&members[0]), members, &["are the same device"]);
    refused(offload(&link), members, &["are the same device", &shown(&link)]);
}

#[test]
fn what_is_recorded_is_not_written_over_a_member() {
    let files = Files::new(2, 16 << 20);
    let members = files.paths();
    for option in ["--json", "--html", "--hlog", "--hgrm", "--intervals"] {
        let command = bireme("offload --size 3MiB").path(option, &members[0]).devices(members);
        refused(command, members, &[&shown(&members[0]), "it is a device, whose data would be lost"]);
    }
}

#[test]
fn outputs_that_cannot_be_written() {
    let files = Files::new(2, 16 << 20);
    let members = files.paths();
    bireme("offload --size 3MiB").devices(members).run().good();
    let restore = |output: &Path| bireme("restore").path("--output", output).devices(members);
    let lost = files.folder().join("none/output");
    refused(restore(&lost), members, &[&shown(&files.folder().join("none")), "does not exist", "mkdir -p"]);
    refused(restore(files.folder()), members, &["is a directory", "name a file"]);
    let hard = files.folder().join("hard");
    std::fs::hard_link(&members[0], &hard).expect("a link");
    for member in [&members[0], &hard] {
        refused(restore(member), members, &[&shown(member), "which the data set is read from"]);
    }
    refused(restore(Path::new("/dev/null")), members, &["/dev/null is a device", "name a file"]);
    if root_or_skip("outputs_that_cannot_be_written, without room") {
        let place = files.folder().join("full");
        let _mount = Mount::tmpfs(&place, 2 << 20);
        let output = place.join("output");
        refused(restore(&output), members, &["no room for the 3145728 bytes", &shown(&output), "free some space"]);
        assert_eq!(std::fs::read_dir(&place).expect("the folder").count(), 0, "something is left behind");
    }
}

#[test]
fn sets_that_do_not_fit() {
    let files = Files::new(2, 16 << 20);
    let members = files.paths();
    let offload = |options: &str| bireme(&format!("offload {options}")).devices(members);
    let words = ["bytes of frames", "larger devices or a smaller set"];
    // Onto blank devices, where not even the pool is made.
    refused(offload("--size 100MiB"), members, &words);
    refused(offload("--size 12MiB --sets 2"), members, &words);
    // Beside a set, which must stay readable until the new one is durable.
    offload("--size 12MiB --seed 5").run().good();
    refused(offload("--size 16MiB"), members, &words);
    refused(offload("--size 100MiB --destroy-data"), members, &words);
    bireme("restore --verify").devices(members).run().good();
}

#[test]
fn reports_that_cannot_be_written() {
    let files = Files::new(2, 16 << 20);
    let members = files.paths();
    let offload = |option: &str, path: &Path| bireme("offload --size 1MiB").path(option, path).devices(members);
    let lost = files.folder().join("none/report");
    refused(offload("--json", &lost), members, &["report", &shown(&lost), "name a file"]);
    refused(offload("--json", files.folder()), members, &["report", &shown(files.folder()), "name a file"]);
    refused(offload("--json", &members[0]), members, &["report", &shown(&members[0]), "device"]);
    refused(offload("--out", &members[0]), members, &[&shown(&members[0]), "--out"]);
    // A run that fails leaves no empty report.
    let report = files.folder().join("report");
    refused(offload("--json", &report).text("--depth 100000"), members, &[]);
    assert!(!report.exists());
}

#[test]
fn without_permission() {
    if !root_or_skip("without_permission") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 1, 16 << 20, 512);
    let as_nobody = |line: Line| line.variable("BIREME_TEST_UID", "65534");
    let offload = as_nobody(bireme("offload --size 1MiB").devices(&loops.paths()));
    refused(offload, &loops.paths(), &["no permission to open", &shown(loops.path(0)), "sudo"]);
    let files = for_nobody(1, 16 << 20);
    as_nobody(bireme("offload --size 1MiB --depth 1 --peers 1").devices(files.paths())).run().good();
    let forbidden = files.folder().join("forbidden");
    std::fs::create_dir(&forbidden).expect("a folder");
    std::fs::set_permissions(&forbidden, PermissionsExt::from_mode(0o755)).expect("root's own");
    let restore = bireme("restore --depth 1 --peers 1").path("--output", forbidden.join("output"));
    let restore = as_nobody(restore.devices(files.paths()));
    refused(restore, files.paths(), &["no permission to write in", &shown(&forbidden)]);
    let secret = files.folder().join("secret");
    std::fs::write(&secret, b"1")
        .and_then(|()| std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)))
        .expect("root's own");
    let offload = as_nobody(bireme("offload").path("--input", &secret).devices(files.paths()));
    refused(offload, files.paths(), &["no permission to open", &shown(&secret)]);
}

/// Files that everybody may write, in a folder that everybody may enter.
fn for_nobody(count: u32, bytes: u64) -> Files {
    let files = Files::new(count, bytes);
    for path in files.paths() {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).expect("for everybody");
    }
    std::fs::set_permissions(files.folder(), PermissionsExt::from_mode(0o777)).expect("for everybody");
    files
}

#[test]
fn a_small_limit_of_locked_memory() {
    if !root_or_skip("a_small_limit_of_locked_memory") {
        return;
    }
    let files = for_nobody(2, 24 << 20);
    let limited = |command: &str, mebibytes: u64| {
        // The limit counts per user, so this one is no other test's.
        let line = bireme(command).devices(files.paths()).variable("BIREME_TEST_UID", "65533");
        line.variable("BIREME_TEST_MEMLOCK", &(mebibytes << 20).to_string())
    };
    refused(limited("offload --size 5MiB --depth 64", 8), files.paths(), &["ulimit -l", "--depth"]);
    let table = limited("offload --size 5MiB", 8).run().good();
    let note = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(note.contains("the limit of locked memory allows") && note.contains("ulimit -l"), "{table}");
    limited("restore --verify", 8).run().good();
    refused(limited("restore --verify --depth 64", 8), files.paths(), &["2 peers with a depth of 64", "ulimit -l"]);
    refused(limited("restore --verify", 0), files.paths(), &["ulimit -l"]);
}

#[test]
fn where_io_uring_is_refused() {
    let files = Files::new(1, 16 << 20);
    let words = ["the kernel refused io_uring", "kernel.io_uring_disabled", "seccomp"];
    let refusing = |command: &str| bireme(command).devices(files.paths()).variable("BIREME_TEST_NO_URING", "1");
    refused(refusing("offload --size 1MiB"), files.paths(), &words);
    bireme("offload --size 1MiB").devices(files.paths()).run().good();
    refused(refusing("restore --verify"), files.paths(), &words);
}
