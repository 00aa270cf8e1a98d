//! The blocks of a slot: where each lies in memory and on its device, and where its leaf does.
//!
//! ```text
//!             member 0   member 1   member 2
//!   row r     d0         d1         P          one column of memory per member, and one of leaves
//!   row r+1   d3         P          d2         each place is a chunk of blocks of 4 KiB
//! ```

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry, MEMBERS_MAX, Place};

use crate::array::LEAF_BYTES;
use crate::checksum::{Leaf, tag};

/// Some rows of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) geometry: Geometry,
    /// The first row, as one of the array.
    pub(crate) row: u64,
    /// How many rows.
    pub(crate) rows: u32,
    /// Where the leaves of the first row begin in each member's leaves of the run.
    pub(crate) leaves: usize,
    /// The 4 KiB block on each device that the first row begins with.
    pub(crate) device_block: u64,
    /// What the tags of its leaves carry.
    pub(crate) generation: u64,
}

impl Grid {
    /// Blocks of one chunk.
    pub(crate) fn chunk_blocks(&self) -> usize {
        self.geometry.chunk_bytes() as usize / BLOCK
    }

    /// The chunks of the array in it, as first and count.
    pub(crate) fn chunks(&self) -> (u64, u64) {
        let stripes = |rows: u64| rows / u64::from(self.geometry.stripe_rows());
        let chunks = u64::from(self.geometry.stripe_chunks());
        (stripes(self.row) * chunks, stripes(u64::from(self.rows)) * chunks)
    }

    /// The units of the array in it, as first and count.
    pub(crate) fn units(&self) -> (u64, u64) {
        let (first, count) = self.chunks();
        (self.geometry.unit_of(first), count / u64::from(self.geometry.unit_chunks()))
    }

    /// The memory of a chunk within its member's column.
    pub(crate) fn chunk_bytes(&self, place: Place) -> std::ops::Range<usize> {
        let start = self.block_index(place, 0) * BLOCK;
        start..start + self.geometry.chunk_bytes() as usize
    }

    /// The memory of a block within its member's column.
    pub(crate) fn block_bytes(&self, place: Place, block: usize) -> std::ops::Range<usize> {
        let start = self.block_index(place, block) * BLOCK;
        start..start + BLOCK
    }

    /// The memory of a leaf within its member's leaves.
    pub(crate) fn leaf_bytes(&self, place: Place, block: usize) -> std::ops::Range<usize> {
        let start = self.leaves + self.block_index(place, block) * LEAF;
        start..start + LEAF
    }

    /// The number of a block on its device.
    pub(crate) fn device_block(&self, place: Place, block: usize) -> u64 {
        self.device_block + self.block_index(place, block) as u64
    }

    /// The leaf of a block whose CRC is known.
    pub(crate) fn leaf(&self, place: Place, block: usize, crc: u32) -> Leaf {
        Leaf::new(crc, tag(self.device_block(place, block), self.generation))
    }

    fn block_index(&self, place: Place, block: usize) -> usize {
        let row = usize::try_from(place.row - self.row).expect("a slot has few rows");
        row * self.chunk_blocks() + block
    }
}

/// The columns of all members, each to write on its own.
pub(crate) struct Columns<'a>(pub(crate) [&'a mut [u8]; MEMBERS_MAX as usize]);

impl<'a> Columns<'a> {
    /// Cuts memory into columns.
    pub(crate) fn new(memory: &'a mut [u8], column_bytes: u32) -> Columns<'a> {
        let mut columns = memory.chunks_exact_mut(column_bytes as usize);
        Columns(std::array::from_fn(|_| columns.next().unwrap_or_default()))
    }

    /// The column of a member.
    pub(crate) fn of(&mut self, member: u16) -> &mut [u8] {
        self.0[usize::from(member)]
    }

    /// Takes a column out, to write to it while others are read.
    pub(crate) fn take(&mut self, member: u16) -> &'a mut [u8] {
        std::mem::take(&mut self.0[usize::from(member)])
    }

    /// Puts it back.
    pub(crate) fn put_back(&mut self, member: u16, column: &'a mut [u8]) {
        self.0[usize::from(member)] = column;
    }
}

/// Bytes of a leaf.
pub(crate) const LEAF: usize = LEAF_BYTES as usize;
/// Bytes of a block.
#[expect(clippy::cast_possible_truncation, reason = "4096")]
pub(crate) const BLOCK: usize = BLOCK_BYTES as usize;
