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
#[ignore]
fn hunt() {
    for (level, members) in LOGGED {
        let mut bad = Vec::new();
        for seed in 0..60 {
            let run = std::panic::catch_unwind(|| lives(level, members, seed, |_, _| {}));
            if let Err(why) = run {
                bad.push((seed, why.downcast_ref::<String>().cloned()));
            }
        }
        println!("HUNT {level} {members}: {} {:?}", bad.len(), bad.iter().take(6).collect::<Vec<_>>());
    }
}

#[test]
#[ignore]
fn hunt_one() {
    let volume = volume(Level::Raid5, 3, 8192, 64 << 10, 40, 1);
    let mut best = (u64::MAX, 0, String::new());
    for seed in 0..300 {
        for steps in [50, 100, 200, 300, 400] {
            if steps >= best.0 {
                continue;
            }
            let run = std::panic::catch_unwind(|| {
                let mut rig = Rig::new(&volume, small_options(), seed);
                let mut random = Random::new(seed);
                rig.world.power_off_at(steps);
                while !rig.world.is_off() {
                    ask(&mut rig, &mut random);
                    advance(&mut rig);
                }
                rig.crash();
                rig.recover();
                rig.accept_what_is_there();
            });
            if let Err(why) = run {
                best = (steps, seed, why.downcast_ref::<String>().cloned().unwrap());
            }
        }
    }
    println!("HUNT {best:?}");
}

#[test]
#[ignore]
fn hunt_two() {
    let volume = volume(Level::Raid5, 3, 8192, 64 << 10, 40, 1);
    let mut rig = Rig::new(&volume, small_options(), 33);
    let mut random = Random::new(33);
    rig.world.power_off_at(50);
    rig.world.watch();
    println!(
        "HUNT lane {} data {} leaves {}",
        volume.layout.data_offset(0),
        volume.layout.data_offset(volume.frames[0]),
        volume.layout.leaf_offset(0)
    );
    while !rig.world.is_off() {
        let before = rig.model[29];
        ask(&mut rig, &mut random);
        advance(&mut rig);
        if rig.model[29].issued != before.issued
            || rig.model[29].acknowledged != before.acknowledged
            || rig.model[29].durable != before.durable
        {
            println!("HUNT {:?}", rig.model[29]);
        }
        for s in rig.world.take_started() {
            println!(
                "HUNT {} d{} {} {:?}  {} {:?}",
                s.step, s.disk, s.request.offset, s.request.operation, s.due.0, s.result
            );
        }
    }
    rig.crash();
    println!("HUNT {:?}", rig.recover());
}
