//! What a peer works with: its requests, slots and runs, the sets it was told of, and its stopwatch.

use std::ops::Range;
use std::sync::Arc;

use bireme_control::raid::geometry::{BLOCK_BYTES, MEMBERS_MAX};
use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use crate::array::Array;
use crate::buffer::Span;
use crate::grid::Grid;
use crate::message::Failure;
use crate::parity::Kernels;
use crate::plan::Plan;
use crate::port::{Operation, Port};
use crate::requests::{Ask, Owner, Requests};
use crate::runs::{Run, Runs};
use crate::slots::{Slot, Slots, Stage};
use crate::telemetry::{Healings, Stopwatch};

/// Everything that the jobs of one peer touch.
#[derive(Debug)]
pub struct Desk<P> {
    /// Requests under way.
    pub requests: Requests<P>,
    /// Stripes under way.
    pub slots: Slots,
    /// Pages under way.
    pub runs: Runs,
    /// How memory and devices are laid out.
    pub array: Array,
    /// What computes parity.
    pub kernels: Kernels,
    /// Where the time goes.
    pub stopwatch: Stopwatch,
    /// Data moved, without padding.
    pub bytes: u64,
    /// Which members count.
    pub health: Health,
    /// Members that this peer knows to be lost, and the ledger perhaps not yet.
    pub found_lost: Members,
    /// How often each member has refused to read.
    pub refusals: [u16; MEMBERS_MAX as usize],
    /// What was brought back.
    pub healed: Healings,
    /// The sets under way, by sequence number modulo 2.
    pub plans: [Option<Arc<Plan>>; 2],
}

/// Which way a slot's data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    FromDevices,
    ToDevices,
}

impl<P: Port> Desk<P> {
    /// The set that a run belongs to.
    pub(crate) fn plan(&self, run: &Run) -> &Plan {
        let plan = self.plans[run.sequence as usize % 2].as_deref();
        plan.filter(|plan| plan.sequence == run.sequence).expect("a set stays until its runs have ended")
    }

    /// Bytes of data in the page of a set.
    pub(crate) fn page_bytes(&self, plan: &Plan, page: u64) -> u32 {
        let page_bytes = self.array.geometry().page_bytes();
        let rest = plan.bytes - page * u64::from(page_bytes);
        u32::try_from(rest).unwrap_or(u32::MAX).min(page_bytes)
    }

    /// Rows of the next slot of a run.
    pub(crate) fn next_rows(&mut self, index: u16) -> u32 {
        let run = *self.runs.get(index);
        let page_bytes = self.page_bytes(self.plan(&run), run.page + u64::from(run.next_page));
        self.array.slot_rows.min(self.array.rows_of(page_bytes) - run.next_row)
    }

    /// What the next slot of a run moves on each member; with the first rows of a page, its leaves.
    pub(crate) fn next_bytes_of_member(&mut self, index: u16) -> u64 {
        let rows = u64::from(self.next_rows(index)) * u64::from(self.array.geometry().chunk_bytes());
        let is_first = self.runs.get(index).next_row == 0;
        rows + if is_first { u64::from(self.array.leaf_bytes()) } else { 0 }
    }

    /// Takes a slot for the next stripes of a run. The caller has seen that there are both.
    pub(crate) fn take_slot(&mut self, index: u16, stage: Stage) -> u16 {
        let run = *self.runs.get(index);
        let page_bytes = self.page_bytes(self.plan(&run), run.page + u64::from(run.next_page));
        let (page_rows, rows) = (self.array.rows_of(page_bytes), self.next_rows(index));
        let bytes = self.array.data_bytes(rows).min(page_bytes - self.array.data_bytes(run.next_row));
        let slot = Slot { run: index, page: run.next_page, row: run.next_row, rows, bytes, stage, ..Slot::default() };
        let taken = self.slots.take(slot).expect("the caller has seen a free slot");
        let run = self.runs.get(index);
        run.slots += 1;
        run.next_row += rows;
        if run.next_row == page_rows && run.reading.by_page {
            // What follows waits for the root of this page.
            run.open = false;
        } else if run.next_row == page_rows {
            (run.next_page, run.next_row) = (run.next_page + 1, 0);
        }
        taken
    }

    /// Where the blocks of a slot lie.
    pub(crate) fn grid(&mut self, index: u16) -> Grid {
        let slot = *self.slots.get(index);
        let run = *self.runs.get(slot.run);
        let (frame, geometry) = (run.frame + u64::from(slot.page), self.array.geometry());
        let start = self.array.layout.data_offset(frame) + u64::from(slot.row * geometry.chunk_bytes());
        let page_leaves = u32::from(slot.page) * self.array.leaf_bytes();
        Grid {
            geometry,
            row: self.array.array_row(frame, slot.row),
            rows: slot.rows,
            leaves: (page_leaves + self.array.row_leaves(slot.row, slot.rows).offset) as usize,
            device_block: start / BLOCK_BYTES,
            generation: self.plan(&run).generation,
        }
    }

    /// Members that are asked nothing for a run.
    pub(crate) fn lost(&mut self, run: u16) -> Members {
        self.runs.get(run).skipped
    }

    /// Other members count than before. What was found to be lost stays so until the ledger knows it.
    pub(crate) fn set_health(&mut self, health: Health) {
        self.found_lost = self.found_lost - (health.lost | health.rebuilding);
        self.health = self.found_lost.iter().fold(health, Health::without);
        self.runs.lose(self.health.lost);
    }

