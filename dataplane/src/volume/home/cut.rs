//! Operations are cut into pieces: each of rows of one unit, in which the same members are read or change.

use std::ops::Range;

use bireme_control::raid::geometry::MEMBERS_MAX;
use bireme_control::raid::members::Members;
use bireme_control::raid::write_choice::{Piece, row_ranges};
use bireme_control::units::Nanos;

use super::operations::What;
use super::{Home, Operation};
use crate::message::Failure;
use crate::port::Port;
use crate::volume::work::{Kind, Rows, Work};

/// A piece, and where the next one begins.
struct Cut {
    page: u64,
    rows: Rows,
    at: u64,
    row: u32,
}

impl<P: Port> Home<P> {
    /// Makes pieces while there is room for them; whether any was made.
    pub(super) fn cut(&mut self, now: Nanos) -> bool {
        let (mut made, mut place) = (false, 0);
        while let Some(&index) = self.operations.queue.get(place) {
            if let Some(failure) = self.broken {
                self.operations.queue.remove(place);
                self.whole(index, Err(failure));
                continue;
            }
            let what = self.operations.at(index).what;
            let Some(cut) = self.next_piece(index) else {
                self.operations.queue.remove(place);
                self.whole(index, Ok(()));
                made = true;
                continue;
            };
            if !self.works.has_room() {
                break;
            }
            if self.is_enough(index, what) || !self.may_touch(now, index, what, cut.page) {
                place += 1;
                continue;
            }
            let asked = self.operations.at(index);
            (asked.at, asked.row, asked.left) = (cut.at, cut.row, asked.left + 1);
            let (kind, fua) = match what {
                What::Read => (Kind::Read, false),
                What::Write { fua } => (Kind::Write, fua),
                What::Rebuild => (Kind::Rebuild, false),
                What::Scrub => (Kind::Scrub, false),
                What::Flush | What::Settle => unreachable!("they are not in the queue"),
            };
            self.works.begin(Work { fua, ..Work::new(kind, index, cut.page, cut.rows) });
            made = true;
        }
        made
    }

    /// Whether a page is mended by as many pieces as may be while clients want something too.
    fn is_enough(&mut self, index: u16, what: What) -> bool {
        let is_mending = matches!(what, What::Rebuild | What::Scrub);
        is_mending
            && self.operations.at(index).left >= PIECES_OF_A_PAGE
            && self.works.all().any(|work| matches!(work.kind, Kind::Read | Kind::Write))
    }

    /// One piece of an operation was answered.
    pub(super) fn answer(&mut self, index: u16, result: Result<(), Failure>) {
        let asked = self.operations.at(index);
        asked.left -= 1;
        asked.result = asked.result.and(result);
        self.end_if_whole(index);
    }

    /// No more pieces are made of an operation.
    fn whole(&mut self, index: u16, result: Result<(), Failure>) {
        let asked = self.operations.at(index);
        asked.all_cut = true;
        asked.result = asked.result.and(result);
        self.end_if_whole(index);
    }

    fn end_if_whole(&mut self, index: u16) {
        let asked = self.operations.at(index);
        let result = asked.result;
        // A rebuild goes on when its pieces are done, unless it has failed.
        if asked.all_cut && asked.left == 0 && !(asked.what == What::Rebuild && result.is_ok()) {
            self.let_go(index);
            self.operations.finish(index, result);
        }
    }

    fn next_piece(&mut self, index: u16) -> Option<Cut> {
        let asked = *self.operations.at(index);
        match asked.what {
            What::Rebuild | What::Scrub => self.next_of_page(asked.start, asked.at, asked.row),
            _ => self.next_of_blocks(asked.start..asked.start + u64::from(asked.count), asked.at, asked.row),
        }
    }

    /// The next rows of a page, with all members of their unit.
    fn next_of_page(&self, page: u64, unit_of_page: u64, row: u32) -> Option<Cut> {
        let map = &self.map;
        if unit_of_page == u64::from(map.frame_units()) {
            return None;
        }
        let frame = map.frame_of(page);
        let unit = map.first_unit(frame) + unit_of_page;
        let rows = (map.chunk - row).min(self.memory.rows);
        let done = row + rows == map.chunk;
        let rows = Rows { frame, unit, row, rows, members: map.all(unit) };
        let (at, row) = if done { (unit_of_page + 1, 0) } else { (unit_of_page, row + rows.rows) };
        Some(Cut { page, rows, at, row })
    }

