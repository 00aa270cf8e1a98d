//! A page is written to for the first time, at a level without a log: all of it becomes zeros that have leaves.
//!
//! ```text
//!   Intent ─ some block was never written ─▶ Clear ─▶ Zeroed ─▶ Marked ─▶ Marking ─▶ Intent
//!                                            zeros    durable   leaves    durable
//! ```
//!
//! After a crash, what was written lately has no leaf of its own on the devices. Without this it could not be told from
//! what was never written, which holds whatever the frame held before and must be read as zeros. And where one block of a
//! page has a leaf all have: one without was lost, and is not zeros.

use bireme_control::units::Nanos;

use super::gather::device_block;
use super::{BLOCK, Home};
use crate::checksum::Leaf;
use crate::port::Port;
use crate::volume::work::{Rows, Stage};

impl<P: Port> Home<P> {
    /// Whether all of a piece's page has leaves; if not, and nobody does that yet, the piece sees to it.
    pub(super) fn is_cleared(&mut self, index: u16) -> bool {
        let work = *self.works.at(index);
        let entry = work.entry.expect("the leaves were pinned before");
        if self.leaves.entry(entry).clearing {
            return false;
        }
        let marked = self.leaves.is_marked(entry);
        if !marked {
            self.leaves.entry(entry).clearing = true;
            let work = self.works.at(index);
            (work.stage, work.change.cursor) = (Stage::Clear, (0, 0));
        }
        marked
    }

    /// Writes zeros to the next rows that were never written.
    pub(super) fn clear_some(&mut self, now: Nanos, index: u16) -> bool {
        let work = *self.works.at(index);
        let entry = work.entry.expect("the leaves were pinned before");
        let Some((rows, cursor)) = self.next_blank(work.page, entry, work.change.cursor) else {
            let living = self.living();
            self.works.at(index).stage = Stage::Zeroed;
            self.want_durable(index, living);
            return true;
        };
        self.works.at(index).change.cursor = cursor;
        let span = self.memory.shard(index, 0, rows.rows);
        self.requests.port().region_mut().bytes_mut(span).fill(0);
        let gone = self.gone(work.page, work.frame);
        for shard in 0..self.map.shards {
            let place = self.map.shard(rows.unit, shard);
            if !gone.contains(place.member) {
                let offset = place.offset + u64::from(rows.row) * u64::from(BLOCK);
                let waiter = super::Waiter::Work { work: index, member: place.member };
                let requests = self.push(now, waiter, offset, span, true);
                self.works.at(index).outstanding += requests;
            }
        }
        true
    }

    /// The zeros are durable: they get their leaves.
    pub(super) fn zeroed(&mut self, index: u16) -> bool {
        let living = self.living();
        if !self.are_durable(index, living) {
            return false;
        }
        let work = *self.works.at(index);
        let entry = work.entry.expect("the leaves were pinned before");
        let gone = self.gone(work.page, work.frame);
        let mut cursor = (0, 0);
        while let Some((rows, next)) = self.next_blank(work.page, entry, cursor) {
            cursor = next;
            for shard in 0..self.map.shards {
                let place = self.map.shard(rows.unit, shard);
                for row in (rows.row..rows.row + rows.rows).filter(|_| !gone.contains(place.member)) {
                    let leaf = Leaf::of(&ZEROS, device_block(place, row), self.map.volume.generation);
                    self.leaves.set(entry, place.member, place.leaf + row, leaf);
                }
            }
        }
        self.works.at(index).stage = Stage::Marked;
        true
    }

    /// Leaves of a page are written, all of them.
    pub(super) fn marked(&mut self, now: Nanos, index: u16) -> bool {
        let entry = self.works.at(index).entry.expect("the leaves were pinned before");
        self.write_back(now, entry);
        let state = self.leaves.entry(entry);
        if !(state.dirty | state.writing).is_empty() {
            return false;
        }
        let living = self.living();
        self.works.at(index).stage = Stage::Marking;
        self.want_durable(index, living);
        true
    }

    /// The leaves are durable, and the page may be written to.
    pub(super) fn cleared(&mut self, index: u16) -> bool {
        let living = self.living();
        let durable = self.are_durable(index, living);
        if durable {
            let work = self.works.at(index);
            work.stage = Stage::Intent;
            let entry = work.entry.expect("the leaves were pinned before");
            self.leaves.entry(entry).clearing = false;
        }
        durable
    }

    /// The next rows of a page from a unit and a row on of which no copy was ever written, and where to go on behind them.
    fn next_blank(&self, page: u64, entry: u16, (mut unit_of_page, mut row): (u64, u32)) -> Option<(Rows, (u64, u32))> {
        let map = &self.map;
        let frame = map.frame_of(page);
        while unit_of_page < u64::from(map.frame_units()) {
            let unit = map.first_unit(frame) + unit_of_page;
            if let Some(start) = (row..map.chunk).find(|&row| self.is_blank(entry, unit, row)) {
                let most = map.chunk.min(start + self.memory.rows);
                let end = (start..most).find(|&row| !self.is_blank(entry, unit, row)).unwrap_or(most);
                let rows = Rows { frame, unit, row: start, rows: end - start, members: map.all(unit) };
                return Some((rows, (unit_of_page, end)));
            }
            (unit_of_page, row) = (unit_of_page + 1, 0);
        }
        None
    }

    /// Whether no block of a row was ever written, as far as its leaves are known.
    pub(super) fn is_blank(&self, entry: u16, unit: u64, row: u32) -> bool {
        let places = (0..self.map.shards).map(|shard| self.map.shard(unit, shard));
        let mut known = places.filter(|place| self.leaves.knows(entry, place.member));
        known.all(|place| self.leaves.get(entry, place.member, place.leaf + row) == Leaf::ABSENT)
    }
}

static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
