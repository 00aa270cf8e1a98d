//! Pools over simulated devices, with the power failing at every step.

use bireme_control::raid::geometry::Level;

use super::*;
use crate::layout::zones;
use crate::port::Operation;
use crate::port::simulated::{Simulated, World};

mod degraded;
mod lives;

fn members(bytes: &[u64]) -> Vec<Member> {
    let member = |(index, &bytes): (usize, &u64)| Member { path: PathBuf::from(format!("/dev/test{index}")), bytes };
    bytes.iter().enumerate().map(member).collect()
}

fn shape(members: usize) -> Shape {
    Shape { geometry: Geometry::new(Level::Raid0, members, 4096, 64 << 10).expect("a usable shape") }
}

fn port(world: &World) -> Simulated {
    world.port(1 << 20, 32)
}

fn create(world: &World, members: &[Member]) -> Result<Pool, PoolError> {
    Pool::open_or_create(members, shape(members.len()), false, &mut port(world))
}

const SIZES: [u64; 2] = [8 << 20, 9 << 20];

#[test]
fn a_pool_is_made_on_blank_devices_and_opened_in_any_order() {
    let world = World::new(1, &SIZES);
    let given = members(&SIZES);
    assert_eq!(Pool::inspect(&given, &mut port(&world)).expect("sound"), Standing::Blank);
    let pool = create(&world, &given).expect("blank devices");
    let (uuid, generation) = (pool.uuid(), pool.generation());
    pool.close(&mut port(&world)).expect("sound devices");
    // The port's files are the devices as given: swapped disks for swapped members.
    let swapped = World::new(1, &[SIZES[1], SIZES[0]]);
    for (disk, &bytes) in SIZES.iter().enumerate() {
        let bytes = usize::try_from(bytes).expect("small");
        swapped.poke(1 - disk, 0, &world.peek(disk, 0, bytes));
    }
    let reversed = members(&[SIZES[1], SIZES[0]]);
    let pool = create(&swapped, &reversed).expect("our own");
    assert_eq!((pool.uuid(), pool.order()), (uuid, [Some(1), Some(0)].as_slice()));
    assert!(pool.generation() > generation);
    assert_eq!(pool.paths()[0], PathBuf::from("/dev/test1"));
}

#[test]
fn the_newest_durable_superblock_is_never_written_over() {
    let world = World::new(1, &SIZES);
    let mut pool = create(&world, &members(&SIZES)).expect("blank devices");
    let offsets = |pool: &mut Pool| -> Vec<[u64; 2]> { pool.inscribe().iter().map(|own| own.offsets).collect() };
    // An attempt that nobody knows to be durable is written over by the next one.
    let (first, second) = (offsets(&mut pool), offsets(&mut pool));
    assert_eq!(first, second);
    pool.confirm();
    let third = offsets(&mut pool);
    assert!(first.iter().flatten().zip(third.iter().flatten()).all(|(one, other)| one != other), "{first:?} {third:?}");
}

#[test]
fn an_opening_makes_durable_what_it_finds_before_it_writes() {
    let world = World::new(1, &SIZES);
    let given = members(&SIZES);
    drop(create(&world, &given).expect("blank devices"));
    world.watch();
    world.take_started();
    create(&world, &given).expect("our own");
    let mut flushed = [false; SIZES.len()];
    for started in world.take_started() {
        match started.request.operation {
            Operation::Flush => flushed[started.disk] = true,
            Operation::Write(_) => assert!(flushed[started.disk], "{started:?}"),
            _ => {}
        }
    }
    assert_eq!(flushed, [true; SIZES.len()]);
}

