//! Devices that do not answer: the run ends, names the device and the limit, and loses nothing.
//!
//! A loop device hangs when the writes of a control group to it are capped at a byte a second. The cap is lifted before
//! anybody waits for a child, whatever happens: [`Hung`] is dropped from its first field on.

use std::time::{Duration, Instant};

use bireme_tests::child::{Child, Ended, until};
use bireme_tests::loops::{Loops, Place, root_or_skip};
use bireme_tests::pool::Pool;
use bireme_tests::throttle::Throttle;
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bireme-under-test");
const DEVICE_BYTES: u64 = 128 << 20;
const SET_BYTES: u64 = 16 << 20;
const LIMIT: Duration = Duration::from_secs(2);
/// For a loaded machine, beside what the limit explains.
const SLACK: Duration = Duration::from_secs(8);

/// An offload of many sets whose device 1 can be made to hang.
struct Hung {
    throttle: Throttle,
    filler: Option<Child>,
    child: Child,
    pool: Pool,
    loops: Loops,
}

impl Hung {
    /// With set 1 committed and the offload of more under way.
    fn start(name: &str, set: &str) -> Option<Hung> {
        let mut hung = Hung::ready(name)?;
        hung.child = hung.pool.offload(&["--size", set, "--seed", "5", "--sets", "100000", "--hang-limit", "2s"]);
        let threads = ["peer 0", "peer 1", "ledger", "control"];
        assert!(
            until(SLACK, || threads.iter().all(|name| hung.child.thread(name).is_some())),
            "{}",
            hung.child.stderr()
        );
        Some(hung)
    }

    /// With set 1 committed by a child that has ended.
    fn ready(name: &str) -> Option<Hung> {
        if !root_or_skip(name) {
            return None;
        }
        let loops = Loops::new(Place::Tmpfs, 2, DEVICE_BYTES, 4096);
        let Some(throttle) = Throttle::new(&loops.paths()) else {
            println!("{name} skipped: no control groups of blkio, version 1");
            return None;
        };
        let pool = Pool::new(PROGRAM, loops.paths());
        let mut child = pool.offload(&["--size", "16MiB", "--seed", "5"]);
        let ended = child.wait(SLACK).expect("the first set is written");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        Some(Hung { throttle, filler: None, child, pool, loops })
    }

    /// A write of this device waits in the group, and with it all that the group asks for later, flushes as well. It
    /// goes to frames that no set holds: sets of these sizes stay in the first half.
    fn fill_the_queue(&mut self) {
        self.throttle.cap(1, 1);
        let device = format!("of={}", self.loops.path(1).display());
        let arguments = ["if=/dev/zero", &device, "oflag=direct", "bs=64k", "count=1", "seek=1400"];
        // It waits for a word from us, so that it is in the group before it writes.
        let script = "until [ -e \"$0\" ]; do sleep 0.01; done; exec dd \"$@\"";
        let gate = self.loops.folder().join("go");
        let gate_text = gate.to_str().expect("a plain path");
        let all = [&["-c", script, gate_text][..], &arguments].concat();
        let filler = self.filler.insert(Child::spawn(std::path::Path::new("/bin/sh"), &all).expect("a shell"));
        self.throttle.take(filler.id());
        std::fs::write(gate, "").expect("a file");
        let blocked = || std::fs::read_to_string(format!("/proc/{}/status", filler.id())).unwrap_or_default();
        assert!(until(SLACK, || blocked().contains("State:\tD")), "the filler hangs: {}", filler.stderr());
    }

    /// The sentence comes within the limit and a share of it, and names what the device did not answer.
    fn expect_sentence(&mut self, since: Instant, limits: u32) -> String {
        let most = LIMIT * limits + SLACK;
        let said = |child: &Child| child.stderr().lines().any(|line| line.starts_with("bireme: "));
        assert!(until(most, || said(&self.child)), "no sentence in {most:?}: {}", self.child.stderr());
        println!("{:?} after the device hung: {}", since.elapsed(), self.child.stderr());
        let stderr = self.child.stderr();
        let sentence = Ended { code: 1, stdout: String::new(), stderr }.sentence().to_owned();
        assert!(sentence.contains(self.loops.path(1).to_str().expect("a path")), "{sentence}");
        for part in ["dmesg", "--hang-limit"] {
            assert!(sentence.contains(part), "no word of {part}: {sentence}");
        }
        sentence
    }

