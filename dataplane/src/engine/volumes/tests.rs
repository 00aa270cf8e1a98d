//! Drivers, keeper and pool over simulated devices, with the clients of the command line.
//!
//! A file is written into a volume in overlapping runs, and read back in another life. In between any one request, or two
//! of them, are refused: then a member is lost, its loss is durable before anything skips it, and nothing else is.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use bireme_control::raid::geometry::{Geometry, Level};

use super::client::Run;
use super::*;
use crate::pool::{Member, Shape};
use crate::port::Next;
use crate::port::simulated::{Random, Simulated, World};
use crate::telemetry::Gauges;

const BYTES: u64 = 24 << 20;
const VOLUME_BYTES: u64 = 5 * (256 << 10) + 4096;
const HOMES: u16 = 2;
const OPTIONS: Options = Options {
    operations: 6,
    operation_bytes: 32 << 10,
    pages: 2,
    request_bytes: 64 << 10,
    hang_limit: Nanos::from_secs(5),
};

/// One life: the pool is opened, the volume is served by copiers, both are closed if all went well.
struct Life {
    world: World,
    pool: Pool,
    port: Simulated,
    stop: Arc<AtomicBool>,
}

impl Life {
    fn new(world: World, shape: Shape) -> Life {
        let member = |index: u16| Member { path: PathBuf::from(format!("/dev/test{index}")), bytes: BYTES };
        let members: Vec<Member> = (0..shape.geometry.members()).map(member).collect();
        let mut port = world.port(1 << 20, 64);
        let mut pool = Pool::open_or_create(&members, shape, false, &mut port).expect("the pool opens");
        pool.use_member_order();
        Life { world, pool, port, stop: Arc::new(AtomicBool::new(false)) }
    }

    /// Lets copiers work; what they were told and how it ended.
    fn serve(&mut self, copy: &Copy) -> Kept {
        let (volume, _) = self.pool.open_volume("v", HOMES, &mut self.port).expect("the volume opens");
        let members = volume.geometry.members();
        let keeper = Arc::new(Mailbox::new(letters_to_keeper(HOMES, members), Bell(HOMES)));
        let mailbox = |home| Arc::new(Mailbox::new(letters_to_home(members), Bell(home)));
        let inboxes: Vec<Arc<Mailbox<ToHome>>> = (0..HOMES).map(mailbox).collect();
        let mut drivers: Vec<Driver<Simulated, Copier>> = (0..HOMES)
            .map(|index| {
                let bytes = usize::try_from(Home::<Simulated>::region_bytes(&volume, OPTIONS)).expect("small");
                let port = self.world.port(bytes, Home::<Simulated>::requests(&volume, OPTIONS));
                let home = Home::new(volume.clone(), index, self.pool.health(), OPTIONS, port);
                let client = Copier::new(copy.clone(), Share::new(&volume, index), &Classes::default());
                let mail = (inboxes[usize::from(index)].clone(), keeper.clone());
                Driver::new(home, client, index, mail, OPTIONS.hang_limit)
            })
            .collect();
        let ended: Vec<Cell<bool>> = drivers.iter().map(|_| Cell::new(false)).collect();
        let handles = Handles { gauges: Arc::new(Gauges::new(0)), stop: self.stop.clone() };
        let mut keeper = Keeper {
            reservation: None,
            pool: &mut self.pool,
            port: &mut self.port,
            inbox: &keeper,
            homes: &inboxes,
            has_ended: &|home| ended[home].get(),
            handles: &handles,
            serving: vec![true; drivers.len()],
            kept: Kept::default(),
        };
        for _ in 0..2_000_000 {
            let mut busy = false;
            for (driver, ended) in drivers.iter_mut().zip(&ended).filter(|(_, ended)| !ended.get()) {
                busy |= driver.turn() == Next::Ready;
                driver.rest(Next::Ready);
                ended.set(driver.is_done());
            }
            match keeper.turn() {
                None => return keeper.kept,
                Some(next) => busy |= next == Next::Ready,
            }
            if !busy {
                // What has ended is taken by the next submit: the clock may not jump meanwhile.
                let soon = self.world.now() + Nanos(100_000);
                self.world.advance_to(self.world.next_event().unwrap_or(soon));
            }
        }
        panic!("the homes do not end: {:?}", keeper.kept);
    }

