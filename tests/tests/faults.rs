//! Devices that fail, inputs that change and signals in the middle of a run: one sentence, nothing half committed.

use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_dataplane::device::file::Input;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::{self, Config, EngineError, Handles, OffloadJob, Source};
use bireme_dataplane::pool::Shape;
use bireme_dataplane::telemetry::Gauges;
use bireme_tests::child::{Child, Ended, run, until};
use bireme_tests::loops::{Loops, Mount, Place, root_or_skip};
use bireme_tests::pool::Pool;
use bireme_tests::throttle::Throttle;
use bireme_tests::zram::Zram;
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bireme-under-test");
const MIB: u64 = 1 << 20;
/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// The sentence names all of these, and the run has failed.
fn expect_sentence(ended: &Ended, parts: &[&str]) {
    println!("{}", ended.stderr);
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in parts {
        assert!(ended.sentence().contains(part), "no word of '{part}': {}", ended.sentence());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn a_file_system_that_is_full_under_a_loop_device() {
    if !root_or_skip("a_file_system_that_is_full_under_a_loop_device") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mount = Mount::tmpfs(&folder.path().join("small"), 48 * MIB);
    let mut loops = Loops::new(Place::Tmpfs, 1, 128 * MIB, 4096);
    let sparse = mount.path().join("sparse");
    std::fs::File::create(&sparse).and_then(|file| file.set_len(128 * MIB)).expect("a sparse file");
    let device = loops.attach(&sparse, 4096);
    let pool = Pool::new(PROGRAM, loops.paths());
    pool.write(&["--size", "16MiB", "--seed", "5"]);
    // The kernel tells a loop device's client of a full file system as ENOSPC.
    let ended = pool.run("offload", &["--size", "160MiB"]);
    expect_sentence(&ended, &["writing ", text(&device), " at byte ", "free some", "nothing was committed"]);
    pool.compare(5, 1, 16 * MIB, folder.path()).expect("the set before is whole");
    drop(pool);
    // The loop device goes before what it lies on.
    drop(loops);
    drop(mount);
}

#[test]
fn a_block_device_that_fails_writes() {
    if !root_or_skip("a_block_device_that_fails_writes") {
        return;
    }
    // Compressed memory with a limit: random data soon exceeds it, and the kernel fails the write.
    let Some(zram) = Zram::new(256 * MIB) else {
        println!("a_block_device_that_fails_writes skipped: no zram");
        return;
    };
    let loops = Loops::new(Place::Tmpfs, 1, 256 * MIB, 4096);
    let pool = Pool::new(PROGRAM, [loops.paths(), vec![zram.path().into()]].concat());
    pool.write(&["--size", "16MiB", "--seed", "5"]);
    zram.limit(24 * MIB);
    let ended = pool.run("offload", &["--size", "128MiB"]);
    expect_sentence(&ended, &["writing ", text(zram.path()), " at byte ", "dmesg", "nothing was committed"]);
    zram.limit(0);
    pool.compare(5, 1, 16 * MIB, loops.folder()).expect("the set before is whole");
    pool.write(&["--size", "16MiB", "--seed", "5"]);
    assert_eq!(pool.newest(), Some(2));
}

/// A loop device keeps its size when its file is cut. Reads past the new end fail with EIO, so the loss shows at the next
/// opening; when the file has grown again with zeroes, the superblocks at its end are missing.
#[test]
fn a_loop_device_whose_file_was_cut() {
    if !root_or_skip("a_loop_device_whose_file_was_cut") {
        return;
    }
    for place in [Place::Tmpfs, Place::Disk] {
        let loops = Loops::new(place, 2, 64 * MIB, 4096);
        let pool = Pool::new(PROGRAM, loops.paths());
        pool.write(&["--size", "48MiB", "--seed", "5"]);
        let file = std::fs::OpenOptions::new().write(true).open(loops.backing(1)).expect("the file");
        file.set_len(16 * MIB).expect("cut");
        expect_sentence(&pool.run("restore", &["--verify"]), &["reading ", text(loops.path(1)), " at byte ", "dmesg"]);
        file.set_len(64 * MIB).expect("grown again");
        expect_sentence(&pool.run("restore", &["--verify"]), &[text(loops.path(1)), "holds no pool"]);
    }
}

/// Writes past the new end make the file grow, so a run does not notice, and what it writes from then on is whole.
#[test]
fn a_loop_device_whose_file_is_cut_while_it_is_written() {
    if !root_or_skip("a_loop_device_whose_file_is_cut_while_it_is_written") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 2, 128 * MIB, 4096);
    let pool = Pool::new(PROGRAM, loops.paths());
    let mut child = pool.offload(&["--size", "16MiB", "--seed", "5", "--sets", "1000000"]);
    let began = |child: &Child| child.stderr().contains(" sets done") && !child.stderr().contains(" 0 sets done");
    assert!(until(LIMIT, || began(&child)), "no set in time: {}", child.stderr());
    let file = std::fs::OpenOptions::new().write(true).open(loops.backing(1)).expect("the file");
    file.set_len(16 * MIB).expect("cut");
    assert!(until(LIMIT, || file.metadata().expect("a file").len() > 16 * MIB), "nothing is written past the end");
    let lines = child.stderr().lines().count();
    assert!(until(LIMIT, || child.stderr().lines().count() >= lines + 2), "no sets any more: {}", child.stderr());
    child.signal(Signal::SIGTERM);
    let ended = child.wait(LIMIT).expect("it ends in order");
    expect_sentence(&ended, &["stopped by a signal; "]);
    // Closing has written the superblocks near the end, and not the last bytes: what is absent there reads as zero now.
    file.set_len(128 * MIB).expect("as long as before");
    let newest = pool.newest().expect("a set");
    pool.compare(5, newest, 16 * MIB, loops.folder()).expect("what was written after the cut is whole");
}

fn handles(devices: usize) -> Handles {
    Handles { gauges: Arc::new(Gauges::new(devices)), stop: Arc::new(AtomicBool::new(false)) }
}

/// A run of the engine on a thread of its own, which nobody joins before it has ended.
struct Running {
    thread: JoinHandle<engine::Ended>,
    handles: Handles,
}

impl Running {
    fn start(job: OffloadJob, config: Config, handles: Handles) -> Running {
        let own = handles.clone();
        Running { thread: std::thread::spawn(move || engine::offload(job, &config, &own)), handles }
    }

    /// How it ended, by itself.
    fn end(self) -> engine::Ended {
        let ended = until(LIMIT, || self.thread.is_finished());
        self.handles.stop.store(true, Ordering::Release);
        assert!(ended, "the run does not end");
        self.thread.join().expect("no panic of the caller's")
    }
}

fn job(loops: &Loops, source: Source, sets: u32) -> OffloadJob {
    let count = loops.paths().len();
    let geometry = Geometry::new(Level::Raid0, count, 64 << 10, 4 * MIB).expect("a usable shape");
    let devices = Device::open_all(&loops.paths(), Purpose::Write).expect("devices");
    OffloadJob { devices, shape: Shape { geometry }, destroy_data: false, source, sets }
}

#[test]
fn an_input_that_shrinks_while_it_is_read() {
    if !root_or_skip("an_input_that_shrinks_while_it_is_read") {
        return;
    }
    const BYTES: u64 = 96 * MIB;
    let loops = Loops::new(Place::Tmpfs, 2, 256 * MIB, 4096);
    let pool = Pool::new(PROGRAM, loops.paths());
    pool.write(&["--size", "16MiB", "--seed", "5"]);
    let path = loops.folder().join("input");
    std::fs::write(&path, vec![7; usize::try_from(BYTES).expect("small")]).expect("an input");
    let (input, handles) = (Input::open(&path).expect("an input"), handles(2));
    // More sets than can be read before it is cut.
    let job = job(&loops, Source::File(input), 100_000);
    let run = Running::start(job, Config { peers: 1, depth: Some(2), ..Config::default() }, handles);
    let moved = until(LIMIT, || run.handles.gauges.total() > 8 * MIB || run.thread.is_finished());
    std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(BYTES / 2)).expect("cut");
    assert!(moved, "nothing is read");
    let sets = run.handles.gauges.clone();
    let error = run.end().expect_err("its data is gone").to_string();
    println!("{error}");
    assert!(error.contains(text(&path)) && error.contains("ended at byte"), "{error}");
    assert!(error.contains("do not change it during the run"), "{error}");
    let newest = pool.newest().expect("a set");
    let sets = sets.sets_done();
    assert_eq!(newest, 1 + sets, "what was not reported was not committed");
    if sets == 0 {
        pool.compare(5, 1, 16 * MIB, loops.folder()).expect("the set before is whole");
    }
}

