//! Leaves that do not fit each other: a leaf block that was never written, though the device said so, names blocks that are
//! old, or none at all, and no block would tell.
//!
//! ```text
//!   crc32c(A + B) = crc32c(A) + crc32c(B) + crc32c(0)         so the CRC of P follows from the CRCs of the data
//! ```
//!
//! A block without a leaf counts as zeros, so a lost leaf shows in this sum too. Copies have the same CRC. Where the leaves
//! of a row do not agree, all of it is read. A block that does not match its leaf is brought back as ever; if all match,
//! then one of those without a leaf is really there, if it is what the others say; and otherwise nothing can be told.

use std::ops::Range;

use bireme_control::raid::members::Members;

use super::{BLOCK, Home};
use crate::checksum::{Leaf, crc32c};
use crate::port::Port;
use crate::volume::work::{SHARDS_MAX, Work};

impl<P: Port> Home<P> {
    /// The rows of a piece whose leaves do not agree, as bits.
    pub(super) fn suspects(&self, work: &Work, gone: Members) -> u16 {
        let is_whole = (self.map.all(work.unit) & gone).is_empty();
        if !is_whole && !self.map.is_copied() {
            return 0;
        }
        let agree = |row| if self.map.is_copied() { self.copies_agree(work, row) } else { self.sums_agree(work, row) };
        (0..work.rows).filter(|&row| !agree(work.row + row)).fold(0, |bits, row| bits | 1 << row)
    }

    /// The leaves of some shards in a row.
    fn leaves_of(&self, work: &Work, row: u32, shards: Range<usize>) -> impl Iterator<Item = Leaf> {
        let entry = work.entry.expect("the leaves were pinned before");
        let unit = work.unit;
        let places = shards.map(move |shard| self.map.shard(unit, shard));
        let known = places.filter(move |place| self.leaves.knows(entry, place.member));
        known.map(move |place| self.leaves.get(entry, place.member, place.leaf + row))
    }

    fn copies_agree(&self, work: &Work, row: u32) -> bool {
        let mut written = self.leaves_of(work, row, 0..self.map.shards).filter(|&leaf| leaf != Leaf::ABSENT);
        let first = written.next().map(Leaf::crc);
        written.all(|leaf| Some(leaf.crc()) == first)
    }

    fn sums_agree(&self, work: &Work, row: u32) -> bool {
        let data = self.map.data;
        let crc = |leaf: Leaf| if leaf == Leaf::ABSENT { self.zero_crc } else { leaf.crc() };
        let sum = self.leaves_of(work, row, 0..data + 1).map(crc).fold(0, |sum, crc| sum ^ crc);
        let absent = |leaf| leaf == Leaf::ABSENT;
        let mut parities = self.leaves_of(work, row, data..self.map.shards).map(absent);
        let first = parities.next();
        sum == if data.is_multiple_of(2) { self.zero_crc } else { 0 } && parities.all(|other| Some(other) == first)
    }

    /// Finds out what is wrong with the rows that are suspected, when all of them was read. Whether that was possible.
    pub(super) fn clear_suspects(&mut self, index: u16) -> bool {
        let work = *self.works.at(index);
        (0..work.rows)
            .filter(|row| work.gather.suspect >> row & 1 == 1)
            .all(|row| self.clear_suspect(index, &work, row))
    }

    fn clear_suspect(&mut self, index: u16, work: &Work, row: u32) -> bool {
        let is_bad = (0..self.map.shards).any(|shard| work.gather.bad[shard] >> row & 1 == 1);
        let found = (0..self.map.shards).find(|&shard| !is_bad && self.is_there(index, work, row, shard));
        let entry = work.entry.expect("the leaves were pinned before");
        for shard in 0..self.map.shards {
            let place = self.map.shard(work.unit, shard);
            let at = place.leaf + work.row + row;
            if self.leaves.get(entry, place.member, at) != Leaf::ABSENT {
                continue;
            }
            let block = self.block_of(index, work, row, shard);
            let bytes = self.requests.port().region_mut().bytes_mut(block);
            if found == Some(shard) {
                let block = super::gather::device_block(place, work.row + row);
                let leaf = Leaf::of(bytes, block, self.map.volume.generation);
                self.leaves.set(entry, place.member, at, leaf);
                self.healed.blocks += 1;
            } else if !self.map.is_copied() {
                bytes.fill(0);
            }
        }
        is_bad || found.is_some()
    }

