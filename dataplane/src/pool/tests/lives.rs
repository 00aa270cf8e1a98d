//! Pools whose power fails at any step while members come, go, fail and are replaced: nothing stale is ever used.
//!
//! A model knows which sets each disk has seen as a member. Whatever happened before, a pool that opens shows the newest
//! set that was acknowledged, or the one that was being committed, and counts no disk that has missed a set.

use super::degraded::{commit, level, made, open_some, read_some, some, world};
use super::*;
use crate::port::simulated::Random;

/// What must be true.
#[derive(Debug, Default)]
struct Model {
    acknowledged: u64,
    /// The newest that may be there.
    tried: u64,
    /// By disk, the newest set that it has seen.
    seen: Vec<u64>,
    /// How often it was opened for writing.
    opened: u64,
}

impl Model {
    /// The disks that count as members, whole.
    fn whole(pool: &Pool) -> Vec<usize> {
        let members = pool.rows().iter().zip(pool.present());
        let active = members.filter(|(entry, _)| matches!(entry.state, State::Active | State::Copying));
        active.filter_map(|(_, path)| disk_of(path?)).collect()
    }

    fn check(&self, pool: &Pool, why: &str) {
        let found = pool.newest_set().map_or(0, |set| set.number);
        let could = self.acknowledged..=self.tried;
        assert!(could.contains(&found), "{why}: set {found} of {could:?}");
        for disk in Model::whole(pool) {
            let seen = self.seen[disk];
            assert!(
                seen >= self.acknowledged,
                "{why}: disk {disk} has seen {seen} of {} and counts",
                self.acknowledged
            );
        }
    }

    /// The pool was opened for writing: what it shows is durable on all of its members.
    fn opened(&mut self, pool: &Pool) {
        let found = pool.newest_set().map_or(0, |set| set.number);
        (self.acknowledged, self.tried) = (found, found);
        Model::whole(pool).into_iter().for_each(|disk| self.seen[disk] = found);
        self.opened += 1;
    }

    fn committed(&mut self, pool: &Pool) {
        self.acknowledged = self.tried;
        Model::whole(pool).into_iter().for_each(|disk| self.seen[disk] = self.tried);
    }
}

/// Whether exactly half of the members that count are there.
fn is_half(pool: &Pool) -> bool {
    let members = usize::from(pool.geometry().members());
    let counted = || pool.rows().iter().zip(pool.present()).take(members).filter(|(entry, _)| entry.state.counts());
    counted().filter(|(_, path)| path.is_some()).count() * 2 == counted().count()
}

fn disk_of(path: &std::path::Path) -> Option<usize> {
    path.to_str()?.strip_prefix("/dev/test")?.parse().ok()
}

fn pick(random: &mut Random, below: usize) -> usize {
    to_usize(random.below(below as u64))
}

/// Some of the disks in some order: most of them as a rule.
fn draw(random: &mut Random, disks: &[usize]) -> Vec<usize> {
    let mut drawn = disks.to_vec();
    for place in 1..drawn.len() {
        drawn.swap(place, pick(random, place + 1));
    }
    drawn.truncate(drawn.len() - pick(random, 3).min(drawn.len() - 1));
    drawn
}

/// One boot: opens some of the disks, and commits and changes what it can until the power fails.
fn boot(world: &World, given: &[Member], disks: &mut Vec<usize>, model: &mut Model, random: &mut Random) {
    let mut chosen = draw(random, disks);
    match read_some(world, given, &chosen) {
        // The other half may have gone on, and cannot be asked.
        Ok(pool) if is_half(&pool) => return,
        Ok(pool) => model.check(&pool, "reading"),
        Err(_) => {}
    }
    if random.below(2) > 0 {
        world.fail_at(world.steps() + 1 + random.below(300), libc::EIO);
    }
    if random.below(3) > 0 {
        world.power_off_at(world.steps() + 1 + random.below(250));
    }
    let (devices, mut port) = some(world, given, &chosen);
    let Ok(mut pool) = Pool::open(&devices, &mut port) else { return };
    model.check(&pool, "opened");
    model.opened(&pool);
    for _ in 0..random.below(6) {
        let members = pool.geometry().members();
        let member = u16::try_from(pick(random, usize::from(members))).expect("few");
        let done = match random.below(6) {
            0 => pool.fail(member, &mut port).map(|_| ()),
            1 => {
                let spent = (0..given.len()).find(|disk| !disks.contains(disk));
                let Some(disk) = spent else { continue };
                drop(port);
                let mut all = chosen.clone();
                all.push(disk);
                port = world.port_to(&all, 1 << 20, 64);
                let file = u16::try_from(chosen.len()).expect("few");
                let with = Replacement { device: given[disk].clone(), file, destroy_data: true };
                let done = pool.replace(member, &with, &mut port).map(|_| ());
                if pool.present().flatten().any(|path| *path == given[disk].path) {
                    disks.push(disk);
                    chosen = all;
                }
                done
            }
            2 => pool.set_watermark(1, &mut port),
            3 => {
                // Somebody has filled them: from now on they may count.
                let rows = pool.rows().iter().zip(pool.present()).filter(|(entry, _)| entry.state == State::Rebuilding);
                let filled: Vec<usize> = rows.filter_map(|(_, path)| disk_of(path?)).collect();
                filled.into_iter().for_each(|disk| model.seen[disk] = model.acknowledged);
                pool.rebuilt(&mut port)
            }
            _ => {
                model.tried = model.acknowledged + 1;
                let done = commit(&mut pool, model.tried, &mut port);
                if done.is_ok() {
                    model.committed(&pool);
                }
                done
            }
        };
        if done.is_err() && world.is_off() {
            return;
        }
    }
    if random.below(2) == 0 {
        let _ = pool.close(&mut port);
    }
}

