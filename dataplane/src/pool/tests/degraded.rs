//! Pools whose members are missing, fail, and are replaced.

use bireme_control::raid::members::Members;

use super::*;

pub(super) fn level(level: Level, members: usize) -> Shape {
    Shape { geometry: Geometry::new(level, members, 4096, 64 << 10).expect("a usable shape") }
}

pub(super) fn world(seed: u64, disks: usize) -> (World, Vec<Member>) {
    let sizes = vec![8 << 20; disks];
    let world = World::new(seed, &sizes);
    world.short_rate(0);
    (world, members(&sizes))
}

/// The given devices of these disks, and a port to them.
pub(super) fn some(world: &World, given: &[Member], disks: &[usize]) -> (Vec<Member>, Simulated) {
    let chosen = disks.iter().map(|&disk| given[disk].clone()).collect();
    (chosen, world.port_to(disks, 1 << 20, 64))
}

pub(super) fn open_some(world: &World, given: &[Member], disks: &[usize]) -> Result<Pool, PoolError> {
    let (chosen, mut port) = some(world, given, disks);
    Pool::open(&chosen, &mut port)
}

pub(super) fn read_some(world: &World, given: &[Member], disks: &[usize]) -> Result<Pool, PoolError> {
    let (chosen, mut port) = some(world, given, disks);
    Pool::open_read_only(&chosen, &mut port)
}

/// A pool over all disks, the last so many of which are spares, closed in order.
pub(super) fn made(world: &World, given: &[Member], shape: Shape) {
    let mut port = port(world);
    let pool = Pool::create(given, shape, false, &mut port).expect("blank devices");
    pool.close(&mut port).expect("sound devices");
}

/// Makes a set the newest.
pub(super) fn commit(pool: &mut Pool, number: u64, port: &mut Simulated) -> Result<(), PoolError> {
    let set = SetRecord { number, bytes: 1, pages: 1, generation: 1, seed: None };
    let page = crate::ledger::store::PageRecord { frame: number % 2, root: number };
    pool.store().commit(&set, &[page], &Default::default()).expect("room");
    pool.replay_store(port)
}

pub(super) fn of(list: &[u16]) -> Members {
    list.iter().copied().collect()
}

#[test]
fn an_absent_member_is_left_out_and_stale_when_it_comes_back() {
    let (world, given) = world(1, 3);
    made(&world, &given, level(Level::Raid5, 3));
    let before = world.peek(0, 0, 8 << 20);
    let pool = read_some(&world, &given, &[2, 0]).expect("two of three");
    assert_eq!((pool.health().lost, pool.order()), (of(&[1]), [Some(1), None, Some(0)].as_slice()));
    assert_eq!(pool.notes(), ["member 1 is absent: the others go on without it"]);
    assert!(world.peek(0, 0, 8 << 20) == before, "reading has written");
    assert!(read_some(&world, &given, &[0, 1, 2]).expect("all").health().is_whole(), "nobody went on without it");

    let (chosen, mut port) = some(&world, &given, &[2, 0]);
    let mut pool = Pool::open(&chosen, &mut port).expect("two of three");
    commit(&mut pool, 1, &mut port).expect("sound devices");
    drop(pool);
    for disks in [[0, 1, 2], [1, 2, 0]] {
        let pool = read_some(&world, &given, &disks).expect("the two, and a stale one");
        assert_eq!((pool.health().lost, pool.newest_set().map(|set| set.number)), (of(&[1]), Some(1)));
        let notes = pool.notes();
        assert!(notes[0] == "/dev/test1 is stale: member 1 has failed, and the others went on without it", "{notes:?}");
        assert!(notes[1].starts_with("member 1 has failed: replace it"), "{notes:?}");
    }
    let error = read_some(&world, &given, &[0, 1]).expect_err("one of two that count").to_string();
    assert!(error.contains("RAID 5 does not hold all data without members 1 and 2"), "{error}");
}

