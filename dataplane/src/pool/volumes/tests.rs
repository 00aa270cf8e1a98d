//! Volumes of pools over simulated devices, with the power failing at every step.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bireme_control::raid::geometry::{Geometry, Level};

use super::*;
use crate::ledger::store::{PageRecord, SetRecord};
use crate::pool::{Load, Member, Shape};
use crate::port::simulated::{Simulated, World};

const SIZES: [u64; 2] = [24 << 20, 25 << 20];
const PAGE: u64 = 256 << 10;

fn members() -> Vec<Member> {
    let member = |index: usize| Member { path: PathBuf::from(format!("/dev/test{index}")), bytes: SIZES[index] };
    (0..SIZES.len()).map(member).collect()
}

fn port(world: &World) -> Simulated {
    world.port(1 << 20, 32)
}

fn open(world: &World) -> Pool {
    let geometry = Geometry::new(Level::Raid0, SIZES.len(), 4096, PAGE).expect("a usable shape");
    let pool = Pool::open_or_create(&members(), Shape { geometry }, false, &mut port(world));
    pool.unwrap_or_else(|error| panic!("the pool opens: {error}"))
}

fn names(pool: &Pool) -> Vec<String> {
    pool.store().volumes().expect("readable").into_iter().map(|volume| volume.name).collect()
}

fn open_volume(pool: &mut Pool, name: &str, world: &World) -> (Volume, bool) {
    let (volume, recovered) = pool.open_volume(name, 1, &mut port(world)).expect("it opens");
    (volume, recovered.is_some())
}

/// What the leaf blocks of a volume's pages and the heads of its lanes hold, on all members.
fn prepared(world: &World, volume: &Volume) -> bool {
    let layout = volume.layout;
    let leaves = volume.frames.iter().map(|&frame| (layout.leaf_offset(frame), layout.leaf_bytes()));
    let heads = volume.lanes.iter().map(|lane| (layout.data_offset(lane.start), BLOCK_BYTES));
    let mut places = leaves.chain(heads).flat_map(|place| (0..SIZES.len()).map(move |disk| (disk, place)));
    let length = |bytes| usize::try_from(bytes).expect("small");
    places.all(|(disk, (at, bytes))| world.peek(disk, at, length(bytes)).iter().all(|&byte| byte == 0))
}

/// Garbage where frames and their leaves lie.
fn soil(world: &World, pool: &Pool) {
    let start = pool.layout().leaf_offset(0);
    for (disk, bytes) in SIZES.into_iter().enumerate() {
        let length = usize::try_from(bytes - start - (64 << 10)).expect("small");
        world.poke(disk, start, &vec![0xA5; length]);
    }
}

#[test]
fn a_volume_is_made_opened_closed_and_removed() {
    let world = World::new(1, &SIZES);
    let mut pool = open(&world);
    soil(&world, &pool);
    let free = pool.frames_free();
    pool.create_volume("one", 5 * PAGE + 4096, 2, &mut port(&world)).expect("room");
    pool.create_volume("two", PAGE, 1, &mut port(&world)).expect("room");
    let (first, recovered) = open_volume(&mut pool, "one", &world);
    assert_eq!((first.blocks, first.frames.len(), first.lanes.len(), recovered), (5 * 64 + 1, 6, 2, false));
    assert!(prepared(&world, &first), "old leaves, or old records");
    let (second, _) = open_volume(&mut pool, "two", &world);
    assert!(prepared(&world, &second) && first.generation != second.generation);
    assert_eq!(first.generation >> 20, pool.generation());
    pool.close_volume("one", &mut port(&world)).expect("sound devices");
    pool.close(&mut port(&world)).expect("sound devices");

    let world = world.reboot();
    let mut pool = open(&world);
    let lanes: u64 = first.lanes.iter().chain(second.lanes.iter()).map(|lane| lane.count).sum();
    assert_eq!(pool.frames_free() + 7 + lanes, free, "frames of volumes are not free");
    let (again, recovered) = open_volume(&mut pool, "one", &world);
    assert_eq!(
        (again.frames.clone(), again.lanes.clone(), recovered),
        (first.frames.clone(), first.lanes.clone(), false)
    );
    let (_, recovered) = open_volume(&mut pool, "two", &world);
    assert!(recovered, "it was not closed");
    let epochs: BTreeSet<u64> = [first.epoch, second.epoch, again.epoch].into();
    assert_eq!(epochs.len(), 3);
    for name in ["one", "two"] {
        pool.delete_volume(name, &mut port(&world)).expect("sound devices");
    }
    assert_eq!((names(&pool), pool.frames_free()), (vec![], free));
}

