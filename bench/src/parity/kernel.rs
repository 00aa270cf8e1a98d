//! What is measured: each kernel, and how it works on one stripe.

use std::hint::black_box;

use bireme_dataplane::checksum::crc32c;
use bireme_dataplane::parity::{InstructionSet, Kernels};

use super::isal::Isal;

/// One of the things compared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kernel {
    /// Reads the data and nothing else: what the memory gives.
    ReadSweep,
    /// Parity by our kernels.
    Encode(Kernels),
    /// Parity by ISA-L.
    IsalEncode(Isal),
    /// CRC-32C of each row of 4 KiB of the data.
    Crc,
    /// Parity and all CRCs, row by row.
    EncodeRows(Kernels),
    /// Parity, then all CRCs.
    EncodeThenCrc(Kernels),
    /// Parity, then all CRCs, by ISA-L.
    IsalEncodeThenCrc(Isal),
    /// The parity after a change of one shard.
    Update(Kernels),
    /// One lost shard of data.
    ReconstructOne(Kernels),
    /// Two lost shards of data.
    ReconstructTwo(Kernels),
}

/// The shards that a kernel works on.
#[derive(Debug)]
pub(super) struct Stripe<'a> {
    data: Vec<&'a [u8]>,
    parity: Vec<&'a mut [u8]>,
    /// The data without the first one or two, and two shards in the places of P and Q.
    lost_one: Vec<Option<&'a [u8]>>,
    lost_two: Vec<Option<&'a [u8]>>,
}

impl<'a> Stripe<'a> {
    /// The first `data` shards of `shard` bytes of this memory, and the rest as parity.
    pub(super) fn new(memory: &'a mut [u8], data: usize, shard: usize) -> Stripe<'a> {
        let (sources, parity) = memory.split_at_mut(data * shard);
        let sources: Vec<&[u8]> = sources.chunks_exact(shard).collect();
        let parity: Vec<&mut [u8]> = parity.chunks_exact_mut(shard).collect();
        let lost = |lost: usize| {
            let there = sources.iter().enumerate().map(|(index, source)| (index >= lost).then_some(*source));
            there.chain(sources.iter().cycle().take(parity.len()).map(|source| Some(*source))).collect()
        };
        Stripe { lost_one: lost(1), lost_two: lost(2), data: sources, parity }
    }
}

impl Kernel {
    /// All that make sense for this many shards on this processor.
    pub(super) fn all(data: usize, parity: usize, isal: Option<Isal>) -> Vec<Kernel> {
        let best = Kernels::detect();
        let sets = InstructionSet::ALL.into_iter().filter_map(Kernels::with).map(Kernel::Encode);
        let isal = isal.filter(|_| data >= 2);
        [Kernel::ReadSweep]
            .into_iter()
            .chain(sets)
            .chain(isal.map(Kernel::IsalEncode))
            .chain([Kernel::Crc, Kernel::EncodeRows(best), Kernel::EncodeThenCrc(best)])
            .chain(isal.map(Kernel::IsalEncodeThenCrc))
            .chain([Kernel::Update(best), Kernel::ReconstructOne(best)])
            .chain((parity == 2 && data >= 2).then_some(Kernel::ReconstructTwo(best)))
            .collect()
    }

    /// For tables and programs.
    pub(super) fn name(self) -> String {
        match self {
            Kernel::ReadSweep => "read sweep".to_owned(),
            Kernel::Encode(kernels) => format!("parity, {}", kernels.instructions().name()),
            Kernel::IsalEncode(_) => "parity, ISA-L".to_owned(),
            Kernel::Crc => "crc32c of the data".to_owned(),
            Kernel::EncodeRows(_) => "parity + crc32c, fused".to_owned(),
            Kernel::EncodeThenCrc(_) => "parity, then crc32c".to_owned(),
            Kernel::IsalEncodeThenCrc(_) => "parity, then crc32c, ISA-L".to_owned(),
            Kernel::Update(_) => "update of one shard".to_owned(),
            Kernel::ReconstructOne(_) => "one lost shard".to_owned(),
            Kernel::ReconstructTwo(_) => "two lost shards".to_owned(),
        }
    }

    /// The kernel of ISA-L that does the same work.
    pub(super) fn rival(self, isal: Option<Isal>) -> Option<Kernel> {
        match self {
            Kernel::Encode(_) => isal.map(Kernel::IsalEncode),
            Kernel::EncodeRows(_) | Kernel::EncodeThenCrc(_) => isal.map(Kernel::IsalEncodeThenCrc),
            _ => None,
        }
    }

    /// Bytes of data that count for one stripe.
    pub(super) fn bytes(self, data: usize, shard: usize) -> usize {
        if matches!(self, Kernel::Update(_)) { shard } else { data * shard }
    }

    /// Does the work of one stripe.
    pub(super) fn run(self, stripe: &mut Stripe<'_>) {
        let Stripe { data, parity, lost_one, lost_two } = stripe;
        match self {
            Kernel::ReadSweep => {
                black_box(data.iter().fold(0, |sum, shard| sum ^ sweep(shard)));
            }
            Kernel::Encode(kernels) => kernels.encode(data, parity),
            Kernel::IsalEncode(isal) => isal.encode(data, parity),
            Kernel::Crc => data.iter().for_each(|shard| sum_rows(shard, crc32c)),
            Kernel::EncodeRows(kernels) => kernels.encode_rows(data, parity, |_, _, crc| {
                black_box(crc);
            }),
            Kernel::EncodeThenCrc(kernels) => {
                kernels.encode(data, parity);
                data.iter().for_each(|shard| sum_rows(shard, crc32c));
                parity.iter().for_each(|shard| sum_rows(shard, crc32c));
            }
            Kernel::IsalEncodeThenCrc(isal) => {
                isal.encode(data, parity);
                data.iter().for_each(|shard| sum_rows(shard, |row| isal.crc32c(row)));
                parity.iter().for_each(|shard| sum_rows(shard, |row| isal.crc32c(row)));
            }
            Kernel::Update(kernels) => {
                let (old, new) = (data[0], data[data.len() - 1]);
                match &mut parity[..] {
                    [p] => kernels.update_p(old, new, p),
                    [p, q, ..] => kernels.update_pq(1, old, new, p, q),
                    [] => {}
                }
            }
            Kernel::ReconstructOne(kernels) => reconstruct(kernels, data.len(), lost_one, &mut parity[..1]),
            Kernel::ReconstructTwo(kernels) => reconstruct(kernels, data.len(), lost_two, parity),
        }
    }
}

fn reconstruct(kernels: Kernels, data: usize, shards: &[Option<&[u8]>], targets: &mut [&mut [u8]]) {
    let done = match targets {
        [one] => kernels.reconstruct(data, shards, &mut [(0, one)]),
        [one, two] => kernels.reconstruct(data, shards, &mut [(0, one), (1, two)]),
        _ => Ok(()),
    };
    done.expect("no more shards are lost than there is parity");
}

fn sum_rows(shard: &[u8], crc: impl Fn(&[u8]) -> u32) {
    for row in shard.chunks(ROW) {
        black_box(crc(row));
    }
}

/// Eight vectors' worth of words at a time, so that only the loads count.
#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn sweep(shard: &[u8]) -> u64 {
    let mut sums = [0u64; 64];
    for block in shard.as_chunks::<512>().0 {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
            *sum ^= u64::from_le_bytes(*word);
        }
    }
    sums.into_iter().fold(0, |all, sum| all ^ sum)
}

const ROW: usize = 4096;
