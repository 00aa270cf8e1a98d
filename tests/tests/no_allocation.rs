//! No call of the allocator on a peer's thread, from its first turn to its last.
//!
//! The engine runs as it is, with its two hooks: at a peer's start its thread is armed, at its end disarmed. The
//! allocator of this binary counts what an armed thread asks of it, freeing included.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bireme_control::balance::{Rules, Strategy};
use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::units::Nanos;
use bireme_dataplane::device::file::Input;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::{self, Config, Handles, OffloadJob, RestoreJob, Source};
use bireme_dataplane::pool::Shape;
use bireme_dataplane::telemetry::Gauges;
use bireme_dataplane::telemetry::recorder::Exchange;
use bireme_tests::data::{assert_same, input};
use bireme_tests::members::Files;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    // Neither allocated nor destroyed, so that the allocator can look at it at any time.
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

static CALLS: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

fn count() {
    if ARMED.get() {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the trait's promises, which are those of `System` too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count();
        // SAFETY: `start` came from `System` through this allocator.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: `start` came from `System` through this allocator.
        unsafe { System.realloc(start, layout, bytes) }
    }
}

fn config(strategy: Strategy) -> Config {
    let start = |_| {
        STARTED.fetch_add(1, Ordering::Relaxed);
        ARMED.set(true);
    };
    let end = |_| {
        ARMED.set(false);
        ENDED.fetch_add(1, Ordering::Relaxed);
    };
    Config {
        rules: Rules { strategy, ..Rules::default() },
        depth: Some(4),
        on_peer_start: Some(Arc::new(start)),
        on_peer_end: Some(Arc::new(end)),
        ..Config::default()
    }
}

/// The peers record, and hand over more intervals than are taken: there is not always an empty one.
fn handles(devices: usize) -> Handles {
    let gauges = Gauges::recording(devices, Exchange::new(2), Nanos::from_millis(1));
    Handles { gauges: Arc::new(gauges), stop: Arc::new(AtomicBool::new(false)) }
}

fn offload(paths: &[PathBuf], source: Source, sets: u32, strategy: Strategy) {
    offload_at(Level::Raid0, paths, source, sets, strategy);
}

fn offload_at(level: Level, paths: &[PathBuf], source: Source, sets: u32, strategy: Strategy) {
    let geometry = Geometry::new(level, paths.len(), 64 << 10, 1 << 20).expect("a usable shape");
    let devices = Device::open_all(paths, Purpose::Write).expect("the files");
    let job = OffloadJob { devices, shape: Shape { geometry }, destroy_data: false, source, sets };
    engine::offload(job, &config(strategy), &handles(paths.len())).expect("an offload");
}

fn restore(paths: &[PathBuf], output: Option<PathBuf>) {
    let devices = Device::open_all(paths, Purpose::Read).expect("the files");
    engine::restore(RestoreJob { devices, output }, &config(Strategy::Pull), &handles(paths.len())).expect("a restore");
}

/// What the armed threads of two peers asked of the allocator during a run.
fn calls(run: impl FnOnce()) -> u64 {
    let before = [&CALLS, &STARTED, &ENDED].map(|counter| counter.load(Ordering::Relaxed));
    run();
    let after = [&CALLS, &STARTED, &ENDED].map(|counter| counter.load(Ordering::Relaxed));
    assert_eq!((after[1] - before[1], after[2] - before[2]), (2, 2), "both peers were watched from start to end");
    after[0] - before[0]
}

/// One test, because the counters belong to the process.
#[test]
fn peers_neither_allocate_nor_free() {
    ARMED.set(true);
    let before = CALLS.load(Ordering::Relaxed);
    drop(std::hint::black_box(Box::new(1)));
    ARMED.set(false);
    assert_eq!(CALLS.load(Ordering::Relaxed) - before, 2, "the counter counts");

    let files = Files::new(3, 48 << 20);
    let paths = files.paths();
    for strategy in [Strategy::Measured, Strategy::Ratio, Strategy::StealHalf, Strategy::Pull, Strategy::Fixed] {
        let source = Source::Generated { seed: 3, bytes: (9 << 20) + 77 };
        let found = calls(|| offload(paths, source, 5, strategy));
        assert_eq!(found, 0, "five generated sets, {strategy:?}");
    }
    assert_eq!(calls(|| restore(paths, None)), 0, "a comparison");
    let (file, data) = input(files.folder(), 1, (9 << 20) + 4097);
    let source = Source::File(Input::open(file).expect("an input"));
    assert_eq!(calls(|| offload(paths, source, 3, Strategy::Pull)), 0, "three sets of a file");
    let output = files.folder().join("output");
    assert_eq!(calls(|| restore(paths, Some(output.clone()))), 0, "a restore");
    assert_same(&std::fs::read(output).expect("the output"), &data, "the restored file");

    for level in [Level::Raid1, Level::Raid10, Level::Raid5, Level::Raid6] {
        let files = Files::new(4, 48 << 20);
        let paths = files.paths();
        let source = Source::Generated { seed: 3, bytes: (9 << 20) + 77 };
        assert_eq!(calls(|| offload_at(level, paths, source, 2, Strategy::Measured)), 0, "two sets, {level}");
        assert_eq!(calls(|| restore(paths, None)), 0, "a comparison, {level}");
        assert_eq!(calls(|| restore(&paths[1..], None)), 0, "what is lost is brought back, {level}");
    }
}