    fn close(mut self) {
        self.pool.close_volume("v", &mut self.port).expect("it closes");
        self.pool.close(&mut self.port).expect("it closes");
    }
}

/// The file, what it makes of a volume of zeros, and the runs.
fn script(seed: u64) -> (Copy, Vec<u8>) {
    let mut random = Random::new(seed);
    let mut data = vec![0; 1 << 20];
    data.chunks_mut(8).for_each(|word| word.copy_from_slice(&random.bits().to_le_bytes()));
    let mut model = vec![0; usize::try_from(VOLUME_BYTES).expect("small")];
    let draw = |random: &mut Random, below: u64| random.bits() % below;
    let mut runs = Vec::new();
    for _ in 0..60 {
        let most = [1, 4, 80][usize::try_from(draw(&mut random, 3)).expect("few")];
        let blocks = 1 + draw(&mut random, most);
        let run = Run {
            block: draw(&mut random, VOLUME_BYTES / 4096 - blocks + 1),
            blocks,
            at: draw(&mut random, 256 - blocks + 1) * 4096,
        };
        let place = |at: u64| usize::try_from(at).expect("small");
        let (to, from, length) = (place(run.block * 4096), place(run.at), place(blocks * 4096));
        model[to..to + length].copy_from_slice(&data[from..from + length]);
        runs.push(run);
    }
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(&data, 0).expect("room");
    let (way, operation_bytes) = (Way::IntoVolume, OPTIONS.operation_bytes);
    (Copy { file: Arc::new(file), way, runs: runs.into(), operation_bytes, file_number: 9 }, model)
}

/// All of the volume, as copiers find it.
fn read(world: World, shape: Shape) -> Vec<u8> {
    let file = Arc::new(tempfile::tempfile().expect("a file"));
    let runs = [Run { block: 0, blocks: VOLUME_BYTES / 4096, at: 0 }].into();
    let operation_bytes = OPTIONS.operation_bytes;
    let copy = Copy { file: file.clone(), way: Way::OutOfVolume, runs, operation_bytes, file_number: 9 };
    let mut life = Life::new(world, shape);
    let kept = life.serve(&copy);
    assert!(kept.halt.is_none() && kept.lost.is_empty(), "{kept:?}");
    life.close();
    contents(&file)
}

fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(VOLUME_BYTES).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("all was copied");
    bytes
}

fn new_volume(level: Level, members: usize, seed: u64) -> (World, Shape) {
    let geometry = Geometry::new(level, members, 4096, 256 << 10).expect("a usable shape");
    let (world, shape) = (World::new(seed, &vec![BYTES; members]), Shape { geometry });
    let mut life = Life::new(world.clone(), shape);
    life.pool.create_volume("v", VOLUME_BYTES, HOMES, &mut life.port).expect("room");
    life.pool.close(&mut life.port).expect("it closes");
    (world.reboot(), shape)
}

const LEVELS: [(Level, usize, usize); 5] = [
    (Level::Raid5, 4, 1),
    (Level::Raid6, 5, 2),
    (Level::Raid1, 3, 2),
    (Level::Raid10, 4, 1),
    (Level::Raid50 { groups: 2 }, 6, 1),
];

#[test]
fn what_is_written_in_one_life_is_read_in_the_next() {
    for (seed, (level, members, _)) in (0..).zip(LEVELS.into_iter().chain([(Level::Raid0, 3, 0)])) {
        for close in [true, false] {
            let (world, shape) = new_volume(level, members, seed);
            let (copy, model) = script(seed);
            let mut life = Life::new(world.clone(), shape);
            let kept = life.serve(&copy);
            assert!(kept.halt.is_none() && kept.lost.is_empty(), "{level}: {kept:?}");
            if close {
                life.close();
            }
            assert!(read(world.reboot(), shape) == model, "{level}, closed {close}: not what was written");
        }
    }
}