#[test]
fn what_is_not_ours_is_refused_with_a_sentence_and_nothing_is_written() {
    let given = members(&SIZES);
    let refused = |world: &World, given: &[Member], shape: Shape| {
        let before: Vec<_> = given.iter().enumerate().map(|(disk, m)| world.peek(disk, 0, to_usize(m.bytes))).collect();
        let error = Pool::open_or_create(given, shape, false, &mut port(world)).expect_err("not ours").to_string();
        for (disk, before) in before.iter().enumerate() {
            assert!(world.peek(disk, 0, before.len()) == *before, "something was written");
        }
        error
    };
    let world = World::new(2, &SIZES);
    world.poke(1, 3 << 20, &[1]);
    let error = refused(&world, &given, shape(2));
    assert!(error.starts_with("/dev/test1 is not blank: it "), "{error}");
    assert!(error.ends_with("give --destroy-data to lose what it holds"), "{error}");
    assert!(Pool::open(&given, &mut port(&world)).is_err());
    let pool = Pool::open_or_create(&given, shape(2), true, &mut port(&world)).expect("destroyed");
    pool.close(&mut port(&world)).expect("sound devices");
    let other = Shape { geometry: Geometry::new(Level::Raid0, 2, 8192, 64 << 10).expect("a usable shape") };
    let error = refused(&world, &given, other);
    assert!(error.contains("chunks of 4 KiB") && error.contains("chunks of 8 KiB"), "{error}");
    let error = refused(&world, &given[..1], shape(1));
    assert!(error.contains("member 0 of a pool of 2 devices, and 1 were named"), "{error}");
    world.poke(1, 0, &vec![0; to_usize(SIZES[1])]);
    let error = refused(&world, &given, shape(2));
    assert!(error.contains("/dev/test0 is a member of a pool and /dev/test1 is not"), "{error}");
    let tiny = members(&[1 << 20]);
    let error = refused(&World::new(2, &[1 << 20]), &tiny, shape(1));
    assert!(error.contains("/dev/test0 is too small: it holds 1048576 bytes"), "{error}");
}

#[test]
fn reading_only_writes_nothing_and_survives_a_lost_mirror() {
    let world = World::new(3, &SIZES);
    let given = members(&SIZES);
    let pool = create(&world, &given).expect("blank devices");
    let place = pool.layout().metadata();
    drop(pool);
    world.poke(0, place.start, &[0xA5; 100_000]);
    let before = world.peek(0, 0, to_usize(SIZES[0]));
    let pool = Pool::open_read_only(&given, &mut port(&world)).expect("the other mirror");
    assert_eq!(pool.source, 1);
    assert!(world.peek(0, 0, before.len()) == before, "something was written");
    let pool = Pool::open(&given, &mut port(&world)).expect("the other mirror");
    assert!(world.peek(0, place.start, 100_000) == world.peek(1, place.start, 100_000), "the mirror was not repaired");
    drop(pool);
    world.poke(0, place.start, &[0xA5; 100_000]);
    world.poke(1, place.start, &[0xA5; 100_000]);
    assert!(matches!(Pool::open(&given, &mut port(&world)), Err(PoolError::NoMetadata { .. })));
}

#[test]
fn the_power_may_fail_at_every_step_of_a_creation_and_of_the_next() {
    let given = members(&SIZES);
    let whole = World::new(0, &SIZES);
    create(&whole, &given).expect("blank devices");
    let looking = {
        let world = World::new(0, &SIZES);
        let _ = Pool::inspect(&given, &mut port(&world));
        world.steps()
    };
    for (step, seed) in (looking..=whole.steps()).flat_map(|step| (0..4).map(move |seed| (step, seed))) {
        let world = World::new(step * 4 + seed, &SIZES);
        world.short_rate(0);
        world.power_off_at(step);
        let first = create(&world, &given);
        let world = world.reboot();
        // A second failure somewhere in the second attempt.
        world.power_off_at(looking + (step * 5 + seed * 3) % (whole.steps() - looking));
        let second = create(&world, &given);
        let world = world.reboot();
        let pool =
            create(&world, &given).unwrap_or_else(|error| panic!("step {step}: {error} ({first:?}, {second:?})"));
        assert_eq!(pool.newest_set(), None);
        pool.close(&mut port(&world)).expect("sound devices");
        Pool::open(&given, &mut port(&world.reboot())).unwrap_or_else(|error| panic!("step {step}: {error}"));
    }
}

