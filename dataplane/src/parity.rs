//! Parity of the shards of a stripe: computed, updated, and used to bring lost shards back.
//!
//! ```text
//!   shards   D_0 D_1 .. D_(k-1) | P | Q        P = sum D_j      Q = sum g^j D_j      over GF(2^8), 0x11d, g = 2
//! ```
//!
//! [`Kernels`] is made once at start and passed around: it knows which instructions the processor has. `encode` makes
//! the parity of whole stripes, `encode_rows` also the checksums of all shards while each row of 4 KiB is in the
//! first-level cache, `update` changes parity by what changes in one shard, `reconstruct` brings back any one or two.
//!
//! Shards may have any length and lie anywhere; nothing here allocates. From the inside out: `field` is the arithmetic,
//! `passes` the kernels written once, `scalar`, `avx2` and `avx512` their vectors, `dispatch` the choice, `recovery`
//! the algebra of what is lost.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[expect(unsafe_code, reason = "calls what is compiled for instructions that the processor was seen to have")]
mod dispatch;
mod field;
mod passes;
mod recovery;
mod scalar;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bireme_control::raid::geometry::BLOCK_BYTES;

use crate::checksum::crc32c;
use dispatch::Supported;
use field::{Factor, power};
use passes::Task;
pub use recovery::Unrecoverable;

/// Instructions that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// 64-bit integers.
    Scalar,
    /// 32-byte vectors.
    Avx2,
    /// 64-byte vectors (AVX-512 F and BW).
    Avx512,
    /// 64-byte vectors with products in the field (AVX-512 F and BW, GFNI).
    Gfni,
}

impl InstructionSet {
    /// From the slowest to the fastest.
    pub const ALL: [InstructionSet; 4] =
        [InstructionSet::Scalar, InstructionSet::Avx2, InstructionSet::Avx512, InstructionSet::Gfni];

    /// For reports.
    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Scalar => "scalar",
            InstructionSet::Avx2 => "AVX2",
            InstructionSet::Avx512 => "AVX-512",
            InstructionSet::Gfni => "GFNI",
        }
    }
}

/// The kernels for this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels(Supported);

impl Kernels {
    /// The fastest that this processor has.
    pub fn detect() -> Kernels {
        let best = InstructionSet::ALL.into_iter().rev().find_map(Kernels::with);
        best.expect("every processor has the scalar ones")
    }

    /// Those of one instruction set, if the processor has it.
    pub fn with(set: InstructionSet) -> Option<Kernels> {
        Supported::new(set).map(Kernels)
    }

    /// The instructions in effect.
    pub fn instructions(self) -> InstructionSet {
        self.0.set()
    }

    /// The parity of `data`: one shard for P, two for P and Q.
    ///
    /// # Panics
    /// When the shards differ in length, or there are not 1 to [`DATA_MAX`] of data and 1 or 2 of parity.
    #[inline]
    pub fn encode(self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        let range = 0..check_stripe(data, parity);
        self.encode_range(data, parity, range);
    }

    /// As [`encode`](Kernels::encode), with the CRC-32C of each row of 4 KiB of each shard, of which the last may be
    /// shorter: `leaf(shard, row, crc)`, where parity follows the data. Each row is read from memory once.
    ///
    /// # Panics
    /// As `encode`.
    #[inline]
    pub fn encode_rows(self, data: &[&[u8]], parity: &mut [&mut [u8]], mut leaf: impl FnMut(usize, usize, u32)) {
        let bytes = check_stripe(data, parity);
        for (row, start) in (0..bytes).step_by(ROW).enumerate() {
            let range = start..bytes.min(start + ROW);
            // The checksums bring the row into the first-level cache. For stripes that lie in the second level, as those
            // just filled do, this order is a tenth faster than the other one and than two passes; for stripes that
            // must come from memory it is a tenth slower.
            for (shard, data) in data.iter().enumerate() {
                leaf(shard, row, crc32c(&data[range.clone()]));
            }
            self.encode_range(data, parity, range.clone());
            for (shard, parity) in parity.iter().enumerate() {
                leaf(data.len() + shard, row, crc32c(&parity[range.clone()]));
            }
        }
    }

    /// Changes P as `old` becomes `new` in any one shard of data: `P ^= old ^ new`.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline]
    pub fn update_p(self, old: &[u8], new: &[u8], p: &mut [u8]) {
        let range = 0..check_change(old, new, p);
        self.0.run(Task::Update { old, new, p: Some(p), q: None }, range);
    }

    /// Changes Q as `old` becomes `new` in shard `index` of the data: `Q ^= g^index (old ^ new)`.
    ///
    /// # Panics
    /// When the lengths differ, or `index` is not below [`DATA_MAX`].
    #[inline]
    pub fn update_q(self, index: usize, old: &[u8], new: &[u8], q: &mut [u8]) {
        let range = 0..check_change(old, new, q);
        self.0.run(Task::Update { old, new, p: None, q: Some((weight(index), q)) }, range);
    }

    /// Both updates, reading the change once.
    ///
    /// # Panics
    /// As `update_q`.
    #[inline]
    pub fn update_pq(self, index: usize, old: &[u8], new: &[u8], p: &mut [u8], q: &mut [u8]) {
        assert_eq!(p.len(), q.len(), "shards of a stripe are equally long");
        let range = 0..check_change(old, new, p);
        self.0.run(Task::Update { old, new, p: Some(p), q: Some((weight(index), q)) }, range);
    }

    /// Brings lost shards back. `shards` are `data` of data, then P, then Q where the level has it; the lost ones are
    /// missing. `wanted` names the shards to bring back and where to: all that are lost, or one of two.
    ///
    /// # Errors
    /// When more shards are missing than parity can bring back; nothing is written then.
    ///
    /// # Panics
    /// When lengths differ, a wanted shard is not missing or is wanted twice, or the counts are not those of `encode`.
    pub fn reconstruct(
        self,
        data: usize,
        shards: &[Option<&[u8]>],
        wanted: &mut [(usize, &mut [u8])],
    ) -> Result<(), Unrecoverable> {
        recovery::reconstruct(self.0, data, shards, wanted)
    }

    #[inline]
    fn encode_range(self, data: &[&[u8]], parity: &mut [&mut [u8]], range: Range<usize>) {
        let task = match parity {
            [p] => Task::Sum { sources: data, sum: p },
            [p, q] => Task::Syndromes { sources: data, p, q },
            _ => unreachable!("check_stripe was asked before"),
        };
        self.0.run(task, range);
    }
}

/// Shards of data that Q tells apart: g has that many distinct powers.
pub const DATA_MAX: usize = 255;

fn weight(index: usize) -> &'static Factor {
    assert!(index < DATA_MAX, "a stripe has at most {DATA_MAX} shards of data");
    Factor::of(power(index))
}

/// The length of the shards.
fn check_stripe(data: &[&[u8]], parity: &[&mut [u8]]) -> usize {
    assert!((1..=DATA_MAX).contains(&data.len()), "a stripe has 1 to {DATA_MAX} shards of data");
    assert!((1..=2).contains(&parity.len()), "a stripe has 1 or 2 shards of parity");
    let bytes = data[0].len();
    let same = data.iter().all(|shard| shard.len() == bytes) && parity.iter().all(|shard| shard.len() == bytes);
    assert!(same, "shards of a stripe are equally long");
    bytes
}

/// The length of a change.
fn check_change(old: &[u8], new: &[u8], parity: &[u8]) -> usize {
    assert!(old.len() == new.len() && new.len() == parity.len(), "shards of a stripe are equally long");
    parity.len()
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const ROW: usize = BLOCK_BYTES as usize;
