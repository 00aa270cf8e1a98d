//! The whole engine on simulated devices: many lives from seeds, and every fault at every step of one life.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bireme_control::balance::Strategy;
use bireme_control::units::{Nanos, PeerId};
use bireme_tests::simulation::boot::{ALL_DIED, End};
use bireme_tests::simulation::life::{Boot, Config, Death, Fault, Life, Moment};
use bireme_tests::simulation::tally::{Kind, Tally};
use bireme_tests::simulation::{live, simulate};

/// A thousand on RAID 0, and five hundred on the other levels.
const SEEDS: u64 = 1500;

#[test]
fn many_lives_keep_every_promise() {
    let tally = Mutex::new(Tally::default());
    let ends = in_halves(0..SEEDS, |seed| match simulate(seed, false) {
        Ok(lived) => {
            tally.lock().expect("nobody has panicked").merge(&lived.tally);
            lived.ends.iter().map(name).collect()
        }
        Err(broken) => panic!(
            "seed {seed}: {broken}\nreplay it: cargo run -p bireme-tests --bin simulate -- --seed {seed} --trace"
        ),
    });
    println!("{ends:?}");
    for (end, least) in [("done", 1000), ("off", 500), ("failed", 50), ("pool", 20), ("stopped", 20), ("no space", 20)]
    {
        assert!(ends.get(end).is_some_and(|&count| count >= least), "too few lives end so: {end}: {ends:?}");
    }
    let tally = tally.into_inner().expect("nobody has panicked");
    println!("{tally:?}");
    for (kind, least) in ENOUGH {
        assert!(tally.count(kind) >= least, "too rare: {kind:?}: {tally:?}");
    }
}

/// About half of what these lives show: fewer would mean that something does not happen any more.
const ENOUGH: [(Kind, u64); 36] = [
    (Kind::HeldBack, 100),
    (Kind::HandedOver, 1500),
    (Kind::Refused, 3000),
    (Kind::AskedEarly, 2000),
    (Kind::Repeated, 200),
    (Kind::RepeatWon, 120),
    (Kind::RepeatLost, 20),
    (Kind::LoserInFlight, 30),
    (Kind::FrameReused, 2000),
    (Kind::Survived, 500),
    (Kind::AllDied, 50),
    (Kind::Died, 500),
    (Kind::DiedBeforeBegin, 100),
    (Kind::DiedWriting, 200),
    (Kind::DiedAsking, 80),
    (Kind::DiedAnswered, 20),
    (Kind::DiedRepeating, 5),
    (Kind::DiedFlushing, 50),
    (Kind::DiedAfterCommit, 1),
    (Kind::DiedBeforeLayingDown, 20),
    (Kind::DiedBeforeTakingUp, 1),
    (Kind::DiskDiedIdle, 120),
    (Kind::DiskDiedWriting, 140),
    (Kind::DiskDiedCommitting, 50),
    (Kind::DiskDiedRebuilding, 40),
    (Kind::DiskDiedScrubbing, 45),
    (Kind::WentOnWithout, 200),
    (Kind::DegradedCommit, 950),
    (Kind::DegradedRead, 700),
    (Kind::StaleRefused, 500),
    (Kind::PoolRefused, 30),
    (Kind::Replaced, 330),
    (Kind::Rebuilt, 300),
    (Kind::Scrubbed, 400),
    (Kind::Healed, 70),
    (Kind::MendingCut, 45),
];

#[test]
fn a_seed_lives_the_same_life_twice() {
    for seed in 0..20 {
        let hash = || simulate(seed, false).map(|lived| (lived.hash, lived.events));
        assert_eq!(hash(), hash(), "seed {seed}");
    }
    assert_ne!(simulate(0, false).map(|lived| lived.hash), simulate(1, false).map(|lived| lived.hash));
}

#[test]
fn a_device_may_fail_at_every_step() {
    at_every_step(Fault::Errno(libc::EIO));
}

#[test]
fn a_device_may_be_full_at_every_step() {
    at_every_step(Fault::Errno(libc::ENOSPC));
}

#[test]
fn a_device_may_hang_at_every_step() {
    at_every_step(Fault::Hang);
}

#[test]
fn the_power_may_fail_at_every_step() {
    at_every_step(Fault::Power);
}

#[test]
fn the_process_may_be_killed_at_every_step() {
    at_every_step(Fault::Kill);
}

#[test]
fn a_peer_may_die_at_every_call_while_shares_are_measured() {
    at_every_call(Strategy::Measured);
}

#[test]
fn a_peer_may_die_at_every_call_while_ratios_are_stepped() {
    at_every_call(Strategy::Ratio);
}

#[test]
fn a_peer_may_die_at_every_call_while_all_draw_from_one_cursor() {
    at_every_call(Strategy::Pull);
}

