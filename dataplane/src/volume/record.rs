//! One record of the log: what a change of some rows of a unit will be, written before any of it is.
//!
//! ```text
//!   new data of each member that changes │ header │ partial parity of each parity that is written      (4 KiB blocks)
//!   in the order of the unit's shards               parity over the data that does not change: on parity members only
//! ```
//!
//! With it the rows can be finished whatever of them was written: data from the record, parity from the partial parity and
//! the data. That holds for every state of the data that does not change, also where its member is lost, because nothing
//! of it is needed. The leaves follow from the blocks.
//!
//! It lies on each parity that is there, and on members with data until there is one copy more than members can still be
//! lost: a loss together with the crash must not take it away, because the blocks in place may be torn then, or newer than
//! their leaves. A copy on a member with data needs no partial parity: where it is the last one, no parity is left. It has
//! them nevertheless if a parity is written that has no copy, because it is only being rebuilt.
//!
//! Offsets in the header, all integers little-endian:
//!
//! ```text
//!   0 magic 8 │ 8 crc32c of the header with this field zero │ 12 blocks of payload 4 │ 16 pool 16 │ 32 generation 8
//!   40 epoch 8 │ 48 sequence 8 │ 56 unit 8 │ 64 mirrors 8 │ 72 parities 8 │ 80 changed 8 │ 88 place 4 │ 92 lane 2
//!   94 first row 2 │ 96 rows 2 │ 98 zero 30 │ 128 crc32c of each block of payload
//! ```

use bireme_control::raid::members::Members;

use crate::checksum::crc32c;
use crate::superblock::Uuid;

/// The header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) pool: Uuid,
    /// Of the volume.
    pub(super) generation: u64,
    /// Of its opening.
    pub(super) epoch: u64,
    /// Rises with each record of a lane.
    pub(super) sequence: u64,
    /// Whose rows.
    pub(super) unit: u64,
    /// The members that the record lies on.
    pub(super) mirrors: Members,
    /// The members whose parity is written.
    pub(super) parities: Members,
    /// The members whose data changes.
    pub(super) changed: Members,
    /// Which block of the lane the header is.
    pub(super) place: u32,
    /// Which lane.
    pub(super) lane: u16,
    /// The first row, as a block of the chunk.
    pub(super) row: u16,
    /// How many rows.
    pub(super) rows: u16,
}

impl Record {
    /// Blocks before the header.
    pub(super) fn data_blocks(&self) -> u32 {
        self.changed.count() * u32::from(self.rows)
    }

    /// Blocks after the header, on members that hold parity.
    pub(super) fn parity_blocks(&self) -> u32 {
        self.parities.count() * u32::from(self.rows)
    }

    /// Whether the copy on a member has the partial parities, given the members that hold parity of the unit.
    pub(super) fn has_partial(&self, member: u16, parities: Members) -> bool {
        parities.contains(member) || !(self.parities - self.mirrors).is_empty()
    }

    fn payload_blocks(&self) -> u32 {
        self.data_blocks() + self.parity_blocks()
    }