fn live(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let (kind, members) =
        [(Level::Raid1, 3), (Level::Raid5, 3), (Level::Raid6, 5), (Level::Raid10, 5)][pick(&mut random, 4)];
    let spares = pick(&mut random, 2);
    let (mut world, given) = world(seed, members + spares + 2);
    made(&world, &given[..members + spares], level(kind, members));
    let mut disks: Vec<usize> = (0..members + spares).collect();
    let mut model = Model { seen: vec![0; given.len()], ..Model::default() };
    for _ in 0..12 {
        boot(&world, &given, &mut disks, &mut model, &mut random);
        world = world.reboot();
        // Whoever was about to join has done so or not.
        if matches!(read_some(&world, &given, &disks), Err(PoolError::Mixed { .. } | PoolError::NoPool { .. })) {
            disks.pop();
        }
        // With everybody there it opens.
        match read_some(&world, &given, &disks) {
            Ok(pool) => model.check(&pool, "all"),
            Err(error) => panic!("{kind}: {error}"),
        }
    }
    model.opened
}

#[test]
fn nothing_stale_is_used_whatever_happens() {
    let opened: u64 = (0..80).map(live).sum();
    assert!(opened > 300, "most boots open the pool: {opened}");
}

#[test]
#[ignore = "minutes: many more lives"]
fn nothing_stale_is_used_in_many_lives() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1000);
    (first..first + 20_000).for_each(|seed| {
        let lived = std::panic::catch_unwind(|| live(seed));
        assert!(lived.is_ok(), "seed {seed}");
    });
}

/// Opening without a member, with the power failing at every step: whoever of the others comes back, the absent one
/// is either whole or stale.
#[test]
fn the_power_may_fail_at_every_step_of_an_opening_without_a_member() {
    let start = || {
        let (world, given) = world(9, 3);
        made(&world, &given, level(Level::Raid1, 3));
        (world, given)
    };
    let steps = {
        let (world, given) = start();
        let before = world.steps();
        let (chosen, mut port) = some(&world, &given, &[1, 2]);
        let mut pool = Pool::open(&chosen, &mut port).expect("two of three");
        commit(&mut pool, 1, &mut port).expect("sound devices");
        before..world.steps() + 1
    };
    for step in steps {
        let (world, given) = start();
        world.power_off_at(step + 1);
        let (chosen, mut port) = some(&world, &given, &[1, 2]);
        let mut acknowledged = 0;
        if let Ok(mut pool) = Pool::open(&chosen, &mut port)
            && commit(&mut pool, 1, &mut port).is_ok()
        {
            acknowledged = 1;
        }
        let world = world.reboot();
        for disks in [&[0, 1, 2][..], &[0, 1], &[2, 0]] {
            let pool =
                read_some(&world, &given, disks).unwrap_or_else(|error| panic!("step {step}, {disks:?}: {error}"));
            let found = pool.newest_set().map_or(0, |set| set.number);
            assert!(found >= acknowledged, "step {step}, {disks:?}: set {found}");
            assert!(acknowledged == 0 || pool.health().lost.contains(0), "step {step}: the stale one counts");
        }
        // A part of the majority goes on with the absent one, unless it knows better; then all meet.
        let _ = open_some(&world, &given, &[0, 1]);
        let pool = read_some(&world, &given, &[0, 1, 2]).unwrap_or_else(|error| panic!("step {step}: {error}"));
        assert!(pool.newest_set().map_or(0, |set| set.number) >= acknowledged, "step {step}");
    }
}