#[test]
fn what_cannot_be_is_refused_in_a_sentence() {
    let world = World::new(2, &SIZES);
    let mut pool = open(&world);
    pool.create_volume("there", PAGE, 2, &mut port(&world)).expect("room");
    let steps = world.steps();
    let (long, all) = ("x".repeat(65), pool.layout().frames() * PAGE);
    #[rustfmt::skip]
    let cases = [
        ("",       PAGE,     1,  "1 to 64 of the characters a-z 0-9 - _ ."),
        ("A",      PAGE,     1,  "'A' cannot be the name"),
        ("a/b",    PAGE,     1,  "cannot be the name"),
        (&long,    PAGE,     1,  "cannot be the name"),
        ("there",  PAGE,     1,  "there is a volume 'there' already"),
        ("v",      0,        1,  "a volume of 0 bytes cannot be made: choose a multiple of 4096, up to "),
        ("v",      4097,     1,  "a volume of 4097 bytes cannot be made"),
        ("v",      1 << 50,  1,  "cannot be made"),
        ("v",      PAGE,     0,  "a volume for 0 peers"),
        ("v",      PAGE,     65, "choose 1 to 64"),
        ("v",      all,      1,  "frames for its data and 1 for its logs, and "),
    ];
    for (name, bytes, lanes, want) in cases {
        let error = pool.create_volume(name, bytes, lanes, &mut port(&world)).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    }
    let error = pool.delete_volume("nowhere", &mut port(&world)).expect_err("none").to_string();
    assert_eq!(error, "the pool on /dev/test0 has no volume 'nowhere': it has there");
    assert_eq!(world.steps(), steps, "something was written");
    let (volume, _) = pool.open_volume("there", 3, &mut port(&world)).expect("it opens");
    assert_eq!(volume.homes, 2, "no more than it was made for");
}

#[test]
fn sets_and_volumes_leave_each_others_frames_alone() {
    let world = World::new(3, &SIZES);
    let mut pool = open(&world);
    pool.create_volume("v", 3 * PAGE, 1, &mut port(&world)).expect("room");
    let (volume, _) = open_volume(&mut pool, "v", &world);
    let taken: BTreeSet<u64> =
        volume.frames.iter().copied().chain(volume.lanes.iter().flat_map(|lane| lane.iter())).collect();
    let mut free = pool.free_frames();
    let runs = free.take(free.count()).expect("all");
    assert!(runs.iter().flat_map(|run| run.iter()).all(|frame| !taken.contains(&frame)));
    let set = SetRecord { number: 1, bytes: PAGE, pages: 1, generation: 1, seed: None };
    let page = PageRecord { frame: runs[0].start, root: 1 };
    for _ in 0..2 {
        pool.store().commit(&set, &[page], &Default::default()).expect("room");
        pool.replay_store(&mut port(&world)).expect("sound devices");
    }
    let world = world.reboot();
    let pool = open(&world);
    assert_eq!((names(&pool), pool.newest_set()), (vec!["v".to_owned()], Some(set)));
    assert_eq!(pool.frames_free() + 1 + taken.len() as u64, pool.layout().frames());
    // Two sets, one beside the other, never find more than what volumes leave.
    let half = pool.frames_free().div_ceil(2) * PAGE;
    let load = |bytes| Load { bytes, sets: 2 }.check(pool.geometry(), pool.frames_free(), pool.frames_free() + 1);
    assert!(load(half).is_ok() && load(half + 2 * PAGE).is_err());
    let geometry = pool.geometry();
    let load = Load { bytes: half + 2 * PAGE, sets: 2 };
    let refused = Pool::open_or_create_for(&members(), Shape { geometry }, false, load, &mut port(&world));
    assert!(matches!(refused, Err(PoolError::NoRoom { .. })), "{refused:?}");
}

/// A store that contradicts itself is no store: a frame of two owners would be overwritten.
#[test]
fn a_frame_of_two_owners_is_not_trusted() {
    let world = World::new(4, &SIZES);
    let mut pool = open(&world);
    let (page, lane) = (Extent::new(7, 1), Extent::new(6, 2));
    pool.store().add_volume(("v", PAGE), |id| id, &[page], &[lane]).expect("room");
    pool.replay_store(&mut port(&world)).expect("sound devices");
    assert!(matches!(Pool::open(&members(), &mut port(&world)), Err(PoolError::NoMetadata { .. })));
}

