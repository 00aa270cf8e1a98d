//! Crashes of whole arrays: a seed draws a level and a short story of writes and flushes, and each moment of it is a crash:
//! every prefix, bounded subsets of what was not flushed, tears between sectors, each member removed, and for some states a
//! crash in the recovery as well.
//!
//! After the recovery each block is the newest version that was durable or a later one, and every copy, parity and leaf
//! agrees. At levels without parity a block that was under way may be torn between sectors, as on a single device.

use std::sync::Arc;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::units::{Extent, Nanos};
use bireme_dataplane::layout::Layout;
use bireme_dataplane::port::Next;
use bireme_dataplane::port::simulated::Random;
use bireme_dataplane::volume::Volume;
use bireme_dataplane::volume::home::{Home, Operation, Options};
use bireme_dataplane::volume::recovery::recover;

use super::contents::{Row, Version, bytes_of};
use super::disks::{Disks, Recorder, Trace};
use super::states::{Bounds, visit};

/// What was visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visited {
    /// What a crash left of the story, with which member it took.
    pub states: u64,
    /// Crashes within the recovery of one of them.
    pub second: u64,
}

/// Tells the story of a seed and visits its crashes.
///
/// # Errors
/// The first promise that is broken, as a sentence.
pub fn enumerate(seed: u64) -> Result<Visited, String> {
    let mut random = Random::new(seed);
    let (level, members) = LEVELS[pick(&mut random, LEVELS.len())];
    let chunk = 4096 << random.below(2);
    let shape = Geometry::new(level, members, chunk, 4096).map_err(|error| error.to_string())?;
    let page = u64::from(shape.stripe_bytes()) * (1 + random.below(2));
    let geometry = Geometry::new(level, members, chunk, page).map_err(|error| error.to_string())?;
    let volume = volume(geometry, &mut random);
    let before = before(&geometry, &mut random);
    let mut story = Story::begin(&volume, before, &mut random)?;
    story.go_on(&mut random)?;
    story.crash(seed).map_err(|broken| format!("{level} over {members}, {before:?} lost before: {broken}"))
}

fn volume(geometry: Geometry, random: &mut Random) -> Volume {
    let first = random.below(7);
    let layout = Layout::new(geometry, 64 << 20).expect("room");
    let lane = 96 / u64::from(geometry.frame_member_bytes() / 4096) + 1;
    Volume {
        pool: [9; 16],
        geometry,
        layout,
        blocks: PAGES * u64::from(geometry.page_bytes()) / 4096,
        generation: 3,
        epoch: 7,
        frames: (0..PAGES).map(|page| first + (page * 2) % (2 * PAGES - 1)).collect(),
        lanes: Arc::from([Extent::new(100, lane)]),
        homes: 1,
    }
}

/// Members that have failed before the story begins.
fn before(geometry: &Geometry, random: &mut Random) -> Members {
    let drawn = [u16::try_from(random.below(u64::from(geometry.members()))).expect("few members")];
    if random.below(3) == 0 && geometry.survives(&drawn) { drawn.into_iter().collect() } else { Members::NONE }
}

/// A volume, what was done to it, and what it may therefore hold.
struct Story<'a> {
    volume: &'a Volume,
    before: Members,
    start: Disks,
    trace: Trace,
    home: Home<Recorder>,
    /// By block, in the order in which they were written.
    written: Vec<Vec<Written>>,
    version: Version,
}

/// One write of a block. Moments are numbers of batches that had ended.
#[derive(Clone, Copy, Debug)]
struct Written {
    version: Version,
    asked: usize,
    acknowledged: Option<usize>,
    durable: Option<usize>,
}