#[test]
fn too_few_a_minority_and_parts_that_went_on_apart_are_refused() {
    let (world, given) = world(2, 4);
    made(&world, &given[..3], level(Level::Raid1, 3));
    let error = read_some(&world, &given, &[1]).expect_err("one of three").to_string();
    assert!(error.starts_with("only 1 of the 3 members of the pool on /dev/test1 can be used"), "{error}");
    // Two go on, then one of them: that one is all that counts.
    drop(open_some(&world, &given, &[0, 2]).expect("two of three"));
    drop(open_some(&world, &given, &[2]).expect("one of two"));
    drop(open_some(&world, &given, &[2]).expect("one of one"));
    assert_eq!(read_some(&world, &given, &[2, 1, 0]).expect("one and two stale").health().lost, of(&[0, 1]));

    let (world, given) = self::world(3, 4);
    made(&world, &given, level(Level::Raid10, 4));
    let error = read_some(&world, &given, &[0, 1]).expect_err("a pair is gone").to_string();
    assert!(error.contains("RAID 10 does not hold all data without members 2 and 3"), "{error}");
    for half in [[0, 2], [1, 3], [0, 2]] {
        open_some(&world, &given, &half).unwrap_or_else(|error| panic!("{half:?}: {error}"));
    }
    for both in [&[0, 1, 2, 3][..], &[2, 3], &[1, 2, 3]] {
        let error = read_some(&world, &given, both).expect_err("two histories").to_string();
        assert!(error.contains("each was written to without the other"), "{error}");
    }
}

#[test]
fn a_device_that_cannot_be_read_is_as_an_absent_one_if_the_others_are_most() {
    let (world, given) = world(4, 3);
    made(&world, &given, level(Level::Raid1, 3));
    world.fail_at(world.steps() + 1, libc::EIO);
    let pool = read_some(&world, &given, &[0, 1, 2]).expect("the others");
    assert_eq!(pool.health().lost, of(&[0]));
    assert!(pool.notes()[0].starts_with("reading /dev/test0 at byte 0 failed: "), "{:?}", pool.notes());
    assert!(read_some(&world, &given, &[0, 1, 2]).expect("all").health().is_whole());

    // Member 0 is stale. When member 1 cannot be read, it must not be taken for the newest.
    drop(open_some(&world, &given, &[0, 1]).expect("two of three"));
    drop(open_some(&world, &given, &[1]).expect("one of two"));
    // Each device is looked at by reading 8 MiB of it in requests of 512 KiB.
    world.fail_at(world.steps() + 16 + 1, libc::EIO);
    let error = read_some(&world, &given, &[0, 1]).expect_err("half").to_string();
    assert!(error.starts_with("reading /dev/test1 at byte 0 failed: "), "{error}");
    assert!(error.contains("only half of it") && error.ends_with("by not naming it"), "{error}");
}

#[test]
fn a_member_that_refuses_to_be_written_is_marked_wherever_that_happens() {
    let opening = {
        let (world, given) = world(5, 3);
        made(&world, &given, level(Level::Raid5, 3));
        let before = world.steps();
        let (chosen, mut port) = some(&world, &given, &[0, 1, 2]);
        let mut pool = Pool::open(&chosen, &mut port).expect("all");
        commit(&mut pool, 1, &mut port).expect("sound devices");
        pool.close(&mut port).expect("sound devices");
        before..world.steps()
    };
    let mut lost = 0;
    for step in opening {
        let (world, given) = world(5, 3);
        made(&world, &given, level(Level::Raid5, 3));
        world.fail_at(step + 1, libc::EIO);
        let (chosen, mut port) = some(&world, &given, &[0, 1, 2]);
        let mut pool = Pool::open(&chosen, &mut port).unwrap_or_else(|error| panic!("step {step}: {error}"));
        commit(&mut pool, 1, &mut port).unwrap_or_else(|error| panic!("step {step}: {error}"));
        pool.close(&mut port).unwrap_or_else(|error| panic!("step {step}: {error}"));
        let pool = read_some(&world.reboot(), &given, &[0, 1, 2]).expect("two at least");
        assert_eq!(pool.newest_set().map(|set| set.number), Some(1), "step {step}");
        assert!(pool.health().lost.count() <= 1, "step {step}: {:?}", pool.health());
        lost += pool.health().lost.count();
    }
    assert!(lost > 10, "requests that fail leave a mark: {lost}");
}

