//! Blocks are read and compared with their leaves; what is missing is brought back from the rest of its row.
//!
//! ```text
//!   ask ─▶ read ─▶ check ─┬─ all there ───────────────────────────────────────▶ done
//!     ▲                   └─ some missing: a member gone, a refusal, a wrong leaf
//!     │                        ├─ enough others known ─▶ bring back ─▶ judge ─▶ done, and heal
//!     └──── ask the others ◀───┘
//! ```
//!
//! A read that a member refuses goes on block by block, and the blocks that it refuses come back as something that no leaf
//! is like. A block that was brought back is judged before anything is done with it: it has the leaf that was asked for, and
//! then it was the block that was wrong; or it equals what was read, and then it was the leaf. Anything else is a failure: more is
//! wrong than can be told. What is brought back for a member that is gone has no leaf to be compared with; all that it was
//! made from has.

use std::ops::Range;

use bireme_control::raid::members::Members;
use bireme_control::raid::write_choice::{Way, choose};
use bireme_control::units::Nanos;

use super::{BLOCK, Home, Waiter};
use crate::checksum::Leaf;
use crate::message::Failure;
use crate::port::Port;
use crate::volume::map::Shard;
use crate::volume::work::{Kind, SHARDS_MAX, Stage, Work};

/// What a look at what was read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    /// More was asked for.
    Asked,
    Failed,
}

impl<P: Port> Home<P> {
    /// Begins to read what a piece needs; the failure if its unit has lost too much.
    pub(super) fn begin_gather(&mut self, now: Nanos, index: u16) -> Result<(), Failure> {
        let work = *self.works.at(index);
        let gone = self.gone(work.page, work.frame);
        let (all, data) = (self.map.all(work.unit), self.map.members(work.unit, 0..self.map.data));
        let want = match work.kind {
            Kind::Read if self.map.is_copied() => self.one_copy(&work, gone),
            Kind::Read => work.members,
            Kind::Scrub => all - gone,
            Kind::Rebuild => {
                let want = self.fill_of(&work);
                self.works.at(index).change.write = want;
                want
            }
            Kind::Write => {
                let choice = choose(self.map.geometry(), work.unit, work.members, gone).ok_or(self.why_lost())?;
                let parities = choice.write & self.map.parities(work.unit);
                let change = &mut self.works.at(index).change;
                (change.way, change.write, change.parities) = (choice.way, choice.write, parities);
                match choice.way {
                    Way::ReadModifyWrite => work.members | parities,
                    Way::ReconstructWrite => data - work.members,
                    Way::FullStripe | Way::PlainWrite => Members::NONE,
                }
            }
        };
        // Nothing is read for what is all new.
        let suspect = if want.is_empty() { 0 } else { self.suspects(&work, gone) };
        let gather = &mut self.works.at(index).gather;
        (gather.want, gather.gone, gather.suspect) = (want, gone, suspect);
        let sources = if suspect == 0 { self.sources(work.unit, want, gone) } else { all - gone };
        self.ask(now, index, sources);
        Ok(())
    }

    /// Compares what was read and brings back what is missing. Whether the piece may go on; `Err` if it cannot.
    pub(super) fn gather(&mut self, now: Nanos, index: u16) -> Result<bool, Failure> {
        self.check_blocks(index);
        let verdict = if self.clear_suspects(index) { self.repair(now, index) } else { Verdict::Failed };
        self.works.at(index).gather.suspect = 0;
        match verdict {
            Verdict::Done => Ok(true),
            Verdict::Asked => Ok(false),
            Verdict::Failed => {
                self.healed.lost += 1;
                let work = self.works.at(index);
                let (unit, row, page, failure) = (work.unit, work.row, work.page, work.gather.failure);
                let asked = work.gather.want | work.gather.asked;
                let shards = (0..self.map.shards).map(|shard| self.map.shard(unit, shard));
                let first = shards.into_iter().find(|shard| asked.contains(shard.member));
                let place = |shard: Shard| shard.offset + u64::from(row) * u64::from(BLOCK);
                let damaged = first.map(|shard| Failure::Damaged { file: shard.member, offset: place(shard), page });
                Err(failure.or(damaged).unwrap_or(self.why_lost()))
            }
        }
    }

    /// Writes again what was wrong, but for what the piece writes anyway.
    pub(super) fn heal(&mut self, now: Nanos, index: u16) {
        let work = *self.works.at(index);
        let gone = self.gone(work.page, work.frame);
        let heal = work.gather.heal - gone - work.change.write;
        for shard in 0..self.map.shards {
            let place = self.map.shard(work.unit, shard);
            if heal.contains(place.member) {
                let span = self.memory.shard(index, shard, work.rows);
                self.write_shard(now, index, place, span);
            }
        }
    }

    /// Any copy that is there, a different one each time.
    fn one_copy(&self, work: &Work, gone: Members) -> Members {
        let living = self.map.all(work.unit) - gone;
        let turn = work.ticket % u64::from(living.count().max(1));
        living.iter().nth(usize::try_from(turn).expect("less than 64")).into_iter().collect()
    }

