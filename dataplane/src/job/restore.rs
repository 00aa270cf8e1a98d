//! Reading a set back: leaves first, whose root is in the metadata, then data, whose sums are in the leaves.
//!
//! Nothing is handed on that was not compared: a block that is damaged, old or in the wrong place ends the run.

use std::sync::Arc;

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::units::Nanos;

use crate::array::LEAF_BYTES;
use crate::checksum::{Leaf, Root, tag};
use crate::desk::{Desk, Direction};
use crate::message::Failure;
use crate::port::Port;
use crate::slots::Stage;
use crate::telemetry::State;

/// The job of reading a set.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The root of each page.
    pub roots: Arc<[u64]>,
    /// The file that the data is written to; it is only compared otherwise.
    pub output: Option<u16>,
}

/// A run begins with its leaves.
pub(super) fn open<P: Port>(desk: &mut Desk<P>, now: Nanos, run: u16) {
    let (pages, members) = (desk.runs.get(run).pages, desk.members() - desk.lost(run));
    desk.ask_leaves(now, run, 0..pages, members, Direction::FromDevices);
}

/// Some stripes begin: they are read from all members.
pub(super) fn start<P: Port>(desk: &mut Desk<P>, now: Nanos, slot: u16) {
    desk.slots.get(slot).stage = Stage::Devices;
    for member in 0..desk.array.members() {
        desk.ask_member(now, slot, member, Direction::FromDevices);
    }
}

impl Restore {
    /// The leaves came: they are those that the metadata knows, or the run has failed.
    pub(super) fn leaves_answered<P: Port>(&self, desk: &mut Desk<P>, index: u16) -> Result<(), Failure> {
        let run = *desk.runs.get(index);
        for page in 0..run.pages {
            let mut root = Root::new();
            for member in 0..desk.array.members() {
                let leaves = desk.array.page_leaves(index, member, page);
                root.feed(desk.requests.port().region().bytes(leaves));
            }
            let number = run.page + u64::from(page);
            let place = usize::try_from(number).expect("the roots are in memory");
            if root.finish() != self.roots[place] {
                let offset = desk.array.layout.leaf_offset(run.frame + u64::from(page));
                return Err(match suspect(desk, index, page) {
                    Some(file) => Failure::Damaged { file, offset, page: number },
                    None => Failure::Checksums { offset, page: number },
                });
            }
        }
        desk.runs.get(index).open = true;
        Ok(())
    }

    /// The data came, or the output has it.
    pub(super) fn slot_answered<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, slot: u16) -> Result<(), Failure> {
        match (desk.slots.get(slot).stage, self.output) {
            (Stage::Devices, output) => {
                desk.stopwatch.switch(now.max(desk.requests.now()), State::Checksum);
                let compared = compare(desk, slot);
                let now = desk.requests.now();
                desk.stopwatch.switch(now, State::Turn);
                compared?;
                match output {
                    Some(file) => {
                        desk.slots.get(slot).stage = Stage::File;
                        desk.ask_file(now, slot, file, Direction::FromDevices);
                    }
                    None => desk.end_slot(slot),
                }
            }
            (Stage::File, _) => desk.end_slot(slot),
        }
        Ok(())
    }
}

/// Compares every block of a slot with its leaf, padding included.
fn compare<P: Port>(desk: &mut Desk<P>, index: u16) -> Result<(), Failure> {
    let slot = *desk.slots.get(index);
    let run = *desk.runs.get(slot.run);
    let generation = desk.plan(&run).generation;
    let frame = run.frame + u64::from(slot.page);
    let start = desk.array.layout.data_offset(frame) + u64::from(slot.row * desk.array.geometry().chunk_bytes());
    for member in 0..desk.array.members() {
        let column = desk.array.column(index, member, slot.rows);
        let page_leaves = desk.array.page_leaves(slot.run, member, slot.page);
        let rows = desk.array.row_leaves(slot.row, slot.rows);
        let region = desk.requests.port().region();
        let (data, leaves) = (region.bytes(column), region.bytes(page_leaves.part(rows.offset, rows.bytes)));
        let blocks = data.chunks_exact(BLOCK).zip(leaves.as_chunks::<{ LEAF_BYTES as usize }>().0);
        for (number, (block, leaf)) in (start / BLOCK_BYTES..).zip(blocks) {
            if Leaf::of(block, number, generation) != Leaf(u64::from_le_bytes(*leaf)) {
                let page = run.page + u64::from(slot.page);
                return Err(Failure::Damaged { file: member, offset: number * BLOCK_BYTES, page });
            }
        }
    }
    Ok(())
}

/// The member whose leaf block is the wrong one: a leaf does not carry the tag of its place. `None` when all tags are
/// right: the sums beside them cannot be told from right ones.
fn suspect<P: Port>(desk: &mut Desk<P>, index: u16, page: u16) -> Option<u16> {
    let run = *desk.runs.get(index);
    let generation = desk.plan(&run).generation;
    let block = desk.array.layout.data_offset(run.frame + u64::from(page)) / BLOCK_BYTES;
    let wrong = |&member: &u16| {
        let leaves = desk.array.page_leaves(index, member, page);
        let leaves = desk.requests.port().region().bytes(leaves).as_chunks::<{ LEAF_BYTES as usize }>().0;
        let mut tagged = leaves.iter().map(|leaf| u64::from_le_bytes(*leaf)).zip(block..);
        // Leaf blocks are whole: past the last block that holds data they are zero, and the first holds some.
        tagged.any(|(leaf, at)| (leaf != 0 || at == block) && leaf >> 32 != u64::from(tag(at, generation)))
    };
    (0..desk.array.members()).find(wrong)
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: usize = BLOCK_BYTES as usize;