    /// A member has refused something: from now on it is asked nothing, if the array survives that.
    pub(crate) fn go_on_without(&mut self, member: u16) -> bool {
        if !self.health.without(member).survives(&self.array.geometry()) {
            return false;
        }
        self.found_lost = self.found_lost.with(member);
        // One that was being rebuilt too: only the ledger's word can make it count again.
        self.health = self.health.without(member);
        self.runs.lose(self.health.lost);
        true
    }

    /// A member has refused to read: that can be healed, if there is any redundancy.
    pub(crate) fn note_refusal(&mut self, owner: Owner, member: u16, failure: Failure) -> bool {
        if !self.array.is_redundant() {
            return false;
        }
        match owner {
            Owner::Slot(slot) => self.slots.get(slot).refused = self.slots.get(slot).refused.or(Some(failure)),
            Owner::Leaves(run) => {
                let reading = &mut self.runs.get(run).reading;
                reading.refused = reading.refused.or(Some(failure));
            }
            Owner::Flush => return false,
        }
        let refusals = &mut self.refusals[usize::from(member)];
        *refusals += 1;
        if *refusals == REFUSALS_MAX {
            self.go_on_without(member);
        }
        true
    }

    /// All members of the array.
    pub(crate) fn members(&self) -> Members {
        (0..self.array.members()).collect()
    }

    /// Asks a member for its part of a slot.
    pub(crate) fn ask_member(&mut self, now: Nanos, index: u16, member: u16, direction: Direction) {
        let rows = self.slots.get(index).rows;
        self.ask_rows(now, index, member, 0..rows, direction);
    }

    /// Asks a member for some rows of a slot, counted from its first, in requests of limited size.
    pub(crate) fn ask_rows(&mut self, now: Nanos, index: u16, member: u16, rows: Range<u32>, direction: Direction) {
        let slot = *self.slots.get(index);
        let frame = self.runs.get(slot.run).frame + u64::from(slot.page);
        let chunk_bytes = self.array.geometry().chunk_bytes();
        let column = self.array.column(index, member, rows.end);
        let offset = self.array.layout.data_offset(frame) + u64::from(slot.row * chunk_bytes);
        let by_block = self.array.is_redundant();
        let mut done = rows.start * chunk_bytes;
        while done < column.bytes {
            let bytes = self.array.request_bytes.min(column.bytes - done);
            let span = column.part(done, bytes);
            let ask = Ask {
                file: member,
                offset: offset + u64::from(done),
                operation: direction.of(span),
                needed: bytes,
                by_block,
            };
            self.requests.start(now, Owner::Slot(index), ask);
            self.slots.get(index).outstanding += 1;
            done += bytes;
        }
    }

    /// Asks members for the leaf blocks of some pages of a run.
    pub(crate) fn ask_leaves(
        &mut self,
        now: Nanos,
        index: u16,
        pages: Range<u16>,
        members: Members,
        direction: Direction,
    ) {
        let frame = self.runs.get(index).frame + u64::from(pages.start);
        let offset = self.array.layout.leaf_offset(frame);
        let by_block = self.array.is_redundant();
        for member in members.iter() {
            let all = self.array.leaves(index, member, pages.end);
            let before = u32::from(pages.start) * self.array.leaf_bytes();
            let span = all.part(before, all.bytes - before);
            let ask = Ask { file: member, offset, operation: direction.of(span), needed: span.bytes, by_block };
            self.requests.start(now, Owner::Leaves(index), ask);
            self.runs.get(index).leaves += 1;
        }
        self.runs.get(index).leaves_asked = true;
    }

    /// Asks the data file for a slot's data, or gives it to it.
    pub(crate) fn ask_file(&mut self, now: Nanos, index: u16, file: u16, direction: Direction) {
        let slot = *self.slots.get(index);
        let run = *self.runs.get(slot.run);
        let page = run.page + u64::from(slot.page);
        let page_bytes = u64::from(self.array.geometry().page_bytes());
        let offset = page * page_bytes + u64::from(self.array.data_bytes(slot.row));
        let row = self.array.array_row(run.frame + u64::from(slot.page), slot.row);
        // O_DIRECT moves whole blocks: an input ends before its last one does, an output is cut to size at the end.
        let weave = self.array.weave(index, row, slot.copy, slot.bytes.next_multiple_of(BLOCK));
        let (operation, needed) = match direction {
            Direction::FromDevices => (Operation::WriteWoven(weave), weave.bytes),
            Direction::ToDevices => (Operation::ReadWoven(weave), slot.bytes),
        };
        self.requests.start(now, Owner::Slot(index), Ask { file, offset, operation, needed, by_block: false });
        self.slots.get(index).outstanding += 1;
    }

    /// A slot has ended.
    pub(crate) fn end_slot(&mut self, index: u16) {
        self.bytes += u64::from(self.slots.get(index).bytes);
        self.drop_slot(index);
    }

    /// A slot has ended whose bytes are counted elsewhere.
    pub(crate) fn drop_slot(&mut self, index: u16) {
        let slot = *self.slots.get(index);
        self.slots.give_back(index);
        self.runs.get(slot.run).slots -= 1;
    }
}

impl Direction {
    fn of(self, span: Span) -> Operation {
        match self {
            Direction::FromDevices => Operation::Read(span),
            Direction::ToDevices => Operation::Write(span),
        }
    }
}

/// Nothing more is asked of a member that has refused to read so often: each refusal costs many small requests.
pub(crate) const REFUSALS_MAX: u16 = 16;
#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: u32 = BLOCK_BYTES as u32;
