//! What proves that a block is the one that was written: its CRC, and a tag that tells where and when it was written.
//!
//! ```text
//!   leaf   8 bytes per 4 KiB device block: crc32c | tag(block address, generation)
//!   root   CRC-64/NVME over the leaf blocks of a page, in the metadata
//! ```
//!
//! The CRC finds damage, the tag finds a block that is sound but old or in the wrong place, and the root finds leaves
//! that are. The instructions of the processor are chosen by `crc-fast` at run time; nothing here allocates.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-32C of some bytes.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Where and when a block was written: the number of the 4 KiB block on its device, and the set's generation. Never 0.
#[inline]
pub fn tag(block: u64, generation: u64) -> u32 {
    let mixed = mix(block ^ mix(generation));
    let low = u32::try_from(mixed & 0xFFFF_FFFF).unwrap_or(0);
    let high = u32::try_from(mixed >> 32).unwrap_or(0);
    (low ^ high).max(1)
}

/// The finaliser of SplitMix64: each bit of the input moves half of the output's.
#[inline]
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The check of one block: the CRC in the low half, the tag in the high one; little-endian on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaf(pub u64);

impl Leaf {
    /// Of a block that was not written.
    pub const ABSENT: Leaf = Leaf(0);

    /// The leaf of a written block. It is never absent, because a tag is never 0.
    #[inline]
    pub fn new(crc: u32, tag: u32) -> Leaf {
        Leaf(u64::from(crc) | u64::from(tag) << 32)
    }

    /// The CRC of the block.
    #[inline]
    pub fn crc(self) -> u32 {
        u32::try_from(self.0 & 0xFFFF_FFFF).unwrap_or(0)
    }

    /// The leaf of these bytes, written to this block of a device in this generation.
    #[inline]
    pub fn of(bytes: &[u8], block: u64, generation: u64) -> Leaf {
        Leaf::new(crc32c(bytes), tag(block, generation))
    }
}

/// The root of a page, fed with the leaf blocks of its members in order, each whole.
#[derive(Debug)]
pub struct Root(Digest);

impl Root {
    /// Nothing fed yet.
    pub fn new() -> Root {
        Root(Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    /// The next member's leaf blocks.
    pub fn feed(&mut self, leaf_blocks: &[u8]) {
        self.0.update(leaf_blocks);
    }

    /// The CRC-64/NVME of all that was fed.
    pub fn finish(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Root {
    fn default() -> Root {
        Root::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_values_come_out() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        let mut root = Root::new();
        root.feed(b"1234");
        root.feed(b"56789");
        assert_eq!(root.finish(), 0xAE8B_1486_0A79_9888);
        // Written down in docs/on-disk-format.md for those who write a reader.
        assert_eq!([tag(0, 0), tag(1, 0), tag(0, 1), tag(256, 1 << 20 | 1)], TAGS);
    }

    const TAGS: [u32; 4] = [1, 1_184_437_240, 1_971_467_380, 1_313_869_946];

    #[test]
    fn a_tag_tells_neighbours_and_generations_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for block in 0..64 {
            for generation in 0..64 {
                let tag = tag(block, generation);
                assert_ne!(tag, 0);
                assert!(seen.insert(tag), "block {block}, generation {generation}");
            }
        }
    }

    #[test]
    fn no_written_block_looks_absent() {
        assert_ne!(Leaf::new(0, tag(0, 0)), Leaf::ABSENT);
        assert_eq!(Leaf::new(0x1122_3344, 0x5566_7788).0, 0x5566_7788_1122_3344);
    }
}