#[test]
fn a_peer_that_dies_is_replaced_by_the_others() {
    if !root_or_skip("a_peer_that_dies_is_replaced_by_the_others") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 2, 128 * MIB, 4096);
    let pool = Pool::new(PROGRAM, loops.paths());
    pool.write(&["--size", "16MiB", "--seed", "5"]);
    let die = |doomed: fn(u16) -> bool| Config {
        on_peer_start: Some(Arc::new(move |peer| assert!(!doomed(peer.0), "planted by the test"))),
        ..Config::default()
    };
    let run = |config| {
        let job = job(&loops, Source::Generated { seed: 1, bytes: 32 * MIB }, 3);
        Running::start(job, config, handles(2)).end()
    };
    let error = run(die(|_| true)).expect_err("nobody is left");
    assert!(matches!(error, EngineError::Failed { .. } | EngineError::Died), "{error:?}");
    assert!(error.to_string().contains("a fault of Bireme"), "{error}");
    pool.compare(5, 1, 16 * MIB, loops.folder()).expect("the set before is whole");
    let doomed: [fn(u16) -> bool; 2] = [|peer| peer == 0, |peer| peer == 1];
    for (victim, newest) in [(0, 4), (1, 7)] {
        let outcome = run(die(doomed[usize::from(victim)])).expect("the other one does it");
        let deaths: Vec<u16> = outcome.balance.deaths.iter().map(|death| death.peer.0).collect();
        assert_eq!(deaths, [victim]);
        pool.compare(1, newest, 32 * MIB, loops.folder()).expect("the newest set is whole");
    }
}