    /// Whose blocks give those that are wanted, if nothing is wrong with them.
    fn sources(&self, unit: u64, want: Members, gone: Members) -> Members {
        if (want & gone).is_empty() {
            return want;
        }
        if self.map.is_copied() {
            return (self.map.all(unit) - gone).iter().take(1).collect();
        }
        let data = self.map.members(unit, 0..self.map.data);
        let lost = (data & gone).count() as usize;
        let helpers: Members = (self.map.parities(unit) - gone).iter().take(lost).collect();
        (data - gone) | helpers | (want - gone)
    }

    fn ask(&mut self, now: Nanos, index: u16, members: Members) {
        let work = *self.works.at(index);
        let entry = work.entry.expect("the leaves were pinned before");
        for shard in 0..self.map.shards {
            let place = self.map.shard(work.unit, shard);
            if !members.contains(place.member) {
                continue;
            }
            assert!(self.leaves.knows(entry, place.member), "the leaves of all members that are there were read");
            let first = place.leaf + work.row;
            let leaves = (first..first + work.rows).map(|leaf| self.leaves.get(entry, place.member, leaf));
            if work.gather.suspect != 0 || leaves.into_iter().any(|leaf| leaf != Leaf::ABSENT) {
                let span = self.memory.shard(index, shard, work.rows);
                let offset = place.offset + u64::from(work.row) * u64::from(BLOCK);
                let waiter = Waiter::Work { work: index, member: place.member };
                let requests = self.push(now, waiter, offset, span, false);
                self.works.at(index).outstanding += requests;
            }
        }
        let gather = &mut self.works.at(index).gather;
        gather.asked = gather.asked | members;
    }

    /// Compares what was read with its leaves. Blocks that were never written are zeros.
    fn check_blocks(&mut self, index: u16) {
        let work = *self.works.at(index);
        let entry = work.entry.expect("the leaves were pinned before");
        let generation = self.map.volume.generation;
        let new = work.gather.asked - work.gather.checked;
        for shard in 0..self.map.shards {
            let place = self.map.shard(work.unit, shard);
            if !new.contains(place.member) {
                continue;
            }
            let span = self.memory.shard(index, shard, work.rows);
            let mut bad = 0;
            for row in 0..work.rows {
                let leaf = self.leaves.get(entry, place.member, place.leaf + work.row + row);
                // Of a page at a level of copies all blocks were written, or none.
                let is_lost = leaf == Leaf::ABSENT && self.map.is_copied() && self.leaves.is_marked(entry);
                let block = self.requests.port().region_mut().bytes_mut(span.part(row * BLOCK, BLOCK));
                let is_suspect = work.gather.suspect >> row & 1 == 1;
                if leaf == Leaf::ABSENT {
                    if !is_suspect {
                        block.fill(0);
                    }
                    bad |= u16::from(is_lost) << row;
                } else if Leaf::of(block, device_block(place, work.row + row), generation) != leaf {
                    bad |= 1 << row;
                }
            }
            self.works.at(index).gather.bad[shard] = bad;
        }
        let gather = &mut self.works.at(index).gather;
        gather.checked = gather.checked | new;
    }

    fn repair(&mut self, now: Nanos, index: u16) -> Verdict {
        let work = *self.works.at(index);
        let places = self.places(work.unit);
        let redundancy = if self.map.is_copied() { self.map.shards - 1 } else { self.map.shards - self.map.data };
        let rows = || 0..work.rows;
        if rows().all(|row| targets(&work, &places, row) == 0) {
            return Verdict::Done;
        }
        let lacks =
            |row| targets(&work, &places, row) != 0 && missing(&work, &places, row).count_ones() as usize > redundancy;
        if rows().any(lacks) {
            let gone = work.gather.gone | self.gone(work.page, work.frame);
            let others = self.map.all(work.unit) - gone - work.gather.asked;
            if others.is_empty() {
                return Verdict::Failed;
            }
            self.ask(now, index, others);
            return Verdict::Asked;
        }
        let mut row = 0;
        while row < work.rows {
            let kind = |row| (missing(&work, &places, row), targets(&work, &places, row));
            let (missing, targets) = kind(row);
            let end = (row + 1..work.rows).find(|&next| kind(next) != (missing, targets)).unwrap_or(work.rows);
            if targets != 0 && !self.bring_back(index, row..end, missing, targets) {
                return Verdict::Failed;
            }
            row = end;
        }
        Verdict::Done
    }