/// A mirror that is behind, but valid, must say that it is being overwritten before the first of its blocks is.
#[test]
fn a_mirror_is_marked_before_it_is_copied_over() {
    let given = members(&SIZES);
    let world = || {
        let world = World::new(5, &SIZES);
        world.short_rate(0);
        let mut pool = create(&world, &given).expect("blank devices");
        let place = pool.layout().metadata();
        let old = world.peek(1, place.start, 1 << 20);
        let set = SetRecord { number: 1, bytes: 1, pages: 1, generation: 1, seed: None };
        let page = crate::ledger::store::PageRecord { frame: 0, root: 1 };
        pool.store().commit(&set, &[page], &Default::default()).expect("room");
        pool.replay_store(&mut port(&world)).expect("sound devices");
        world.poke(1, place.start, &old);
        (world.reboot(), place.start, old)
    };
    let (whole, start, _) = world();
    let pool = Pool::open(&given, &mut port(&whole)).expect("ours");
    assert_eq!(pool.newest_set().map(|set| set.number), Some(1));
    assert!(whole.peek(1, start, 1 << 20) == whole.peek(0, start, 1 << 20), "the mirror was not copied");
    let mut marked = 0;
    for step in 1..=whole.steps() {
        let (world, _, old) = world();
        world.power_off_at(step);
        let done = Pool::open(&given, &mut port(&world)).is_ok();
        let world = world.reboot();
        let found = world.peek(1, start, 1 << 20);
        let mixed = found != old && found != world.peek(0, start, 1 << 20);
        let newest = |disk: usize| {
            let slots = zones(SIZES[disk]).into_iter().flat_map(|zone| [zone, zone + 4096]);
            slots.filter_map(move |at| Superblock::decode(&world.peek(disk, at, 4096)))
        };
        let newest = newest(0).max_by_key(|superblock| superblock.generation).expect("a superblock");
        let copying = newest.rows[1].state == State::Copying;
        // The store's own repair runs after the copy, on both; then the two may differ between barriers.
        let repairing = newest.rows[1].state == State::Active && newest.generation >= 4;
        assert!(!mixed || copying || repairing, "step {step}, {done}: a mixed mirror that is trusted: {newest:?}");
        marked += u32::from(mixed && copying);
    }
    assert!(marked > 0, "no step was within the copy");
}

#[test]
fn a_pool_has_the_level_that_it_was_made_with() {
    let given = members(&SIZES);
    let world = World::new(6, &SIZES);
    let mirror = Shape { geometry: Geometry::new(Level::Raid1, 2, 4096, 64 << 10).expect("a usable shape") };
    let pool = Pool::open_or_create(&given, mirror, false, &mut port(&world)).expect("blank devices");
    pool.close(&mut port(&world)).expect("sound devices");
    let error = create(&world, &given).expect_err("another level").to_string();
    assert!(error.contains("has RAID 1 over 2 devices") && error.contains("RAID 0 over 2 devices"), "{error}");
    assert_eq!(Pool::open(&given, &mut port(&world)).expect("ours").geometry(), mirror.geometry);
}

#[test]
fn garbage_on_a_device_never_panics() {
    let given = members(&SIZES);
    for seed in 0..20u64 {
        let world = World::new(seed, &SIZES);
        create(&world, &given).expect("blank devices");
        for change in 0..60 {
            let drawn = crate::checksum::mix(seed << 32 | change);
            let (disk, range) = (to_usize(drawn % 2), [8192, 400_000][to_usize(change % 2)]);
            world.poke(disk, (drawn >> 8) % range, &drawn.to_le_bytes());
        }
        let _ = Pool::open_read_only(&given, &mut port(&world)).map(|pool| pool.newest_set());
        let _ = create(&world, &given).map(|pool| pool.newest_set());
    }
}
