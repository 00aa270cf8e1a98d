//! Writing data sets: fill stripe by stripe, sum each block while it is hot, hand it to the devices.
//!
//! ```text
//!   RAID 0          member by member: fill and sum its column, ask for it while the next one is filled
//!   mirrors         chunk by chunk: fill and sum, copy to the others
//!   parity          row by row: fill and sum the data, then parity and its sums from the cache
//! ```
//!
//! A member that is lost has its place in memory and its leaves in the root, and is asked nothing.

use bireme_control::units::Nanos;

use crate::buffer::Region;
use crate::checksum::Root;
use crate::desk::{Desk, Direction};
use crate::pattern::Pattern;
use crate::plan::Origin;
use crate::port::Port;
use crate::slots::Stage;
use crate::telemetry::State;

use self::filling::{Filling, Summed};

mod filling;
mod redundancy;

/// The job of writing sets.
#[derive(Clone, Copy, Debug)]
pub struct Offload {
    /// The file that the data is read from; it is generated otherwise.
    pub input: Option<u16>,
}

/// A run begins with empty leaves, and its stripes can start at once.
pub(super) fn open<P: Port>(desk: &mut Desk<P>, index: u16) {
    let pages = desk.runs.get(index).pages;
    for member in 0..desk.array.members() {
        let leaves = desk.array.leaves(index, member, pages);
        desk.requests.port().region_mut().bytes_mut(leaves).fill(0);
    }
    desk.runs.get(index).open = true;
}

impl Offload {
    /// Some stripes begin: their data is asked for, or made and handed on.
    pub(super) fn start<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, slot: u16) {
        let run = desk.slots.get(slot).run;
        desk.runs.get(run).unsummed += 1;
        match self.input {
            Some(file) => {
                desk.slots.get(slot).stage = Stage::File;
                desk.ask_file(now, slot, file, Direction::ToDevices);
            }
            None => fill_and_write(desk, slot),
        }
    }
}

/// All requests of a slot were answered: the input came, or the devices have the data.
pub(super) fn slot_answered<P: Port>(desk: &mut Desk<P>, now: Nanos, slot: u16) {
    match desk.slots.get(slot).stage {
        Stage::File => {
            fill_and_write(desk, slot);
            desk.stopwatch.switch(desk.requests.now().max(now), State::Turn);
        }
        Stage::Devices | Stage::Mending => desk.end_slot(slot),
    }
}

/// Makes the data where it is generated, sums it, and writes each member's part.
fn fill_and_write<P: Port>(desk: &mut Desk<P>, index: u16) {
    let slot = *desk.slots.get(index);
    let run = *desk.runs.get(slot.run);
    let plan = desk.plan(&run);
    let page = run.page + u64::from(slot.page);
    let pattern = match plan.origin {
        Origin::Generated { seed } => Some(Pattern::new(seed, plan.number)),
        Origin::File => None,
    };
    let start = desk.array.data_bytes(slot.row);
    let filling = Filling {
        pattern,
        page_start: page * u64::from(desk.array.geometry().page_bytes()),
        start,
        end: start + slot.bytes,
        grid: desk.grid(index),
    };
    desk.slots.get(index).stage = Stage::Devices;
    let geometry = desk.array.geometry();
    if geometry.parities() == 0 && geometry.copies() == 1 {
        for member in 0..desk.array.members() {
            let column = desk.array.column(index, member, slot.rows);
            let leaves = desk.array.leaves(slot.run, member, run.pages);
            timed(desk, |_, region| {
                let (data, leaves) = region.pair_mut(column, leaves);
                filling.column(member, data, leaves)
            });
            ask_if_there(desk, index, member);
        }
    } else {
        let (memory, leaves) = (desk.array.slot(index), desk.array.run_leaves(slot.run));
        let (column_bytes, leaf_bytes) = (desk.array.column_bytes(), desk.array.leaf_column_bytes());
        timed(desk, |kernels, region| {
            let (memory, leaves) = region.pair_mut(memory, leaves);
            redundancy::fill(&filling, kernels, (memory, column_bytes), (leaves, leaf_bytes))
        });
        (0..desk.array.members()).for_each(|member| ask_if_there(desk, index, member));
    }
    let now = desk.requests.now();
    let run = desk.runs.get(slot.run);
    run.unsummed -= 1;
    if run.unsummed == 0 && run.all_started() {
        finish_leaves(desk, now, slot.run);
    }
}

fn ask_if_there<P: Port>(desk: &mut Desk<P>, index: u16, member: u16) {
    let run = desk.slots.get(index).run;
    if !desk.lost(run).contains(member) {
        let now = desk.requests.now();
        desk.ask_member(now, index, member, Direction::ToDevices);
    }
}

/// Does some work on memory and charges its time as it says that it was spent.
fn timed<P: Port>(desk: &mut Desk<P>, work: impl FnOnce(crate::parity::Kernels, &mut Region) -> Summed) {
    let began = desk.requests.now();
    desk.stopwatch.switch(began, State::Filling);
    let kernels = desk.kernels;
    let summed = work(kernels, desk.requests.port().region_mut());
    let ended = desk.requests.now();
    desk.stopwatch.switch(ended, State::Turn);
    let data = ended.since(began).since(Nanos(summed.parity_ns));
    let share = data.0.saturating_mul(summed.sum_ns) / (summed.sum_ns + summed.fill_ns).max(1);
    desk.stopwatch.split(State::Filling, State::Checksum, Nanos(share));
    desk.stopwatch.split(State::Filling, State::Parity, Nanos(summed.parity_ns));
}

/// All data of a run is summed: its roots are known, and its leaves can be written.
fn finish_leaves<P: Port>(desk: &mut Desk<P>, now: Nanos, index: u16) {
    let pages = desk.runs.get(index).pages;
    for page in 0..pages {
        let mut root = Root::new();
        for member in 0..desk.array.members() {
            let leaves = desk.array.page_leaves(index, member, page);
            root.feed(desk.requests.port().region().bytes(leaves));
        }
        desk.runs.get(index).roots[usize::from(page)] = root.finish();
    }
    let members = desk.members() - desk.lost(index);
    desk.ask_leaves(now, index, 0..pages, members, Direction::ToDevices);
}