    /// With the cap lifted, the newest set restores and the pool takes another one.
    fn expect_all_kept(&mut self, bytes: u64) {
        self.throttle.lift();
        let ended = self.child.wait(SLACK).expect("it ends once the device answers");
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        if let Some(filler) = &mut self.filler {
            assert!(filler.wait(SLACK).is_some_and(|ended| ended.code == 0));
        }
        let newest = self.pool.newest().expect("a committed set");
        let bytes = if newest == 1 { SET_BYTES } else { bytes };
        self.pool.compare(5, newest, bytes, self.loops.folder()).expect("nothing is lost");
        self.pool.write(&["--size", "16MiB", "--seed", "5"]);
        assert_eq!(self.pool.newest(), Some(newest + 1), "a set that was not committed has no number");
    }
}

#[test]
fn a_write_that_hangs_is_named_and_the_process_ends_by_itself() {
    let Some(mut hung) = Hung::start("a_write_that_hangs", "16MiB") else { return };
    hung.throttle.cap(1, 1);
    for name in ["peer 0", "peer 1"] {
        assert!(hung.throttle.take_thread(hung.child.thread(name).expect("a peer")));
    }
    let since = Instant::now();
    let sentence = hung.expect_sentence(since, 2);
    assert!(sentence.starts_with("writing /dev/loop"), "{sentence}");
    let ended = hung.child.wait(LIMIT + SLACK).expect("it ends though the device still hangs");
    assert_eq!(ended.code, 1);
    hung.expect_all_kept(SET_BYTES);
}

#[test]
fn a_commit_that_hangs_is_named_and_the_process_ends_by_itself() {
    let Some(mut hung) = Hung::start("a_commit_that_hangs", "4MiB") else { return };
    hung.throttle.cap(1, 1);
    let ledger = hung.child.thread("ledger").expect("a ledger");
    assert!(hung.throttle.take_thread(ledger));
    let since = Instant::now();
    let sentence = hung.expect_sentence(since, 2);
    assert!(sentence.starts_with("writing /dev/loop"), "{sentence}");
    let ended = hung.child.wait(LIMIT + SLACK).expect("it ends though the device still hangs");
    assert_eq!(ended.code, 1);
    hung.expect_all_kept(4 << 20);
}

/// The kernel makes a flush on a worker of the thread that asked, and that thread cannot leave the kernel before the
/// device has answered: `io_wq_put_and_exit` waits for the worker without a limit, and no signal changes that. So the
/// command says its sentence without waiting for its threads, and what is left of the process goes when the device
/// answers.
#[test]
fn a_flush_that_hangs_is_named_though_its_thread_cannot_end() {
    let Some(mut hung) = Hung::start("a_flush_that_hangs", "4MiB") else { return };
    hung.fill_the_queue();
    let stuck = |hung: &Hung| {
        let workers = hung.child.threads().into_iter().filter(|(_, name)| name.starts_with("iou-wrk"));
        workers.filter(|&(worker, _)| hung.throttle.take_thread(worker)).count() > 0
    };
    // Workers come and go, so all there are at a moment are taken until one of them is caught.
    let since = Instant::now();
    let said = |hung: &Hung| hung.child.stderr().contains("bireme: ");
    assert!(until(LIMIT * 4 + SLACK, || !stuck(&hung) || said(&hung)), "{}", hung.child.stderr());
    let sentence = hung.expect_sentence(since, 3);
    assert!(sentence.starts_with("flushing /dev/loop"), "{sentence}");
    assert!(sentence.contains("cannot be ended until the device answers"), "{sentence}");
    hung.child.signal(Signal::SIGKILL);
    assert!(
        hung.child.wait(Duration::from_millis(300)).is_none(),
        "this kernel lets go of hung flushes: mend the story"
    );
    hung.expect_all_kept(4 << 20);
}

#[test]
fn an_opening_that_hangs_is_named() {
    let Some(mut hung) = Hung::ready("an_opening_that_hangs") else { return };
    hung.fill_the_queue();
    let arguments = ["--size", "16MiB", "--hang-limit", "2s"];
    let devices = hung.pool.devices.iter().map(|path| path.to_str().expect("a path"));
    let words: Vec<&str> = ["offload"].into_iter().chain(arguments).chain(["--device"]).chain(devices).collect();
    // Through a shell that waits until it is in the group.
    let gate = hung.loops.folder().join("open");
    let script = "until [ -e \"$0\" ]; do sleep 0.01; done; exec \"$@\"";
    let all = [&["-c", script, gate.to_str().expect("a path"), PROGRAM][..], &words].concat();
    hung.child = Child::spawn(std::path::Path::new("/bin/sh"), &all).expect("a shell");
    hung.throttle.take(hung.child.id());
    std::fs::write(&gate, "").expect("a file");
    let since = Instant::now();
    hung.expect_sentence(since, 2);
    let ended = hung.child.wait(LIMIT + SLACK).expect("it ends though the device still hangs");
    assert_eq!(ended.code, 1);
    hung.expect_all_kept(SET_BYTES);
}
