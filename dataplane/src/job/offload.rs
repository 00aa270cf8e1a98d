//! Writing data sets: fill stripe by stripe, sum each block while it is hot, hand it to the devices.

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::units::Nanos;

use crate::array::LEAF_BYTES;
use crate::buffer::prefetch_for_write;
use crate::checksum::{Leaf, Root, crc32c, tag};
use crate::desk::{Desk, Direction};
use crate::pattern::Pattern;
use crate::plan::Origin;
use crate::port::Port;
use crate::slots::Stage;
use crate::telemetry::State;

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
        Stage::Devices => desk.end_slot(slot),
    }
}

/// Makes the data where it is generated, sums it, and writes each member's part as soon as it is ready.
fn fill_and_write<P: Port>(desk: &mut Desk<P>, index: u16) {
    let slot = *desk.slots.get(index);
    let run = *desk.runs.get(slot.run);
    let plan = desk.plan(&run);
    let pattern = match plan.origin {
        Origin::Generated { seed } => Some(Pattern::new(seed, plan.number)),
        Origin::File => None,
    };
    let geometry = desk.array.geometry();
    let page_start = (run.page + u64::from(slot.page)) * u64::from(geometry.page_bytes());
    let frame = run.frame + u64::from(slot.page);
    let device_start = desk.array.layout.data_offset(frame) + u64::from(slot.row * geometry.chunk_bytes());
    let generation = plan.generation;
    desk.slots.get(index).stage = Stage::Devices;
    for member in 0..geometry.members() {
        let began = desk.requests.now();
        desk.stopwatch.switch(began, State::Filling);
        let column = desk.array.column(index, member, slot.rows);
        let page_leaves = desk.array.page_leaves(slot.run, member, slot.page);
        let rows = desk.array.row_leaves(slot.row, slot.rows);
        let (data, leaves) =
            desk.requests.port().region_mut().pair_mut(column, page_leaves.part(rows.offset, rows.bytes));
        let stripes = Stripes {
            pattern,
            page_start,
            // The data starts here within the page, and ends with the slot's bytes.
            first: slot.row * geometry.stripe_bytes() + u32::from(member) * geometry.chunk_bytes(),
            end: slot.row * geometry.stripe_bytes() + slot.bytes,
            chunk_bytes: geometry.chunk_bytes(),
            stripe_bytes: geometry.stripe_bytes(),
            device_block: device_start / BLOCK_BYTES,
            generation,
        };
        let summed = stripes.fill_and_sum(data, leaves);
        let ended = desk.requests.now();
        desk.stopwatch.switch(ended, State::Turn);
        let share = ended.since(began).0.saturating_mul(summed.sum_ns) / (summed.sum_ns + summed.fill_ns).max(1);
        desk.stopwatch.split(State::Filling, State::Checksum, Nanos(share));
        desk.ask_member(ended, index, member, Direction::ToDevices);
    }
    let now = desk.requests.now();
    let run = desk.runs.get(slot.run);
    run.unsummed -= 1;
    if run.unsummed == 0 && run.all_started() {
        finish_leaves(desk, now, slot.run);
    }
}

/// All data of a run is summed: its roots are known, and its leaves can be written.
fn finish_leaves<P: Port>(desk: &mut Desk<P>, now: Nanos, index: u16) {
    for page in 0..desk.runs.get(index).pages {
        let mut root = Root::new();
        for member in 0..desk.array.members() {
            let leaves = desk.array.page_leaves(index, member, page);
            root.feed(desk.requests.port().region().bytes(leaves));
        }
        desk.runs.get(index).roots[usize::from(page)] = root.finish();
    }
    desk.ask_leaves(now, index, Direction::ToDevices);
}

/// One member's part of some stripes, as data and as places.
struct Stripes {
    /// What generates the data; `None` when it is in place already.
    pattern: Option<Pattern>,
    /// Where the page starts in the set.
    page_start: u64,
    /// Where this member's first chunk starts in the page.
    first: u32,
    /// Where the data ends in the page; the rest is zero.
    end: u32,
    chunk_bytes: u32,
    stripe_bytes: u32,
    /// The first 4 KiB block on the device.
    device_block: u64,
    generation: u64,
}

/// How the time divided, as seen on some blocks.
#[derive(Default)]
struct Summed {
    fill_ns: u64,
    sum_ns: u64,
}

impl Stripes {
    /// Blocks are made and summed one by one, so that each is summed while it is in L1, and the next is on its way
    /// into the cache for writing: the other core has read it and holds its lines.
    fn fill_and_sum(&self, data: &mut [u8], leaves: &mut [u8]) -> Summed {
        let mut summed = Summed::default();
        let blocks = data.len() / BLOCK;
        for index in 0..blocks {
            let (block, ahead) = data[index * BLOCK..].split_at_mut(BLOCK);
            if self.pattern.is_some() {
                ahead.iter().take(BLOCK).step_by(CACHE_LINE).for_each(prefetch_for_write);
            }
            let sampled = (index % SAMPLED_EACH == 0).then(std::time::Instant::now);
            self.fill(index, block);
            let filled = sampled.map(|_| std::time::Instant::now());
            let crc = crc32c(block);
            if let (Some(began), Some(filled)) = (sampled, filled) {
                summed.fill_ns += nanos(filled.duration_since(began));
                summed.sum_ns += nanos(filled.elapsed());
            }
            let leaf = Leaf::new(crc, tag(self.device_block + index as u64, self.generation));
            leaves[index * LEAF..][..LEAF].copy_from_slice(&leaf.0.to_le_bytes());
        }
        summed
    }

    /// Makes one block of data, or zeroes what lies past its end.
    fn fill(&self, index: usize, block: &mut [u8]) {
        let offset = u32::try_from(index * BLOCK).expect("a column is smaller than 4 GiB");
        let (row, within) = (offset / self.chunk_bytes, offset % self.chunk_bytes);
        let start = self.first + row * self.stripe_bytes + within;
        let valid = (self.end.saturating_sub(start) as usize).min(BLOCK);
        if valid > 0
            && let Some(pattern) = self.pattern
        {
            pattern.fill((self.page_start + u64::from(start)) / BLOCK_BYTES, block);
        }
        block[valid..].fill(0);
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One block in so many is timed, because two clock reads cost as much as a tenth of a block.
const SAMPLED_EACH: usize = 16;
const CACHE_LINE: usize = 64;
const LEAF: usize = LEAF_BYTES as usize;
#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: usize = BLOCK_BYTES as usize;
