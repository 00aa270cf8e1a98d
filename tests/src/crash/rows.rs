//! Every crash of two changes to one row: each level with parity, each set of members that had failed before, each pair of
//! sets of blocks that change, each moment, each subset of what was under way, each set of members that the crash takes.
//!
//! The states are those of a real home over disks that note what is flushed, and what they become is what the real
//! recovery makes of them. Then each block must be old or new (new if that was acknowledged), a block that nobody has
//! touched must be what it was, and parities and leaves must agree with the data.

use std::rc::Rc;
use std::sync::Arc;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::units::{Extent, Nanos};
use bireme_dataplane::layout::Layout;
use bireme_dataplane::port::Next;
use bireme_dataplane::volume::Volume;
use bireme_dataplane::volume::home::{Home, Options};
use bireme_dataplane::volume::recovery::recover;

use super::contents::{self, Version, bytes_of};
use super::disks::{Batch, Disks, Recorder, Trace};
use super::states::{Bounds, visit};

/// What was visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visited {
    /// Pairs of changes, with what had failed before.
    pub stories: u64,
    /// What a crash left of them, with what it took.
    pub states: u64,
    /// Crashes within the recovery of one of them.
    pub second: u64,
}

/// A row to change: its level, and where its parity lies.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The level.
    pub level: Level,
    /// How many members.
    pub members: u16,
    /// Which row of the array.
    pub row: u64,
    /// Each so-manyth state is crashed again while it recovers.
    pub second_each: u64,
}

impl Row {
    /// Visits all its states.
    ///
    /// # Errors
    /// The first that breaks a promise, as a sentence.
    pub fn enumerate(self) -> Result<Visited, String> {
        let geometry = Geometry::new(self.level, usize::from(self.members), 4096, self.data() * 4096);
        let geometry = geometry.map_err(|error| error.to_string())?;
        let mut visited = Visited::default();
        for before in subsets(self.members, self.parities()) {
            for first in subsets(self.data_members(), self.data_members()) {
                for second in subsets(self.data_members(), self.data_members()).filter(|set| !set.is_empty()) {
                    let story = Story { row: self, geometry, before, changes: [first, second] };
                    story.tell(&mut visited).map_err(|broken| format!("{story:?}: {broken}"))?;
                    visited.stories += 1;
                }
            }
        }
        Ok(visited)
    }

    fn parities(self) -> u16 {
        self.level.parities()
    }

    fn data_members(self) -> u16 {
        self.members - self.parities()
    }

    fn data(self) -> u64 {
        u64::from(self.data_members())
    }
}

/// Two changes of a row, of which the first may be empty.
#[derive(Debug)]
struct Story {
    row: Row,
    geometry: Geometry,
    /// Members that had failed before.
    before: Members,
    /// The blocks of each change.
    changes: [Members; 2],
}

impl Story {
    fn tell(&self, visited: &mut Visited) -> Result<(), String> {
        let volume = self.volume();
        let start = self.start(&volume)?;
        let (trace, acknowledged) = self.record(&volume, start.clone())?;
        let bounds = Bounds { exhaustive: 10, drawn: 64, torn: true };
        let mut port = Recorder::new(Disks::default(), REGION_BYTES);
        let mut broken = None;
        let mut count = 0;
        let taken: Vec<Members> = subsets(self.row.members, self.row.parities())
            .filter(|taken| (*taken & self.before).is_empty())
            .filter(|taken| (*taken | self.before).count() <= u32::from(self.row.parities()))
            .collect();
        visit(&start, &trace, bounds, 1, |disks, ended| {
            for &taken in &taken {
                if broken.is_some() {
                    return;
                }
                count += 1;
                let lost = self.before | taken;
                let state = State { story: self, volume: &volume, lost, acknowledged, ended };
                let again = count % self.row.second_each == 0;
                match state.check(disks, &mut port, again) {
                    Ok(second) => visited.second += second,
                    Err(why) => broken = Some(format!("{ended} batches had ended, {lost:?} is lost: {why}")),
                }
            }
        });
        visited.states += count;
        broken.map_or(Ok(()), Err)
    }

    fn volume(&self) -> Volume {
        let layout = Layout::new(self.geometry, 32 << 20).expect("room");
        Volume {
            pool: [9; 16],
            geometry: self.geometry,
            layout,
            blocks: self.row.data(),
            generation: 3,
            epoch: 7,
            frames: Arc::from([self.row.row]),
            lanes: Arc::from([Extent::new(100, 64)]),
            homes: 1,
        }
    }

    fn health(&self, lost: Members) -> Health {
        Health { lost, ..Health::default() }
    }

    /// The row as it was written and settled, before some members failed.
    fn start(&self, volume: &Volume) -> Result<Disks, String> {
        let port = Recorder::new(Disks::new(self.row.members), REGION_BYTES);
        let earlier = Volume { epoch: volume.epoch - 1, ..volume.clone() };
        let mut home = Home::new(earlier, 0, Health::default(), OPTIONS, port);
        let all: Members = (0..self.row.data_members()).collect();
        write(&mut home, all, 0)?;
        let settle = home.begin().ok_or("no operation is free")?;
        home.settle(settle);
        drive(&mut home, 1)?;
        let mut disks = home.into_port().disks;
        self.before.iter().for_each(|member| disks.blank(member));
        Ok(disks)
    }

