//! What a peer works with: its requests, slots and runs, the sets it was told of, and its stopwatch.

use std::sync::Arc;

use bireme_control::raid::health::Health;
use bireme_control::units::Nanos;

use crate::array::Array;
use crate::plan::Plan;
use crate::port::{Operation, Port};
use crate::requests::{Ask, Owner, Requests};
use crate::runs::{Run, Runs};
use crate::slots::{Slot, Slots};
use crate::telemetry::Stopwatch;

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
    /// Where the time goes.
    pub stopwatch: Stopwatch,
    /// Data moved, without padding.
    pub bytes: u64,
    /// Which members count.
    pub health: Health,
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

    /// Takes a slot for the next stripes of a run. The caller has seen that there are both.
    pub(crate) fn take_slot(&mut self, index: u16, stage: crate::slots::Stage) -> u16 {
        let run = *self.runs.get(index);
        let page_bytes = self.page_bytes(self.plan(&run), run.page + u64::from(run.next_page));
        let page_rows = self.array.rows_of(page_bytes);
        let rows = self.array.slot_rows.min(page_rows - run.next_row);
        let start = run.next_row * self.array.geometry().stripe_bytes();
        let bytes = (rows * self.array.geometry().stripe_bytes()).min(page_bytes - start);
        let slot = Slot { run: index, page: run.next_page, row: run.next_row, rows, bytes, stage, outstanding: 0 };
        let taken = self.slots.take(slot).expect("the caller has seen a free slot");
        let run = self.runs.get(index);
        run.slots += 1;
        run.next_row += rows;
        if run.next_row == page_rows {
            (run.next_page, run.next_row) = (run.next_page + 1, 0);
        }
        taken
    }

    /// Asks a member for its part of a slot, in requests of limited size.
    pub(crate) fn ask_member(&mut self, now: Nanos, index: u16, member: u16, direction: Direction) {
        let slot = *self.slots.get(index);
        let frame = self.runs.get(slot.run).frame + u64::from(slot.page);
        let column = self.array.column(index, member, slot.rows);
        let offset = self.array.layout.data_offset(frame) + u64::from(slot.row * self.array.geometry().chunk_bytes());
        let mut done = 0;
        while done < column.bytes {
            let bytes = self.array.request_bytes.min(column.bytes - done);
            let span = column.part(done, bytes);
            let operation = match direction {
                Direction::FromDevices => Operation::Read(span),
                Direction::ToDevices => Operation::Write(span),
            };
            let ask = Ask { file: member, offset: offset + u64::from(done), operation, needed: bytes };
            self.requests.start(now, Owner::Slot(index), ask);
            self.slots.get(index).outstanding += 1;
            done += bytes;
        }
    }

    /// Asks all members for the leaf blocks of a run.
    pub(crate) fn ask_leaves(&mut self, now: Nanos, index: u16, direction: Direction) {
        let run = *self.runs.get(index);
        for member in 0..self.array.members() {
            let span = self.array.leaves(index, member, run.pages);
            let operation = match direction {
                Direction::FromDevices => Operation::Read(span),
                Direction::ToDevices => Operation::Write(span),
            };
            let offset = self.array.layout.leaf_offset(run.frame);
            let ask = Ask { file: member, offset, operation, needed: span.bytes };
            self.requests.start(now, Owner::Leaves(index), ask);
        }
        let run = self.runs.get(index);
        (run.leaves, run.leaves_asked) = (self.array.members(), true);
    }

    /// Asks the data file for a slot's data, or gives it to it.
    pub(crate) fn ask_file(&mut self, now: Nanos, index: u16, file: u16, direction: Direction) {
        let slot = *self.slots.get(index);
        let page = self.runs.get(slot.run).page + u64::from(slot.page);
        let geometry = self.array.geometry();
        let offset = page * u64::from(geometry.page_bytes()) + u64::from(slot.row * geometry.stripe_bytes());
        // O_DIRECT moves whole blocks: an input ends before its last one does, an output is cut to size at the end.
        let weave = self.array.weave(index, slot.bytes.next_multiple_of(BLOCK));
        let (operation, needed) = match direction {
            Direction::FromDevices => (Operation::WriteWoven(weave), weave.bytes),
            Direction::ToDevices => (Operation::ReadWoven(weave), slot.bytes),
        };
        self.requests.start(now, Owner::Slot(index), Ask { file, offset, operation, needed });
        self.slots.get(index).outstanding += 1;
    }

    /// A slot has ended.
    pub(crate) fn end_slot(&mut self, index: u16) {
        let slot = *self.slots.get(index);
        self.bytes += u64::from(slot.bytes);
        self.slots.give_back(index);
        self.runs.get(slot.run).slots -= 1;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: u32 = bireme_control::raid::geometry::BLOCK_BYTES as u32;
