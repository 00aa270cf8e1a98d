//! What a change makes of the parities of its rows, in the buffer of its piece.
//!
//! ```text
//!   partial parity   P or Q over the data that does not change:     old parity - old data     or     sum of the others
//!   new parity       partial parity + new data
//! ```
//!
//! The partial parity is in the record; so a recovery computes the very same new parity.

use bireme_control::raid::write_choice::Way;

use super::{BLOCK, Home};
use crate::parity::Kernels;
use crate::port::Port;
use crate::volume::work::SHARDS_MAX;

/// The shape of one computation.
struct Shape {
    kernels: Kernels,
    /// Shards of data.
    data: usize,
    /// Shards of parity.
    parities: usize,
    /// Bytes from one shard's start to the next.
    stride: usize,
    /// Bytes of each shard that take part.
    bytes: usize,
    /// Shards of data that change, as bits, the parities that are written behind them.
    written: u64,
}

impl<P: Port> Home<P> {
    /// Copies the new data into the record, and computes partial and new parities.
    pub(super) fn compute(&mut self, index: u16) {
        let work = *self.works.at(index);
        let bytes = work.rows * BLOCK;
        let (mut new_bytes, mut written) = (0, 0);
        for shard in 0..self.map.shards {
            let member = self.map.shard(work.unit, shard).member;
            if (work.members | work.change.parities).contains(member) {
                written |= 1 << shard;
            }
            let is_new = if self.map.is_copied() { shard == 0 } else { work.members.contains(member) };
            if shard < self.map.data && is_new {
                let from = self.memory.operation(work.operation).part(self.place_in_operation(&work, shard), bytes);
                let to = self.memory.work(index).part(new_bytes, bytes);
                let (from, to) = self.requests.port().region_mut().pair_mut(from, to);
                to.copy_from_slice(from);
                new_bytes += bytes;
            }
        }
        if work.change.parities.is_empty() {
            return;
        }
        let (data, bytes) = (self.map.data, bytes as usize);
        let parities = self.map.shards - data;
        let shape = Shape { kernels: self.kernels, data, parities, stride: self.memory.shard_bytes(), bytes, written };
        let (buffer, at) = (self.memory.work(index), self.memory.shards_at());
        let (record, shards) = self.requests.port().region_mut().bytes_mut(buffer).split_at_mut(at);
        let (new, rest) = record.split_at_mut(new_bytes as usize);
        let partial_bytes = work.change.parities.count() as usize * bytes;
        let partial = &mut rest[BLOCK as usize..][..partial_bytes];
        shape.run(work.change.way, partial, new, shards);
    }
}

impl Shape {
    fn run(&self, way: Way, partial: &mut [u8], new: &[u8], shards: &mut [u8]) {
        match way {
            Way::FullStripe => {
                partial.fill(0);
                self.encode(shards, |rank| &new[rank * self.bytes..(rank + 1) * self.bytes]);
                return;
            }
            Way::ReconstructWrite => {
                self.encode(shards, |_| &ZEROS[..self.bytes]);
                self.each_parity(|rank, which| {
                    let from = self.parity_at(which);
                    partial[rank * self.bytes..(rank + 1) * self.bytes]
                        .copy_from_slice(&shards[from..from + self.bytes]);
                });
            }
            Way::ReadModifyWrite => self.each_parity(|rank, which| {
                let partial = &mut partial[rank * self.bytes..(rank + 1) * self.bytes];
                let from = self.parity_at(which);
                partial.copy_from_slice(&shards[from..from + self.bytes]);
                self.each_change(|_, shard| {
                    let old = &shards[shard * self.stride..][..self.bytes];
                    self.update(which, shard, old, &ZEROS[..self.bytes], partial);
                });
            }),
            Way::PlainWrite => return,
        }
        self.each_parity(|rank, which| {
            let to = self.parity_at(which);
            let parity = &mut shards[to..to + self.bytes];
            parity.copy_from_slice(&partial[rank * self.bytes..(rank + 1) * self.bytes]);
            self.each_change(|rank, shard| {
                let new = &new[rank * self.bytes..(rank + 1) * self.bytes];
                self.update(which, shard, &ZEROS[..self.bytes], new, parity);
            });
        });
    }

    /// The parities of all data, with `changed(rank)` in the place of the shards that change, into the shards of parity.
    fn encode<'a>(&self, shards: &'a mut [u8], changed: impl Fn(usize) -> &'a [u8]) {
        let (data, parities) = shards.split_at_mut(self.data * self.stride);
        let mut sources: [&[u8]; SHARDS_MAX] = [&[]; SHARDS_MAX];
        for (shard, source) in sources[..self.data].iter_mut().enumerate() {
            *source = &data[shard * self.stride..][..self.bytes];
        }
        self.each_change(|rank, shard| sources[shard] = changed(rank));
        let (p, q) = parities.split_at_mut(self.stride);
        let sources = &sources[..self.data];
        if self.parities == 1 {
            self.kernels.encode(sources, &mut [&mut p[..self.bytes]]);
        } else {
            self.kernels.encode(sources, &mut [&mut p[..self.bytes], &mut q[..self.bytes]]);
        }
    }

    fn update(&self, which: usize, shard: usize, old: &[u8], new: &[u8], parity: &mut [u8]) {
        if which == 0 {
            self.kernels.update_p(old, new, parity);
        } else {
            self.kernels.update_q(shard, old, new, parity);
        }
    }

    /// Calls with (rank, which) for each parity that is written.
    fn each_parity(&self, mut call: impl FnMut(usize, usize)) {
        let written = (0..self.parities).filter(|which| self.written >> (self.data + which) & 1 == 1);
        written.enumerate().for_each(|(rank, which)| call(rank, which));
    }

    /// Calls with (rank, shard) for each shard of data that changes.
    fn each_change(&self, mut call: impl FnMut(usize, usize)) {
        let changed = (0..self.data).filter(|shard| self.written >> shard & 1 == 1);
        changed.enumerate().for_each(|(rank, shard)| call(rank, shard));
    }

    fn parity_at(&self, which: usize) -> usize {
        (self.data + which) * self.stride
    }
}

/// Data that takes no part.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