#[test]
fn a_member_is_failed_replaced_filled_and_counts_again() {
    let (world, given) = world(6, 5);
    made(&world, &given[..4], level(Level::Raid5, 4));
    let (chosen, mut port) = some(&world, &given, &[0, 1, 2, 3, 4]);
    let mut pool = Pool::open(&chosen[..4], &mut port).expect("all");
    let frames = pool.layout().frames();
    commit(&mut pool, 1, &mut port).expect("sound devices");
    let failed = pool.fail(2, &mut port).expect("one of four");
    assert_eq!((failed.lost, pool.fail(2, &mut port).expect("again")), (of(&[2]), failed));
    let error = pool.fail(0, &mut port).expect_err("RAID 5").to_string();
    assert!(error.contains("member 0 cannot be done without") && error.contains("members 0 and 2"), "{error}");
    let with = |device: &Member, file: u16| Replacement { device: device.clone(), file, destroy_data: false };
    let error = pool.replace(2, &with(&chosen[2], 2), &mut port).expect_err("stale, and not blank").to_string();
    assert!(error.starts_with("/dev/test2 is not blank: it is a part of a Bireme pool"), "{error}");
    let small = Member { bytes: 1 << 20, ..chosen[4].clone() };
    let error = pool.replace(2, &with(&small, 4), &mut port).expect_err("too small").to_string();
    assert!(error.starts_with("/dev/test4 holds 1048576 bytes, and a member of this pool needs "), "{error}");
    let health = pool.replace(2, &with(&chosen[4], 4), &mut port).expect("a blank device");
    assert_eq!((health.lost, health.rebuilding, health.watermark), (Members::NONE, of(&[2]), 0));
    assert!(pool.replace(2, &with(&chosen[4], 4), &mut port).is_err(), "it is replaced already");
    assert!(pool.fail(1, &mut port).is_err(), "another is needed as long as it is not filled");
    pool.set_watermark(3, &mut port).expect("sound devices");
    drop(pool);
    let world = world.reboot();
    let mut port = world.port(1 << 20, 64);
    let mut pool = Pool::open(&chosen, &mut port).expect("all, and the old one");
    let health = pool.health();
    assert_eq!((health.lost, health.rebuilding, health.watermark), (Members::NONE, of(&[2]), 3));
    let notes = pool.notes().join("\n");
    assert!(notes.contains("/dev/test2 is stale: another device has taken its place"), "{notes}");
    assert!(notes.contains(&format!("/dev/test4, is not rebuilt yet: 3 of {frames} frames are")), "{notes}");
    pool.rebuilt(&mut port).expect("sound devices");
    assert!(pool.health().is_whole());
    pool.close(&mut port).expect("sound devices");
    // Its mirror counts: that of all others is gone.
    let place = Layout::new(level(Level::Raid5, 4).geometry, 8 << 20).expect("room").metadata();
    [0, 1, 3].iter().for_each(|&disk| world.poke(disk, place.start, &[0xA5; 100_000]));
    let pool = read_some(&world, &given, &[4, 3, 1, 0]).expect("whole");
    assert_eq!((pool.health(), pool.newest_set().map(|set| set.number)), (Health::default(), Some(1)));
}

#[test]
fn a_spare_takes_the_place_of_whoever_fails_or_is_absent() {
    for absent in [false, true] {
        let (world, given) = world(7, 4);
        made(&world, &given, level(Level::Raid5, 3));
        let (chosen, mut port) = some(&world, &given, &[3, 1, 2, 0]);
        let mut pool = if absent {
            Pool::open(&chosen[..3], &mut port).expect("two members and the spare")
        } else {
            let mut pool = Pool::open(&chosen, &mut port).expect("all");
            assert_eq!((pool.rows().len(), pool.health()), (4, Health::default()));
            pool.fail(0, &mut port).expect("one of three");
            pool
        };
        commit(&mut pool, 1, &mut port).expect("sound devices");
        assert_eq!((pool.rows().len(), pool.health().rebuilding, pool.health().lost), (3, of(&[0]), Members::NONE));
        assert!(pool.notes().join("\n").contains("/dev/test3 takes its place: rebuild it"), "{:?}", pool.notes());
        drop(pool);
        let world = world.reboot();
        let pool = read_some(&world, &given, &[0, 1, 2, 3]).expect("three, and a stale one");
        assert_eq!((pool.order(), pool.health().rebuilding), ([Some(3), Some(1), Some(2)].as_slice(), of(&[0])));
        assert_eq!(pool.newest_set().map(|set| set.number), Some(1));
    }
}

#[test]
fn a_spare_that_fails_is_no_member_that_does() {
    let (world, given) = world(8, 3);
    made(&world, &given, level(Level::Raid1, 2));
    let (chosen, mut port) = some(&world, &given, &[0, 1, 2]);
    let mut pool = Pool::open(&chosen, &mut port).expect("all");
    world.fail_at(world.steps() + 5, libc::EIO);
    pool.write_superblocks(&mut port).expect("the members");
    assert_eq!((pool.rows().len(), pool.health()), (2, Health::default()));
    assert!(pool.notes()[0].starts_with("writing /dev/test2 at byte "), "{:?}", pool.notes());
    let pool = read_some(&world.reboot(), &given, &[0, 1, 2]).expect("both members");
    assert!(pool.health().is_whole() && pool.notes()[0].contains("/dev/test2 is stale"), "{:?}", pool.notes());
}