    /// Both changes, one after the other, and how many batches had ended when each was acknowledged.
    fn record(&self, volume: &Volume, start: Disks) -> Result<(Vec<Batch>, [usize; 2]), String> {
        let mut port = Recorder::new(start, REGION_BYTES);
        port.dead = self.before;
        let trace: Trace = port.trace.clone();
        let mut home = Home::new(volume.clone(), 0, self.health(self.before), OPTIONS, port);
        let mut acknowledged = [0; 2];
        for ((&blocks, version), acknowledged) in self.changes.iter().zip(1..).zip(&mut acknowledged) {
            write(&mut home, blocks, version)?;
            *acknowledged = trace.borrow().len();
        }
        // What is left to do of what was acknowledged: in place, and its flush.
        for _ in 0..SOME_TURNS {
            let now = home.now();
            home.turn(now);
            home.submit(Next::Ready);
        }
        let trace = Rc::clone(&trace);
        let batches = trace.borrow().clone();
        Ok((batches, acknowledged))
    }
}

/// What a crash has left.
struct State<'a> {
    story: &'a Story,
    volume: &'a Volume,
    lost: Members,
    acknowledged: [usize; 2],
    ended: usize,
}

impl State<'_> {
    /// Recovers and looks; if asked, also with a crash at each moment of the recovery. The number of those.
    fn check(&self, disks: &Disks, port: &mut Recorder, again: bool) -> Result<u64, String> {
        self.recover(disks, port)?;
        self.look(&port.disks)?;
        if !again {
            return Ok(0);
        }
        let trace = port.trace.borrow().clone();
        let bounds = Bounds { exhaustive: 8, drawn: 32, torn: true };
        let mut broken = None;
        let visited = visit(disks, &trace, bounds, 2, |halfway, _| {
            if broken.is_none() {
                broken = self.recover(halfway, port).and_then(|()| self.look(&port.disks)).err();
            }
        });
        broken.map_or(Ok(visited), |why| Err(format!("after a crash in the recovery: {why}")))
    }

    fn recover(&self, disks: &Disks, port: &mut Recorder) -> Result<(), String> {
        let mut disks = disks.clone();
        self.lost.iter().for_each(|member| disks.blank(member));
        port.restart(disks, self.lost);
        recover(self.volume, &self.story.health(self.lost), port)
            .map(|_| ())
            .map_err(|fault| format!("it cannot be recovered: {fault:?}"))
    }

    /// Compares the row with what it may be.
    fn look(&self, disks: &Disks) -> Result<(), String> {
        let row = contents::Row { page: 0, unit: 0, block: 0 }.data(
            self.volume,
            &|disk, block| disks.block(disk, block),
            self.lost,
        )?;
        for (block, bytes) in (0..).zip(&row) {
            let may_be: Vec<Version> = self.versions_of(block).collect();
            if !may_be.iter().any(|&version| bytes_of(u64::from(block), version) == *bytes) {
                return Err(format!("block {block} is none of the versions {may_be:?}"));
            }
        }
        Ok(())
    }

    /// Versions that a block may have: the newest that was acknowledged, and those after it.
    fn versions_of(&self, block: u16) -> impl Iterator<Item = Version> {
        let changed = |change: usize| self.story.changes[change].contains(block);
        let is_acknowledged = |change: usize| self.acknowledged[change] <= self.ended;
        let newest = (0..2).rev().find(|&change| changed(change) && is_acknowledged(change));
        let least = newest.map_or(0, |change| change + 1);
        let later: Vec<usize> = (least..2).filter(|&change| changed(change)).map(|change| change + 1).collect();
        [least].into_iter().chain(later).map(|version| Version::try_from(version).expect("three at most"))
    }
}

/// Writes some blocks of the row, all at once, and waits until all are acknowledged.
fn write(home: &mut Home<Recorder>, blocks: Members, version: Version) -> Result<(), String> {
    for block in blocks.iter() {
        let operation = home.begin().ok_or("no operation is free")?;
        home.data_mut(operation, 4096).copy_from_slice(&bytes_of(u64::from(block), version));
        home.write(operation, u64::from(block), 1, true);
    }
    drive(home, blocks.count())
}

/// Takes turns until so many operations have ended.
fn drive(home: &mut Home<Recorder>, mut operations: u32) -> Result<(), String> {
    for _ in 0..MANY_TURNS {
        if operations == 0 {
            return Ok(());
        }
        let now = home.now();
        home.turn(now);
        home.submit(Next::Ready);
        while let Some(ended) = home.reap() {
            ended.result.map_err(|failure| format!("an operation failed: {failure:?}"))?;
            home.end(ended.operation);
            operations -= 1;
        }
    }
    Err("an operation does not end".to_owned())
}

/// Sets of up to `most` of `0..count`, the empty one first.
fn subsets(count: u16, most: u16) -> impl Iterator<Item = Members> {
    let set = move |mask: u32| -> Members { (0..count).filter(|&bit| mask >> bit & 1 == 1).collect() };
    (0..1 << count).map(set).filter(move |set| set.count() <= u32::from(most))
}

const OPTIONS: Options = Options {
    operations: 8,
    operation_bytes: 16 << 10,
    pages: 2,
    request_bytes: 64 << 10,
    hang_limit: Nanos(1_000_000_000),
};
const REGION_BYTES: usize = 4 << 20;
const SOME_TURNS: u32 = 12;
const MANY_TURNS: u32 = 200;
