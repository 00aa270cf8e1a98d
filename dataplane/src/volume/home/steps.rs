//! How a piece goes from stage to stage.

use bireme_control::units::Nanos;

use super::gather::after_gather;
use super::{BLOCK, Home};
use crate::message::Failure;
use crate::port::Port;
use crate::volume::work::{Kind, Stage};

impl<P: Port> Home<P> {
    /// Takes a piece one step on; whether that was possible.
    pub(super) fn advance(&mut self, now: Nanos, index: u16) -> bool {
        let Some(work) = self.works.find(index) else { return false };
        let (busy, answered) = (work.outstanding > 0, work.answered);
        if let Some(failure) = self.broken.filter(|_| !answered) {
            let work = self.works.at(index);
            let operation = work.operation;
            work.answered = true;
            self.answer(operation, Err(failure));
            return true;
        }
        if busy {
            return false;
        }
        let work = self.works.at(index);
        if let Some(failure) = self.broken {
            self.end_piece(index, Err(failure));
            return true;
        }
        let stepped = match work.stage {
            Stage::Locked => self.try_lock(index),
            Stage::Leaves => self.try_leaves(now, index),
            Stage::Gather => self.try_gather(now, index),
            Stage::Heal => {
                self.end_piece(index, Ok(()));
                Ok(true)
            }
            Stage::Record => self.try_record(now, index),
            Stage::Recorded => Ok(self.try_recorded(index)),
            Stage::Intent => Ok(self.try_intent(index)),
            Stage::Clear => Ok(self.clear_some(now, index)),
            Stage::Zeroed => Ok(self.zeroed(index)),
            Stage::Marked => Ok(self.marked(now, index)),
            Stage::Marking => Ok(self.cleared(index)),
            Stage::InPlace => Ok(self.try_in_place(now, index)),
            Stage::Written => Ok(self.try_written(index)),
        };
        stepped.unwrap_or_else(|failure| {
            self.end_piece(index, Err(failure));
            true
        })
    }

    fn try_lock(&mut self, index: u16) -> Result<bool, Failure> {
        let free = !self.works.is_blocked(index);
        if free {
            self.works.at(index).stage = Stage::Leaves;
        }
        Ok(free)
    }

    fn try_leaves(&mut self, now: Nanos, index: u16) -> Result<bool, Failure> {
        if !self.have_leaves(now, index) {
            return Ok(false);
        }
        self.works.at(index).stage = Stage::Gather;
        self.begin_gather(now, index)?;
        Ok(true)
    }

    fn try_gather(&mut self, now: Nanos, index: u16) -> Result<bool, Failure> {
        if !self.gather(now, index)? {
            // All that was asked for may be absent, and there is nothing to wait for.
            return Ok(self.works.at(index).outstanding == 0);
        }
        let kind = self.works.at(index).kind;
        if kind == Kind::Scrub {
            self.compare_rows(index);
        }
        if kind == Kind::Read {
            self.deliver(index);
            self.answer_piece(index);
        }
        self.heal(now, index);
        self.works.at(index).stage = after_gather(kind);
        Ok(true)
    }

    fn try_record(&mut self, now: Nanos, index: u16) -> Result<bool, Failure> {
        if !self.works.at(index).change.begun {
            if !std::mem::replace(&mut self.works.at(index).change.computed, true) {
                self.compute(index);
            }
            if self.map.is_copied() {
                self.works.at(index).stage = Stage::Intent;
                return Ok(true);
            }
            return Ok(self.begin_record(now, index));
        }
        if !self.may_commit(index) {
            return Ok(false);
        }
        let work = self.works.at(index);
        work.stage = Stage::Recorded;
        let (mirrors, fua) = (work.change.mirrors - work.change.skipped, work.fua);
        self.want_durable(index, mirrors);
        if !fua {
            self.answer_piece(index);
        }
        Ok(true)
    }

    fn try_recorded(&mut self, index: u16) -> bool {
        let mirrors = self.works.at(index).change.mirrors;
        if !self.are_durable(index, mirrors) || !self.may_commit(index) {
            return false;
        }
        let work = self.works.at(index);
        (work.stage, work.change.begun) = (Stage::InPlace, false);
        self.answer_piece(index);
        true
    }

    fn try_intent(&mut self, index: u16) -> bool {
        if !self.is_announced(index) {
            return false;
        }
        if self.is_cleared(index) {
            self.works.at(index).stage = Stage::InPlace;
        }
        self.works.at(index).stage != Stage::Intent
    }

    fn try_in_place(&mut self, now: Nanos, index: u16) -> bool {
        if !self.works.at(index).change.begun {
            self.write_in_place(now, index);
            return true;
        }
        if !self.may_commit(index) {
            return false;
        }
        let work = self.works.at(index);
        work.stage = Stage::Written;
        let (written, lasting) = (work.change.write - work.change.skipped, work.fua || work.change.room.is_some());
        if lasting {
            self.want_durable(index, written);
        } else {
            // Nothing but the cache of the members stands behind it, and a flush will cover it.
            self.works.at(index).change.tick = 0;
            self.answer_piece(index);
        }
        true
    }

    fn try_written(&mut self, index: u16) -> bool {
        let written = self.works.at(index).change.write;
        let done = self.are_durable(index, written) && self.may_commit(index);
        if done {
            self.end_piece(index, Ok(()));
        }
        done
    }

    /// Copies what was asked for into the buffer of the operation.
    fn deliver(&mut self, index: u16) {
        let work = *self.works.at(index);
        let bytes = work.rows * BLOCK;
        for shard in 0..self.map.shards {
            let member = self.map.shard(work.unit, shard).member;
            let wanted = if self.map.is_copied() { work.gather.want } else { work.members };
            if wanted.contains(member) {
                let to = self.memory.operation(work.operation).part(self.place_in_operation(&work, shard), bytes);
                let from = self.memory.shard(index, shard, work.rows);
                let (from, to) = self.requests.port().region_mut().pair_mut(from, to);
                to.copy_from_slice(from);
            }
        }
    }

    /// Tells the operation that this piece of it is done.
    fn answer_piece(&mut self, index: u16) {
        let work = self.works.at(index);
        let operation = work.operation;
        if !std::mem::replace(&mut work.answered, true) {
            self.answer(operation, Ok(()));
        }
    }

    fn end_piece(&mut self, index: u16, result: Result<(), Failure>) {
        let work = self.works.end(index);
        if let Some(entry) = work.entry {
            self.leaves.unpin(entry);
        }
        if let Some(room) = work.change.room {
            self.lane.give_back(room.half);
        }
        if !work.answered {
            self.answer(work.operation, result);
        }
    }
}
