//! Random reads, writes and flushes against an array of versions.

use bireme_control::raid::geometry::Level;

use super::super::map::tests::volume;
use super::rig::{Rig, small_options};
use crate::port::simulated::Random;

pub(super) const SHAPES: [(Level, usize); 9] = [
    (Level::Raid5, 3),
    (Level::Raid5, 5),
    (Level::Raid6, 4),
    (Level::Raid6, 6),
    (Level::Raid50 { groups: 2 }, 6),
    (Level::Raid60 { groups: 2 }, 8),
    (Level::Raid1, 2),
    (Level::Raid10, 3),
    (Level::Raid0, 2),
];

/// Asks for something random; whether there was room.
pub(super) fn ask(rig: &mut Rig, random: &mut Random) {
    let page = u64::from(rig.volume.geometry.page_bytes() / 4096);
    let block = random.below(rig.volume.blocks);
    let longest = (page - block % page).min(rig.volume.blocks - block).min(16);
    let blocks = u32::try_from(1 + random.below(longest)).expect("small");
    match random.below(10) {
        0..4 => rig.read(block, blocks),
        4..8 => rig.write(block, blocks, random.below(8) == 0),
        8 => rig.write(block, 1, random.below(8) == 0),
        _ => {
            let home = rig.home_of(block);
            rig.flush(home)
        }
    };
}

pub(super) fn advance(rig: &mut Rig) {
    rig.turn();
    if let Some(next) = rig.world.next_event() {
        rig.world.advance_to(next);
    }
}

#[test]
fn reads_show_what_was_written() {
    for (level, members) in SHAPES {
        for (seed, (chunk, page)) in (0..).zip([(4096, 64 << 10), (16384, 80 << 10), (128 << 10, 256 << 10)]) {
            let homes = 1 + u16::try_from(seed % 2).expect("small");
            let volume = volume(level, members, chunk, page, 150, homes);
            let mut rig = Rig::new(&volume, small_options(), seed);
            let mut random = Random::new(seed);
            for _ in 0..1500 {
                ask(&mut rig, &mut random);
                advance(&mut rig);
            }
            rig.drain();
            rig.check_all();
            rig.settle();
            assert!(rig.failed.is_empty(), "{level}: {:?}", rig.failed);
            // What was settled needs no recovery.
            let recovered = rig.reboot();
            assert_eq!((recovered.records, recovered.regions), (0, 0), "{level}");
            rig.check_all();
        }
    }
}