impl<'a> Story<'a> {
    /// Some blocks are written and settled, then members fail.
    fn begin(volume: &'a Volume, before: Members, random: &mut Random) -> Result<Story<'a>, String> {
        let members = volume.geometry.members();
        let port = Recorder::new(Disks::new(members), REGION_BYTES);
        let trace = port.trace.clone();
        let mut story = Story {
            volume,
            before,
            start: Disks::new(members),
            trace,
            // Each opening has an epoch of its own.
            home: Home::new(Volume { epoch: volume.epoch - 1, ..volume.clone() }, 0, Health::default(), OPTIONS, port),
            written: vec![Vec::new(); usize::try_from(volume.blocks).expect("few blocks")],
            version: 0,
        };
        for _ in 0..random.below(3) {
            story.write(random, true)?;
        }
        let settle = story.home.begin().ok_or("no operation is free")?;
        story.home.settle(settle);
        story.wait(&[settle])?;
        let Story { home, written, version, .. } = story;
        let mut start = home.into_port().disks;
        before.iter().for_each(|member| start.blank(member));
        let mut port = Recorder::new(start.clone(), REGION_BYTES);
        port.dead = before;
        let settled = |writes: Vec<Written>| writes.last().map(|last| Written { asked: 0, durable: Some(0), ..*last });
        Ok(Story {
            volume,
            before,
            start,
            trace: port.trace.clone(),
            home: Home::new(volume.clone(), 0, Health { lost: before, ..Health::default() }, OPTIONS, port),
            written: written.into_iter().map(|writes| settled(writes).into_iter().collect()).collect(),
            version,
        })
    }

    fn go_on(&mut self, random: &mut Random) -> Result<(), String> {
        for _ in 0..2 + random.below(3) {
            match random.below(5) {
                0 => {
                    let flush = self.home.begin().ok_or("no operation is free")?;
                    self.home.flush(flush);
                    // Promised is what was acknowledged before the flush was asked for.
                    let asked = self.trace.borrow().len();
                    self.wait(&[flush])?;
                    let now = self.trace.borrow().len();
                    for write in self.written.iter_mut().flatten() {
                        if write.acknowledged.is_some_and(|at| at <= asked) && write.durable.is_none() {
                            write.durable = Some(now);
                        }
                    }
                }
                kind => self.write(random, kind < 3)?,
            }
        }
        for _ in 0..SOME_TURNS {
            let now = self.home.now();
            self.home.turn(now);
            self.home.submit(Next::Ready);
        }
        Ok(())
    }

    /// One to three writes at once, which do not overlap.
    fn write(&mut self, random: &mut Random, fua: bool) -> Result<(), String> {
        let asked = self.trace.borrow().len();
        self.version += 1;
        let mut at = random.below(self.volume.blocks);
        let mut operations = Vec::new();
        let mut blocks = Vec::new();
        for _ in 0..1 + random.below(3) {
            let most = (self.volume.blocks - at).min(u64::from(OPTIONS.operation_bytes) / 4096);
            if most == 0 {
                break;
            }
            let doubled = random.below(4);
            let count = 1 + random.below(most).min(1 << doubled);
            let operation = self.home.begin().ok_or("no operation is free")?;
            let bytes = u32::try_from(count * 4096).expect("within an operation");
            let data = self.home.data_mut(operation, bytes);
            for (block, out) in (at..).zip(data.chunks_exact_mut(4096)) {
                out.copy_from_slice(&bytes_of(block, self.version));
                blocks.push(block);
            }
            self.home.write(operation, at, u32::try_from(count).expect("few blocks"), fua);
            operations.push(operation);
            at += count + random.below(3);
            if at >= self.volume.blocks {
                break;
            }
        }
        let index = |block: &u64| usize::try_from(*block).expect("few blocks");
        for block in &blocks {
            let write = Written { version: self.version, asked, acknowledged: None, durable: None };
            self.written[index(block)].push(write);
        }
        self.wait(&operations)?;
        let now = self.trace.borrow().len();
        for block in &blocks {
            let write = self.written[index(block)].last_mut().expect("it was entered above");
            (write.acknowledged, write.durable) = (Some(now), fua.then_some(now));
        }
        Ok(())
    }

    fn wait(&mut self, operations: &[Operation]) -> Result<(), String> {
        let mut left = operations.len();
        for _ in 0..MANY_TURNS {
            if left == 0 {
                return Ok(());
            }
            let now = self.home.now();
            self.home.turn(now);
            self.home.submit(Next::Ready);
            while let Some(ended) = self.home.reap() {
                ended.result.map_err(|failure| format!("an operation failed: {failure:?}"))?;
                self.home.end(ended.operation);
                left -= 1;
            }
        }
        Err("an operation does not end".to_owned())
    }

    fn crash(&self, seed: u64) -> Result<Visited, String> {
        let trace = self.trace.borrow().clone();
        let bounds = Bounds { exhaustive: 6, drawn: 12, torn: true };
        let mut port = Recorder::new(Disks::default(), REGION_BYTES);
        let mut visited = Visited::default();
        let mut broken = None;
        let geometry = self.volume.geometry;
        let survives = |lost: Members| geometry.survives(&lost.iter().collect::<Vec<_>>());
        let each: Vec<Members> = [Members::NONE]
            .into_iter()
            .chain((0..geometry.members()).map(|member| [member].into_iter().collect()))
            .map(|taken: Members| taken | self.before)
            .filter(|&lost| survives(lost))
            .collect();
        visit(&self.start, &trace, bounds, seed, |disks, ended| {
            for &lost in &each {
                if broken.is_some() {
                    return;
                }
                visited.states += 1;
                let again = visited.states % SECOND_EACH == 0;
                match self.check(disks, lost, ended, &mut port, again) {
                    Ok(second) => visited.second += second,
                    Err(why) => broken = Some(format!("{ended} batches had ended, {lost:?} lost: {why}")),
                }
            }
        });
        broken.map_or(Ok(visited), Err)
    }

    fn check(
        &self,
        disks: &Disks,
        lost: Members,
        ended: usize,
        port: &mut Recorder,
        again: bool,
    ) -> Result<u64, String> {
        self.recover(disks, lost, port)?;
        self.look(&port.disks, lost, ended)?;
        if !again {
            return Ok(0);
        }
        let trace = port.trace.borrow().clone();
        let bounds = Bounds { exhaustive: 4, drawn: 8, torn: true };
        let mut broken = None;
        let visited = visit(disks, &trace, bounds, 2, |halfway, _| {
            if broken.is_none() {
                broken = self.recover(halfway, lost, port).and_then(|()| self.look(&port.disks, lost, ended)).err();
            }
        });
        broken.map_or(Ok(visited), |why| Err(format!("after a crash in the recovery: {why}")))
    }

    fn recover(&self, disks: &Disks, lost: Members, port: &mut Recorder) -> Result<(), String> {
        let mut disks = disks.clone();
        lost.iter().for_each(|member| disks.blank(member));
        port.restart(disks, lost);
        let health = Health { lost, ..Health::default() };
        let recovered = recover(self.volume, &health, port);
        recovered.map(|_| ()).map_err(|fault| format!("it cannot be recovered: {fault:?}"))
    }

    fn look(&self, disks: &Disks, lost: Members, ended: usize) -> Result<(), String> {
        for row in Row::all(self.volume) {
            let data = row.data(self.volume, &|disk, block| disks.block(disk, block), lost)?;
            for (block, bytes) in row.blocks(self.volume).zip(&data) {
                let Some(block) = block else { continue };
                let may_be = self.may_be(block, ended);
                if !self.is_one_of(block, bytes, &may_be) {
                    return Err(format!("block {block} is none of the versions {may_be:?}"));
                }
            }
        }
        Ok(())
    }

    /// The newest version that was durable, and those after it; 0 where nothing was.
    fn may_be(&self, block: u64, ended: usize) -> Vec<Version> {
        let written = &self.written[usize::try_from(block).expect("few blocks")];
        let is_durable = |write: &Written| write.durable.is_some_and(|at| at <= ended);
        let newest = written.iter().rposition(is_durable);
        let later = written[newest.map_or(0, |at| at)..].iter().filter(|write| write.asked <= ended);
        let mut versions: Vec<Version> = later.map(|write| write.version).collect();
        if newest.is_none() {
            versions.push(0);
        }
        versions
    }

    fn is_one_of(&self, block: u64, bytes: &[u8; 4096], versions: &[Version]) -> bool {
        let contents: Vec<[u8; 4096]> = versions.iter().map(|&version| content(block, version)).collect();
        if self.volume.geometry.parities() > 0 {
            return contents.contains(bytes);
        }
        let mut sectors = bytes.chunks(512).enumerate();
        sectors.all(|(index, sector)| contents.iter().any(|content| content[index * 512..][..512] == *sector))
    }
}

/// Version 0 was never written.
fn content(block: u64, version: Version) -> [u8; 4096] {
    if version == 0 { [0; 4096] } else { bytes_of(block, version) }
}

fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).expect("an index")
}

const LEVELS: [(Level, usize); 10] = [
    (Level::Raid0, 3),
    (Level::Raid1, 2),
    (Level::Raid1, 3),
    (Level::Raid10, 4),
    (Level::Raid10, 3),
    (Level::Raid5, 3),
    (Level::Raid5, 5),
    (Level::Raid6, 5),
    (Level::Raid50 { groups: 2 }, 6),
    (Level::Raid60 { groups: 2 }, 8),
];
const OPTIONS: Options = Options {
    operations: 8,
    operation_bytes: 64 << 10,
    pages: 2,
    request_bytes: 64 << 10,
    hang_limit: Nanos(1_000_000_000),
};
const PAGES: u64 = 3;
const REGION_BYTES: usize = 8 << 20;
const SECOND_EACH: u64 = 300;
const SOME_TURNS: u32 = 12;
const MANY_TURNS: u32 = 400;