    /// Brings back some rows of the shards `targets`, of which `missing` is missing.
    fn bring_back(&mut self, index: u16, rows: Range<u32>, missing: u64, targets: u64) -> bool {
        let work = *self.works.at(index);
        let count = self.map.shards;
        let part = |home: &Home<P>, shard: usize| {
            let span = home.memory.shard(index, shard, work.rows);
            span.part(rows.start * BLOCK, (rows.end - rows.start) * BLOCK)
        };
        let bytes = ((rows.end - rows.start) * BLOCK) as usize;
        let mut scratch = std::mem::take(&mut self.scratch);
        let (one, other) = scratch.split_at_mut(self.memory.shard_bytes());
        let mut wanted = (0..count).filter(|&shard| targets >> shard & 1 == 1);
        if self.map.is_copied() {
            let source = (0..count).find(|&shard| missing >> shard & 1 == 0).expect("a copy is there");
            one[..bytes].copy_from_slice(self.requests.region().bytes(part(self, source)));
        } else {
            let mut shards: [Option<&[u8]>; SHARDS_MAX] = [None; SHARDS_MAX];
            for (shard, bytes) in shards[..count].iter_mut().enumerate().filter(|(shard, _)| missing >> shard & 1 == 0)
            {
                *bytes = Some(self.requests.region().bytes(part(self, shard)));
            }
            let (first, second) = (wanted.next().expect("something is wanted"), wanted.next());
            let first = (first, &mut one[..bytes]);
            let done = match second.map(|second| (second, &mut other[..bytes])) {
                Some(second) => self.kernels.reconstruct(self.map.data, &shards[..count], &mut [first, second]),
                None => self.kernels.reconstruct(self.map.data, &shards[..count], &mut [first]),
            };
            done.expect("what is missing was counted before");
        }
        let copied = self.map.is_copied();
        let mut judged = true;
        for (nth, shard) in (0..count).filter(|&shard| targets >> shard & 1 == 1).enumerate() {
            let found = if nth == 0 || copied { &one[..bytes] } else { &other[..bytes] };
            for (row, block) in rows.clone().zip(found.chunks_exact(BLOCK as usize)) {
                judged &= self.judge(index, shard, row, block);
            }
        }
        self.scratch = scratch;
        judged
    }

    /// Takes a block that was brought back in the place of what was read, if it can be told which of block and leaf was
    /// wrong.
    fn judge(&mut self, index: u16, shard: usize, row: u32, found: &[u8]) -> bool {
        let work = *self.works.at(index);
        let place = self.map.shard(work.unit, shard);
        let entry = work.entry.expect("the leaves were pinned before");
        let span = self.memory.shard(index, shard, work.rows).part(row * BLOCK, BLOCK);
        let block = self.requests.port().region_mut().bytes_mut(span);
        let was_read = work.gather.checked.contains(place.member);
        if !was_read {
            block.copy_from_slice(found);
            return true;
        }
        let at = place.leaf + work.row + row;
        let leaf = Leaf::of(found, device_block(place, work.row + row), self.map.volume.generation);
        let expected = self.leaves.get(entry, place.member, at);
        if leaf == expected || expected == Leaf::ABSENT {
            block.copy_from_slice(found);
            self.leaves.set(entry, place.member, at, leaf);
            let gather = &mut self.works.at(index).gather;
            gather.heal = gather.heal.with(place.member);
        } else if *block == *found {
            self.leaves.set(entry, place.member, at, leaf);
        } else {
            return false;
        }
        self.healed.blocks += 1;
        true
    }

    fn places(&self, unit: u64) -> [u16; SHARDS_MAX] {
        let mut members = [u16::MAX; SHARDS_MAX];
        for (shard, member) in members[..self.map.shards].iter_mut().enumerate() {
            *member = self.map.shard(unit, shard).member;
        }
        members
    }
}

/// The shards whose block in a row is not known, as bits.
fn missing(work: &Work, members: &[u16; SHARDS_MAX], row: u32) -> u64 {
    let gather = &work.gather;
    let known = |shard: usize| gather.checked.contains(members[shard]) && gather.bad[shard] >> row & 1 == 0;
    shards(members).filter(|&shard| !known(shard)).fold(0, |bits, shard| bits | 1 << shard)
}

/// Those of them that must be brought back: what is wanted, and what is wrong.
fn targets(work: &Work, members: &[u16; SHARDS_MAX], row: u32) -> u64 {
    let wanted = |shard: usize| (work.gather.want | work.gather.asked).contains(members[shard]);
    let missing = missing(work, members, row);
    shards(members).filter(|&shard| missing >> shard & 1 == 1 && wanted(shard)).fold(0, |bits, shard| bits | 1 << shard)
}

fn shards(members: &[u16; SHARDS_MAX]) -> Range<usize> {
    0..members.iter().position(|&member| member == u16::MAX).unwrap_or(SHARDS_MAX)
}

/// The number of a block on its device.
pub(super) fn device_block(place: Shard, row: u32) -> u64 {
    place.offset / u64::from(BLOCK) + u64::from(row)
}

/// The stage that a piece is in when it has all blocks that it needs.
pub(super) fn after_gather(kind: Kind) -> Stage {
    match kind {
        Kind::Write => Stage::Record,
        Kind::Read | Kind::Scrub => Stage::Heal,
        Kind::Rebuild => Stage::InPlace,
    }
}
