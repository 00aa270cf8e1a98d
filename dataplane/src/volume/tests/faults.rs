//! Silent faults of one member: what is not what was written is never returned, and healed where that is possible.

use bireme_control::raid::geometry::Level;
use bireme_control::raid::health::Health;

use super::super::Volume;
use super::super::map::tests::volume;
use super::model::{SHAPES, advance, ask};
use super::rig::{Rig, small_options};
use crate::message::Failure;
use crate::port::simulated::Random;

/// What a member does to a page.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A bit of a block flips.
    Flip,
    /// A block is that of another address.
    Misdirected,
    /// A block cannot be read.
    Unreadable,
    /// A bit of a leaf flips.
    Leaf,
    /// No leaf of the page was ever written.
    NoLeaves,
    /// The whole member, leaves included, holds what it held some time ago.
    Stale,
}

const FAULTS: [Fault; 6] =
    [Fault::Flip, Fault::Misdirected, Fault::Unreadable, Fault::Leaf, Fault::NoLeaves, Fault::Stale];

/// Random work, then everything in place.
fn written(level: Level, members: usize, seed: u64, rounds: u64) -> (Rig, Random) {
    let volume = volume(level, members, 8192, 64 << 10, 70, 1);
    let mut rig = Rig::new(&volume, small_options(), seed);
    let mut random = Random::new(seed);
    work(&mut rig, &mut random, rounds);
    (rig, random)
}

fn work(rig: &mut Rig, random: &mut Random, rounds: u64) {
    for _ in 0..rounds {
        ask(rig, random);
        advance(rig);
    }
    rig.drain();
    rig.settle();
}

/// What a member holds of a page: data and leaves.
fn held(rig: &Rig, volume: &Volume, page: usize, member: usize) -> [(u64, Vec<u8>); 2] {
    let frame = volume.frames[page];
    let bytes = [u64::from(volume.geometry.frame_member_bytes()), volume.layout.leaf_bytes()];
    let at = [volume.layout.data_offset(frame), volume.layout.leaf_offset(frame)];
    [0, 1].map(|part| (at[part], rig.world.peek(member, at[part], usize::try_from(bytes[part]).expect("small"))))
}

/// Does it to a page; whether that changed anything.
fn harm(
    rig: &mut Rig,
    random: &mut Random,
    fault: Fault,
    page: usize,
    member: usize,
    old: &[(u64, Vec<u8>); 2],
) -> bool {
    let volume = rig.volume.clone();
    let now = held(rig, &volume, page, member);
    let [(data_at, data), (leaves_at, leaves)] = &now;
    let present: Vec<usize> =
        (0..data.len() / 4096).filter(|&block| leaves[block * 8..block * 8 + 8] != [0; 8]).collect();
    if present.is_empty() {
        return false;
    }
    let block = present[usize::try_from(random.below(present.len() as u64)).expect("small")];
    let at = data_at + block as u64 * 4096;
    match fault {
        Fault::Flip => {
            let mut bytes = data[block * 4096..block * 4096 + 4096].to_vec();
            bytes[usize::try_from(random.below(4096)).expect("small")] ^= 1 << random.below(8);
            rig.world.poke(member, at, &bytes);
        }
        Fault::Misdirected => rig.world.poke(member, at, &data[(block ^ 1) * 4096..(block ^ 1) * 4096 + 4096]),
        Fault::Unreadable => rig.world.bad_block(member, at),
        Fault::Leaf => {
            let mut leaf = leaves[block * 8..block * 8 + 8].to_vec();
            leaf[usize::try_from(random.below(8)).expect("small")] ^= 1 << random.below(8);
            rig.world.poke(member, leaves_at + block as u64 * 8, &leaf);
        }
        Fault::NoLeaves => rig.world.poke(member, *leaves_at, &vec![0; leaves.len()]),
        Fault::Stale => old.iter().for_each(|(at, bytes)| rig.world.poke(member, *at, bytes)),
    }
    matches!(fault, Fault::Unreadable) || held(rig, &volume, page, member) != now
}

