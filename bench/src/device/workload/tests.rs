//! A peer's work on simulated disks: what is verified, what a power cut leaves, and disks that lie.

use bireme_dataplane::port::simulated::{Simulated, World};

use super::super::arrivals::Arrivals;
use super::super::journal::{Journal, Told};
use super::super::load::Mix;
use super::super::owed::Reader;
use super::super::{Debts, Verified};
use super::*;
use crate::device::addresses::Order;
use crate::recording::recorder::Exchange;

const DISK: u64 = 64 * 4096;

/// Writes and reads at random to blocks of which two are often asked for at once.
fn load() -> Load {
    Load {
        mix: Mix { reads: 50, trims: 0 },
        sizes: vec![(4096, 70), (8192, 30)],
        order: Order::Uniform,
        region: (0, DISK),
        depth: 8,
        batch_submit: 8,
        batch_complete: None,
        arrivals: Arrivals::Closed,
        warm_up: Nanos::ZERO,
        span: Span::Bytes(4 << 20),
        flush_every: None,
        fua: false,
        data: Data::Verified,
        seed: 1,
    }
}

struct Rig {
    port: Simulated,
    exchange: Exchange,
    workload: Workload,
}

impl Rig {
    fn new(world: &World, load: &Load, journal: Option<&Journal>) -> Rig {
        world.short_rate(0);
        let places = load.places(DISK, 0, 1).expect("room");
        let parts = [Part { file: 0, places, trim: TrimWay::Discard }];
        let debts = journal.map(|journal| Debts::new(journal, 1, 1 << 10));
        let checks = Checks::new(77, load.largest(), &parts, debts);
        let exchange = Exchange::new(1);
        let recorder = Recorder::new(exchange.clone(), 0, Nanos::from_secs(1));
        let enough = Arc::new(AtomicBool::new(false));
        let bytes = usize::try_from(Workload::region_bytes(load)).expect("small");
        let workload = Workload::new(load.clone(), 0, &parts, recorder, Some(checks), None, enough);
        Rig { port: world.port(bytes, load.depth), exchange, workload }
    }

    /// Until it is done or cannot go on; `each` is called every turn.
    fn work(&mut self, mut each: impl FnMut()) -> Result<(), Failure> {
        loop {
            each();
            let now = self.port.now();
            let next = match self.workload.turn(&mut self.port, now, false)? {
                Step::Done => return Ok(()),
                Step::On(next) => next,
                Step::Held(until) => Next::At(until),
            };
            Client::<Simulated>::handed_over(&mut self.workload, self.port.now());
            self.port.submit(next).map_err(|_| Failure::Port { errno: libc::EIO })?;
        }
    }

    fn counts(&self) -> Verified {
        self.workload.checks().expect("verified").counts()
    }
}

#[test]
fn on_a_sound_disk_all_is_what_was_written_last() {
    for (seed, trims) in [(1, 0), (2, 30), (3, 30)] {
        let load = Load { mix: Mix { reads: 40, trims }, seed, flush_every: Some(5), ..load() };
        let mut rig = Rig::new(&World::new(seed, &[DISK]), &load, None);
        rig.work(|| {}).expect("a sound disk");
        assert_eq!(rig.workload.checks().and_then(Checks::mismatch), None);
        let counts = rig.counts();
        assert!(counts.in_run > 100 && counts.not_owed > 0 && counts.at_end > 20, "{counts:?}");
        assert_eq!(rig.workload.free.len(), 8, "every place is free again");
        let mut bytes = 0;
        while rig.exchange.take(|interval| bytes += interval.bytes()) {}
        assert!((4 << 20..(4 << 20) + 8192).contains(&bytes), "{bytes}: what had to wait was done too");
    }
}

#[test]
fn a_block_that_changes_behind_the_run_ends_it_with_its_place() {
    for at_end in [false, true] {
        let world = World::new(1, &[DISK]);
        let mix = Mix { reads: if at_end { 0 } else { 50 }, trims: 0 };
        let load = Load { mix, span: Span::Bytes(u64::MAX), ..load() };
        let mut rig = Rig::new(&world, &load, None);
        let (enough, mut turns) = (rig.workload.enough.clone(), 0);
        let mut flipped = Vec::new();
        rig.work(|| {
            turns += 1;
            if turns == 400 {
                // Sector 5 of every block, so that one of them is read before it is written again.
                for offset in (0..DISK).step_by(4096).map(|offset| offset + 5 * 512) {
                    flipped.push(offset);
                    let mut sector = world.peek(0, offset, 512);
                    sector[100] ^= 8;
                    world.poke(0, offset, &sector);
                }
                enough.store(at_end, Ordering::Relaxed);
            }
            assert!(turns < 5000, "nothing was found");
        })
        .expect("no device has failed");
        let mismatch = rig.workload.checks().and_then(Checks::mismatch).expect("found");
        assert!(flipped.contains(&mismatch.offset) && mismatch.torn, "{mismatch:?}");
    }
}

/// A run that a power cut ends, and what its journal says of the disk when the power is back: owed blocks, and lost ones.
fn cut(seed: u64, load: &Load, lies: bool) -> (u64, u64, u64) {
    let world = World::new(seed, &[DISK]);
    if lies {
        world.forget_flushes(0);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut journal = Journal::create(&path, 77, 4096, &["disk".into()]).expect("a file");
    let mut rig = Rig::new(&world, load, Some(&journal));
    world.power_off_at(200 + seed * 7);
    rig.work(|| journal.drain()).expect_err("the power fails");
    // The process dies with what it has not told.
    drop(journal);
    let after = world.reboot();
    after.short_rate(0);
    let told = Told::read(&path).expect("a journal");
    assert!(told.unreadable == 0 && told.records > 0);
    let owed = told.owed.len() as u64;
    let mut reader = Reader::new(told.header, told.owed);
    let mut port = after.port(32 * 4096, 32);
    loop {
        let now = port.now();
        match reader.turn(&mut port, now, false).expect("a sound disk") {
            Step::Done => break,
            Step::On(next) => port.submit(next).expect("power"),
            Step::Held(_) => panic!("a reader has no class"),
        }
    }
    assert_eq!(reader.exact + reader.later + reader.lost_count, owed, "all were read");
    (owed, reader.later, reader.lost_count)
}

#[test]
fn what_was_flushed_or_written_through_survives_a_power_cut() {
    for (flush_every, fua) in [(Some(3), false), (None, true), (Some(1), false), (Some(9), true)] {
        let load = Load { flush_every, fua, span: Span::Bytes(u64::MAX), ..load() };
        let all: Vec<_> = (0..40).map(|seed| cut(seed, &load, false)).collect();
        let sum = all.iter().fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
        assert_eq!(sum.2, 0, "flush every {flush_every:?}, FUA {fua}: {all:?}");
        assert!(sum.0 > 400 && sum.1 > 20, "little was owed, or nothing was later: {sum:?}");
    }
}

#[test]
fn a_disk_that_forgets_what_it_has_acknowledged_is_found_out() {
    for (flush_every, fua) in [(Some(3), false), (None, true)] {
        let load = Load { flush_every, fua, span: Span::Bytes(u64::MAX), ..load() };
        let found = (0..10).filter(|&seed| cut(seed, &load, true).2 > 0).count();
        assert!(found >= 9, "{found} of 10");
    }
}