    /// The next rows of a range of blocks, from row `row` of the unit that holds block `at`.
    fn next_of_blocks(&self, blocks: Range<u64>, mut at: u64, mut row: u32) -> Option<Cut> {
        let map = &self.map;
        while at < blocks.end {
            let (page, within) = map.page_of(at);
            let frame = map.frame_of(page);
            let unit_of_page = within / map.unit_blocks();
            let unit = map.first_unit(frame) + u64::from(unit_of_page);
            let unit_start = at - u64::from(within % map.unit_blocks());
            let page_end = (page + 1) * u64::from(map.page);
            let end = (unit_start + u64::from(map.unit_blocks())).min(page_end).min(blocks.end);
            let changed = range(at - unit_start, end - unit_start);
            if let Some((rows, members)) = self.rows_from(unit, changed, row) {
                let count = (rows.end - rows.start).min(self.memory.rows);
                let rows = Rows { frame, unit, row: rows.start, rows: count, members };
                return Some(Cut { page, rows, at, row: rows.row + count });
            }
            (at, row) = (end, 0);
        }
        None
    }

    /// The first rows from `row` on in which blocks of this range of the unit's data lie, and whose they are.
    fn rows_from(&self, unit: u64, blocks: Range<u32>, row: u32) -> Option<(Range<u32>, Members)> {
        let chunk = self.map.chunk;
        let mut pieces: [Piece; MEMBERS_MAX as usize] = std::array::from_fn(|_| Piece { member: 0, blocks: 0..0 });
        let chunks = blocks.start / chunk..blocks.end.div_ceil(chunk);
        let count = chunks.len();
        for (piece, index) in pieces.iter_mut().zip(chunks) {
            let first = index * chunk;
            let within = blocks.start.max(first) - first..blocks.end.min(first + chunk) - first;
            let shard = usize::try_from(index).expect("at most 64");
            *piece = Piece { member: self.map.shard(unit, shard).member, blocks: within };
        }
        let (rows, members) = row_ranges(&pieces[..count]).find(|(rows, _)| rows.end > row)?;
        Some((rows.start.max(row)..rows.end, members))
    }

    /// Where the blocks of a data shard are in the buffer of an operation, as bytes from its start.
    pub(super) fn place_in_operation(&mut self, work: &Work, shard: usize) -> u32 {
        let map = &self.map;
        let shard = u32::try_from(if map.is_copied() { 0 } else { shard }).expect("at most 64");
        let unit_of_page = u32::try_from(work.unit - map.first_unit(work.frame)).expect("a unit of the page");
        let within = unit_of_page * map.unit_blocks() + shard * map.chunk + work.row;
        let block = work.page * u64::from(map.page) + u64::from(within);
        let first = self.operations.at(work.operation).start;
        u32::try_from(block - first).expect("a block of the operation") * super::BLOCK
    }

    /// Which page of this home a page of the volume is.
    pub(super) fn page_of_home(&self, page: u64) -> usize {
        usize::try_from(page / u64::from(self.map.volume.homes)).expect("a table has an entry for each page")
    }

    /// Asserts what is promised to `read` and `write`.
    pub(super) fn check(&self, operation: Operation, block: u64, blocks: u32) {
        let end = block + u64::from(blocks);
        assert!(blocks > 0 && end <= self.map.volume.blocks, "blocks {block} .. {end} lie outside the volume");
        let bytes = u64::from(blocks) * u64::from(super::BLOCK);
        assert!(bytes <= u64::from(self.options.operation_bytes), "{operation:?} holds fewer than {blocks} blocks");
        let pages = block / u64::from(self.map.page)..end.div_ceil(u64::from(self.map.page));
        let homes = u64::from(self.map.volume.homes);
        let mut mine = pages.map(|page| page % homes == u64::from(self.index));
        assert!(mine.all(|mine| mine), "blocks {block} .. {end} are not at home here");
    }
}

fn range(start: u64, end: u64) -> Range<u32> {
    let block = |block: u64| u32::try_from(block).expect("a unit is smaller than a page of 64 MiB");
    block(start)..block(end)
}

/// Pieces under way of a page that is mended beside others' operations. With all pieces that there is room for, what clients
/// ask for would wait until the page is through.
const PIECES_OF_A_PAGE: u16 = 4;