/// Makes one volume beside another, then opens, closes and deletes; the power fails at every step, and again while the
/// pool is opened. Whatever is there then is whole, and the other volume is as it was.
#[test]
fn the_power_may_fail_at_every_step() {
    let other = |world: &World| {
        let mut pool = open(world);
        soil(world, &pool);
        pool.create_volume("other", 2 * PAGE, 1, &mut port(world)).expect("room");
    };
    let life = |world: &World| -> Result<(), VolumeError> {
        let geometry = Geometry::new(Level::Raid0, SIZES.len(), 4096, PAGE).expect("a usable shape");
        let mut pool = Pool::open_or_create(&members(), Shape { geometry }, false, &mut port(world))?;
        pool.create_volume("v", 3 * PAGE, 2, &mut port(world))?;
        pool.open_volume("v", 2, &mut port(world))?;
        pool.close_volume("v", &mut port(world))?;
        pool.delete_volume("v", &mut port(world))?;
        Ok(pool.close(&mut port(world))?)
    };
    let world = World::new(0, &SIZES);
    other(&world);
    let before = world.steps();
    life(&world).expect("sound devices");
    let steps = world.steps() - before;
    let mut seen = BTreeSet::new();
    for step in 1..=steps {
        let world = World::new(step, &SIZES);
        other(&world);
        let world = world.reboot();
        world.power_off_at(step);
        let _ = life(&world);
        let world = world.reboot();
        world.power_off_at(1 + step % 40);
        let _ = Pool::open(&members(), &mut port(&world));
        let world = world.reboot();
        let mut pool = open(&world);
        let found = names(&pool);
        let held = pool.layout().frames() - pool.frames_free();
        let record = pool.store().volume("v").expect("readable");
        seen.insert((found.len(), record.as_ref().map(|volume| volume.clean)));
        if let Some(record) = record {
            let (volume, recovered) = open_volume(&mut pool, "v", &world);
            assert!(prepared(&world, &volume), "step {step}: old leaves, or old records");
            assert_eq!(recovered, !record.clean, "step {step}");
            assert!(volume.epoch > record.epoch, "step {step}");
            pool.delete_volume("v", &mut port(&world)).expect("sound devices");
        }
        assert_eq!(names(&pool), ["other"], "step {step}");
        let (volume, _) = open_volume(&mut pool, "other", &world);
        let lanes: u64 = volume.lanes.iter().map(|lane| lane.count).sum();
        assert_eq!(pool.layout().frames() - pool.frames_free(), 2 + lanes, "step {step}, of {held}");
        assert!(prepared(&world, &volume), "step {step}");
    }
    assert_eq!(seen, [(1, None), (2, Some(true)), (2, Some(false))].into(), "each state was reached");
}

/// Mirrors go on without a member that refuses any one request; the volume is there, and the loss is on the devices.
#[test]
fn a_member_may_be_lost_at_every_step() {
    let geometry = Geometry::new(Level::Raid1, SIZES.len(), 4096, PAGE).expect("a usable shape");
    // Closed in order, or left as it is when the volume has been made.
    let life = |world: &World, after: u64, close: bool| -> Result<u64, VolumeError> {
        let mut pool = Pool::open_or_create(&members(), Shape { geometry }, true, &mut port(world))?;
        soil(world, &pool);
        let begun = world.steps();
        if after > 0 {
            world.fail_at(begun + after, libc::EIO);
        }
        pool.create_volume("v", 3 * PAGE, 2, &mut port(world))?;
        if close {
            pool.open_volume("v", 2, &mut port(world))?;
            pool.close_volume("v", &mut port(world))?;
        }
        let steps = world.steps() - begun;
        if close {
            pool.close(&mut port(world))?;
        }
        Ok(steps)
    };
    for close in [false, true] {
        let steps = life(&World::new(0, &SIZES), 0, close).expect("sound devices");
        for step in 1..=steps {
            // The seed of the life that was counted: another one has other short answers, and so other steps.
            let world = World::new(0, &SIZES);
            life(&world, step, close).unwrap_or_else(|error| panic!("step {step}: {error}"));
            let world = world.reboot();
            let mut pool = Pool::open(&members(), &mut port(&world)).expect("one mirror is enough");
            let lost = pool.health().lost;
            assert_eq!(lost.count(), 1, "step {step}: the loss is not on the devices");
            let (volume, recovered) = pool.open_volume("v", 2, &mut port(&world)).expect("it opens");
            assert!(recovered.is_none());
            let survivor = usize::from(lost.contains(0));
            let at = volume.layout.leaf_offset(volume.frames[0]);
            assert!(world.peek(survivor, at, 4096).iter().all(|&byte| byte == 0), "step {step}");
        }
    }
}
