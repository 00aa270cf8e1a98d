//! The shape of one array in a peer's memory: how a slot and the leaves of a run of pages are laid out.
//!
//! A slot lies by member, so that what goes to one device is one piece of memory and needs no gathering. It holds whole
//! stripes, with parity and copies in their places:
//!
//! ```text
//!   region   [slot 0][slot 1] ... | [run 0 leaves][run 1 leaves] ...
//!   slot     [member 0: row r, r+1, ..][member 1: row r, r+1, ..] ...
//!   leaves   [member 0: page p, p+1, ..][member 1: page p, p+1, ..] ...
//! ```

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry};

use crate::buffer::{Span, Weave};
use crate::layout::Layout;

/// One array as peers see it.
#[derive(Clone, Copy, Debug)]
pub struct Array {
    /// Level, members, chunk and page.
    pub geometry: Geometry,
    /// Where frames and leaves lie on the devices.
    pub layout: Layout,
    /// Rows of one slot, in whole stripes.
    pub slot_rows: u32,
    /// Slots of one peer.
    pub slots: u16,
    /// Bytes of one request to a device at most.
    pub request_bytes: u32,
    /// Pages of one run at most.
    pub run_pages: u16,
    /// Runs that one peer has under way at most.
    pub runs: u16,
}

impl Array {
    /// The geometry.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Bytes of the leaf blocks of one page on each member.
    pub fn leaf_bytes(&self) -> u32 {
        u32::try_from(self.layout.leaf_bytes()).expect("a page of at most 64 MiB has less than 1 MiB of leaves")
    }

    /// How many devices.
    pub fn members(&self) -> u16 {
        self.geometry().members()
    }

    /// Whether a member can be missed at all.
    pub fn is_redundant(&self) -> bool {
        self.geometry.parities() > 0 || self.geometry.copies() > 1
    }

    /// Bytes of a slot on each member.
    pub fn column_bytes(&self) -> u32 {
        self.slot_rows * self.geometry().chunk_bytes()
    }

    /// Bytes of a slot, parity and copies included.
    pub fn slot_bytes(&self) -> u32 {
        self.column_bytes() * u32::from(self.members())
    }

    /// Bytes of data that a slot holds.
    pub fn slot_data_bytes(&self) -> u32 {
        self.data_bytes(self.slot_rows)
    }

    /// Bytes of all that one peer keeps in its region.
    pub fn region_bytes(&self) -> u64 {
        let run = u64::from(self.leaf_column_bytes()) * u64::from(self.members());
        u64::from(self.slot_bytes()) * u64::from(self.slots) + run * u64::from(self.runs)
    }

    /// Requests to devices that one slot makes when all of it is written.
    pub fn requests_of_slot(&self) -> u32 {
        self.column_bytes().div_ceil(self.request_bytes) * u32::from(self.members())
    }

    /// The most requests that one slot makes: whoever reads the data alone makes one more at each gap that parity or
    /// another copy leaves in a column.
    pub fn requests_of_slot_at_most(&self) -> u32 {
        let gaps = match (self.geometry.parities(), self.geometry.copies()) {
            (0, 2) if self.geometry.stripe_rows() == 2 => self.slot_rows.div_ceil(2) + 1,
            (0, _) => 0,
            _ => self.slot_rows.div_ceil(u32::from(self.geometry.group_members())) + 1,
        };
        self.requests_of_slot() + gaps * u32::from(self.members())
    }

    /// Requests that one peer can have under way: all slots, the leaves of all runs, and its flushes.
    pub fn requests(&self) -> u32 {
        self.requests_of_slot_at_most() * u32::from(self.slots) + (u32::from(self.runs) + 1) * u32::from(self.members())
    }

    /// Chunks of data of one slot, the pieces of its woven request.
    pub fn slot_chunks(&self) -> u32 {
        self.slot_data_bytes() / self.geometry.chunk_bytes()
    }

    /// All of a slot.
    pub fn slot(&self, slot: u16) -> Span {
        Span::new(u32::from(slot) * self.slot_bytes(), self.slot_bytes())
    }

    /// Where a member's part of a slot lies.
    pub fn column(&self, slot: u16, member: u16, rows: u32) -> Span {
        let start = u32::from(slot) * self.slot_bytes() + u32::from(member) * self.column_bytes();
        Span::new(start, rows * self.geometry().chunk_bytes())
    }

    /// A slot's memory in the order of the data, from a row of the array on, as this copy of it has it.
    pub fn weave(&self, slot: u16, row: u64, copy: u16, bytes: u32) -> Weave {
        let (geometry, column_bytes) = (self.geometry, self.column_bytes());
        Weave { offset: u32::from(slot) * self.slot_bytes(), geometry, row, copy, column_bytes, bytes, skip: 0 }
    }

    /// All leaves of a run: the columns of all members, each of [`Array::leaf_column_bytes`].
    pub fn run_leaves(&self, run: u16) -> Span {
        let bytes = u32::from(self.members()) * self.leaf_column_bytes();
        Span::new(u32::from(self.slots) * self.slot_bytes() + u32::from(run) * bytes, bytes)
    }

    /// Where a member's leaf blocks of the first `pages` pages of a run lie.
    pub fn leaves(&self, run: u16, member: u16, pages: u16) -> Span {
        let start = u32::from(self.slots) * self.slot_bytes()
            + (u32::from(run) * u32::from(self.members()) + u32::from(member)) * self.leaf_column_bytes();
        Span::new(start, u32::from(pages) * self.leaf_bytes())
    }

    /// A member's leaf blocks of one page of a run.
    pub fn page_leaves(&self, run: u16, member: u16, page: u16) -> Span {
        let leaf_bytes = self.leaf_bytes();
        self.leaves(run, member, page + 1).part(u32::from(page) * leaf_bytes, leaf_bytes)
    }

    /// The leaves of some rows of a page, from its first leaf on.
    pub fn row_leaves(&self, row: u32, rows: u32) -> Span {
        let chunk_leaves = self.geometry().chunk_bytes() / BLOCK * LEAF_BYTES;
        Span::new(row * chunk_leaves, rows * chunk_leaves)
    }

    /// Rows of the whole stripes that hold `bytes` of a page.
    pub fn rows_of(&self, bytes: u32) -> u32 {
        bytes.div_ceil(self.geometry().stripe_bytes()) * self.geometry().stripe_rows()
    }

    /// Bytes of data in so many rows of whole stripes.
    pub fn data_bytes(&self, rows: u32) -> u32 {
        rows / self.geometry().stripe_rows() * self.geometry().stripe_bytes()
    }

    /// The row of the array that a row of a frame is.
    pub fn array_row(&self, frame: u64, row: u32) -> u64 {
        frame * u64::from(self.geometry().frame_rows()) + u64::from(row)
    }

    /// Bytes of a member's leaf blocks of all pages of a run.
    pub fn leaf_column_bytes(&self) -> u32 {
        u32::from(self.run_pages) * self.leaf_bytes()
    }
}

/// Bytes of one leaf.
pub const LEAF_BYTES: u32 = 8;
#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: u32 = BLOCK_BYTES as u32;
