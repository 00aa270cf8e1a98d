//! The whole engine on simulated devices: a thousand lives from seeds, and every fault at every step of one life.

use std::collections::BTreeMap;

use bireme_tests::simulation::boot::End;
use bireme_tests::simulation::life::{Fault, Life};
use bireme_tests::simulation::{live, simulate};

const SEEDS: u64 = 1000;

#[test]
fn a_thousand_lives_keep_every_promise() {
    let ends = in_halves(0..SEEDS, |seed| match simulate(seed, false) {
        Ok(lived) => lived.ends.iter().map(name).collect(),
        Err(broken) => panic!(
            "seed {seed}: {broken}\nreplay it: cargo run -p bireme-tests --bin simulate -- --seed {seed} --trace"
        ),
    });
    println!("{ends:?}");
    for (end, least) in [("done", 1000), ("off", 500), ("failed", 50), ("pool", 20), ("stopped", 20), ("no space", 20)]
    {
        assert!(ends.get(end).is_some_and(|&count| count >= least), "too few lives end so: {end}: {ends:?}");
    }
}

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
        End::Stopped => "stopped",
        End::NoSpace => "no space",
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