    /// The header, given the CRCs of the data and then of the partial parities.
    pub(super) fn encode(&self, crcs: impl Iterator<Item = u32>, out: &mut [u8]) {
        out[..HEADER_BYTES].fill(0);
        out[..8].copy_from_slice(&MAGIC);
        out[12..16].copy_from_slice(&self.payload_blocks().to_le_bytes());
        out[16..32].copy_from_slice(&self.pool);
        let words = [self.generation, self.epoch, self.sequence, self.unit];
        let sets = [self.mirrors, self.parities, self.changed].map(bits);
        for (index, word) in words.into_iter().chain(sets).enumerate() {
            out[32 + 8 * index..40 + 8 * index].copy_from_slice(&word.to_le_bytes());
        }
        out[88..92].copy_from_slice(&self.place.to_le_bytes());
        for (index, half) in [self.lane, self.row, self.rows].into_iter().enumerate() {
            out[92 + 2 * index..94 + 2 * index].copy_from_slice(&half.to_le_bytes());
        }
        for (index, crc) in crcs.enumerate() {
            out[CRCS_AT + 4 * index..CRCS_AT + 4 * index + 4].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c(&out[..HEADER_BYTES]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header in these bytes; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
        let bytes = bytes.get(..HEADER_BYTES).filter(|bytes| bytes.starts_with(&MAGIC))?;
        let mut plain = [0; HEADER_BYTES];
        plain.copy_from_slice(bytes);
        plain[8..12].fill(0);
        if crc32c(&plain) != number(bytes, 8) {
            return None;
        }
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let set = |at: usize| members(word(bytes, at));
        let mut pool = [0; 16];
        pool.copy_from_slice(&bytes[16..32]);
        let record = Record {
            pool,
            generation: word(bytes, 32),
            epoch: word(bytes, 40),
            sequence: word(bytes, 48),
            unit: word(bytes, 56),
            mirrors: set(64),
            parities: set(72),
            changed: set(80),
            place: number(bytes, 88),
            lane: half(92),
            row: half(94),
            rows: half(96),
        };
        let payload = record.payload_blocks();
        (number(bytes, 12) == payload && payload <= PAYLOAD_BLOCKS_MAX).then_some(record)
    }

    /// Whether a block is the one that the header was made for: data first, then partial parities.
    pub(super) fn vouches(header: &[u8], index: usize, block: &[u8]) -> bool {
        number(header, CRCS_AT + 4 * index) == crc32c(block)
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from(number(bytes, at)) | u64::from(number(bytes, at + 4)) << 32
}

fn bits(members: Members) -> u64 {
    members.iter().fold(0, |bits, member| bits | 1 << member)
}

fn members(bits: u64) -> Members {
    (0..64).filter(|&member| bits >> member & 1 == 1).collect()
}

pub(super) const HEADER_BYTES: usize = 4096;
/// The CRCs of so many blocks fit into the header.
#[expect(clippy::cast_possible_truncation, reason = "less than a thousand")]
pub(super) const PAYLOAD_BLOCKS_MAX: u32 = ((HEADER_BYTES - CRCS_AT) / 4) as u32;
const CRCS_AT: usize = 128;
const MAGIC: [u8; 8] = *b"BIRMREC\x01";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> (Record, Vec<u8>) {
        let record = Record {
            pool: [9; 16],
            generation: 3,
            epoch: 8,
            sequence: 1 << 40,
            unit: 77,
            mirrors: [63].into_iter().collect(),
            parities: [63, 2].into_iter().collect(),
            changed: [1].into_iter().collect(),
            place: 12,
            lane: 1,
            row: 4,
            rows: 2,
        };
        let mut bytes = vec![0xFF; HEADER_BYTES];
        record.encode((0..6).map(|index| crc32c(&[index; 4096])), &mut bytes);
        (record, bytes)
    }

    #[test]
    fn a_header_comes_back_and_vouches_for_its_payload() {
        let (record, bytes) = example();
        assert_eq!(Record::decode(&bytes), Some(record));
        assert!(Record::vouches(&bytes, 5, &[5; 4096]) && !Record::vouches(&bytes, 5, &[4; 4096]));
        assert_eq!(Record::decode(&bytes[..4095]), None);
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..4096, change in 1u8..) {
            let (_, mut bytes) = example();
            bytes[at] ^= change;
            prop_assert_eq!(Record::decode(&bytes), None);
        }

        #[test]
        fn garbage_with_a_sound_crc_never_panics(
            changes in proptest::collection::vec((12usize..4096, any::<u8>()), 1..40),
        ) {
            let (_, mut bytes) = example();
            changes.iter().for_each(|&(at, byte)| bytes[at] = byte);
            bytes[8..12].fill(0);
            let crc = crc32c(&bytes);
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
            if let Some(record) = Record::decode(&bytes) {
                prop_assert!(record.payload_blocks() <= PAYLOAD_BLOCKS_MAX);
            }
        }
    }
}
