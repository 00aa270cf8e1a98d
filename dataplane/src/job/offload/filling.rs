//! Makes and sums the data of a slot, block by block.

use std::time::{Duration, Instant};

use bireme_control::raid::geometry::{BLOCK_BYTES, Place};

use crate::buffer::prefetch_for_write;
use crate::checksum::crc32c;
use crate::grid::{BLOCK, Grid};
use crate::pattern::Pattern;

/// The data of some rows of a page.
pub(super) struct Filling {
    /// What generates the data; `None` when it is in place already.
    pub(super) pattern: Option<Pattern>,
    /// Where the page starts in the set.
    pub(super) page_start: u64,
    /// Where the rows' data starts in the page.
    pub(super) start: u32,
    /// Where the data ends in the page; the rest is zero.
    pub(super) end: u32,
    pub(super) grid: Grid,
}

/// How the time divided, as seen on some blocks, and what parity took in all.
#[derive(Default)]
pub(super) struct Summed {
    pub(super) fill_ns: u64,
    pub(super) sum_ns: u64,
    pub(super) parity_ns: u64,
}

impl Filling {
    /// A member's column of an array without redundancy.
    pub(super) fn column(&self, member: u16, data: &mut [u8], leaves: &mut [u8]) -> Summed {
        let mut summed = Summed::default();
        let (first, _) = self.grid.chunks();
        for row in 0..u64::from(self.grid.rows) {
            let chunk = first + row * u64::from(self.grid.geometry.members()) + u64::from(member);
            self.chunk(chunk, data, leaves, &mut summed);
        }
        summed
    }

    /// One chunk, in its member's column and leaves. Blocks are made and summed one by one, so that each is summed while it
    /// is in L1, and the next is on its way into the cache for writing: the other core has read it and holds its lines.
    pub(super) fn chunk(&self, chunk: u64, column: &mut [u8], leaves: &mut [u8], summed: &mut Summed) {
        let place = self.grid.geometry.place(chunk, 0);
        let start = self.start_of(chunk);
        let bytes = self.grid.chunk_bytes(place);
        for index in 0..self.grid.chunk_blocks() {
            let (block, ahead) = column[bytes.start + index * BLOCK..].split_at_mut(BLOCK);
            if self.pattern.is_some() {
                ahead.iter().take(BLOCK).step_by(CACHE_LINE).for_each(prefetch_for_write);
            }
            let sampled = (index % SAMPLED_EACH == 0).then(Instant::now);
            self.fill(start + index * BLOCK, block);
            let filled = sampled.map(|_| Instant::now());
            let crc = crc32c(block);
            if let (Some(began), Some(filled)) = (sampled, filled) {
                summed.fill_ns += nanos(filled.duration_since(began));
                summed.sum_ns += nanos(filled.elapsed());
            }
            self.put_leaf(place, index, crc, leaves);
        }
    }

    /// Writes the leaf of a block of known CRC.
    pub(super) fn put_leaf(&self, place: Place, block: usize, crc: u32, leaves: &mut [u8]) {
        leaves[self.grid.leaf_bytes(place, block)].copy_from_slice(&self.grid.leaf(place, block, crc).0.to_le_bytes());
    }

    /// Where a chunk of the array starts in the page.
    fn start_of(&self, chunk: u64) -> usize {
        let within = usize::try_from(chunk - self.grid.chunks().0).expect("a slot has few chunks");
        self.start as usize + within * self.grid.geometry.chunk_bytes() as usize
    }

    /// Makes one block of data, or zeroes what lies past its end.
    fn fill(&self, start: usize, block: &mut [u8]) {
        let valid = (self.end as usize).saturating_sub(start).min(BLOCK);
        if valid > 0
            && let Some(pattern) = self.pattern
        {
            pattern.fill((self.page_start + start as u64) / BLOCK_BYTES, block);
        }
        block[valid..].fill(0);
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One block in so many is timed, because two clock reads cost as much as a tenth of a block.
const SAMPLED_EACH: usize = 16;
const CACHE_LINE: usize = 64;