/// A run of many sets on devices so slow that it lasts, in a group that is dropped before the child is waited for.
struct Slow {
    throttle: Throttle,
    child: Child,
    pool: Pool,
    loops: Loops,
}

impl Slow {
    fn start(name: &str) -> Option<Slow> {
        let loops = Loops::new(Place::Tmpfs, 2, 128 * MIB, 4096);
        let Some(throttle) = Throttle::new(&loops.paths()) else {
            println!("{name} skipped: no control groups of blkio, version 1");
            return None;
        };
        let pool = Pool::new(PROGRAM, loops.paths());
        pool.write(&["--size", "16MiB", "--seed", "5"]);
        (0..2).for_each(|device| throttle.cap(device, 16 * MIB));
        let child = pool.offload(&["--size", "16MiB", "--seed", "5", "--sets", "1000"]);
        throttle.take(child.id());
        Some(Slow { throttle, child, pool, loops })
    }
}

#[test]
fn a_signal_ends_a_run_in_order_at_any_moment() {
    if !root_or_skip("a_signal_ends_a_run_in_order_at_any_moment") {
        return;
    }
    for (round, millis) in [0, 20, 60, 150, 400, 900, 1700].into_iter().enumerate() {
        let signal = if round % 2 == 0 { Signal::SIGINT } else { Signal::SIGTERM };
        let Some(mut slow) = Slow::start("a_signal_ends_a_run_in_order_at_any_moment") else { return };
        // Before it watches signals one just ends it, as it ends any program.
        assert!(until(LIMIT, || slow.child.thread("signals").is_some()), "{}", slow.child.stderr());
        // The moment is what varies here; nothing is waited for.
        std::thread::sleep(Duration::from_millis(millis));
        slow.child.signal(signal);
        let ended = slow.child.wait(LIMIT).expect("it ends in order");
        expect_sentence(&ended, &["stopped by a signal; ", "committed"]);
        for path in slow.loops.paths() {
            // One try, where Bireme itself would try again for seconds: the process has left no claim behind.
            let claim = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(path);
            claim.expect("the device is free at once");
        }
        let newest = slow.pool.newest().expect("a set");
        let said = sets_said(ended.sentence());
        assert_eq!(newest, 1 + said, "after {millis} ms: {}", ended.sentence());
        slow.pool.compare(5, newest, 16 * MIB, slow.loops.folder()).expect("the newest set is whole");
    }
}

