//! Generated data: every 8 bytes derive from (seed, set, index), so that verification needs no copy.
//!
//! A block of 4 KiB has a base mixed from the seed, the set and the block's index; its words step from the base by an
//! odd constant and are folded once. That keeps the inner loop at an addition, a shift and an exclusive or per vector,
//! which runs at the speed of the stores, while no two blocks are alike and no word is compressible alone.

use bireme_control::raid::geometry::BLOCK_BYTES;

/// The data of one generated set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    key: u64,
}

impl Pattern {
    /// The data of set `set` under `seed`.
    pub fn new(seed: u64, set: u64) -> Pattern {
        Pattern { key: mix(mix(seed) ^ set) }
    }

    /// Writes the block with the given index within the set.
    ///
    /// # Panics
    /// When `block` is not 4 KiB long.
    #[inline]
    pub fn fill(self, index: u64, block: &mut [u8]) {
        let block: &mut [u8; BLOCK] = block.try_into().expect("blocks are whole");
        fill_words(mix(self.key ^ index), block);
    }

    /// Whether `bytes`, the start of the block with that index, are as generated.
    pub fn matches(self, index: u64, bytes: &[u8]) -> bool {
        let mut want = [0; BLOCK];
        self.fill(index, &mut want);
        bytes == &want[..bytes.len()]
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn fill_words(base: u64, block: &mut [u8; BLOCK]) {
    let mut step = 0u64;
    for word in block.as_chunks_mut::<8>().0 {
        let value = base.wrapping_add(step);
        step = step.wrapping_add(STEP);
        *word = (value ^ (value >> 29)).to_le_bytes();
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(STEP);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// 2^64 divided by the golden ratio, made odd: multiples of it are spread evenly.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: usize = BLOCK_BYTES as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_what_the_story_says() {
        let mut block = [0; BLOCK];
        Pattern::new(7, 3).fill(11, &mut block);
        let base = mix(mix(mix(7) ^ 3) ^ 11);
        for (index, word) in (0u64..).zip(block.as_chunks::<8>().0) {
            let value = base.wrapping_add(STEP.wrapping_mul(index));
            assert_eq!(u64::from_le_bytes(*word), value ^ (value >> 29), "word {index}");
        }
    }

    #[test]
    fn seed_set_and_index_each_change_everything() {
        let block = |seed, set, index| {
            let mut block = vec![0; BLOCK];
            Pattern::new(seed, set).fill(index, &mut block);
            block
        };
        let first = block(1, 1, 1);
        for other in [block(2, 1, 1), block(1, 2, 1), block(1, 1, 2)] {
            let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 64, "{same} of 4096 bytes are the same; chance gives 16");
        }
        assert!(Pattern::new(1, 1).matches(1, &first[..100]));
        assert!(!Pattern::new(1, 1).matches(2, &first[..100]));
    }
}
