//! A change of some rows, from the record in the log to blocks that are durable in place.
//!
//! ```text
//!   Record    the record is written to each parity that is there, and to members with data, see `record`
//!             ── a plain write is answered
//!   Recorded  it is durable on all of them
//!             ── a write with FUA is answered
//!   InPlace   data and parity are written, leaves change
//!   Written   they are durable
//!             ── the rows are unlocked; the record is needed until their leaves are durable too
//! ```
//!
//! A member that refuses a write is skipped. The change goes on past each of these points only when its loss is durable,
//! because until then a crash would bring it back with what it holds.

use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use super::gather::device_block;
use super::{BLOCK, Home, Waiter};
use crate::buffer::Span;
use crate::checksum::{Leaf, crc32c};
use crate::port::Port;
use crate::volume::map::Shard;
use crate::volume::record::Record;
use crate::volume::work::{Kind, Work};

impl<P: Port> Home<P> {
    /// Lays the record down; whether that was possible.
    pub(super) fn begin_record(&mut self, now: Nanos, index: u16) -> bool {
        // Whoever needs much room must not be overtaken for ever by those who need little.
        if self.works.overtakes_for_room(index) {
            return false;
        }
        let work = *self.works.at(index);
        let mirrors = self.mirrors(index);
        let (data, partial) = (work.members.count() * work.rows, work.change.parities.count() * work.rows);
        let Some(room) = self.lane.take(mirrors, data + 1 + partial, self.sequence + 1) else { return false };
        self.sequence += 1;
        let record = Record {
            pool: self.map.volume.pool,
            generation: self.map.volume.generation,
            epoch: self.map.volume.epoch,
            sequence: self.sequence,
            unit: work.unit,
            mirrors,
            parities: work.change.parities,
            changed: work.members,
            place: room.place + data,
            lane: self.index,
            row: u16::try_from(work.row).expect("a chunk has at most 4096 blocks"),
            rows: u16::try_from(work.rows).expect("a chunk has at most 4096 blocks"),
        };
        let (short, whole) = (self.memory.record(index, data + 1), self.memory.record(index, data + 1 + partial));
        let bytes = self.requests.port().region_mut().bytes_mut(whole);
        let (new, rest) = bytes.split_at_mut((data * BLOCK) as usize);
        let (header, partial) = rest.split_at_mut(BLOCK as usize);
        let blocks = new.chunks_exact(BLOCK as usize).chain(partial.chunks_exact(BLOCK as usize));
        record.encode(blocks.map(crc32c), header);
        let (offset, parities) = (self.lane.offset(room.place), self.map.parities(work.unit));
        for member in mirrors.iter() {
            let span = if record.has_partial(member, parities) { whole } else { short };
            let requests = self.push(now, Waiter::Work { work: index, member }, offset, span, true);
            self.works.at(index).outstanding += requests;
        }
        let change = &mut self.works.at(index).change;
        (change.mirrors, change.room, change.begun) = (mirrors, Some(room), true);
        true
    }

    /// Where a record goes: to each parity of its unit that can be relied on, and to members with data, those first that
    /// change, until it lies on one more than the unit can still lose.
    fn mirrors(&mut self, index: u16) -> Members {
        let work = *self.works.at(index);
        let lost = self.health.lost_of(work.frame) | self.dead;
        let all = self.map.all(work.unit);
        let parities = self.map.parities(work.unit);
        let copies = (parities.count() + 1).saturating_sub((all & lost).count());
        let data = all - parities - lost;
        let more = copies.saturating_sub((parities - lost).count()) as usize;
        let others = (data & work.members).iter().chain((data - work.members).iter());
        (parities - lost) | others.take(more).collect()
    }

    /// Whether members that were skipped are known to be lost for good.
    pub(super) fn may_commit(&self, index: u16) -> bool {
        self.works.find(index).is_none_or(|work| (work.change.skipped - self.lost_of(work.page, work.frame)).is_empty())
    }

    /// Asks for what was written to become durable.
    pub(super) fn want_durable(&mut self, index: u16, members: Members) {
        let tick = self.flushes.want(members);
        self.works.at(index).change.tick = tick;
    }

    /// Whether what was written to these members is durable on those that are left. Others are skipped.
    pub(super) fn are_durable(&mut self, index: u16, members: Members) -> bool {
        let work = self.works.at(index);
        let (tick, page, frame) = (work.change.tick, work.page, work.frame);
        let gone = self.gone(page, frame);
        let skipped = &mut self.works.at(index).change.skipped;
        *skipped = *skipped | (members & gone);
        (members - gone).iter().all(|member| self.flushes.is_durable(member, tick))
    }

    /// Writes data and parity, and changes their leaves.
    pub(super) fn write_in_place(&mut self, now: Nanos, index: u16) {
        let work = *self.works.at(index);
        let filled = if work.kind == Kind::Rebuild { self.fill_of(&work) } else { Members::NONE };
        let skipped = work.change.write & (self.gone(work.page, work.frame) - filled);
        let change = &mut self.works.at(index).change;
        (change.begun, change.skipped) = (true, change.skipped | skipped);
        // Copies are written from one place, which nobody can look at any more when the first of them is on its way.
        for is_write in [false, true] {
            for shard in 0..self.map.shards {
                let place = self.map.shard(work.unit, shard);
                if !(work.change.write - skipped).contains(place.member) {
                    continue;
                }
                let span = self.source(index, &work, shard);
                if is_write {
                    self.write_shard(now, index, place, span);
                } else {
                    self.change_leaves(&work, place, span);
                }
            }
        }
    }

    /// Where what is written to a shard lies in the buffer of its piece.
    fn source(&self, index: u16, work: &Work, shard: usize) -> Span {
        let bytes = work.rows * BLOCK;
        let is_new = |shard| work.members.contains(self.map.shard(work.unit, shard).member);
        if work.kind == Kind::Write && self.map.is_copied() {
            return self.memory.work(index).part(0, bytes);
        }
        if work.kind == Kind::Write && shard < self.map.data && is_new(shard) {
            let before = u32::try_from((0..shard).filter(|&shard| is_new(shard)).count()).expect("at most 64");
            return self.memory.work(index).part(before * bytes, bytes);
        }
        self.memory.shard(index, shard, work.rows)
    }

    fn change_leaves(&mut self, work: &Work, place: Shard, span: Span) {
        let entry = work.entry.expect("the leaves were pinned before");
        for row in 0..work.rows {
            // What was never written stays so on a member that is filled.
            if work.kind == Kind::Rebuild && self.is_void(work, work.row + row) {
                continue;
            }
            let block = self.requests.region().bytes(span.part(row * BLOCK, BLOCK));
            let leaf = Leaf::of(block, device_block(place, work.row + row), self.map.volume.generation);
            self.leaves.set(entry, place.member, place.leaf + work.row + row, leaf);
        }
    }

    /// Writes the rows of a piece to one member.
    pub(super) fn write_shard(&mut self, now: Nanos, index: u16, place: Shard, span: Span) {
        let row = self.works.at(index).row;
        let offset = place.offset + u64::from(row) * u64::from(BLOCK);
        let requests = self.push(now, Waiter::Work { work: index, member: place.member }, offset, span, true);
        self.works.at(index).outstanding += requests;
    }
}
