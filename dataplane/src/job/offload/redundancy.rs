//! Copies and parity of what was filled, while it is in the cache.

use std::time::Instant;

use bireme_control::raid::geometry::{MEMBERS_MAX, Place};

use super::filling::{Filling, Summed, nanos};
use crate::checksum::crc32c;
use crate::grid::{BLOCK, Columns};
use crate::parity::Kernels;

/// Fills and sums all of a slot, unit by unit.
pub(super) fn fill(
    filling: &Filling,
    kernels: Kernels,
    (memory, column_bytes): (&mut [u8], u32),
    (leaves, leaf_column_bytes): (&mut [u8], u32),
) -> Summed {
    let mut work = Work {
        filling,
        kernels,
        data: Columns::new(memory, column_bytes),
        leaves: Columns::new(leaves, leaf_column_bytes),
        summed: Summed::default(),
    };
    let geometry = filling.grid.geometry;
    let (first, count) = filling.grid.units();
    for unit in first..first + count {
        let chunks = unit * u64::from(geometry.unit_chunks())..(unit + 1) * u64::from(geometry.unit_chunks());
        for chunk in chunks {
            let member = geometry.place(chunk, 0).member;
            filling.chunk(chunk, work.data.of(member), work.leaves.of(member), &mut work.summed);
        }
        let began = Instant::now();
        match geometry.parities() {
            0 => (1..geometry.copies()).for_each(|copy| work.copy(unit, copy)),
            _ => work.encode(unit),
        }
        work.summed.parity_ns += nanos(began.elapsed());
    }
    work.summed
}

struct Work<'a> {
    filling: &'a Filling,
    kernels: Kernels,
    data: Columns<'a>,
    leaves: Columns<'a>,
    summed: Summed,
}

impl Work<'_> {
    /// A copy has the bytes and the CRCs of the first one, and tags of its own.
    fn copy(&mut self, chunk: u64, copy: u16) {
        let grid = &self.filling.grid;
        let (from, to) = (grid.geometry.place(chunk, 0), grid.geometry.place(chunk, copy));
        let column = self.data.take(to.member);
        column[grid.chunk_bytes(to)].copy_from_slice(&self.data.of(from.member)[grid.chunk_bytes(from)]);
        self.data.put_back(to.member, column);
        for block in 0..grid.chunk_blocks() {
            let leaf = &self.leaves.of(from.member)[grid.leaf_bytes(from, block)];
            let crc = u32::from_le_bytes([leaf[0], leaf[1], leaf[2], leaf[3]]);
            self.filling.put_leaf(to, block, crc, self.leaves.of(to.member));
        }
    }

    fn encode(&mut self, unit: u64) {
        let geometry = self.filling.grid.geometry;
        let Some(p) = geometry.p(unit) else { return };
        let p_column = self.data.take(p.member);
        match geometry.q(unit) {
            Some(q) => {
                let q_column = self.data.take(q.member);
                self.sum(unit, &mut [(p, &mut *p_column), (q, &mut *q_column)]);
                self.data.put_back(q.member, q_column);
            }
            None => self.sum(unit, &mut [(p, &mut *p_column)]),
        }
        self.data.put_back(p.member, p_column);
    }

    /// The parities of a unit, into columns that were taken out, and their leaves.
    fn sum(&mut self, unit: u64, parities: &mut [(Place, &mut [u8])]) {
        let grid = &self.filling.grid;
        let chunks = grid.geometry.unit_chunks();
        let mut data: [&[u8]; MEMBERS_MAX as usize] = [&[]; MEMBERS_MAX as usize];
        for (shard, chunk) in data.iter_mut().zip(0..chunks) {
            let place = grid.geometry.place(unit * u64::from(chunks) + u64::from(chunk), 0);
            *shard = &self.data.0[usize::from(place.member)][grid.chunk_bytes(place)];
        }
        let data = &data[..usize::from(chunks)];
        match parities {
            [(place, p)] => self.kernels.encode(data, &mut [&mut p[grid.chunk_bytes(*place)]]),
            [(place, p), (_, q)] => {
                let range = grid.chunk_bytes(*place);
                self.kernels.encode(data, &mut [&mut p[range.clone()], &mut q[range]]);
            }
            _ => unreachable!("a unit has one parity or two"),
        }
        for (place, column) in parities {
            for (block, bytes) in column[grid.chunk_bytes(*place)].chunks_exact(BLOCK).enumerate() {
                self.filling.put_leaf(*place, block, crc32c(bytes), self.leaves.of(place.member));
            }
        }
    }
}
