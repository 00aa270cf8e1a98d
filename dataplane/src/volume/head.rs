//! The first two blocks of a lane: what of it still counts. They are written in turn, so that a torn one leaves the other.
//!
//! ```text
//!   0 magic 8 │ 8 crc32c with this field zero │ 12 lane 2, zero 2 │ 16 pool 16 │ 32 generation 8 │ 40 epoch 8
//!   48 count 8: rises with each, in block count mod 2 │ 56 tail 8: records before it are done │ 64 one bit for each region
//! ```
//!
//! Levels with parity use the tail, the others the bits: a region is some pages of the home, in which copies may differ and
//! leaves may be old while its bit is set.

use crate::checksum::crc32c;
use crate::superblock::Uuid;

/// What a lane belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pool: Uuid,
    /// Of the volume.
    pub(super) generation: u64,
    /// Of its opening.
    pub(super) epoch: u64,
    pub(super) lane: u16,
}

/// What one head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) owner: Owner,
    pub(super) count: u64,
    pub(super) tail: u64,
}

impl Head {
    /// As it lies on the device.
    pub(super) fn encode(&self, bits: &[u8; BITS_BYTES], out: &mut [u8]) {
        let Head { owner, count, tail } = *self;
        out[..HEAD_BYTES].fill(0);
        out[..8].copy_from_slice(&MAGIC);
        out[12..14].copy_from_slice(&owner.lane.to_le_bytes());
        out[16..32].copy_from_slice(&owner.pool);
        for (index, word) in [owner.generation, owner.epoch, count, tail].into_iter().enumerate() {
            out[32 + 8 * index..40 + 8 * index].copy_from_slice(&word.to_le_bytes());
        }
        out[BITS_AT..HEAD_BYTES].copy_from_slice(bits);
        let crc = crc32c(&out[..HEAD_BYTES]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
    }

    /// The head in these bytes and its bits; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Head, [u8; BITS_BYTES])> {
        let bytes = bytes.get(..HEAD_BYTES).filter(|bytes| bytes.starts_with(&MAGIC))?;
        let mut plain = [0; HEAD_BYTES];
        plain.copy_from_slice(bytes);
        plain[8..12].fill(0);
        if crc32c(&plain).to_le_bytes() != bytes[8..12] {
            return None;
        }
        let word = |at: usize| bytes[at..at + 8].iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        let mut pool = [0; 16];
        pool.copy_from_slice(&bytes[16..32]);
        let lane = u16::from_le_bytes([bytes[12], bytes[13]]);
        let owner = Owner { pool, generation: word(32), epoch: word(40), lane };
        let mut bits = [0; BITS_BYTES];
        bits.copy_from_slice(&bytes[BITS_AT..]);
        Some((Head { owner, count: word(48), tail: word(56) }, bits))
    }
}

/// Regions of one home at most.
pub(super) const REGIONS_MAX: u64 = BITS_BYTES as u64 * 8;
pub(super) const BITS_BYTES: usize = HEAD_BYTES - BITS_AT;
pub(super) const HEAD_BYTES: usize = 4096;
const BITS_AT: usize = 64;
const MAGIC: [u8; 8] = *b"BIRMHED\x01";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_and_a_changed_byte_is_noticed() {
        let owner = Owner { pool: [3; 16], generation: 4, epoch: 5, lane: 6 };
        let head = Head { owner, count: 7, tail: 8 << 33 };
        let mut bits = [0; BITS_BYTES];
        (bits[0], bits[BITS_BYTES - 1]) = (0xA5, 0x5A);
        let mut bytes = [0xFF; HEAD_BYTES];
        head.encode(&bits, &mut bytes);
        assert_eq!(Head::decode(&bytes), Some((head, bits)));
        for at in 0..HEAD_BYTES {
            bytes[at] ^= 4;
            assert_eq!(Head::decode(&bytes), None, "byte {at}");
            bytes[at] ^= 4;
        }
        assert_eq!(Head::decode(&[0; HEAD_BYTES]), None);
    }
}