/// How many sets the sentence says were committed.
fn sets_said(sentence: &str) -> u64 {
    if sentence.contains("nothing was committed") {
        return 0;
    }
    let counted = sentence.rsplit(", ").next().and_then(|part| part.split_once(" set"));
    counted.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("how many? {sentence}"))
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    if !root_or_skip("a_second_signal_ends_the_process_at_once") {
        return;
    }
    let Some(mut slow) = Slow::start("a_second_signal_ends_the_process_at_once") else { return };
    assert!(until(LIMIT, || slow.child.thread("peer 0").is_some()), "{}", slow.child.stderr());
    (0..2).for_each(|device| slow.throttle.cap(device, 1));
    // Now nothing in flight ends for as long as the limit for hangs.
    slow.child.signal(Signal::SIGINT);
    // Two signals of a kind that wait to be taken are one.
    assert!(until(LIMIT, || !slow.child.has_pending(Signal::SIGINT)), "the first signal is taken");
    assert!(!slow.child.has_ended(), "it waits for what is in flight: {}", slow.child.stderr());
    slow.child.signal(Signal::SIGINT);
    let ended = slow.child.wait(Duration::from_secs(2));
    slow.throttle.lift();
    let ended = ended.expect("it ends at once");
    assert_eq!(ended.code, 130, "{ended:?}");
    let newest = slow.pool.newest().expect("a set");
    slow.pool.compare(5, newest, 16 * MIB, slow.loops.folder()).expect("the newest set is whole");
}

#[test]
fn no_room_for_the_output() {
    if !root_or_skip("no_room_for_the_output") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mount = Mount::tmpfs(&folder.path().join("small"), 8 * MIB);
    let loops = Loops::new(Place::Tmpfs, 1, 64 * MIB, 4096);
    let pool = Pool::new(PROGRAM, loops.paths());
    pool.write(&["--size", "16MiB", "--seed", "5"]);
    let output: PathBuf = mount.path().join("restored");
    let ended = pool.run("restore", &["--output", text(&output)]);
    expect_sentence(&ended, &["no room for the 16777216 bytes of ", text(&output), "free some space"]);
    assert_eq!(std::fs::read_dir(mount.path()).expect("the folder").count(), 0, "something was left behind");
    // Files that stand in for devices: the full disk shows before anything is written.
    let sparse = mount.path().join("device");
    let file = std::fs::File::create(&sparse).expect("a file");
    file.set_len(64 * MIB).and_then(|()| file.write_all_at(&[0; 4096], 0)).expect("room for a block");
    let ended = run(Path::new(PROGRAM), &["offload", "--size", "16MiB", "--device", text(&sparse)], LIMIT);
    expect_sentence(&ended, &["writing ", text(&sparse), " at byte ", "free some"]);
}
