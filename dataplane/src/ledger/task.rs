//! Replays the store's segments to every mirror: blocks, then a flush of all, then the next segment.
//!
//! ```text
//!   segment ── runs of blocks ──▶ scratch rows ──▶ every mirror ──▶ flush every mirror ──▶ next segment
//! ```
//!
//! A row is one piece of the port's region; all mirrors are written from it, so it is filled again only when the last
//! of them has answered. Rows bound what is in flight. A mirror that is forsaken is left where it is.

use std::collections::VecDeque;

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::units::Nanos;

use super::errands::{Errands, Trouble};
use super::image::Segment;
use crate::buffer::Span;
use crate::message::Failure;
use crate::port::{Completion, Operation, Port};

/// The segments that are not yet durable on all mirrors, and the requests for the first of them.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The port's file of each mirror; `None` of one that is forsaken.
    files: Vec<Option<u16>>,
    /// Where the metadata area starts on each.
    area: u64,
    row_bytes: u32,
    /// One per row and mirror, then one flush per mirror.
    errands: Errands,
    segments: VecDeque<Segment>,
    /// The next block of the first segment to write.
    cursor: u64,
    flushing: bool,
}

impl Replay {
    /// For mirrors at `area` of these files, with scratch memory at the start of the port's region.
    pub(crate) fn new(files: Vec<u16>, area: u64, region_bytes: u32) -> Replay {
        let row_bytes = (region_bytes / ROWS / BLOCK * BLOCK).min(ROW_BYTES_MAX);
        assert!(row_bytes > 0, "a region of {region_bytes} bytes is too small for a ledger");
        let errands = Errands::new(0, (ROWS as usize + 1) * files.len());
        let files = files.into_iter().map(Some).collect();
        Replay { files, area, row_bytes, errands, segments: VecDeque::new(), cursor: 0, flushing: false }
    }

    /// More to replay, after what there is.
    pub(crate) fn extend(&mut self, segments: VecDeque<Segment>) {
        self.segments.extend(segments);
    }

    /// Everything is durable on all mirrors.
    pub(crate) fn is_done(&self) -> bool {
        self.segments.is_empty()
    }

    /// Nothing more goes to this mirror.
    pub(crate) fn forsake(&mut self, file: u16) {
        self.files.iter_mut().filter(|mirror| **mirror == Some(file)).for_each(|mirror| *mirror = None);
        self.errands.forsake(file);
        self.end_segment();
    }

    /// Fills rows, starts flushes and pushes what the port takes.
    pub(crate) fn drive<P: Port>(&mut self, port: &mut P, now: Nanos) {
        if self.segments.is_empty() {
            return;
        }
        if !self.flushing {
            (0..ROWS).for_each(|row| self.fill(row, port));
            if self.errands.all_idle() {
                self.flushing = true;
                let flushes = self.files.len() * ROWS as usize;
                for (mirror, file) in self.files.iter().enumerate() {
                    file.iter().for_each(|&file| self.errands.ask(flushes + mirror, file, 0, Operation::Flush));
                }
            }
        }
        self.errands.drive(port, now);
    }

    /// Takes an answer.
    pub(crate) fn ended(&mut self, end: Completion) -> Result<(), Trouble> {
        self.errands.ended(end)?;
        self.end_segment();
        Ok(())
    }

    /// When the oldest request was handed over.
    pub(crate) fn oldest(&self) -> Option<Nanos> {
        self.errands.oldest()
    }

    /// The oldest request, if it has waited for longer than `patience`.
    pub(crate) fn hung(&self, now: Nanos, patience: Nanos) -> Option<Failure> {
        self.errands.hung(now, patience)
    }

    fn end_segment(&mut self) {
        if self.flushing && self.errands.all_idle() {
            self.segments.pop_front();
            (self.flushing, self.cursor) = (false, 0);
        }
    }

    /// The next run of blocks into a row that nobody uses.
    fn fill<P: Port>(&mut self, row: u32, port: &mut P) {
        let mirrors = self.files.len();
        let first_place = row as usize * mirrors;
        if !self.errands.are_idle(first_place..first_place + mirrors) {
            return;
        }
        let Some(segment) = self.segments.front() else { return };
        let mut blocks = segment.range(self.cursor..).peekable();
        let Some(&(&first, _)) = blocks.peek() else { return };
        let mut bytes = 0;
        let start = row * self.row_bytes;
        while bytes < self.row_bytes
            && let Some((_, block)) = blocks.next_if(|(index, _)| **index == first + u64::from(bytes / BLOCK))
        {
            port.region_mut().bytes_mut(Span::new(start + bytes, BLOCK)).copy_from_slice(block);
            bytes += BLOCK;
        }
        self.cursor = first + u64::from(bytes / BLOCK);
        let (offset, span) = (self.area + first * BLOCK_BYTES, Span::new(start, bytes));
        for (mirror, file) in self.files.iter().enumerate() {
            file.iter().for_each(|&file| self.errands.ask(first_place + mirror, file, offset, Operation::Write(span)));
        }
    }
}

const ROWS: u32 = 4;
/// Requests of an everyday size.
const ROW_BYTES_MAX: u32 = 256 << 10;
const BLOCK: u32 = 4096;
/// What the ledger's port should have for a region: room for all rows at their largest.
pub const REGION_BYTES: usize = (ROWS * ROW_BYTES_MAX) as usize;
