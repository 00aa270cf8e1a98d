//! The data path makes one system call: `io_uring_enter`.
//!
//! The engine runs in a child process. At each peer's start its thread puts itself under a seccomp filter that lets
//! `io_uring_enter` and `exit_group` through and kills the process at anything else. A filter cannot be taken off, and
//! what follows the data path needs other calls (counting up, giving memory back, ending a thread), so the run ends
//! there: peers that are done wait for each other without a call, and the last one ends the process by `exit_group`.
//!
//! ```text
//!   child:  peer 0  ─ filter ─ turns ... last turn ─ spins ─────┐
//!           peer 1  ─ filter ─ turns ......... last turn ─ last ─┴─ exit_group(0)
//!   parent: exit code 0, not SIGSYS; the set that was committed is there, byte by byte
//! ```
//!
//! Peers are told to stop after the last commit, so what the filter saw is all of the sets, flushes included.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::units::{Nanos, PeerId};
use bireme_dataplane::device::file::Input;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::{self, Config, Handles, OffloadJob, RestoreJob, Source};
use bireme_dataplane::pool::Shape;
use bireme_dataplane::telemetry::Gauges;
use bireme_dataplane::telemetry::recorder::Exchange;
use bireme_tests::command::{Ended, Line};
use bireme_tests::data::{assert_same, generated, input};
use bireme_tests::members::Files;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// What the child is to do; this binary runs itself, and the child's test does it.
const ROLE: &str = "BIREME_TEST_ROLE";
const FOLDER: &str = "BIREME_TEST_FOLDER";
const BYTES: usize = (9 << 20) + 4097;
const MEMBERS: usize = 2;
const PEERS: u16 = 2;

fn filter() -> BpfProgram {
    let architecture = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let allowed = [libc::SYS_io_uring_enter, libc::SYS_exit_group].map(|call| (call, Vec::new()));
    let filter = SeccompFilter::new(allowed.into(), SeccompAction::KillProcess, SeccompAction::Allow, architecture);
    filter.and_then(BpfProgram::try_from).expect("a filter")
}

/// Peers under the filter. `extra` is done in the first turn's place, to see the filter at work.
fn config(extra: fn()) -> Config {
    let program = Arc::new(filter());
    let start = move |_: PeerId| {
        seccompiler::apply_filter(&program).expect("a filter in force");
        extra();
    };
    let done = AtomicU16::new(0);
    let end = move |_: PeerId| {
        if done.fetch_add(1, Ordering::AcqRel) + 1 == PEERS {
            end_process();
        }
        loop {
            std::hint::spin_loop();
        }
    };
    Config {
        peers: PEERS,
        depth: Some(4),
        on_peer_start: Some(Arc::new(start)),
        on_peer_end: Some(Arc::new(end)),
        ..Config::default()
    }
}

#[expect(unsafe_code, reason = "std::process::exit runs handlers that make other calls")]
fn end_process() -> ! {
    // SAFETY: it ends the process and touches none of its memory.
    unsafe { libc::_exit(0) }
}

fn members(folder: &Path) -> Vec<PathBuf> {
    (0..MEMBERS).map(|index| folder.join(format!("device-{index}.img"))).collect()
}

/// The child's part. It does not return: the last peer ends the process.
fn act(role: &str, folder: &Path) {
    let gauges = Gauges::recording(MEMBERS, Exchange::new(PEERS), Nanos::from_millis(1));
    let handles = Handles { gauges: Arc::new(gauges), stop: Arc::new(AtomicBool::new(false)) };
    let paths = members(folder);
    let geometry = Geometry::new(Level::Raid0, MEMBERS, 64 << 10, 1 << 20).expect("a usable shape");
    let offload = |source, sets, extra| {
        let devices = Device::open_all(&paths, Purpose::Write).expect("the files");
        let job = OffloadJob { devices, shape: Shape { geometry }, destroy_data: false, source, sets };
        engine::offload(job, &config(extra), &handles)
    };
    let restore = |output| {
        let devices = Device::open_all(&paths, Purpose::Read).expect("the files");
        engine::restore(RestoreJob { devices, output }, &config(|| {}), &handles)
    };
    let generated = || Source::Generated { seed: 3, bytes: BYTES as u64 };
    let outcome = match role {
        "generated" => offload(generated(), 3, || {}),
        "yielding" => offload(generated(), 3, std::thread::yield_now),
        "input" => offload(Source::File(Input::open(folder.join("in")).expect("an input")), 3, || {}),
        "compare" => restore(None),
        "restore" => restore(Some(folder.join("output"))),
        other => panic!("no such part: {other}"),
    };
    panic!("the run ended another way: {outcome:?}");
}

fn child(role: &str, files: &Files) -> Ended {
    let this = std::env::current_exe().expect("a test binary");
    let line = Line::new(this).text("--exact peers_make_no_other_call --nocapture --test-threads 1");
    line.variable(ROLE, role).variable(FOLDER, files.folder().to_str().expect("a plain name")).run()
}

#[track_caller]
fn passes(role: &str, files: &Files) {
    let ended = child(role, files);
    assert_ne!(ended.signal, Some(libc::SIGSYS), "{role}: another system call was made\n{}", ended.stderr);
    assert_eq!((ended.code, ended.signal), (Some(0), None), "{role}: {}{}", ended.stdout, ended.stderr);
    assert!(!ended.stdout.contains("test result"), "{role}: the process was ended by the last peer: {}", ended.stdout);
}

/// The newest set of the pool, read without any filter.
fn newest(files: &Files) -> Vec<u8> {
    let output = files.folder().join("newest");
    let restore = Line::new(env!("CARGO_BIN_EXE_bireme-under-test")).text("restore").path("--output", &output);
    restore.devices(files.paths()).run().good();
    std::fs::read(output).expect("the output")
}

#[test]
fn peers_make_no_other_call() {
    if let (Ok(role), Some(folder)) = (std::env::var(ROLE), std::env::var_os(FOLDER)) {
        return act(&role, Path::new(&folder));
    }
    let files = Files::new(2, 48 << 20);
    assert_eq!(files.paths(), members(files.folder()));
    passes("generated", &files);
    assert_same(&newest(&files), &generated(3, 3, BYTES), "the third set");
    passes("compare", &files);

    let (path, data) = input(files.folder(), 1, BYTES);
    std::fs::rename(path, files.folder().join("in")).expect("its other name");
    passes("input", &files);
    assert_same(&newest(&files), &data, "three sets of a file");

    passes("restore", &files);
    // The process ended before the output got its name and its length: all of its data is in the unnamed file.
    let names = std::fs::read_dir(files.folder()).expect("the folder").flatten().map(|entry| entry.path());
    let unfinished: Vec<_> = names.filter(|path| path.to_string_lossy().ends_with("bireme-tmp")).collect();
    assert_eq!(unfinished.len(), 1, "{unfinished:?}");
    let found = std::fs::read(&unfinished[0]).expect("the unnamed file");
    assert_same(&found[..BYTES], &data, "the restored file");

    // The proof of the proof.
    let ended = child("yielding", &files);
    assert_eq!(ended.signal, Some(libc::SIGSYS), "a call of sched_yield: {:?} {}", ended.code, ended.stderr);
}