/// The power fails while all are opened, which may leave one a generation ahead. When the others go on without it, it is
/// stale all the same.
#[test]
fn a_member_that_is_ahead_is_stale_when_the_others_go_on() {
    let start = |seed| {
        let (world, given) = world(seed, 3);
        made(&world, &given, level(Level::Raid1, 3));
        (world, given)
    };
    let steps = {
        let (world, given) = start(11);
        let before = world.steps();
        drop(open_some(&world, &given, &[0, 1, 2]).expect("all"));
        before..world.steps()
    };
    let mut ahead = 0;
    for (step, seed) in steps.flat_map(|step| (0..4).map(move |seed| (step, seed))) {
        let (world, given) = start(step * 4 + seed);
        world.power_off_at(step + 1);
        drop(open_some(&world, &given, &[0, 1, 2]));
        let mut world = world.reboot();
        let generation = |disks: &[usize]| read_some(&world, &given, disks).expect("most of them").generation();
        if generation(&[0, 1]) <= generation(&[1, 2]) {
            continue;
        }
        ahead += 1;
        let (chosen, mut port) = some(&world, &given, &[1, 2]);
        let mut pool = Pool::open(&chosen, &mut port).expect("two of three");
        commit(&mut pool, 1, &mut port).expect("sound devices");
        drop(pool);
        world = world.reboot();
        for disks in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
            let pool = read_some(&world, &given, &disks).expect("all");
            assert_eq!(pool.newest_set().map(|set| set.number), Some(1), "step {step}, {disks:?}: an old set is shown");
            assert_eq!(pool.order()[0], None, "step {step}, {disks:?}");
        }
    }
    assert!(ahead > 3, "it is ahead at times: {ahead}");
}

/// A member is replaced, with the power failing at every step: the pool opens with and without the new device.
#[test]
fn the_power_may_fail_at_every_step_of_a_replacement() {
    let replace = |world: &World, given: &[Member]| {
        let (chosen, mut port) = some(world, given, &[0, 1, 2, 3]);
        let mut pool = Pool::open(&chosen[..3], &mut port)?;
        commit(&mut pool, 1, &mut port)?;
        let with = Replacement { device: chosen[3].clone(), file: 3, destroy_data: true };
        pool.replace(1, &with, &mut port).map(|_| ())
    };
    let start = || {
        let (world, given) = world(10, 4);
        made(&world, &given[..3], level(Level::Raid5, 3));
        world.poke(3, 5000, b"somebody's");
        (world, given)
    };
    let steps = {
        let (world, given) = start();
        let before = world.steps();
        replace(&world, &given).expect("sound devices");
        before..world.steps()
    };
    let mut joined = [0; 2];
    for (step, seed) in steps.flat_map(|step| (0..3).map(move |seed| (step, seed))) {
        let (world, given) = start();
        (0..seed).for_each(|_| drop(world.port(4096, 1)));
        world.power_off_at(step + 1);
        let done = replace(&world, &given).is_ok();
        let world = world.reboot();
        let old = read_some(&world, &given, &[0, 1, 2]).unwrap_or_else(|error| panic!("step {step}: {error}"));
        let found = old.newest_set().map_or(0, |set| set.number);
        assert!(!done || found == 1, "step {step}");
        match read_some(&world, &given, &[0, 1, 2, 3]) {
            Ok(pool) => {
                assert_eq!(pool.health().rebuilding.contains(1), pool.order()[1] == Some(3), "step {step}");
                joined[1] += 1;
            }
            // Blank, or as it was: it is no part of the pool yet.
            Err(PoolError::Mixed { .. } | PoolError::NoPool { .. }) => joined[0] += 1,
            Err(error) => panic!("step {step}: {error}"),
        }
        let disks = if read_some(&world, &given, &[0, 1, 2, 3]).is_ok() { vec![0, 1, 2, 3] } else { vec![0, 1, 2] };
        let pool = open_some(&world, &given, &disks).unwrap_or_else(|error| panic!("step {step}: {error}"));
        assert_eq!(pool.newest_set().map_or(0, |set| set.number), found, "step {step}");
    }
    assert!(joined.iter().all(|&count| count > 5), "both happen: {joined:?}");
}
