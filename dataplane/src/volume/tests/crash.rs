//! The power fails at any moment, also during a recovery: what was flushed is there, and each other block is old or new.

use bireme_control::raid::geometry::Level;

use super::super::map::tests::volume;
use super::model::{advance, ask};
use super::rig::{Rig, small_options};
use crate::port::simulated::Random;

const LOGGED: [(Level, usize); 5] = [
    (Level::Raid5, 3),
    (Level::Raid5, 5),
    (Level::Raid6, 5),
    (Level::Raid50 { groups: 2 }, 6),
    (Level::Raid60 { groups: 2 }, 8),
];

/// Runs until the power fails at a random step, recovers through more power failures, and checks every block.
fn lives(level: Level, members: usize, seed: u64, mut at_crash: impl FnMut(&mut Rig, &mut Random)) {
    let volume = volume(level, members, 8192, 64 << 10, 40, 1 + u16::try_from(seed % 2).expect("small"));
    let mut rig = Rig::new(&volume, small_options(), seed);
    let mut random = Random::new(seed);
    for _ in 0..6 {
        rig.world.power_off_at(rig.world.steps() + 1 + random.below(400));
        while !rig.world.is_off() {
            ask(&mut rig, &mut random);
            advance(&mut rig);
        }
        rig.crash();
        at_crash(&mut rig, &mut random);
        for depth in 0.. {
            if depth < 2 {
                rig.world.power_off_at(1 + random.below(120));
            }
            if rig.recover().is_some() {
                break;
            }
            rig.crash();
        }
        rig.world.power_off_at(u64::MAX);
        rig.failed.clear();
        rig.accept_what_is_there();
    }
}

#[test]
fn every_block_is_old_or_new_after_a_crash() {
    for seed in 0..30 {
        for (level, members) in LOGGED {
            lives(level, members, seed, |_, _| {});
        }
    }
}

#[test]
fn every_block_is_old_or_new_after_a_crash_that_takes_members_with_it() {
    for seed in 0..30 {
        for (level, members) in LOGGED {
            lives(level, members, seed, lose_one);
        }
    }
}

/// Loses a member for good, if the array survives that and chance will have it.
fn lose_one(rig: &mut Rig, random: &mut Random) {
    let member = u16::try_from(random.below(u64::from(rig.volume.geometry.members()))).expect("small");
    let without = rig.health.without(member);
    if random.below(2) == 0 && without.survives(&rig.volume.geometry) {
        rig.health = without;
    }
    rig.spoil_lost();
}