    /// Whether a block without a leaf is what the others of its row say that it is.
    fn is_there(&mut self, index: u16, work: &Work, row: u32, shard: usize) -> bool {
        let entry = work.entry.expect("the leaves were pinned before");
        let has_leaf = |home: &Self, shard| {
            let place = home.map.shard(work.unit, shard);
            home.leaves.get(entry, place.member, place.leaf + work.row + row) != Leaf::ABSENT
        };
        if self.map.is_copied() || has_leaf(self, shard) {
            return false;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut shards: [Option<&[u8]>; SHARDS_MAX] = [None; SHARDS_MAX];
        for (other, bytes) in shards[..self.map.shards].iter_mut().enumerate().filter(|(other, _)| *other != shard) {
            let block = self.block_of(index, work, row, other);
            *bytes = Some(if has_leaf(self, other) { self.requests.region().bytes(block) } else { &ZEROS });
        }
        let wanted = &mut scratch[..BLOCK as usize];
        let shards = &shards[..self.map.shards];
        let done = self.kernels.reconstruct(self.map.data, shards, &mut [(shard, &mut *wanted)]).is_ok();
        let is_there = done && *wanted == *self.requests.region().bytes(self.block_of(index, work, row, shard));
        self.scratch = scratch;
        is_there
    }

    fn block_of(&self, index: u16, work: &Work, row: u32, shard: usize) -> crate::buffer::Span {
        self.memory.shard(index, shard, work.rows).part(row * BLOCK, BLOCK)
    }

    /// Compares Q with the data, which P vouches for. A Q that is not theirs, though it has its leaf, is written again.
    pub(super) fn compare_rows(&mut self, index: u16) {
        let work = *self.works.at(index);
        let is_whole = (self.map.all(work.unit) - work.gather.checked).is_empty();
        if self.map.shards - self.map.data != 2 || self.map.is_copied() || !is_whole {
            return;
        }
        let q = self.map.shards - 1;
        let place = self.map.shard(work.unit, q);
        let entry = work.entry.expect("the leaves were pinned before");
        for row in 0..work.rows {
            let at = place.leaf + work.row + row;
            if self.leaves.get(entry, place.member, at) == Leaf::ABSENT {
                continue;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            let mut shards: [Option<&[u8]>; SHARDS_MAX] = [None; SHARDS_MAX];
            for (shard, bytes) in shards[..q].iter_mut().enumerate() {
                *bytes = Some(self.requests.region().bytes(self.block_of(index, &work, row, shard)));
            }
            let wanted = &mut scratch[..BLOCK as usize];
            let done = self.kernels.reconstruct(self.map.data, &shards[..=q], &mut [(q, &mut *wanted)]);
            done.expect("nothing else is missing");
            let span = self.block_of(index, &work, row, q);
            let block = self.requests.port().region_mut().bytes_mut(span);
            if *block != *wanted {
                block.copy_from_slice(wanted);
                let leaf =
                    Leaf::of(block, super::gather::device_block(place, work.row + row), self.map.volume.generation);
                self.leaves.set(entry, place.member, at, leaf);
                self.healed.blocks += 1;
                let gather = &mut self.works.at(index).gather;
                gather.heal = gather.heal.with(place.member);
            }
            self.scratch = scratch;
        }
    }
}

/// What the CRC of a block of zeros is.
pub(super) fn zero_crc() -> u32 {
    crc32c(&ZEROS)
}

static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