#[test]
fn what_one_member_gets_wrong_is_healed_or_refused_and_never_returned() {
    let mut healed = [0; FAULTS.len()];
    for (level, members) in SHAPES {
        for seed in 0..4 * FAULTS.len() as u64 {
            let which = usize::try_from(seed).expect("small") % FAULTS.len();
            let fault = FAULTS[which];
            // One device alone that is old as a whole, leaves included, cannot be told from one that is not.
            if matches!(fault, Fault::Stale) && level == Level::Raid0 {
                continue;
            }
            println!("{level} over {members}: {fault:?}, seed {seed}");
            let (mut rig, mut random) = written(level, members, seed, 30);
            let volume = rig.volume.clone();
            let page = usize::try_from(random.below(4)).expect("small");
            let member = usize::try_from(random.below(members as u64)).expect("small");
            let old = held(&rig, &volume, page, member);
            work(&mut rig, &mut random, 60);
            rig.homes.clear();
            harm(&mut rig, &mut random, fault, page, member, &old);
            rig.open();
            rig.check_all();
            for page in 0..volume.frames.len() as u64 {
                assert!(rig.other(0, |home, operation| home.scrub(operation, page)));
                rig.drain();
            }
            let found = rig.homes[0].healed();
            healed[which] += found.blocks;
            // Nothing is left that says what a member had before it lost all of a page, leaves included, or where a
            // level has no redundancy: that is told, and not made up.
            let told = matches!(fault, Fault::Stale) || level == Level::Raid0;
            let all_told =
                rig.failed.iter().all(|failure| matches!(failure, Failure::Damaged { .. } | Failure::Device { .. }));
            assert!(all_told && (told || rig.failed.is_empty()), "{level} {fault:?} {seed}: {:?}", rig.failed);
            if rig.failed.is_empty() {
                rig.settle();
                rig.open();
                rig.check_all();
                assert_eq!(rig.homes[0].healed().blocks, 0, "{level} {fault:?} {seed}: healed for good");
            }
        }
    }
    for (fault, healed) in FAULTS.iter().zip(healed) {
        assert!(healed > 0, "{fault:?} was never healed");
    }
}

#[test]
fn members_that_die_at_any_request_are_gone_on_without() {
    for seed in 0..60 {
        for (level, members) in SHAPES {
            let volume = volume(level, members, 8192, 64 << 10, 70, 2);
            if !volume.geometry.survives(&[0]) {
                continue;
            }
            let mut rig = Rig::new(&volume, small_options(), seed);
            let mut random = Random::new(seed);
            let mut dying = Health::default();
            while random.below(4) != 0 {
                let member = u16::try_from(random.below(members as u64)).expect("small");
                if dying.without(member).survives(&volume.geometry) {
                    dying = dying.without(member);
                    rig.world.kill_at(rig.world.steps() + 1 + random.below(300), usize::from(member));
                }
            }
            for _ in 0..300 {
                ask(&mut rig, &mut random);
                advance(&mut rig);
            }
            rig.drain();
            rig.check_all();
            rig.settle();
            assert!(rig.failed.is_empty(), "{level}: {:?}", rig.failed);
            rig.open();
            rig.check_all();
        }
    }
}

/// Requests under way at most while a page is scrubbed, with a client that reads one block after the other or without.
fn scrub_in_flight(has_client: bool) -> usize {
    let volume = volume(Level::Raid5, 4, 4096, 64 << 10, 40, 1);
    let mut rig = Rig::new(&volume, small_options(), 1);
    for page in 0..2 {
        assert!(rig.write(page * 16, 16, false));
    }
    rig.drain();
    rig.settle();
    let mut most = 0;
    for turn in 0..200 {
        if has_client {
            rig.read(16 + turn % 16, 1);
        }
        if turn == 0 {
            assert!(rig.other(0, |home, operation| home.scrub(operation, 0)));
        }
        rig.turn();
        most = most.max(rig.homes[0].in_flight());
        rig.world.advance_to(rig.world.next_event().unwrap_or(rig.world.now()));
    }
    rig.drain();
    assert_eq!(rig.failed, []);
    most
}

#[test]
fn a_page_that_is_mended_leaves_room_for_clients() {
    let (alone, beside) = (scrub_in_flight(false), scrub_in_flight(true));
    // Five pieces of four members each and one of two; or four of them, and what the client reads.
    assert_eq!(alone, 5 * 4 + 2);
    assert!((16..=4 * 4 + 5).contains(&beside), "{beside} requests under way");
}
