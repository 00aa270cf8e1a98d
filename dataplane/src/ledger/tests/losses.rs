//! Members that are lost at each step of a run: it goes on without them, and whoever opens the pool afterwards, be it
//! after a loss of power, trusts nobody who has missed what was committed.

use super::*;
use crate::superblock::State;

const DISKS: usize = 3;
const SETS: [u64; 3] = [2, 1, 2];

fn given(disks: usize) -> Vec<Member> {
    let member = |index| Member { path: PathBuf::from(format!("/dev/test{index}")), bytes: 8 << 20 };
    (0..disks).map(member).collect()
}

/// Three mirrors, and spares after them.
fn made(seed: u64, disks: usize) -> World {
    let world = World::new(seed, &vec![8 << 20; disks]);
    world.short_rate(0);
    let geometry = Geometry::new(Level::Raid1, DISKS, 4096, PAGE).expect("a usable shape");
    let mut port = world.port(1 << 20, 32);
    let pool = Pool::create(&given(disks), Shape { geometry }, false, &mut port).expect("blank devices");
    pool.close(&mut port).expect("sound devices");
    world
}

fn open(world: &World, disks: usize) -> Result<Pool, PoolError> {
    Pool::open(&given(disks), &mut world.port(1 << 20, 32))
}

fn write(world: &World, disks: usize, sets: &[u64]) -> Told {
    let Ok(pool) = open(world, disks) else { return Told::default() };
    let mut rig = Rig::new(world, pool);
    rig.run(sets);
    let told = std::mem::take(&mut rig.told);
    if told.failure.is_none() && told.stopped {
        for peer in &rig.peers {
            let lost = peer.told.map_or(0, |health| (health.lost | health.rebuilding).count() as usize);
            assert!(lost >= told.lost.iter().filter(|(file, _)| *file < 3).count(), "a peer was not told: {told:?}");
        }
    }
    if told.stopped {
        let _ = rig.ledger.close();
    }
    told
}

/// The number of the newest set. All members that count have it, whole.
fn check(world: &World, disks: usize, why: &str) -> u64 {
    let pool = Pool::open_read_only(&given(disks), &mut world.port(1 << 20, 32));
    let pool = pool.unwrap_or_else(|error| panic!("{why}: {error}"));
    let Some(set) = pool.newest_set() else { return 0 };
    let pages = pool.store().pages(set.number).expect("readable");
    let counted = pool.order().iter().zip(pool.rows()).filter(|(_, entry)| entry.state == State::Active);
    for disk in counted.filter_map(|(disk, _)| *disk) {
        for (page, record) in (0..).zip(&pages) {
            let found = world.peek(disk, pool.layout().data_offset(record.frame), 4096);
            assert!(found == block(set.number, page), "{why}: disk {disk} counts, and page {page} is not on it");
        }
    }
    set.number
}

/// The steps of the whole run, from the opening on.
fn steps(disks: usize) -> std::ops::RangeInclusive<u64> {
    let world = made(1, disks);
    let before = world.steps();
    assert_eq!(write(&world, disks, &SETS).committed, 3);
    before + 1..=world.steps()
}

#[test]
fn a_member_is_lost_at_each_step_and_all_sets_are_committed() {
    let mut noticed = 0;
    for step in steps(DISKS) {
        let world = made(1, DISKS);
        world.fail_at(step, libc::EIO);
        let told = write(&world, DISKS, &SETS);
        assert_eq!((told.committed, told.failure), (3, None), "step {step}: {told:?}");
        assert!(told.lost.len() <= 1);
        noticed += told.lost.len();
        let world = world.reboot();
        assert_eq!(check(&world, DISKS, &format!("step {step}")), 3);
        let pool = open(&world, DISKS).unwrap_or_else(|error| panic!("step {step}: {error}"));
        assert!(pool.health().lost.count() as usize >= told.lost.len(), "step {step}: nobody has written it down");
        drop(pool);
        assert_eq!(write(&world, DISKS, &[1]).committed, 4, "step {step}");
    }
    assert!(noticed > 50, "most of the run is after the opening: {noticed}");
}

#[test]
fn the_power_fails_at_each_step_after_a_loss() {
    let all = steps(DISKS);
    let last = *all.end();
    let mut committed = [0; 4];
    for (index, step) in all.enumerate().filter(|(index, _)| index % 3 == 0) {
        // The run is a little longer with a loss in it.
        for after in 0..8 {
            let power = step + 1 + (after * after * (1 + index as u64 % 5)) % (last + 40 - step);
            let world = made(step, DISKS);
            world.fail_at(step, libc::EIO);
            world.power_off_at(power);
            let told = write(&world, DISKS, &SETS);
            let world = world.reboot();
            let why = format!("lost at {step}, off at {power}");
            let found = check(&world, DISKS, &why);
            assert!(found >= told.committed && found <= told.committed + 1, "{why}: set {found} of {told:?}");
            drop(open(&world, DISKS).unwrap_or_else(|error| panic!("{why}: {error}")));
            assert_eq!(check(&world, DISKS, &why), found, "{why}: after another opening");
            committed[usize::try_from(found).expect("few")] += 1;
        }
    }
    assert!(committed.iter().all(|&count| count > 5), "each set is the newest at times: {committed:?}");
}

#[test]
fn a_second_member_is_lost_while_the_first_is_written_down() {
    let (mut done, mut failed) = (0, 0);
    for step in steps(DISKS).step_by(3) {
        for gap in [1, 2, 3, 5, 8, 13] {
            let world = made(step, DISKS);
            world.fail_at(step, libc::EIO);
            world.fail_at(step + gap, libc::EIO);
            let told = write(&world, DISKS, &SETS);
            let why = format!("lost at {step} and {gap} later: {told:?}");
            let world = world.reboot();
            assert!((told.committed..=told.committed + 1).contains(&check(&world, DISKS, &why)), "{why}");
            assert!(told.committed == 3 || told.failure.is_some() || told.generation == 0, "{why}");
            (done, failed) = (done + u32::from(told.committed == 3), failed + u32::from(told.failure.is_some()));
        }
    }
    assert!(done > 20, "one of three is enough: {done}");
    assert!(failed > 0, "two at once are not survived, as the last one alone could not tell: {failed}");
}

#[test]
fn a_spare_takes_a_lost_members_place_and_the_run_goes_on() {
    let disks = DISKS + 1;
    let mut joined = 0;
    for step in steps(disks).step_by(2) {
        let world = made(1, disks);
        world.fail_at(step, libc::EIO);
        let told = write(&world, disks, &SETS);
        assert_eq!((told.committed, told.failure), (3, None), "step {step}: {told:?}");
        let world = world.reboot();
        assert_eq!(check(&world, disks, &format!("step {step}")), 3);
        let pool = Pool::open_read_only(&given(disks), &mut world.port(1 << 20, 32)).expect("whole enough");
        for (file, spare) in &told.lost {
            if *file < 3 {
                assert_eq!(*spare, Some(PathBuf::from("/dev/test3")), "step {step}");
                assert!(pool.health().rebuilding.contains(*file) && pool.order()[usize::from(*file)] == Some(3));
                joined += 1;
            } else {
                assert!(pool.health().is_whole() && pool.rows().len() == DISKS, "step {step}: only the spare is gone");
            }
        }
        // Its mirror is as good as the others: it takes part in the next commit.
        assert_eq!(write(&world, disks, &[1]).committed, 4, "step {step}");
    }
    assert!(joined > 20, "members are lost as a rule: {joined}");
}