/// One small life of three peers with three sets; the first or the second, who have devices to flush, dies at each call of
/// its port. All sets are written.
fn at_every_call(strategy: Strategy) {
    for doomed in 0..2 {
        let lived = |calls| {
            let death =
                Death { peer: PeerId(doomed), moment: Moment::Running, calls, unseen: Nanos(calls % 7 * 100_000) };
            let life = Life::mortal(strategy, u64::from(doomed), death);
            let lived = live(0, &life, false);
            let lived = lived.unwrap_or_else(|broken| panic!("peer {doomed} died at call {calls}: {broken}"));
            assert!(matches!(lived.ends[..], [End::Done]), "peer {doomed} died at call {calls}: {:?}", lived.ends);
            lived.tally.count(Kind::Died)
        };
        // The last call is found by halving: after it nobody dies.
        let (mut dies, mut lives) = (1, 1 << 16);
        while lives - dies > 1 {
            let middle = u64::midpoint(dies, lives);
            if lived(middle) > 0 { dies = middle } else { lives = middle }
        }
        assert!(dies > 50, "{dies} calls are no life");
        in_halves(1..dies + 1, |calls| if lived(calls) > 0 { vec!["died"] } else { vec!["lived"] });
        println!("{strategy:?}: peer {doomed} died at each of {dies} calls");
    }
}

/// Lives that broke a promise once.
#[test]
fn what_was_mended_stays_mended() {
    // A peer had more letters than the ledger, which had gone, had places for: it could not stop.
    let seeds = [11_827];
    for seed in seeds {
        let lived = live(seed, &Life::striped(seed), false);
        assert!(lived.is_ok(), "seed {seed}: {lived:?}");
    }
    // A peer had gone, dead or not, with a full mailbox: the ledger could not end before it had delivered the rest.
    for seed in [33, 143, 488, 830] {
        let lived = live(seed, &Life::striped(seed), false);
        assert!(lived.is_ok(), "seed {seed}: {lived:?}");
    }
    // A second member was lost before the superblocks that name the first were flushed, and the power failed: both slots
    // were torn. The ledger began a commit after it had said that it stopped. A member that was being rebuilt refused a
    // write, and was believed all the same. And what the observer took for broken: a member that comes back, one that dies
    // in an opening, blocks that were mended before a scrub failed, two deaths at once, a disk that has not joined.
    for seed in [300_221, 303_861, 601_505, 100_478, 101_012, 202_520, 500_663, 501_638] {
        let lived = simulate(seed, false);
        assert!(lived.is_ok(), "seed {seed}: {lived:?}");
    }
    // A peer failed just when the operator stopped the run: the ledger told idle peers to stop, and left before the
    // wake-ups did. They slept for ever.
    for seed in 0..60 {
        let mut life = Life::small(Fault::Errno(libc::EIO), 1 + seed % 4);
        life.config = Config { lag_per_million: 300_000, peers: 3, ..life.config };
        life.boots.truncate(1);
        life.boots[0] = Boot { sets: vec![1], moment: Moment::Running, stop: Some(1), ..life.boots[0].clone() };
        let lived = live(seed, &life, false);
        assert!(lived.is_ok(), "seed {seed}: {lived:?}");
    }
}

/// One small life with three sets; the fault strikes at each step of it, from the first look at the devices to the last
/// superblock. What was acknowledged before must be there after it, and the pool must take another set.
fn at_every_step(fault: Fault) {
    let steps = live(0, &Life::small(Fault::None, 1), false).expect("nothing strikes").steps;
    assert!(steps > 100, "{steps} steps are no life");
    let ends = in_halves(1..steps + 1, |step| match live(0, &Life::small(fault, step), false) {
        Ok(lived) => lived.ends.first().map(name).into_iter().collect(),
        Err(broken) => panic!("{fault:?} at step {step} of {steps}: {broken}"),
    });
    println!("{fault:?} at each of {steps} steps: {ends:?}");
}

fn name(end: &End) -> &'static str {
    match end {
        End::Done => "done",
        End::Mended => "mended",
        End::Refused(_) => "refused",
        End::Stopped => "stopped",
        End::NoSpace => "no space",
        End::Failed(ALL_DIED) => "all died",
        End::Failed(_) => "failed",
        End::Pool(_) => "pool",
        End::Off => "off",
    }
}

/// Two threads, one for the even and one for the odd; counts what they saw.
fn in_halves(
    range: std::ops::Range<u64>,
    one: impl Fn(u64) -> Vec<&'static str> + Sync,
) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    let seen = std::thread::scope(|scope| {
        let half = |odd: u64| {
            let (range, one) = (range.clone(), &one);
            scope.spawn(move || range.filter(|index| index % 2 == odd).flat_map(one).collect::<Vec<_>>())
        };
        let halves = [half(0), half(1)];
        halves.map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    seen.into_iter().flatten().for_each(|end| *counts.entry(end).or_default() += 1);
    counts
}