#[test]
fn members_may_be_lost_at_any_request() {
    let mut seen = [0; 3];
    for seed in 0..80 {
        let (level, members, most) = LEVELS[usize::try_from(seed).expect("few") % LEVELS.len()];
        let (world, shape) = new_volume(level, members, seed);
        let (copy, model) = script(seed);
        let mut life = Life::new(world.clone(), shape);
        let mut random = Random::new(seed);
        for _ in 0..most {
            world.fail_at(world.steps() + 20 + random.bits() % 900, libc::EIO);
        }
        let kept = life.serve(&copy);
        assert!(kept.halt.is_none(), "seed {seed}, {level}: {kept:?}");
        let health = life.pool.health();
        let told: usize = kept.lost.len();
        seen[told] += 1;
        life.close();
        let world = world.reboot();
        let mut life = Life::new(world.clone(), shape);
        assert_eq!(life.pool.health(), health, "seed {seed}: the loss is durable");
        assert!(health.lost.count() as usize >= told);
        life.pool.close(&mut life.port).expect("it closes");
        assert!(read(world.reboot(), shape) == model, "seed {seed}, {level}, {kept:?}: not what was written");
    }
    assert!(seen[1..].iter().all(|&count| count > 5), "each number of losses was reached: {seen:?}");
}

/// After a power cut each block is what the first life left, or what one of the runs of the second put there.
#[test]
fn after_a_power_cut_each_block_is_old_or_new() {
    let parity = LEVELS.into_iter().filter(|(level, ..)| level.parities() > 0);
    for (seed, (level, members, _)) in (0..24).zip(parity.cycle()) {
        let (world, shape) = new_volume(level, members, seed);
        let (copy, old) = script(seed);
        let mut life = Life::new(world.clone(), shape);
        assert!(life.serve(&copy).halt.is_none());
        life.close();
        let world = world.reboot();
        let (copy, _) = script(seed + 1000);
        let mut life = Life::new(world.clone(), shape);
        world.power_off_at(world.steps() + 100 + Random::new(seed).bits() % 900);
        let _ = life.serve(&copy);
        let found = read(world.reboot(), shape);
        let mut data = vec![0; 1 << 20];
        copy.file.read_exact_at(&mut data, 0).expect("the file");
        let mut new = 0;
        for (block, (found, old)) in (0..).zip(found.chunks(4096).zip(old.chunks(4096))) {
            let covers = |run: &&Run| (run.block..run.block + run.blocks).contains(&block);
            let place = |run: &Run| usize::try_from(run.at + (block - run.block) * 4096).expect("small");
            let is_new = copy.runs.iter().filter(covers).any(|run| data[place(run)..place(run) + 4096] == *found);
            assert!(is_new || found == old, "seed {seed}, {level}: block {block} is neither old nor new");
            new += u32::from(is_new);
        }
        assert!(new > 0, "seed {seed}: nothing was written before the power went");
    }
}

#[test]
fn more_losses_than_the_level_survives_end_the_run_in_a_failure() {
    let (world, shape) = new_volume(Level::Raid5, 4, 3);
    let (copy, _) = script(3);
    let mut life = Life::new(world.clone(), shape);
    let before = world.steps();
    (100..160).for_each(|step| world.fail_at(before + step, libc::EIO));
    let kept = life.serve(&copy);
    assert!(matches!(kept.halt, Some(Halt::Failed(_) | Halt::Pool(_))), "{kept:?}");
}

#[test]
fn a_stop_ends_in_order_and_what_was_acknowledged_is_there() {
    let (world, shape) = new_volume(Level::Raid5, 4, 4);
    let (copy, _) = script(4);
    let mut life = Life::new(world.clone(), shape);
    life.stop.store(true, std::sync::atomic::Ordering::Release);
    let kept = life.serve(&copy);
    assert!(matches!(kept.halt, Some(Halt::Signal)), "{kept:?}");
    life.close();
    assert_eq!(read(world.reboot(), shape).len() as u64, VOLUME_BYTES);
}
